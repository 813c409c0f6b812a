package runner

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// Rollback undoes, in reverse order, every step whose intent is recorded and
// whose effect is ours, failed steps included; what was as wanted before the
// run began is left alone. It is itself resumable: a second call goes on where
// the records stand. A finished run is the caller's to refuse.
func Rollback(ctx context.Context, c Config) Result {
	r, cancel, err := begin(ctx, c)
	if err != nil {
		return Result{Outcome: journal.RunFailed, Err: err}
	}
	defer cancel()
	b := &rollback{run: r, left: map[*node]int{}, stuck: map[*node]bool{}}
	for _, n := range r.graph.nodes { // by a rollback that was cut off
		if n.rec.Undo == journal.Kept && b.chosen(n) {
			b.kept = append(b.kept, n.rec.Note)
		}
	}
	b.closeAtomics()
	r.loop()
	if r.fatal == nil && !r.stopped && len(r.failures) == 0 {
		b.closeBrackets((*section).takesDown)
	}
	if r.fatal == nil && !r.stopped && len(r.failures) == 0 {
		b.seed()
		r.loop()
	}
	if r.fatal == nil && !r.stopped {
		b.closeBrackets(func(s *section) bool { return !s.takesDown() })
	}
	res := Result{Failures: r.failures, Kept: b.kept, Records: r.graph.records(), Err: r.fatal, Outcome: journal.RolledBack}
	res.Done, res.FailedLanes = r.graph.lanes()
	switch {
	case r.fatal != nil || (r.stopped && (b.unfinished() || len(b.pendingCloses(nil)) > 0)):
		res.Outcome = journal.Interrupted
	case len(r.failures) > 0:
		res.Outcome = journal.RunFailed
	case r.Plan.UndoOnFailure && r.Plan.ResumePolicy != plan.ResumeOrUndo && b.allKept():
		res.Outcome = journal.RunDone
	}
	return res
}

// uncertain: what became of the step is not known, or was a moment ago, so that a look at EC2 may not show it yet.
func (b *rollback) uncertain(n *node) bool {
	return n.step.ObserveBy == plan.ByState && n.step.Scope == plan.Cloud &&
		(n.rec.State == journal.Started || n.rec.State == journal.Done && time.Since(n.rec.EndedAt) < b.Settle)
}

// allKept: what the run was for is there and is kept, such as snapshots that were labelled before it was cut off. It was not
// rolled back.
func (b *rollback) allKept() bool {
	kept := 0
	for _, n := range b.graph.nodes {
		if n.step.KeptBy == "" || !n.rec.Began() {
			continue
		}
		if n.rec.Undo != journal.Kept {
			return false
		}
		kept++
	}
	return kept > 0
}

type rollback struct {
	*run
	left  map[*node]int  // later steps still to be undone
	stuck map[*node]bool // an undo of a later step failed: leave what it stands on
	kept  []string
}

func (b *rollback) chosen(n *node) bool {
	return b.Lanes == nil || (n.step.Lane != "" && slices.Contains(b.Lanes, n.step.Lane))
}

func (b *rollback) unfinished() bool {
	for _, n := range b.graph.nodes {
		if n.phase != settled {
			return true
		}
	}
	return false
}

// closeAtomics closes the sections that a crash left open, before anything else: an
// application may be standing still.
func (b *rollback) closeAtomics() {
	for _, sec := range b.graph.sections {
		if sec.Kind != plan.Atomic || !slices.ContainsFunc(sec.close, func(n *node) bool { return n.rec.State == journal.Started }) {
			continue
		}
		b.graph.inFlight++
		closers := b.sectionAttempts(sec)[1+len(sec.body):]
		b.work(func() func() {
			open := b.closeNow(closers)
			return func() {
				b.graph.inFlight--
				if open != nil {
					b.note(sec.close[0], open)
				}
			}
		})
	}
}

// seed counts, for each step, the later steps that stand on it, and begins
// with those on which nothing stands.
func (b *rollback) seed() {
	for _, n := range b.graph.nodes {
		b.left[n] = len(n.blocks)
		n.phase = waiting
	}
	for _, n := range slices.Backward(b.graph.nodes) {
		if len(n.blocks) == 0 { // the others are visited as what stands on them is undone
			b.visit(n)
		}
	}
}

