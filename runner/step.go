package runner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// seed settles what the journal says is done and still holds, and queues what
// is ready. Failure is never memoised: whatever is not done is pending.
func (r *run) seed() {
	stale, doubted, over := r.staleReads(), r.toRecheck(), r.graph.over()
	for _, n := range r.graph.nodes {
		if slices.Contains(r.AssumeDone, n.step.ID) && InDoubt(n.step, n.rec) {
			rec := n.rec
			rec.State, rec.EverDone, rec.BootID, rec.Note = journal.Done, true, r.BootID, "marked as done by an operator"
			r.record(n, rec, nil)
		}
		holds := n.rec.State == journal.Done && !n.discarding() && !r.revoked(n) && !stale[n] && !doubted[n]
		if over[n] || holds {
			r.leaveSettled(n)
			continue
		}
		n.fresh = n.rec.Token == "" || r.revoked(n) || n.discarded()
		n.resumed = !n.fresh
	}
	for _, n := range r.graph.nodes {
		if n.phase == waiting && n.left == 0 {
			r.enqueue(n)
		}
	}
}

// leaveSettled takes a step as the journal has it: done, failed, or never reached.
func (r *run) leaveSettled(n *node) {
	n.phase, n.state = settled, n.rec.State
	switch n.state {
	case journal.Done:
	case journal.Failed, journal.Uncertain:
		r.note(n, plan.Terminal(n.rec.Hint, errors.New(n.rec.Error)))
	default:
		n.state = journal.Skipped
	}
	r.graph.unsettled--
	for _, b := range n.blocks {
		b.left--
	}
}

// over are the steps of sections that are being taken down: what they made is going or gone, so that none is done again.
func (g *graph) over() map[*node]bool {
	out := map[*node]bool{}
	for _, sec := range g.sections {
		if sec.takenDown() {
			for _, n := range sec.members() {
				out[n] = n.closes == nil
			}
		}
	}
	return out
}

// staleReads are done looks on which nothing was built yet: what they saw may be a
// month old, so they look again. Once any effect was built on one, in whatever
// lane, it stands: a second choice of snapshots must not mix with the first.
func (r *run) staleReads() map[*node]bool {
	out, built := map[*node]bool{}, map[*node]bool{}
	for _, n := range slices.Backward(r.graph.nodes) {
		b := n.rec.Token != "" && !n.step.ReadOnly && n.step.ObserveBy != plan.Blind && !n.discarded()
		for _, d := range n.blocks {
			b = b || built[d]
		}
		built[n] = b
		out[n] = n.step.ReadOnly && n.rec.State == journal.Done && !b && len(n.blocks) > 0
	}
	return out
}

// toRecheck are done steps of this boot whose effect may be gone by now, such as a mount, and which a step that is still to
// come builds on: they are looked at again, and done again where it is gone.
func (r *run) toRecheck() map[*node]bool {
	out := map[*node]bool{}
	for _, n := range r.graph.nodes {
		if n.step.ObserveBy == plan.ByState && n.step.Scope == plan.Boot && !n.step.ReadOnly && n.rec.State == journal.Done {
			out[n] = slices.ContainsFunc(n.blocks, func(b *node) bool { return b.rec.State != journal.Done })
		}
	}
	return out
}

// InDoubt says whether only an operator knows if the step took effect: it must
// not be repeated, and a run was cut off inside it.
func InDoubt(s *plan.Step, rec journal.Record) bool {
	return s.Once && s.ObserveBy == plan.Blind && (rec.State == journal.Started || rec.State == journal.Uncertain)
}

// revoked: the step's effect belonged to a boot that is over.
func (r *run) revoked(n *node) bool {
	if n.step.Scope != plan.Boot || n.rec.BootID == "" || n.rec.BootID == r.BootID {
		return false
	}
	return !n.step.Once // a reboot does not make a hook repeatable
}

func (r *run) enqueue(n *node) {
	n.phase = queued
	r.graph.inFlight++
	r.ready = append(r.ready, n)
}

