// Package runner executes a plan concurrently, writing every intent and
// outcome into the journal before going on, and undoes one in reverse order.
//
// One goroutine, the scheduler, owns all state; workers hand it values through
// an inbox. There is no special resume path: a fresh run and a resumed one are
// the same function over the same journal. It imports plan and journal, knows
// no step kind by name, and never touches the world but through handlers.
package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"snaptastic/journal"
	"snaptastic/plan"
)

// A Journal takes records; *journal.Journal is one. done is called once the
// entries are durable, or could not be written.
type Journal interface {
	Commit(entries []journal.Entry, done func(error))
}

// Config is what a run needs. Zero durations take the defaults given.
type Config struct {
	Plan     *plan.Plan
	Run      plan.RunID
	Records  map[plan.StepID]journal.Record // as the journal has them
	Journal  Journal
	Handlers plan.Handlers
	BootID   string // the kernel's, now

	// Observe is told what happens, in order, from one goroutine; nothing
	// while an atomic section is open. It must not block for long.
	Observe func(Event)
	// Undoing is called before a failed run undoes itself, so that whoever goes
	// on with it after a crash goes on undoing; an error leaves it as it is.
	Undoing func() error
	// Window is told when the first atomic section opens and when the last
	// one closed, so that logs can wait in memory meanwhile.
	Window func(open bool)

	Settle     time.Duration // how long an absent effect may still turn up; default 15 s
	Timeout    time.Duration // of steps that have none; default 10 min
	StopGrace  time.Duration // effects under way may finish after a stop; default 10 s
	CloseTime  time.Duration // of an atomic section's close step; default 1 min
	RetryMin   time.Duration // first wait between tries; default 1 s, doubling with jitter
	RetryMax   time.Duration // default 30 s
	Restarts   int           // of an atomic section; default 3
	Redos      int           // of a step whose effect was of no use; default 3
	Workers    int           // steps under way at once; default 64
	AssumeDone []plan.StepID // an operator says that these uncertain steps are done
	Redo       []plan.StepID // an operator wants these uncertain steps again
	Lanes      []string      // rollback only: these lanes; nil for all
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Settle, 15*time.Second)
	def(&c.Timeout, 10*time.Minute)
	def(&c.StopGrace, 10*time.Second)
	def(&c.CloseTime, time.Minute)
	def(&c.RetryMin, time.Second)
	def(&c.RetryMax, 30*time.Second)
	if c.Restarts == 0 {
		c.Restarts = 3
	}
	if c.Redos == 0 {
		c.Redos = 3
	}
	if c.Workers == 0 {
		c.Workers = 64
	}
	if c.Observe == nil {
		c.Observe = func(Event) {}
	}
	if c.Undoing == nil {
		c.Undoing = func() error { return nil }
	}
	if c.Window == nil {
		c.Window = func(bool) {}
	}
	return c
}

// A Failure is a step that failed, or that needs an operator.
type Failure struct {
	Step          plan.StepID
	Lane          string
	Err           error // its hint says what to do about it
	NeedsOperator bool
}

// A Result is how a run ended.
type Result struct {
	Outcome     journal.Outcome
	Failures    []Failure
	Done        []string // lanes all of whose steps are done
	FailedLanes []string // lanes with a failed or skipped step
	Kept        []string // rollback: what remains, in sentences
	Records     map[plan.StepID]journal.Record
	// Err is fatal: the journal cannot be written. What happened after the
	// last durable record is found out by the next resume.
	Err error
}

// Token derives the idempotency token of an attempt: 32 hex digits.
func Token(run plan.RunID, step plan.StepID, generation int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", run, step, generation))
	return hex.EncodeToString(sum[:16])
}

// Check refuses a plan that this program cannot execute, before anything is
// done.
func Check(p *plan.Plan, h plan.Handlers) error {
	for i := range p.Steps {
		if h[p.Steps[i].Kind] == nil {
			return fmt.Errorf("cannot execute plan: step %s has the unknown kind %q; the plan was made by another version", p.Steps[i].ID, p.Steps[i].Kind)
		}
	}
	return nil
}

// run is the scheduler's state. Only its goroutine touches it.
type run struct {
	Config
	graph   *graph
	inbox   *inbox
	workers errgroup.Group // never returns an error: a step's failure is a value
	tasks   chan func() func()
	delayed atomic.Bool // a worker waits at tasks

	ctx     context.Context // ends when the caller wants a stop, or the journal failed
	cancel  context.CancelFunc
	effects context.Context // ends StopGrace after ctx, for effects under way

	active   int
	ready    []*node // waits for a worker
	windows  int     // atomic sections open now
	buffered []Event
	entries  []journal.Entry // to commit at the end of this turn
	durable  []func()        // what goes on once they are
	pending  int             // commits under way
	stopped  bool
	fatal    error
	failures []Failure
}

// Execute runs the plan from where its records stand until every step settled,
// ctx ends, or the journal fails. When the plan says so, a failed run is rolled
// back before it returns.
func Execute(ctx context.Context, c Config) Result {
	r, cancel, err := begin(ctx, c)
	if err != nil {
		return Result{Outcome: journal.RunFailed, Err: err}
	}
	defer cancel()
	r.seed()
	r.loop()
	res := r.result()
	if res.Outcome == journal.RunFailed && r.Plan.UndoOnFailure && !r.graph.committed() && !needsOperator(res) {
		if err := r.Undoing(); err != nil {
			res.Err = err
			return res
		}
		c.Records, c.Lanes = res.Records, nil
		if r.Plan.ResumePolicy == plan.ResumeFirst {
			c.Lanes = res.FailedLanes // each lane is for itself
		}
		undone := Rollback(ctx, c)
		undone.Failures = append(res.Failures, undone.Failures...)
		if undone.Outcome == journal.RunDone { // what it made is kept, and yet it failed
			undone.Outcome = journal.RolledBack
		}
		undone.Done, undone.FailedLanes = res.Done, res.FailedLanes
		return undone
	}
	return res
}

