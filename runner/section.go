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

// startAtomic begins an atomic section at its open step. Body and close become
// ready only as the section settles them together, so they are never started
// by themselves.
func (r *run) startAtomic(n *node) {
	sec := n.atomic
	if n != sec.open {
		panic("internal error: " + string(n.step.ID) + " started outside of its section")
	}
	if id, blocked := r.graph.blocked(n); blocked {
		if !sec.needsCleanup() {
			r.skipSection(sec, fmt.Sprintf("%s did not succeed", id))
			return
		}
		// A crash left it open and now its lane is not well: still close.
		r.recover(sec, func() { r.skipSection(sec, fmt.Sprintf("%s did not succeed", id)) })
		return
	}
	n.began = time.Now()
	sec.opened = n.began
	if sec.needsCleanup() {
		r.recover(sec, func() { r.openSection(sec) })
		return
	}
	r.openSection(sec)
}

// needsCleanup: an attempt of this section began and did not end cleanly.
func (s *section) needsCleanup() bool {
	for _, n := range s.members() {
		if n.rec.Token != "" && n.rec.Undo != journal.Undone {
			return true
		}
	}
	return false
}

func (r *run) skipSection(sec *section, why string) {
	for _, n := range sec.members() {
		if n.phase != running {
			n.phase = running
			r.graph.inFlight++
		}
	}
	for _, n := range sec.members() {
		rec := n.rec
		rec.State, rec.Note = journal.Skipped, why
		r.record(n, rec, nil)
		r.emit(n, Skipping)
		r.settle(n, journal.Skipped)
	}
}

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

// openSection makes the intents of all members durable in one transaction and
// then runs the section on one worker, on a context that a stop does not end.
func (r *run) openSection(sec *section) {
	members := sec.members()
	for i, n := range members {
		if n.phase != running {
			n.phase = running
			r.graph.inFlight++
		}
		in, err := r.graph.input(n)
		if err != nil {
			r.sectionFailed(sec, plan.Terminal("", fmt.Errorf("internal error: input of %s: %w", n.step.ID, err)))
			return
		}
		rec := journal.Record{State: journal.Started, Generation: n.rec.Generation + 1, Attempts: n.rec.Attempts + 1,
			EverDone: n.rec.EverDone, Input: in, Seen: plan.Absent, BootID: r.BootID, StartedAt: time.Now()}
		rec.Token, rec.Retries = Token(r.Run, n.step.ID, rec.Generation), n.retries
		n.began, n.fresh, n.resumed = time.Now(), false, false
		var then func()
		if i == len(members)-1 {
			then = func() { r.window(sec) }
		}
		r.record(n, rec, then)
	}
}

// memberResult is what one step of the window came to.
type memberResult struct {
	out   plan.Output
	err   error
	ran   bool
	start time.Time
	end   time.Time
}

// window runs open, body and close. Nothing else happens on its way: no
// journal write, no event, no slot to wait for.
func (r *run) window(sec *section) {
	if r.stopped { // the intents stay; a resume closes and starts over
		for _, n := range sec.members() {
			n.phase = waiting
			r.graph.inFlight--
		}
		return
	}
	r.emit(sec.open, Starting)
	members := r.sectionAttempts(sec)
	for i := range members {
		members[i].a.Resumed = false
	}
	r.emit(sec.open, WindowOpening)
	r.openWindow()
	sec.open.acting = true
	r.work(func() func() {
		results := r.runWindow(sec, members)
		return func() {
			sec.open.acting = false
			end := results[len(results)-1].end
			r.emit(sec.open, WindowClosed, at(end), withWait(end.Sub(results[0].start)))
			r.closeWindow()
			r.windowClosed(sec, results)
		}
	})
}

func (r *run) runWindow(sec *section, members []memberAttempt) []memberResult {
	results := make([]memberResult, len(members))
	do := func(i int, timeout time.Duration) bool {
		m, res := members[i], &results[i]
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(r.ctx), timeout, errTimeout)
		defer cancel()
		res.ran, res.start = true, time.Now()
		res.out, res.err = r.Handlers[m.n.step.Kind].Do(ctx, m.a, m.in)
		res.err = timedOut(ctx, res.err)
		res.end = time.Now()
		return res.err == nil
	}
	closing := len(members) - len(sec.close)
	for i := range closing {
		if !do(i, r.timeout(members[i].n)) {
			break
		}
	}
	for i := closing; i < len(members); i++ {
		do(i, r.CloseTime)
	}
	return results
}

