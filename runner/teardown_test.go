package runner

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"snaptastic/journal"
	"snaptastic/plan"
)

var takingDown = []plan.StepID{"unmount", "detach", "delete"}

// scratchPlan makes a volume, uses it and takes it away again by three closing steps.
func scratchPlan(t *testing.T) *plan.Plan {
	t.Helper()
	b := plan.NewBuilder(plan.Plan{Operation: "test", ResumePolicy: plan.ResumeAnyBoot, Lanes: []plan.Lane{{ID: "L", Claims: []string{"mount:L"}}}})
	b.Section("scratch", plan.Bracket)
	body := []plan.Option{plan.InLane("L"), plan.In("scratch")}
	vol := plan.Add(b, tokenDef, "create", in{Name: "vol"}, body...)
	att := plan.Add(b, stateDef, "attach", in{Name: "att", From: vol}, body...)
	mnt := plan.Add(b, stateDef, "mount", in{Name: "mnt", From: att}, body...)
	plan.Add(b, hookDef, "probe", in{Name: "probe", From: mnt}, body...)
	for i, name := range []string{"mnt", "att", "vol"} {
		plan.Add(b, takeDef, takingDown[i], in{Name: name, From: vol}, plan.InLane("L"), plan.Closes("scratch"))
	}
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// neverTakenBack: once a closing step acted, nothing of the body is done any more, and no closing step is undone.
func neverTakenBack(t *testing.T, log []string) {
	t.Helper()
	closing := false
	for _, l := range log {
		step, verb, _ := strings.Cut(l, ":")
		closer := slices.Contains(takingDown, plan.StepID(step))
		if closing = closing || closer; closer && verb == "undo" || closing && !closer && verb == "do" {
			t.Errorf("%s in %v", l, log)
		}
	}
}

// failing makes some of these steps fail once each; which ones are the bits of mask.
func (w *fakeCloud) failing(mask int, steps ...plan.StepID) {
	for i, s := range steps {
		if mask&(1<<i) != 0 {
			w.fail[string(s)+":do"] = errors.New("boom")
		}
	}
}

func TestEachClosingStepRunsWhateverBecameOfTheOneBefore(t *testing.T) {
	for mask := range 1 << 4 {
		b := newBench(t, scratchPlan(t))
		b.w.failing(mask, append(takingDown, "probe")...)
		res, _ := b.do(false, 0)
		if want := map[bool]journal.Outcome{true: journal.RunDone, false: journal.RunFailed}[mask == 0]; res.Outcome != want {
			t.Errorf("%b: ended as %q, want %q", mask, res.Outcome, want)
		}
		for _, id := range takingDown {
			if n := b.w.times(string(id) + ":do"); n != 1 {
				t.Errorf("%b: %s ran %d times", mask, id, n)
			}
		}
		if !order(b.w.log, "unmount:do", "detach:do") || !order(b.w.log, "detach:do", "delete:do") {
			t.Errorf("%b: %v", mask, b.w.log)
		}
		again, _ := b.do(false, 0) // what failed is taken down now; the body stays as it was
		if len(b.w.things) > 0 || b.w.times("probe:do") != 1 {
			t.Errorf("%b: %v is left after %v", mask, b.w.things, b.w.log)
		}
		if probed := mask&8 == 0; probed != (again.Outcome == journal.RunDone) || probed == (len(again.Failures) > 0) {
			t.Errorf("%b: the resume ended as %q: %+v", mask, again.Outcome, again.Failures)
		}
		neverTakenBack(t, b.w.log)
	}
}

func TestWhatIsTakenDownIsGoneWhereverTheRunWasCutOff(t *testing.T) {
	clean := newBench(t, scratchPlan(t))
	_, f := clean.do(false, 0)
	for _, back := range []bool{false, true} {
		for mask := range 1 << 3 {
			for at := 1; at <= f.points; at++ {
				mask := mask | (at+mask)%2<<3 // the probe fails at every other point
				t.Run(fmt.Sprintf("rollback %t, failing %04b, point %d", back, mask, at), func(t *testing.T) {
					t.Parallel()
					b := newBench(t, scratchPlan(t))
					b.w.failing(mask, append(takingDown, "probe")...)
					res, _ := b.do(false, at)
					if back && res.Outcome == journal.RunDone {
						t.Skip("the run was over by then; a finished run is not rolled back")
					}
					if at%2 == 0 { // a second crash, during the recovery
						b.do(back, 1+rand.New(rand.NewPCG(uint64(at), uint64(mask))).IntN(f.points))
					}
					for range 3 { // each closing step may fail once more
						if res, _ = b.do(back, 0); res.Outcome == journal.RunDone || res.Outcome == journal.RolledBack {
							break
						}
					}
					if len(b.w.things) > 0 {
						t.Errorf("%v is left: %v; ended as %q: %+v", b.w.things, b.w.log, res.Outcome, res.Failures)
					}
					if want := map[bool]journal.Outcome{true: journal.RolledBack, false: journal.RunDone}[back]; res.Outcome != want && (back || mask&8 == 0) {
						t.Errorf("ended as %q: %+v", res.Outcome, res.Failures)
					}
					neverTakenBack(t, b.w.log)
				})
			}
		}
	}
}

func TestAnAtomicSectionWithSeveralClosingStepsIsAlwaysClosed(t *testing.T) {
	closers := []plan.StepID{"c1", "c2", "c3"}
	frozen := func() *plan.Plan {
		return scenario(t, map[string]plan.SectionKind{"x": plan.Atomic}, "open:o opens=x", "shot:s in=x", "close:c1 closes=x", "close:c2 closes=x", "close:c3 closes=x", "state:t after=c3")
	}
	clean := newBench(t, frozen())
	_, f := clean.do(false, 0)
	for mask := range 1 << 3 {
		for at := range f.points + 1 {
			mask := mask | (at+mask)%2<<3 // the shot fails at every other point
			t.Run(fmt.Sprintf("failing %04b, point %d", mask, at), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, frozen())
				b.w.failing(mask, append(closers, "s")...)
				if res, _ := b.do(false, at); at == 0 {
					if log := strings.Join(b.w.log, " "); !strings.Contains(log, "c1:do c2:do c3:do") || b.w.open || (mask == 0) != (res.Outcome == journal.RunDone) {
						t.Errorf("ended as %q, open %t: %s", res.Outcome, b.w.open, log)
					}
				}
				for range 4 {
					res, _ := b.do(false, 0)
					if b.w.open {
						t.Fatalf("it is still open; ended as %q: %v", res.Outcome, b.w.log)
					}
					if res.Outcome == journal.RunDone {
						break
					}
				}
				last := b.w.log[max(0, len(b.w.log)-6):]
				if len(b.w.snapshots) != 1 || !slices.Contains(b.w.log, "t:do") || !order(last, "c1:do", "c2:do") || !order(last, "c2:do", "c3:do") {
					t.Errorf("shots %v after %v", b.w.snapshots, b.w.log)
				}
			})
		}
	}
}
