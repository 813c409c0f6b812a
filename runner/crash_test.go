package runner

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"snaptastic/journal"
	"snaptastic/plan"
)

// assertSettled checks what must hold after a run was finished, however often
// it was cut off on the way.
func (b *bench) assertSettled(lanes int) {
	b.t.Helper()
	w := b.w
	if w.open {
		b.t.Error("the section is still open")
	}
	if n := w.count("vol"); n != lanes {
		b.t.Errorf("%d volumes instead of %d: %v", n, lanes, w.things)
	}
	if n := w.count("mnt"); n != lanes {
		b.t.Errorf("%d mounts instead of %d: %v", n, lanes, w.things)
	}
	if len(w.snapshots) != 1 {
		b.t.Errorf("%d shots instead of 1: %v", len(w.snapshots), w.snapshots)
	}
	for _, open := range w.snapshots {
		if !open {
			b.t.Error("the shot was taken while the section was closed")
		}
	}
	if len(w.hooks) == 0 || w.hooks[len(w.hooks)-1] != "post" {
		b.t.Errorf("hooks ended with %v", w.hooks)
	}
}

func (b *bench) assertUnchanged() {
	b.t.Helper()
	if b.w.open || len(b.w.things) > 0 || len(b.w.snapshots) > 0 {
		b.t.Errorf("rollback left something: open %v, things %v, shots %v", b.w.open, b.w.things, b.w.snapshots)
	}
}

// points counts the crash points of an undisturbed run.
func points(t *testing.T, lanes int) int {
	b := newBench(t, bigPlan(t, lanes))
	res, f := b.do(false, 0)
	if res.Outcome != journal.RunDone {
		t.Fatalf("an undisturbed run ended as %q: %+v", res.Outcome, res.Failures)
	}
	b.assertSettled(lanes)
	return f.points
}

func TestARunCutOffAtAnyPointIsFinishedByResume(t *testing.T) {
	for _, lanes := range []int{1, 3} {
		n := points(t, lanes)
		for at := 1; at <= n; at++ {
			t.Run(fmt.Sprintf("%d lanes, point %d", lanes, at), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, bigPlan(t, lanes))
				b.do(false, at)
				rng := rand.New(rand.NewPCG(uint64(at), uint64(lanes)))
				if at%2 == 0 { // a second crash, during the recovery
					b.do(false, 1+rng.IntN(n))
				}
				res, _ := b.do(false, 0)
				if res.Outcome != journal.RunDone {
					t.Fatalf("resume ended as %q: %+v %v", res.Outcome, res.Failures, res.Err)
				}
				b.assertSettled(lanes)
			})
		}
		t.Logf("%d lanes: %d points", lanes, n)
	}
}

func TestARunCutOffAtAnyPointIsUndoneByRollback(t *testing.T) {
	for _, lanes := range []int{1, 3} {
		n := points(t, lanes)
		for at := 1; at < n; at++ {
			t.Run(fmt.Sprintf("%d lanes, point %d", lanes, at), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, bigPlan(t, lanes))
				res, _ := b.do(false, at)
				if res.Outcome == journal.RunDone {
					t.Skip("the run was over by then; a finished run is not rolled back")
				}
				if at%2 == 0 {
					b.do(true, 1+rand.New(rand.NewPCG(uint64(at), 7)).IntN(n))
				}
				res, _ = b.do(true, 0)
				if res.Outcome != journal.RolledBack {
					t.Fatalf("rollback ended as %q: %+v %v", res.Outcome, res.Failures, res.Err)
				}
				b.dropKept(lanes)
				b.assertUnchanged()
			})
		}
	}
}

// dropKept takes the volumes that a rollback kept out of the world, after
// checking that each was kept rightly: its mount had been done once.
func (b *bench) dropKept(lanes int) {
	b.t.Helper()
	j, err := b.store.Read(b.run)
	if err != nil {
		b.t.Fatal(err)
	}
	defer j.Close()
	recs := j.Records()
	for i := range lanes {
		create, mount := recs[plan.StepID(fmt.Sprintf("create:L%d", i))], recs[plan.StepID(fmt.Sprintf("mount:L%d", i))]
		if (create.Undo == journal.Kept) != mount.EverDone {
			b.t.Errorf("lane %d: volume %q although mount ever done is %v", i, create.Undo, mount.EverDone)
		}
		if create.Undo == journal.Kept {
			delete(b.w.things, fmt.Sprintf("vol%d@%s", i, create.Token))
		}
	}
	if len(b.w.hooks) > 0 && b.w.hooks[len(b.w.hooks)-1] != "post" {
		b.t.Errorf("the pre hook ran and the post hook did not: %v", b.w.hooks)
	}
}