// dispatch starts what is ready. Nothing new starts after a stop.
func (r *run) dispatch() {
	for len(r.ready) > 0 && !r.stopped && r.active < r.Workers {
		n := r.ready[0]
		r.ready = r.ready[1:]
		n.phase = running
		r.start(n)
	}
}

// start begins a step whose predecessors all settled.
func (r *run) start(n *node) {
	if n.atomic != nil {
		r.startAtomic(n)
		return
	}
	if n.closes != nil && !n.closes.began() {
		r.skip(n, "its section was not started")
		return
	}
	if id, blocked := r.graph.blocked(n); blocked {
		r.skip(n, fmt.Sprintf("%s did not succeed", id))
		return
	}
	if n.discarding() {
		r.resumeDiscard(n)
		return
	}
	if n.began.IsZero() {
		n.began = time.Now()
	}
	in, err := r.inputOf(n)
	if err != nil {
		r.fail(n, plan.Terminal("", fmt.Errorf("internal error: input of %s: %w", n.step.ID, err)))
		return
	}
	switch {
	case n.step.ReadOnly: // no durable intent: there is no effect to find again
		n.rec = r.newRecord(n, in)
		n.rec.Token = ""
		r.do(n)
	case n.step.ObserveBy == plan.Blind:
		if n.resumed && n.step.Once && n.tries == 0 && !slices.Contains(r.Redo, n.step.ID) {
			r.uncertain(n)
			return
		}
		r.intend(n, in, plan.Observation{})
	case n.step.ObserveBy == plan.ByToken && n.fresh:
		if a, can := r.Handlers[n.step.Kind].(plan.Adopter); can {
			if o, adopts := a.Adopts(in); adopts {
				r.observed(n, in, o, nil)
				return
			}
		}
		r.intend(n, in, plan.Observation{State: plan.Absent})
	default:
		r.observe(n, in)
	}
}

// inputOf is the recorded input of a generation that began, or the resolved
// one of a fresh step.
func (r *run) inputOf(n *node) (json.RawMessage, error) {
	if !n.fresh && len(n.rec.Input) > 0 {
		return n.rec.Input, nil
	}
	return r.graph.input(n)
}

// newRecord is the record of a step that is about to act. A fresh one opens a
// generation; otherwise the generation, its token and its input stay.
func (r *run) newRecord(n *node, in json.RawMessage) journal.Record {
	rec := n.rec
	if n.fresh {
		rec = journal.Record{Generation: rec.Generation + 1, EverDone: rec.EverDone, Attempts: rec.Attempts, Discarded: rec.Discarded}
		rec.Token = Token(r.Run, n.step.ID, rec.Generation)
		rec.Input = in
		n.fresh = n.step.ReadOnly // reads again from its present input
	}
	rec.State, rec.Error, rec.Hint, rec.Note, rec.Undo = journal.Started, "", "", "", ""
	rec.BootID = r.BootID
	rec.Retries = n.retries
	rec.StartedAt, rec.EndedAt = n.began, time.Time{} // by this process: the time that a run lay idle is nobody's
	return rec
}

func (r *run) attempt(n *node) plan.Attempt {
	a := plan.Attempt{Run: r.Run, Step: n.step.ID, Generation: n.rec.Generation, Token: n.rec.Token,
		Before: n.rec.Before, Resumed: n.resumed || n.tries > 0}
	if n.fresh { // a first look goes by the token that the intent will have
		a.Generation++
		a.Token = Token(r.Run, n.step.ID, a.Generation)
	}
	if n.atomic != nil {
		a.Section = n.atomic.ID
	}
	a.Report = func(p plan.Progress) {
		r.inbox.put(func() { r.emit(n, Progressing, withProgress(p)) })
	}
	return a
}

// context bounds a step: looks and read-only steps end with the run's context
// at once, effects when the grace after it is over.
func (r *run) context(n *node, effect bool) (context.Context, context.CancelFunc) {
	parent := r.ctx
	if effect {
		parent = r.effects
	}
	left := r.timeout(n) - time.Since(n.began)
	return context.WithTimeoutCause(parent, max(left, time.Second), errTimeout)
}

