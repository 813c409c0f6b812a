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
		if n.step.ReadOnly { // there are no generations of it to be told apart
			rec.Mark = n.rec.Mark
		}
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
		Before: n.rec.Before, Resumed: n.resumed || n.tries > 0, Mark: n.rec.Mark}
	if n.fresh { // a first look uses the token that the intent will have
		a.Generation++
		a.Token = Token(r.Run, n.step.ID, a.Generation)
	}
	if n.atomic != nil {
		a.Section = n.atomic.ID
	}
	a.Report = func(p plan.Progress) {
		r.inbox.put(func() {
			if n.phase != settled { // a shared call may tell of it late
				r.emit(n, Progressing, withProgress(p))
			}
		})
	}
	a.Checkpoint = func(mark json.RawMessage) {
		r.inbox.put(func() {
			if n.phase == running && n.atomic == nil {
				rec := n.rec
				rec.Mark = mark
				r.record(n, rec, nil)
			}
		})
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
	n.acting = effect
	r.work(func() func() {
		ctx, cancel := r.context(n, effect)
		defer cancel()
		out, err := h.Do(ctx, a, in)
		err = timedOut(ctx, err)
		return func() {
			n.acting = false
			if err != nil {
				r.handleError(n, err)
				return
			}
			r.finish(n, n.rec, out)
		}
	})
}
