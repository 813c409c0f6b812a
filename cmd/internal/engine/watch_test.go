package engine

import (
	"context"
	"sync"
	"testing"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

// A recorder is a Watch that notes what it is told.
type recorder struct {
	mu         sync.Mutex
	joined     []LiveRun
	told       []Event
	events     int
	left       []plan.RunID
	unfinished [][]RunState
}

func (w *recorder) note(f func()) { w.mu.Lock(); defer w.mu.Unlock(); f() }

func (w *recorder) Joined(l LiveRun)               { w.note(func() { w.joined = append(w.joined, l) }) }
func (w *recorder) Event(plan.RunID, runner.Event) { w.note(func() { w.events++ }) }
func (w *recorder) Told(e Event)                   { w.note(func() { w.told = append(w.told, e) }) }
func (w *recorder) Left(id plan.RunID, _ *RunState) {
	w.note(func() { w.left = append(w.left, id) })
}
func (w *recorder) Unfinished(r []RunState) {
	w.note(func() { w.unfinished = append(w.unfinished, r) })
}

func (w *recorder) has(is func() bool) (has bool) { w.note(func() { has = is() }); return has }

// Several watches, from before there is a state folder, follow runs that come one after the other.
func TestWatchesFollowEachRun(t *testing.T) {
	r := newRig(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watches := []*recorder{{}, {}, {}}
	var all sync.WaitGroup
	for _, w := range watches {
		all.Go(func() {
			if _, err := r.engine().WatchRuns(ctx, "", w); err != nil {
				t.Error(err)
			}
		})
	}
	eventually := func(what string, is func(w *recorder) bool) {
		t.Helper()
		for _, w := range watches {
			for deadline := time.Now().Add(time.Minute); !w.has(func() bool { return is(w) }); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("no %s for a minute: %+v", what, w)
				}
			}
		}
	}
	eventually("listing", func(w *recorder) bool { return len(w.unfinished) == 1 && w.unfinished[0] == nil })
	r.must("mount")
	r.cutOff("unmount", "detach")
	eventually("unfinished run", func(w *recorder) bool {
		last := w.unfinished[len(w.unfinished)-1]
		return len(last) == 1 && last[0].Operation == "unmount" && last[0].Action == Wait
	})
	r.must("unmount") // goes on with it
	eventually("empty list", func(w *recorder) bool { return len(w.unfinished[len(w.unfinished)-1]) == 0 })
	cancel()
	all.Wait()
	for _, w := range watches {
		for _, e := range w.told {
			if e.Event == RunEnded && e.Outcome != journal.RunDone && e.Outcome != journal.Interrupted {
				t.Errorf("%+v", e)
			}
		}
		if len(w.joined) == 0 || len(w.left) > len(w.joined) {
			t.Errorf("joined %d, left %d", len(w.joined), len(w.left))
		}
	}
	was, err := r.engine().WatchRuns(t.Context(), LastRun, &recorder{})
	if was || err != nil {
		t.Errorf("a watch of a run that has ended: %v, %v", was, err)
	}
}
