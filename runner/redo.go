package runner

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// redo acts on a verdict that says: what an earlier step made is of no use. That step's effect is undone by its token, and
// then it is done again as the next generation, with all that leads from it to n. Each move is a record of its own:
//
//	done ──► undo started ──► failed and undone ──► started, next generation
//
// A run that is killed between any two goes on with the next one. It happens a bounded number of times, and only while
// nothing was built on the effect and nobody else made it; otherwise n fails as it would have.
func (r *run) redo(n *node, err error) {
	v := plan.ActionOf(err)
	first := r.graph.byID[n.step.Redoes]
	if first == nil || !r.mayRedo(first, n) {
		r.fail(n, plan.Terminal("", err))
		return
	}
	first.redos++
	again := first.redos <= r.Redos
	if !again {
		err = fmt.Errorf("gave up after %d attempts, each with a new one: %w", first.redos, err)
	}
	if !n.step.ReadOnly { // its effect is known not to be there: it was to rest on the other's
		rec := n.rec
		rec.State, rec.Undo, rec.Discarded = journal.Failed, journal.Undone, err.Error()
		r.record(n, rec, nil)
	}
	r.emit(n, Retrying, withErr(err))
	r.graph.inFlight++
	r.discard(first, err, func(undone error) {
		r.graph.inFlight--
		switch {
		case r.stopped: // neither done nor failed: a resume finds out
			n.phase = waiting
			r.graph.inFlight--
		case undone != nil:
			r.fail(n, plan.Terminal("", errors.Join(err, undone)))
		case !again:
			r.fail(n, plan.Terminal("", err))
		default:
			r.restartFrom(first, n, max(v.After, r.backoff(first.redos)))
		}
	})
}

// between are the steps that lead from first to n, n included.
func (g *graph) between(first, n *node) map[*node]bool {
	on, after := map[*node]bool{n: true}, g.after(first)
	for queue := []*node{n}; len(queue) > 0; queue = queue[1:] {
		for _, list := range [][]plan.StepID{queue[0].step.Needs, queue[0].step.Settled} {
			for _, id := range list {
				if d := g.byID[id]; after[d] && !on[d] {
					on[d] = true
					queue = append(queue, d)
				}
			}
		}
	}
	return on
}

// after are the steps that wait for n, directly or not.
func (g *graph) after(n *node) map[*node]bool {
	out := map[*node]bool{}
	for queue := []*node{n}; len(queue) > 0; queue = queue[1:] {
		for _, b := range queue[0].blocks {
			if !out[b] {
				out[b] = true
				queue = append(queue, b)
			}
		}
	}
	return out
}

// mayRedo: first's effect is this run's own, was never kept by a step that stands on it, and nothing is built on it: between it
// and n are looks alone, and all else that waits for it has not begun.
func (r *run) mayRedo(first, n *node) bool {
	if first.state != journal.Done || !first.rec.Began() || first.atomic != nil {
		return false
	}
	if k := first.step.KeptBy; k != "" && r.graph.byID[k].rec.EverDone {
		return false
	}
	between := r.graph.between(first, n)
	for d := range r.graph.after(first) {
		built := d.rec.Token != "" && d.rec.Undo != journal.Undone && !d.step.ReadOnly && d.step.ObserveBy != plan.Blind
		if d != n && (built || !between[d] && d.phase != waiting || between[d] && d.phase != settled) {
			return false
		}
	}
	return true
}

// discard undoes the effect of a step that turned out to be of no use, and records why.
func (r *run) discard(n *node, cause error, then func(error)) {
	rec := n.rec
	rec.Undo, rec.Discarded = journal.UndoStarted, cmp.Or(errorText(cause), rec.Discarded)
	r.record(n, rec, func() {
		if r.stopped {
			then(nil) // a resume goes on with the undo
			return
		}
		r.emit(n, Undoing)
		a, in := r.attempt(n), n.rec.Input
		a.Resumed, a.Discard = true, true
		r.work(func() func() {
			_, err := undoIfOurs(r.effects, r.Config, n.step, a, in, undoState{})
			return func() {
				if err == nil {
					rec := n.rec
					rec.State, rec.Undo, rec.Error = journal.Failed, journal.Undone, rec.Discarded
					r.record(n, rec, nil)
					r.emit(n, Undone)
				}
				then(err)
			}
		})
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// restartFrom puts the steps from first to n back to where they were before they ran, and begins with first.
func (r *run) restartFrom(first, n *node, wait time.Duration) {
	for d := range r.graph.between(first, n) {
		if d.phase == settled {
			r.unsettle(d)
		}
	}
	r.unsettle(first)
	n.phase = waiting
	r.graph.inFlight--
	n.reset()
	first.phase = running
	r.graph.inFlight++
	r.retry(first, wait)
}

// unsettle takes back that a step has ended: what waits for it waits again.
func (r *run) unsettle(n *node) {
	n.phase, n.state = waiting, ""
	r.graph.unsettled++
	for _, b := range n.blocks {
		b.left++
	}
	n.reset()
}

// discarding: a run was cut off while it undid an effect of no use. discarded: it came to the end of that.
func (n *node) discarding() bool {
	return n.rec.Discarded != "" && n.rec.Undo == journal.UndoStarted && n.atomic == nil
}

func (n *node) discarded() bool {
	return n.rec.Discarded != "" && n.rec.Undo == journal.Undone && n.atomic == nil
}

// resumeDiscard ends what an earlier process began, and then does the step as its next generation.
func (r *run) resumeDiscard(n *node) {
	r.discard(n, nil, func(err error) {
		switch {
		case r.stopped:
			n.phase = waiting
			r.graph.inFlight--
		case err != nil:
			r.fail(n, err)
		default:
			n.reset()
			r.start(n)
		}
	})
}
