package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// recover closes a section that an earlier process, or an earlier try, left
// open, undoes its body by token, and raises the generation.
func (r *run) recover(sec *section, then func()) {
	attempts := r.sectionAttempts(sec)
	r.work(func() func() {
		err := r.closeAndUndo(sec, attempts)
		return func() {
			if err != nil {
				r.sectionFailed(sec, err)
				return
			}
			r.cleanedUp(sec)
			then()
		}
	})
}

// cleanedUp records that nothing of the section's attempt is left.
func (r *run) cleanedUp(sec *section) {
	for _, n := range sec.members() {
		rec := n.rec
		rec.Undo = journal.Undone
		r.record(n, rec, nil)
	}
}

type memberAttempt struct {
	n  *node
	a  plan.Attempt
	in json.RawMessage
}

func (r *run) sectionAttempts(sec *section) []memberAttempt {
	var out []memberAttempt
	for _, n := range sec.members() {
		a := r.attempt(n)
		a.Resumed = true
		out = append(out, memberAttempt{n, a, n.rec.Input})
	}
	return out
}

// closeAndUndo runs on a worker: close, whatever happens, then find the body's
// effects by their tokens and undo them.
func (r *run) closeAndUndo(sec *section, members []memberAttempt) error {
	if err := r.closeNow(members[len(members)-len(sec.close):]); err != nil {
		return err
	}
	for _, m := range slices.Backward(members[1 : len(members)-len(sec.close)]) {
		if m.a.Token == "" {
			continue
		}
		if _, err := undoIfOurs(r.effects, r.Config, m.n.step, m.a, m.in, undoState{}); err != nil {
			return fmt.Errorf("cannot undo %s: %w", m.n.step.ID, err)
		}
	}
	return nil
}

// closeNow runs the closing steps of an atomic section, each whatever became of the one before. The error is that it could
// not be closed.
func (r *run) closeNow(closers []memberAttempt) (open error) {
	for _, m := range closers {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), r.CloseTime)
		_, err := r.Handlers[m.n.step.Kind].Do(ctx, m.a, m.in)
		cancel()
		if err != nil && plan.ActionOf(err).Action == plan.ActOperator {
			open = errors.Join(open, err)
		}
	}
	return open
}

func (r *run) undoWindow(sec *section, results []memberResult, worst error) {
	attempts := r.sectionAttempts(sec)
	v := plan.ActionOf(worst)
	r.work(func() func() {
		var undo error
		closing := len(attempts) - len(sec.close)
		for i, m := range slices.Backward(attempts[:closing]) {
			if m.n != sec.open && results[i].ran {
				if _, err := undoIfOurs(r.effects, r.Config, m.n.step, m.a, m.in, undoState{}); err != nil {
					undo = errors.Join(undo, fmt.Errorf("cannot undo %s: %w", m.n.step.ID, err))
				}
			}
		}
		return func() {
			if undo != nil {
				r.sectionFailed(sec, plan.Terminal("", errors.Join(worst, undo)))
				return
			}
			if slices.ContainsFunc(results[closing:], func(res memberResult) bool {
				return res.err != nil && plan.ActionOf(res.err).Action == plan.ActOperator
			}) {
				r.sectionFailed(sec, worst) // still open: whoever goes on closes it first
				return
			}
			r.cleanedUp(sec)
			if errors.Is(worst, plan.ErrStopping) && r.ctx.Err() != nil { // nothing failed: a resume opens it again
				for _, n := range sec.members() {
					n.phase = waiting
					r.graph.inFlight--
				}
				return
			}
			wait, again := r.restart(sec, v)
			if !again {
				if v.Within > 0 && !r.stopped {
					worst = fmt.Errorf("gave up after %s: %w", units.Took(time.Since(sec.opened)), worst)
				}
				r.sectionFailed(sec, worst)
				return
			}
			sec.open.noteRetry(worst, wait)
			r.emit(sec.open, Retrying, withErr(worst), withWait(wait))
			r.after(wait, func() {
				if r.stopped {
					r.sectionFailed(sec, worst)
					return
				}
				r.openSection(sec)
			})
		}
	})
}
