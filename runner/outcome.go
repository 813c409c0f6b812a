package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// timedOut tells a step's own time-out from the end of the run.
func timedOut(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), errTimeout) {
		return plan.Terminal(cmp.Or(plan.HintOf(err), timeoutHint), fmt.Errorf("the step timed out: %w", err))
	}
	return err
}

// contextEnded: the error is the end of a context, not of the step.
func contextEnded(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
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
			r.fail(n, plan.Terminal(cmp.Or(plan.HintOf(err), timeoutHint), fmt.Errorf("gave up after %s and %d attempts: %w", units.Took(time.Since(n.began)), n.tries, err)))
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