// visit undoes one step. It recurses through steps that need no work, in
// chains no longer than the plan is deep.
func (b *rollback) visit(n *node) {
	n.phase = queued
	if !b.chosen(n) || b.stuck[n] || !b.undoable(n) {
		b.settle(n)
		return
	}
	rec := n.rec
	again := rec.Undo == journal.UndoStarted // an earlier process was cut off inside it
	rec.Undo = journal.UndoStarted
	b.graph.inFlight++
	b.record(n, rec, func() {
		if b.stopped {
			b.graph.inFlight--
			n.phase = waiting
			return
		}
		b.undo(n, again)
	})
}

func (b *rollback) undoable(n *node) bool {
	s, rec := n.step, n.rec
	if s.ReadOnly || s.ObserveBy == plan.Blind || !rec.Began() || rec.Undo == journal.Undone || rec.Undo == journal.Kept {
		return false
	}
	if n.closes != nil || n.atomic != nil && !slices.Contains(n.atomic.body, n) {
		return false
	}
	// A reboot undid it; what is there now is not ours.
	return s.Scope != plan.Boot || rec.BootID == b.BootID
}

func (b *rollback) undo(n *node, again bool) {
	b.emit(n, Undoing)
	n.acting = true
	a, in := b.attempt(n), n.rec.Input
	a.Resumed, a.UndoneBefore = true, again
	if k := n.step.KeptBy; k != "" {
		a.Keep = b.graph.byID[k].rec.EverDone
	}
	how := undoState{again: again, uncertain: b.uncertain(n)}
	b.work(func() func() {
		adopted, err := undoIfOurs(b.effects, b.Config, n.step, a, in, how)
		return func() { b.afterUndo(n, adopted, err) }
	})
}

func (b *rollback) afterUndo(n *node, adopted bool, err error) {
	b.graph.inFlight--
	n.acting = false
	rec := n.rec
	switch v := plan.ActionOf(err); {
	case adopted:
		rec.Undo, rec.Seen = "", plan.Satisfied
		b.record(n, rec, nil)
		b.settle(n)
		return
	case err == nil:
		rec.Undo = journal.Undone
	case v.Action == plan.ActSkip: // kept on purpose
		rec.Undo, rec.Note = journal.Kept, err.Error()
		b.kept = append(b.kept, cmp.Or(v.Remains, err.Error()))
	case b.stopped && contextEnded(err):
		n.phase = waiting
		return
	default:
		rec.Error, rec.Hint = fmt.Sprintf("cannot undo: %v", err), plan.HintOf(err)
		b.record(n, rec, nil)
		b.emit(n, Failing, withErr(err))
		b.note(n, fmt.Errorf("cannot undo %s: %w", n.step.ID, err))
		b.stuck[n] = true
		b.settle(n)
		return
	}
	b.record(n, rec, nil)
	b.emit(n, Undone)
	b.settle(n)
}

// settle passes on to the steps this one stood on.
func (b *rollback) settle(n *node) {
	n.phase, n.state = settled, n.rec.State
	for _, list := range [][]plan.StepID{n.step.Needs, n.step.Settled} {
		for _, id := range list {
			d := b.graph.byID[id]
			if b.stuck[n] && (d.step.Lane == n.step.Lane || n.step.Lane == "" || d.step.Lane == "") { // what belongs to the whole plan is held by any lane, and holds all
				b.stuck[d] = true
			}
			if b.left[d]--; b.left[d] == 0 {
				b.visit(d)
			}
		}
	}
}

// closeBrackets runs the closing steps of brackets that began and were not
// closed, one after the other, inner ones first. What was made for a while is
// taken down before anything is undone: that is how it is undone. What a pre hook
// stopped is started again at the end.
func (b *rollback) closeBrackets(which func(*section) bool) {
	for _, n := range b.pendingCloses(which) {
		if b.stopped || b.fatal != nil {
			return
		}
		n.phase, n.state, n.began = queued, "", time.Time{}
		n.fresh = n.rec.Token == ""
		b.graph.unsettled++
		b.graph.inFlight++
		b.ready = append(b.ready, n)
		b.loop()
	}
}

// pendingCloses are the closing steps that a bracket still waits for. A run that is
// stopped before them is not rolled back yet.
func (b *rollback) pendingCloses(which func(*section) bool) []*node {
	var owed []*node
	for _, n := range b.graph.nodes {
		if n.closes == nil || which != nil && !which(n.closes) || !n.closes.began() || !b.chosen(n) {
			continue
		}
		// A hook that failed has run. What could not be taken down is still there.
		if n.rec.State != journal.Done && (n.rec.State != journal.Failed || n.closes.takesDown()) {
			owed = append(owed, n)
		}
	}
	return owed
}