func needsOperator(res Result) bool {
	for _, f := range res.Failures {
		if f.NeedsOperator {
			return true
		}
	}
	return false
}

func begin(ctx context.Context, c Config) (*run, context.CancelFunc, error) {
	c = c.withDefaults()
	if err := Check(c.Plan, c.Handlers); err != nil {
		return nil, nil, err
	}
	r := &run{Config: c, graph: newGraph(c.Plan, c.Records), inbox: newInbox(), tasks: make(chan func() func())}
	r.ctx, r.cancel = context.WithCancel(ctx)
	effects, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.effects = effects
	over := make(chan struct{})
	stop := context.AfterFunc(r.ctx, func() {
		defer close(over)
		r.inbox.put(r.stop)
		grace := time.NewTimer(r.StopGrace)
		defer grace.Stop()
		select {
		case <-grace.C:
			cancel()
		case <-effects.Done():
		}
	})
	return r, func() {
		cancel()
		if !stop() {
			<-over
		}
		r.cancel()
	}, nil
}

// loop takes turns until nothing is under way.
func (r *run) loop() {
	for {
		r.dispatch()
		r.flush()
		if r.active == 0 && r.pending == 0 && r.inbox.empty() && (r.fatal != nil || r.stopped || r.graph.idle()) {
			break
		}
		for _, f := range r.inbox.take() {
			f()
		}
		if r.fatal != nil && !r.stopped {
			r.stopped = true
			r.cancel()
		}
	}
	close(r.tasks)
	_ = r.workers.Wait()
	r.tasks = make(chan func() func())
	r.delayed.Store(false)
	r.stopped = r.stopped || r.ctx.Err() != nil // the news may still be on its way
}

// work runs f on a worker and hands its continuation to the scheduler. One
// worker stays when it is done and takes the next f, so that in a chain its
// stack has to grow only once.
func (r *run) work(f func() func()) {
	r.active++
	select {
	case r.tasks <- f:
	default:
		r.workers.Go(func() error {
			for f != nil {
				next := f()
				r.inbox.put(func() { r.active--; next() })
				if !r.delayed.CompareAndSwap(false, true) {
					break
				}
				f = <-r.tasks
				r.delayed.Store(false)
			}
			return nil
		})
	}
}

// record notes a step's new record for this turn's commit; then is called once
// it is durable.
func (r *run) record(n *node, rec journal.Record, then func()) {
	rec.RecordedAt = time.Now().UTC()
	if len(n.retries) > 0 {
		rec.Retries = n.retries
	}
	n.rec = rec
	r.entries = append(r.entries, journal.Entry{Step: n.step.ID, Record: &rec})
	if then != nil {
		r.durable = append(r.durable, then)
	}
}

// flush commits what this turn recorded, outcomes and the intents they made
// ready, as one transaction.
func (r *run) flush() {
	if len(r.entries) == 0 || r.fatal != nil {
		return
	}
	entries, then := r.entries, r.durable
	r.entries, r.durable = nil, nil
	r.pending++
	r.Journal.Commit(entries, func(err error) {
		r.inbox.put(func() {
			r.pending--
			if err != nil {
				if r.fatal == nil {
					r.fatal = err
				}
				return
			}
			for _, f := range then {
				f()
			}
		})
	})
}

// after calls f on the scheduler's goroutine after d, or at once on a stop.
// The wait counts as work, so that the loop does not end meanwhile.
func (r *run) after(d time.Duration, f func()) {
	r.work(func() func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.ctx.Done():
		}
		return f
	})
}

// backoff is how long to wait before try number n (from 1).
func (r *run) backoff(n int) time.Duration {
	d := r.RetryMin << min(n-1, 16)
	if d > r.RetryMax || d <= 0 {
		d = r.RetryMax
	}
	return d/2 + rand.N(d/2+1)
}

func (r *run) result() Result {
	res := Result{Failures: r.failures, Records: r.graph.records(), Err: r.fatal}
	res.Done, res.FailedLanes = r.graph.lanes()
	switch {
	case r.fatal == nil && r.stopped && !r.graph.allSettled() && r.Plan.ResumePolicy == plan.ResumeManually && !r.graph.hasIntent():
		res.Outcome = journal.Aborted // nobody would go on with it, and there is nothing to go on with
	case r.fatal != nil, r.stopped && !r.graph.allSettled():
		res.Outcome = journal.Interrupted
	case !r.graph.allSettled():
		res.Outcome = journal.Interrupted
		res.Err = errors.New("internal error: the run stopped before every step settled")
	case r.graph.failed() && !r.graph.changedAnything() && !needsOperator(res) && r.Plan.ResumePolicy != plan.ResumeNextRun:
		res.Outcome = journal.Aborted
	case r.graph.failed():
		res.Outcome = journal.RunFailed
	default:
		res.Outcome = journal.RunDone
	}
	return res
}