var errTimeout = errors.New("time-out")

// timeoutHint is the hint of a time-out that has no better one.
const timeoutHint = "resume the run to try again with the same timeout; if it always needs more time, raise the timeout in the settings"

func (r *run) timeout(n *node) time.Duration {
	if n.step.Timeout > 0 {
		return time.Duration(n.step.Timeout)
	}
	return r.Timeout
}

// observe observes the world before a step acts.
func (r *run) observe(n *node, in json.RawMessage) {
	r.emit(n, Observing)
	a, h := r.attempt(n), r.Handlers[n.step.Kind]
	r.work(func() func() {
		ctx, cancel := r.context(n, false)
		defer cancel()
		o, err := h.Observe(ctx, a, in)
		err = timedOut(ctx, err)
		return func() { r.observed(n, in, o, err) }
	})
}

func (r *run) observed(n *node, in json.RawMessage, o plan.Observation, err error) {
	if err != nil {
		r.handleError(n, err)
		return
	}
	switch o.State {
	case plan.Conflict:
		r.fail(n, plan.Terminal("", fmt.Errorf("cannot %s: %s", cmp.Or(n.step.Title, string(n.step.Kind)), o.Note)))
	case plan.Ours, plan.Satisfied:
		fresh := n.fresh
		rec := r.newRecord(n, in)
		if fresh {
			rec.Seen = plan.Satisfied
		}
		rec.Note = o.Note
		r.finish(n, rec, o.Output)
	default:
		if n.firstGap.IsZero() {
			n.firstGap = time.Now()
		}
		if wait := r.settleTime(n); wait > 0 {
			r.retry(n, min(wait, r.Settle/5+time.Millisecond))
			return
		}
		r.intend(n, in, o)
	}
}

// settleTime is how long an absent effect of an earlier attempt may still
// turn up: EC2 is eventually consistent. Measured on this process's monotonic
// clock.
func (r *run) settleTime(n *node) time.Duration {
	if n.step.ObserveBy != plan.ByToken || n.step.Idempotent {
		return 0
	}
	return r.Settle - time.Since(n.firstGap)
}

// intend makes the intent durable, then acts.
func (r *run) intend(n *node, in json.RawMessage, o plan.Observation) {
	fresh := n.fresh
	rec := r.newRecord(n, in)
	if fresh {
		rec.Seen, rec.Before = o.State, o.Before
	}
	rec.Attempts++
	n.firstGap = time.Time{} // this try has a settle window of its own
	r.record(n, rec, func() {
		if r.stopped {
			return // the intent stays; a resume looks and goes on
		}
		r.do(n)
	})
}

// do acts.
func (r *run) do(n *node) {
	r.emit(n, Starting)
	a, in, h, effect := r.attempt(n), n.rec.Input, r.Handlers[n.step.Kind], !n.step.ReadOnly
	n.tries++
	r.work(func() func() {
		ctx, cancel := r.context(n, effect)
		defer cancel()
		out, err := h.Do(ctx, a, in)
		err = timedOut(ctx, err)
		return func() {
			if err != nil {
				r.handleError(n, err)
				return
			}
			r.finish(n, n.rec, out)
		}
	})
}

// contextEnded: the error is the end of a context, not of the step.
func contextEnded(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// timedOut tells a step's own time-out from the end of the run.
func timedOut(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), errTimeout) {
		return plan.Terminal(cmp.Or(plan.HintOf(err), timeoutHint), fmt.Errorf("the step timed out: %w", err))
	}
	return err
}

