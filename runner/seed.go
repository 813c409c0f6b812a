package runner

import (
	"errors"
	"slices"

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

// InDoubt reports whether only an operator knows if the step took effect: it must
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