// windowClosed judges the window: all well is one transaction; otherwise the body is
// undone by token, and the section tried again where a verdict asks for it.
func (r *run) windowClosed(sec *section, results []memberResult) {
	var worst error
	for _, res := range results {
		if res.err != nil && (worst == nil || plan.ActionOf(res.err).Action != plan.ActRestart) {
			worst = res.err
		}
	}
	members := sec.members()
	if worst == nil {
		for i, n := range members {
			rec := n.rec
			rec.State, rec.Output, rec.Facts, rec.EverDone = journal.Done, results[i].out.Value, results[i].out.Facts, true
			rec.StartedAt, rec.EndedAt = results[i].start, results[i].end
			r.record(n, rec, nil)
			if i > 0 { // told late, with the time that it was
				r.emit(n, Starting, at(results[i].start))
			}
			r.emit(n, Finished, at(results[i].end))
		}
		for _, n := range members {
			r.settle(n, journal.Done)
		}
		return
	}
	for i, n := range members {
		n.rec.StartedAt, n.rec.EndedAt = results[i].start, results[i].end
		if results[i].err != nil {
			n.rec.Error = results[i].err.Error()
		}
	}
	r.undoWindow(sec, results, worst)
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

// restart says whether the section is opened again, and after which wait: a few times, or for as long as the verdict
// says that it is worth it. Waits of the second kind do not use up the tries of the first.
func (r *run) restart(sec *section, v *plan.ActionError) (wait time.Duration, again bool) {
	if r.stopped || v.Action != plan.ActRestart && v.Action != plan.ActRetry {
		return 0, false
	}
	if v.Within > 0 {
		sec.waits++
		wait = max(v.After, r.backoff(sec.waits))
		return wait, time.Since(sec.opened)+wait <= v.Within
	}
	sec.restarts++
	return max(v.After, r.backoff(sec.restarts)), sec.restarts <= r.Restarts
}

// sectionFailed fails the step whose error it is and skips the others. Records
// that still hold a token without Undo stay findable.
func (r *run) sectionFailed(sec *section, err error) {
	members := sec.members()
	culprit := sec.open
	for _, n := range members {
		if n.phase != running {
			n.phase = running
			r.graph.inFlight++
		}
	}
	for _, n := range slices.Backward(members) {
		if n.rec.Error != "" {
			culprit = n // the first one that failed
		}
	}
	for _, n := range members {
		rec := n.rec
		if n == culprit {
			rec.State, rec.Error, rec.Hint = journal.Failed, err.Error(), plan.HintOf(err)
		} else if rec.State != journal.Started || rec.Undo == journal.Undone {
			rec.State = journal.Skipped
			rec.Note = fmt.Sprintf("%s did not succeed", culprit.step.ID)
		}
		rec.EndedAt = time.Now()
		r.record(n, rec, nil)
	}
	r.emit(culprit, Failing, withErr(err))
	r.note(culprit, err)
	for _, n := range members {
		s := journal.Skipped
		if n == culprit {
			s = journal.Failed
		}
		r.settle(n, s)
	}
}

// undoState says what is known of a step that is to be undone. again: an undo was cut off before. unsure: its effect may be there
// though a look does not show it yet.
type undoState struct{ again, uncertain bool }

// undoIfOurs finds a step's effect and undoes it when it is ours. An absent
// one counts only after the settle window. After an undo that was cut off, what
// it undid first may be all that a look can see, so it is called whatever is
// seen. adopted says that what is there was not made by this run.
func undoIfOurs(ctx context.Context, c Config, s *plan.Step, a plan.Attempt, in json.RawMessage, u undoState) (adopted bool, _ error) {
	timeout := c.Timeout
	if s.Timeout > 0 {
		timeout = max(time.Duration(s.Timeout), c.Settle*2)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	defer cancel()
	h := c.Handlers[s.Kind]
	began, tries := time.Now(), 0
	for {
		o, err := h.Observe(ctx, a, in)
		present := err == nil && (o.State == plan.Ours || (o.State == plan.Satisfied && s.ObserveBy == plan.ByState))
		if present || u.again && err == nil && s.ObserveBy == plan.ByState && o.State == plan.Absent {
			if err = h.Undo(ctx, a, in, o.Output.Value); err == nil {
				return false, nil
			}
		}
		wait := c.Settle/5 + time.Millisecond
		switch {
		case err != nil:
			v := plan.ActionOf(err)
			if v.Action != plan.ActRetry && v.Action != plan.ActRestart {
				return false, err
			}
			tries++
			wait = max(v.After, min(c.RetryMin<<min(tries-1, 10), c.RetryMax))
		case s.ObserveBy == plan.ByToken && o.State == plan.Satisfied:
			return true, nil
		case o.State == plan.Conflict || time.Since(began) >= c.Settle || s.ObserveBy != plan.ByToken && !u.uncertain:
			return false, nil
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false, errors.Join(context.Cause(ctx), err)
		}
	}
}