// handleError acts on the verdict of a look or a try.
func (r *run) handleError(n *node, err error) {
	n.tries = max(n.tries, 1) // a look that failed counts
	v := plan.ActionOf(err)
	r.stopped = r.stopped || r.ctx.Err() != nil // the news may still be on its way
	if r.stopped && (v.Action == plan.ActRetry || v.Action == plan.ActRedo || contextEnded(err)) {
		n.phase = waiting // neither done nor failed: a resume finds out
		r.graph.inFlight--
		return
	}
	switch v.Action {
	case plan.ActRetry, plan.ActRestart:
		wait := max(v.After, r.backoff(n.tries))
		if time.Since(n.began)+wait > r.timeout(n) {
			r.fail(n, plan.Terminal(cmp.Or(plan.HintOf(err), timeoutHint), fmt.Errorf("gave up after %s and %d attempts: %w", time.Since(n.began).Round(time.Second), n.tries, err)))
			return
		}
		n.noteRetry(err, wait)
		r.emit(n, Retrying, withErr(err), withWait(wait))
		r.retry(n, wait)
	case plan.ActRedo:
		r.redo(n, err)
	case plan.ActSkip:
		r.skip(n, err.Error())
	default:
		r.fail(n, err)
	}
}

// retry starts the step over after a wait: it looks first, except where there
// is nothing to look at.
func (r *run) retry(n *node, wait time.Duration) {
	r.after(wait, func() {
		if r.stopped {
			n.phase = waiting
			r.graph.inFlight--
			return
		}
		r.start(n)
	})
}

func (r *run) finish(n *node, rec journal.Record, out plan.Output) {
	rec.State, rec.Output, rec.Facts, rec.EverDone = journal.Done, out.Value, out.Facts, true
	rec.BootID, rec.EndedAt = r.BootID, time.Now()
	r.record(n, rec, nil)
	r.emit(n, Finished)
	r.settle(n, journal.Done)
}

func (r *run) fail(n *node, err error) {
	v := plan.ActionOf(err)
	rec := n.rec
	if v.Unchanged && !rec.EverDone && n.atomic == nil {
		rec.Token, rec.Seen, rec.Before, rec.Input = "", "", nil, nil // its intent came to nothing
	}
	rec.State, rec.Error, rec.Hint, rec.EndedAt = journal.Failed, err.Error(), plan.HintOf(err), time.Now()
	if rec.StartedAt.IsZero() {
		rec.StartedAt = n.began
	}
	r.record(n, rec, nil)
	r.emit(n, Failing, withErr(err))
	r.note(n, err)
	r.settle(n, journal.Failed)
}

func (r *run) note(n *node, err error) {
	if n.step.Tolerated {
		return
	}
	r.failures = append(r.failures, Failure{Step: n.step.ID, Lane: n.step.Lane, Err: err, NeedsOperator: plan.ActionOf(err).Action == plan.ActOperator})
}

func (r *run) uncertain(n *node) {
	err := plan.NeedsOperator(
		fmt.Sprintf("check whether it took effect. If not, run `snaptastic resume %s --redo %s`; if it did, run `snaptastic resume %s --assume-done %s`", r.Run, n.step.ID, r.Run, n.step.ID),
		fmt.Errorf("the run was interrupted during %s, which must not be repeated", n.step.ID))
	rec := n.rec
	rec.State, rec.Error, rec.Hint = journal.Uncertain, err.Error(), plan.HintOf(err)
	r.record(n, rec, nil)
	r.emit(n, Failing, withErr(err))
	r.note(n, err)
	r.settle(n, journal.Uncertain)
}

// skip leaves a step out. A record with a token keeps it: an effect that may
// exist stays findable for a rollback.
func (r *run) skip(n *node, why string) {
	rec := n.rec
	if rec.State != journal.Started || rec.Token == "" {
		rec.State = journal.Skipped
	}
	rec.Note = why
	r.record(n, rec, nil)
	r.emit(n, Skipping)
	r.settle(n, journal.Skipped)
}

// settle ends a step and queues what waited for it alone. What was done before
// this one's repetition stays done, and members of an atomic section are never
// queued by one another: the section runs and settles them together.
func (r *run) settle(n *node, s journal.State) {
	n.phase, n.state = settled, s
	r.graph.unsettled--
	r.graph.inFlight--
	for _, b := range n.blocks {
		fellow := n.atomic != nil && b.atomic == n.atomic
		if b.left--; b.left == 0 && b.phase == waiting && !fellow {
			r.enqueue(b)
		}
	}
}
