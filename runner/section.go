package runner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
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
		members[i].a.Resumed, members[i].a.Stopping = false, r.ctx.Done()
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

// restart reports whether the section is opened again, and after which wait: a few times, or for as long as the verdict
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
