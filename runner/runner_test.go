package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// scenario compiles a small plan from words and tells what happened. A word is
// kind:name, with after=, lane=, once, tolerated, in=, opens=, closes=.
func scenario(t *testing.T, sections map[string]plan.SectionKind, lines ...string) *plan.Plan {
	t.Helper()
	head := plan.Plan{Operation: "test", ResumePolicy: plan.ResumeAnyBoot}
	lanes := map[string]bool{}
	for _, l := range lines {
		for w := range strings.FieldsSeq(l) {
			if v, ok := strings.CutPrefix(w, "lane="); ok && !lanes[v] {
				lanes[v] = true
				head.Lanes = append(head.Lanes, plan.Lane{ID: v, Claims: []string{"lane:" + v}})
			}
		}
	}
	b := plan.NewBuilder(head)
	declared := map[string]bool{}
	defs := map[string]plan.Def[in, string]{"read": readDef, "token": tokenDef, "state": stateDef, "hook": hookDef, "open": openDef, "shot": snapshotDef, "close": closeDef}
	for _, l := range lines {
		words := strings.Fields(l)
		kind, name, _ := strings.Cut(words[0], ":")
		var opts []plan.Option
		for _, w := range words[1:] {
			k, v, _ := strings.Cut(w, "=")
			if k == "in" || k == "opens" || k == "closes" {
				if !declared[v] {
					declared[v] = true
					b.Section(v, sections[v])
				}
			}
			switch k {
			case "after":
				opts = append(opts, plan.After(plan.StepID(v)))
			case "settled":
				opts = append(opts, plan.AfterSettled(plan.StepID(v)))
			case "lane":
				opts = append(opts, plan.InLane(v))
			case "in":
				opts = append(opts, plan.In(v))
			case "opens":
				opts = append(opts, plan.Opens(v))
			case "closes":
				opts = append(opts, plan.Closes(v))
			case "once":
				opts = append(opts, plan.Once())
			case "commits":
				opts = append(opts, plan.Commits())
			case "tolerated":
				opts = append(opts, plan.Tolerated())
			case "within":
				d, err := time.ParseDuration(v)
				if err != nil {
					t.Fatal(err)
				}
				opts = append(opts, plan.Within(d))
			default:
				t.Fatalf("no such word: %s", w)
			}
		}
		plan.Add(b, defs[kind], plan.StepID(name), in{Name: name}, opts...)
	}
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func states(r Result) string {
	var out []string
	for id, rec := range r.Records {
		s := string(rec.State)
		if rec.Undo != "" {
			s += "/" + string(rec.Undo)
		}
		out = append(out, fmt.Sprintf("%s=%s", id, s))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestScenarios(t *testing.T) {
	boom := plan.Terminal("do this", errors.New("boom"))
	retry := plan.Retry(0, errors.New("busy"))
	both := map[string]plan.SectionKind{"b": plan.Bracket, "x": plan.Atomic}
	tests := []struct {
		name        string
		steps       []string
		fail        map[string]error
		things      map[string]string
		outcome     journal.Outcome
		states      string
		log         string // in this order, when a chain
		failedLanes string
	}{
		{name: "a lane that fails stops, the other finishes",
			steps: []string{"state:a lane=1", "state:b lane=1 after=a", "state:c lane=2", "state:d lane=2 after=c"},
			fail:  map[string]error{"a:do": boom}, outcome: journal.RunFailed,
			states: "a=failed b=skipped c=done d=done", failedLanes: "1"},
		{name: "a conflict fails the lane and touches nothing",
			steps: []string{"state:a", "state:b after=a"}, things: map[string]string{"a": "enemy"},
			outcome: journal.Aborted, states: "a=failed b=skipped", log: ""},
		{name: "what is there already is adopted",
			steps: []string{"state:a", "state:b after=a"}, things: map[string]string{"a": "somebody"},
			outcome: journal.RunDone, states: "a=done b=done", log: "b:do"},
		{name: "a retry looks again and does again",
			steps: []string{"state:a"}, fail: map[string]error{"a:do": retry},
			outcome: journal.RunDone, states: "a=done", log: "a:do a:do"},
		{name: "a tolerated failure does not count",
			steps: []string{"hook:a tolerated", "state:b after=a"}, fail: map[string]error{"a:do": boom},
			outcome: journal.RunDone, states: "a=failed b=done", log: "a:do b:do"},
		{name: "close runs although the body failed",
			steps: []string{"hook:a opens=b", "state:c in=b", "hook:z closes=b"}, fail: map[string]error{"c:do": boom},
			outcome: journal.RunFailed, states: "a=done c=failed z=done", log: "a:do c:do z:do"},
		{name: "close runs although open failed",
			steps: []string{"hook:a opens=b", "state:c in=b", "hook:z closes=b"}, fail: map[string]error{"a:do": boom},
			outcome: journal.Aborted, states: "a=failed c=skipped z=done", log: "a:do z:do"},
		{name: "close does not run when the section never began",
			steps: []string{"state:first", "hook:a opens=b after=first", "state:c in=b", "hook:z closes=b"}, fail: map[string]error{"first:do": boom},
			outcome: journal.RunFailed, states: "a=skipped c=skipped first=failed z=skipped", log: "first:do"},
		{name: "a bracket without open closes once its body began",
			steps: []string{"state:c in=b", "hook:z closes=b"}, fail: map[string]error{"c:do": boom},
			outcome: journal.RunFailed, states: "c=failed z=done", log: "c:do z:do"},
		{name: "an atomic section closes after a failed open, without its body",
			steps: []string{"open:o opens=x", "shot:s in=x", "close:c closes=x", "state:t after=c"}, fail: map[string]error{"o:do": boom},
			outcome: journal.RunFailed, states: "c=skipped/undone o=failed/undone s=skipped/undone t=skipped", log: "o:do c:do"},
		{name: "an atomic section undoes its body when close says that it did not hold",
			steps: []string{"open:o opens=x", "shot:s in=x", "close:c closes=x", "state:t after=c"}, fail: map[string]error{"c:do": boom},
			outcome: journal.RunFailed, states: "c=failed/undone o=skipped/undone s=skipped/undone t=skipped", log: "o:do s:do c:do s:undo"},
		{name: "an atomic section starts over when asked",
			steps: []string{"open:o opens=x", "shot:s in=x", "close:c closes=x", "state:t after=c"}, fail: map[string]error{"s:do": plan.RestartSection(0, errors.New("again"))},
			outcome: journal.RunDone, states: "c=done o=done s=done t=done", log: "o:do s:do c:do o:do s:do c:do t:do"},
		{name: "an atomic section with an unwell lane never opens",
			steps: []string{"state:a lane=1", "state:d lane=2", "open:o opens=x after=a after=d", "shot:s in=x", "close:c closes=x"}, fail: map[string]error{"a:do": boom},
			outcome: journal.RunFailed, states: "a=failed c=skipped d=done o=skipped s=skipped", failedLanes: "1"},
		{name: "a skip verdict is no failure",
			steps: []string{"read:a lane=1", "state:c lane=1 after=a", "state:d lane=2"}, fail: map[string]error{"a:do": plan.Skip(errors.New("left alone"))},
			outcome: journal.RunDone, states: "a=skipped c=skipped d=done", log: "", failedLanes: "1"},
		{name: "a step that tolerates runs after a failed one",
			steps: []string{"read:a lane=1", "read:f settled=a"}, fail: map[string]error{"a:do": boom},
			outcome: journal.Aborted, states: "a=failed f=done", log: "a:do f:do", failedLanes: "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, scenario(t, both, tt.steps...))
			if tt.fail != nil {
				b.w.fail = tt.fail
			}
			maps.Copy(b.w.things, tt.things)
			res, _ := b.do(false, 0)
			if res.Outcome != tt.outcome || states(res) != tt.states {
				t.Errorf("got  %s: %s\nwant %s: %s", res.Outcome, states(res), tt.outcome, tt.states)
			}
			if got := strings.Join(b.w.log, " "); tt.log != "" && got != tt.log {
				t.Errorf("happened %q instead of %q", got, tt.log)
			}
			if got := strings.Join(res.FailedLanes, " "); got != tt.failedLanes {
				t.Errorf("unwell lanes %q instead of %q", got, tt.failedLanes)
			}
			if b.w.open {
				t.Error("left open")
			}
		})
	}
}

func TestAFailedRunIsFinishedByResumeAndKeepsWhatWasDone(t *testing.T) {
	b := newBench(t, scenario(t, nil, "token:v", "state:m after=v"))
	b.w.fail["m:do"] = plan.Terminal("", errors.New("boom"))
	if res, _ := b.do(false, 0); res.Outcome != journal.RunFailed {
		t.Fatalf("ended as %q", res.Outcome)
	}
	if res, _ := b.do(false, 0); res.Outcome != journal.RunDone {
		t.Fatalf("resume ended as %q: %+v", res.Outcome, res.Failures)
	}
	if b.w.times("v:do") != 1 {
		t.Errorf("the volume was made %d times", b.w.times("v:do"))
	}
}

func TestAdoptedEffectsAreNeverUndone(t *testing.T) {
	b := newBench(t, scenario(t, nil, "state:a", "state:m after=a"))
	b.w.things["a"] = "somebody"
	b.w.fail["m:do"] = plan.Terminal("", errors.New("boom"))
	b.do(false, 0)
	if res, _ := b.do(true, 0); res.Outcome != journal.RolledBack {
		t.Fatalf("ended as %q", res.Outcome)
	}
	if b.w.things["a"] != "somebody" {
		t.Error("rollback undid what was there before")
	}
}

func TestAnUnrepeatableHookAsksTheOperatorAfterACrashInsideIt(t *testing.T) {
	newCrashed := func(t *testing.T) *bench {
		b := newBench(t, scenario(t, nil, "hook:h once", "state:a after=h"))
		b.do(false, 3) // the hook's effect, before its answer
		if b.w.times("h:do") != 0 {
			b.w.log = nil
		}
		return b
	}
	b := newCrashed(t)
	res, _ := b.do(false, 0)
	if len(res.Failures) != 1 || !res.Failures[0].NeedsOperator || !strings.Contains(plan.HintOf(res.Failures[0].Err), "--assume-done h") {
		t.Fatalf("got %+v", res)
	}
	if b.w.times("h:do") != 0 {
		t.Error("the hook was repeated")
	}
	b.conf = func(c *Config) { c.AssumeDone = []plan.StepID{"h"} }
	if res, _ = b.do(false, 0); res.Outcome != journal.RunDone || b.w.times("h:do") != 0 {
		t.Errorf("assume-done: %q, hook ran %d times", res.Outcome, b.w.times("h:do"))
	}
	b = newCrashed(t)
	b.conf = func(c *Config) { c.Redo = []plan.StepID{"h"} }
	if res, _ = b.do(false, 0); res.Outcome != journal.RunDone || b.w.times("h:do") != 1 {
		t.Errorf("redo: %q, hook ran %d times", res.Outcome, b.w.times("h:do"))
	}
}

func TestAnotherBootRevokesBootScopedStepsOnly(t *testing.T) {
	b := newBench(t, scenario(t, nil, "token:v", "state:m after=v", "state:n after=m"))
	b.w.fail["n:do"] = plan.Terminal("", errors.New("boom"))
	b.do(false, 0)
	delete(b.w.things, "m") // the reboot dropped the mount
	b.w.boot = "boot-2"
	if res, _ := b.do(false, 0); res.Outcome != journal.RunDone {
		t.Fatalf("ended as %q", res.Outcome)
	}
	if b.w.times("v:do") != 1 || b.w.times("m:do") != 2 {
		t.Errorf("volume made %d times, mounted %d times", b.w.times("v:do"), b.w.times("m:do"))
	}
}

// A cloud-scoped step that follows a mount is done for good, and is neither
// waited for nor done again when the mount is.
func TestDoneStepsStayDoneWhenAnEarlierStepIsRepeated(t *testing.T) {
	tests := map[string]struct {
		steps []string
		again func(b *bench)
	}{
		"after a reboot": {[]string{"state:m", "token:v after=m", "state:n after=v"}, func(b *bench) {
			delete(b.w.things, "m")
			b.w.boot = "boot-2"
		}},
		"after a failure that it tolerates": {[]string{"state:m", "token:v settled=m", "state:n after=v"}, func(*bench) {}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, scenario(t, nil, tt.steps...))
			b.w.fail["n:do"] = plan.Terminal("", errors.New("boom"))
			if strings.Contains(tt.steps[1], "settled") {
				b.w.fail["m:do"] = plan.Terminal("", errors.New("boom"))
			}
			b.do(false, 0)
			tt.again(b)
			res, _ := b.do(false, 0)
			if res.Outcome != journal.RunDone || res.Err != nil {
				t.Fatalf("ended as %q: %v", res.Outcome, res.Err)
			}
			if b.w.times("v:do") != 1 || b.w.times("m:do") != 2 {
				t.Errorf("v done %d times, m %d times", b.w.times("v:do"), b.w.times("m:do"))
			}
		})
	}
}

func TestAReadIsRepeatedUntilAnEffectDependsOnIt(t *testing.T) {
	for name, tt := range map[string]struct {
		failAt       string
		observations int
	}{
		"only a hook ran on it":     {"h:do", 2},
		"an effect was begun on it": {"w:do", 1},
		"an effect was built on it": {"m:do", 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, scenario(t, nil, "read:find", "read:choose after=find", "hook:h after=choose", "token:w after=h", "state:m after=w"))
			b.w.fail[tt.failAt] = plan.Terminal("", errors.New("boom"))
			b.do(false, 0)
			if res, _ := b.do(false, 0); res.Outcome != journal.RunDone {
				t.Fatalf("ended as %q", res.Outcome)
			}
			if got := b.w.times("find:do"); got != tt.observations {
				t.Errorf("looked %d times instead of %d", got, tt.observations)
			}
		})
	}
}

func TestRollbackUnderAnotherBootLeavesItsMountsAlone(t *testing.T) {
	b := newBench(t, scenario(t, nil, "token:v", "state:m after=v", "state:n after=m"))
	b.w.fail["n:do"] = plan.Terminal("", errors.New("boom"))
	b.do(false, 0)
	b.w.things["m"] = "fstab" // mounted by somebody else after the reboot
	b.w.boot = "boot-2"
	if res, _ := b.do(true, 0); res.Outcome != journal.RolledBack {
		t.Fatalf("ended as %q: %+v", res.Outcome, res.Failures)
	}
	if b.w.things["m"] != "fstab" || b.w.count("v@") != 0 {
		t.Errorf("world after rollback: %v", b.w.things)
	}
}

func TestAFailedUndoKeepsTheStepsItDependsOn(t *testing.T) {
	b := newBench(t, scenario(t, nil, "token:v lane=1", "state:m lane=1 after=v", "state:n lane=1 after=m", "token:w lane=2", "state:o lane=2 after=w"))
	b.w.fail["n:do"] = plan.Terminal("", errors.New("boom"))
	b.do(false, 0)
	b.w.fail["m:undo"] = plan.Terminal("end pid 7", errors.New("busy"))
	res, _ := b.do(true, 0)
	if res.Outcome != journal.RunFailed || len(res.Failures) != 1 {
		t.Fatalf("ended as %q: %+v", res.Outcome, res.Failures)
	}
	if b.w.count("v@") != 1 || b.w.count("w@") != 0 {
		t.Errorf("world: %v", b.w.things)
	}
	if res, _ = b.do(true, 0); res.Outcome != journal.RolledBack || len(b.w.things) != 0 {
		t.Errorf("second rollback: %q, %v", res.Outcome, b.w.things)
	}
}

func TestRollbackUndoesEachStepOnceAndInReverse(t *testing.T) {
	b := newBench(t, scenario(t, nil, "state:a", "state:b after=a", "state:c after=a", "state:d after=b after=c", "state:e after=d"))
	b.w.fail["e:do"] = plan.Terminal("", errors.New("boom"))
	b.do(false, 0)
	b.w.log = nil
	if res, _ := b.do(true, 0); res.Outcome != journal.RolledBack {
		t.Fatalf("ended as %q", res.Outcome)
	}
	got := strings.Join(b.w.log, " ")
	if got != "d:undo b:undo c:undo a:undo" && got != "d:undo c:undo b:undo a:undo" {
		t.Errorf("happened %q", got)
	}
}

// A signal comes while the last effect is undone: the pre hook's counterpart is
// still owed, and the rollback is not over before it ran.
func TestAStoppedRollbackRunsTheClosingHookLater(t *testing.T) {
	b := newBench(t, scenario(t, map[string]plan.SectionKind{"b": plan.Bracket}, "hook:a opens=b", "state:c in=b", "state:d in=b after=c", "hook:z closes=b"))
	b.w.fail["d:do"] = errors.New("boom")
	b.conf = func(c *Config) { c.Journal = failClose{c.Journal} }
	if res, _ := b.do(false, 0); res.Outcome != journal.Interrupted {
		t.Fatalf("the run is %s", res.Outcome)
	}
	run, err := b.store.Resume(b.run)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	h := b.w.handlers()
	h["state"] = stopAtUndo{h["state"], stop}
	b.w.failpoint = nil
	res := Rollback(ctx, Config{Plan: run.Plan(), Run: b.run, Records: run.Records(), Journal: run, Handlers: h, BootID: b.w.boot,
		Settle: time.Millisecond, StopGrace: time.Second})
	_ = run.Close()
	if res.Outcome != journal.Interrupted || b.w.times("c:undo") != 1 || b.w.times("z:do") != 0 {
		t.Fatalf("stopped inside the last undo: %s, %v", res.Outcome, b.w.log)
	}
	b.conf = nil
	if res, _ := b.do(true, 0); res.Outcome != journal.RolledBack || b.w.times("z:do") != 1 || b.w.times("c:undo") != 1 {
		t.Errorf("the next rollback: %s, %v", res.Outcome, b.w.log)
	}
}

// failClose cannot write that the closing hook begins.
type failClose struct{ Journal }

func (f failClose) Commit(entries []journal.Entry, done func(error)) {
	for _, e := range entries {
		if e.Step == "z" {
			done(errors.New("no space left"))
			return
		}
	}
	f.Journal.Commit(entries, done)
}

// stopAtUndo is a signal in the middle of an undo.
type stopAtUndo struct {
	plan.Handler
	stop context.CancelFunc
}

func (s stopAtUndo) Undo(ctx context.Context, a plan.Attempt, in, out json.RawMessage) error {
	s.stop()
	return s.Handler.Undo(ctx, a, in, out)
}

func TestASectionThatCouldNotBeClosedIsClosedFirstNextTime(t *testing.T) {
	b := newBench(t, scenario(t, map[string]plan.SectionKind{"x": plan.Atomic}, "open:o opens=x", "shot:s in=x", "close:c closes=x", "state:t after=c"))
	b.w.fail["c:do"] = plan.NeedsOperator("thaw it", errors.New("it stays frozen"))
	res, _ := b.do(false, 0)
	if res.Outcome != journal.RunFailed || len(res.Failures) != 1 || !res.Failures[0].NeedsOperator || len(b.w.snapshots) != 0 {
		t.Fatalf("ended as %q: %+v, shots %v", res.Outcome, res.Failures, b.w.snapshots)
	}
	b.w.log = nil
	if res, _ = b.do(false, 0); res.Outcome != journal.RunDone {
		t.Fatalf("resume ended as %q: %+v", res.Outcome, res.Failures)
	}
	if got := strings.Join(b.w.log, " "); got != "c:do o:do s:do c:do t:do" {
		t.Errorf("happened %q", got)
	}
}

func TestUndoOnFailureRollsBack(t *testing.T) {
	p := scenario(t, nil, "token:v", "state:m after=v")
	p.UndoOnFailure = true
	b := newBench(t, p)
	b.w.fail["m:do"] = plan.Terminal("", errors.New("boom"))
	res, _ := b.do(false, 0)
	if res.Outcome != journal.RolledBack || len(b.w.things) != 0 || len(res.Failures) != 1 {
		t.Errorf("ended as %q with %v, failures %+v", res.Outcome, b.w.things, res.Failures)
	}
}

// nowhere is a journal without a disk: time is what these tests are about.
type nowhere struct{}

func (nowhere) Commit(_ []journal.Entry, done func(error)) { done(nil) }

func TestTime(t *testing.T) {
	exec := func(ctx context.Context, p *plan.Plan, w *fakeCloud, f func(*Config)) Result {
		c := Config{Plan: p, Run: "r", Journal: nowhere{}, Handlers: w.handlers(), BootID: "b", Records: map[plan.StepID]journal.Record{}}
		if f != nil {
			f(&c)
		}
		return Execute(ctx, c)
	}
	t.Run("a step that asks for another try for ever ends at its time-out", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeCloud()
			h := w.handlers()
			tries := 0
			delete(h, "state")
			plan.Bind(h, stateDef, plan.Funcs[in, string]{Do: func(context.Context, plan.Attempt, in) (string, error) {
				tries++
				return "", plan.Retry(0, errors.New("busy"))
			}})
			start := time.Now()
			res := exec(t.Context(), scenario(t, nil, "state:a within=10m"), w, func(c *Config) { c.Handlers = h })
			if res.Outcome != journal.RunFailed || time.Since(start) > 10*time.Minute || time.Since(start) < 9*time.Minute {
				t.Errorf("ended as %q after %s", res.Outcome, time.Since(start))
			}
			if tries < 20 || tries > 60 {
				t.Errorf("%d tries in 10 min: waits do not grow to 30 s", tries)
			}
			retries := res.Records["a"].Retries // the last try is the failure itself
			if want := min(tries-1, journal.MaxRetries); len(retries) != want {
				t.Fatalf("%d retries are recorded, want %d", len(retries), want)
			}
			if r := retries[0]; !r.At.Equal(start) || r.Error != "busy" || r.WaitSeconds < 0.5 || r.WaitSeconds > 1 {
				t.Errorf("the first retry is recorded as %+v", r)
			}
			if last := retries[len(retries)-1]; time.Since(last.At) > time.Minute {
				t.Errorf("the last retry is recorded at %s, it is %s", last.At, time.Now())
			}
		})
	})
	t.Run("a section waits closed for room at EC2, for as long as its verdict says and no longer", func(t *testing.T) {
		for _, c := range []struct {
			refusals int
			outcome  journal.Outcome
			opened   int
		}{{10, journal.RunDone, 11}, {1000, journal.RunFailed, 0}} {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeCloud()
				h := w.handlers()
				delete(h, "shot")
				refusals, opened, standing := 0, 0, time.Duration(0)
				plan.Bind(h, snapshotDef, plan.Funcs[in, string]{Do: func(context.Context, plan.Attempt, in) (string, error) {
					if !w.open {
						t.Error("a shot while it is closed")
					}
					opened++
					time.Sleep(100 * time.Millisecond)
					standing += 100 * time.Millisecond
					if refusals++; refusals > c.refusals {
						return "done", nil
					}
					return "", &plan.ActionError{Action: plan.ActRestart, After: 15 * time.Second, Within: 10 * time.Minute, Err: errors.New("too many are under way")}
				}})
				var retries []Event
				start := time.Now()
				p := scenario(t, map[string]plan.SectionKind{"x": plan.Atomic}, "open:o opens=x", "shot:s in=x", "close:c closes=x")
				res := exec(t.Context(), p, w, func(conf *Config) {
					conf.Handlers, conf.Settle = h, time.Second
					conf.Observe = func(e Event) {
						if e.Kind == Retrying {
							retries = append(retries, e)
						}
					}
				})
				took := time.Since(start)
				if res.Outcome != c.outcome || c.opened > 0 && opened != c.opened || w.open {
					t.Errorf("%d refusals: ended as %q after opening it %d times; open: %t", c.refusals, res.Outcome, opened, w.open)
				}
				if c.outcome == journal.RunFailed && (took > 10*time.Minute+2*time.Second || took < 9*time.Minute || !strings.Contains(res.Failures[0].Err.Error(), "gave up after")) {
					t.Errorf("gave up after %s: %+v", took, res.Failures)
				}
				if len(retries) == 0 || retries[0].Wait < 15*time.Second || !strings.Contains(retries[0].Err.Error(), "too many") {
					t.Errorf("what was said: %+v", retries)
				}
			})
		}
	})
	t.Run("a hanging read ends at its time-out", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeCloud()
			h := plan.Handlers{}
			plan.Bind(h, readDef, plan.Funcs[in, string]{Do: func(ctx context.Context, _ plan.Attempt, _ in) (string, error) {
				<-ctx.Done()
				return "", ctx.Err()
			}})
			start := time.Now()
			res := exec(t.Context(), scenario(t, nil, "read:a within=3m"), w, func(c *Config) { c.Handlers = h })
			if res.Outcome != journal.Aborted || time.Since(start) != 3*time.Minute || !strings.Contains(res.Failures[0].Err.Error(), "timed out") {
				t.Errorf("ended as %q after %s: %+v", res.Outcome, time.Since(start), res.Failures)
			}
		})
	})
	t.Run("a stop ends reads at once, lets an effect finish, starts nothing new", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeCloud()
			h := plan.Handlers{}
			plan.Bind(h, readDef, plan.Funcs[in, string]{Do: func(ctx context.Context, _ plan.Attempt, _ in) (string, error) {
				<-ctx.Done()
				return "", ctx.Err()
			}})
			plan.Bind(h, stateDef, plan.Funcs[in, string]{Do: func(ctx context.Context, _ plan.Attempt, _ in) (string, error) {
				select {
				case <-time.After(5 * time.Second):
					return "made", nil
				case <-ctx.Done():
					return "", ctx.Err()
				}
			}})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			start := time.Now()
			var stop Event
			res := exec(ctx, scenario(t, nil, "read:a", "state:b", "state:c after=b"), w, func(c *Config) {
				c.Handlers = h
				c.Observe = func(e Event) {
					if e.Kind == Stopping {
						stop = e
					}
				}
			})
			if stop.At.Sub(start) != 2*time.Second || stop.Wait != 10*time.Second || len(stop.Finishing) != 1 || stop.Finishing[0].ID != "b" || stop.Err == nil {
				t.Errorf("the stop was told as %+v", stop)
			}
			if res.Outcome != journal.Interrupted || time.Since(start) != 5*time.Second {
				t.Errorf("ended as %q after %s", res.Outcome, time.Since(start))
			}
			if res.Records["b"].State != journal.Done || res.Records["c"].State != "" || len(res.Failures) != 0 {
				t.Errorf("records %s, failures %+v", states(res), res.Failures)
			}
		})
	})
	t.Run("a stop inside an atomic section finishes it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeCloud()
			h := w.handlers()
			ctx, cancel := context.WithCancel(t.Context())
			delete(h, "shot")
			plan.Bind(h, snapshotDef, plan.Funcs[in, string]{Do: func(c context.Context, a plan.Attempt, _ in) (string, error) {
				cancel()
				time.Sleep(3 * time.Second)
				return a.Token, c.Err()
			}})
			p := scenario(t, map[string]plan.SectionKind{"x": plan.Atomic}, "open:o opens=x", "shot:s in=x", "close:c closes=x", "state:t after=c")
			res := exec(ctx, p, w, func(c *Config) { c.Handlers = h })
			if res.Outcome != journal.Interrupted || w.open || res.Records["s"].State != journal.Done || res.Records["t"].State != "" {
				t.Errorf("ended as %q, open %v: %s", res.Outcome, w.open, states(res))
			}
		})
	})
	t.Run("an absent effect of an earlier attempt counts only after the settle window", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeCloud()
			p := scenario(t, nil, "token:v")
			rec := journal.Record{State: journal.Started, Generation: 1, Token: Token("r", "v", 1), Input: p.Steps[0].In, Seen: plan.Absent, BootID: "b"}
			time.AfterFunc(8*time.Second, func() { // EC2 shows it at last
				w.mu.Lock()
				defer w.mu.Unlock()
				w.things["v@"+rec.Token] = rec.Token
			})
			res := exec(t.Context(), p, w, func(c *Config) { c.Records["v"] = rec })
			if res.Outcome != journal.RunDone || w.times("v:do") != 0 {
				t.Errorf("ended as %q; made again %d times", res.Outcome, w.times("v:do"))
			}
			clear(w.things)
			start := time.Now()
			res = exec(t.Context(), p, w, func(c *Config) { c.Records["v"] = rec })
			if res.Outcome != journal.RunDone || w.times("v:do") != 1 || time.Since(start) < 15*time.Second {
				t.Errorf("ended as %q after %s; made %d times", res.Outcome, time.Since(start), w.times("v:do"))
			}
			if got := w.things["v@"+rec.Token]; got != rec.Token {
				t.Error("it was made under another token")
			}
		})
	})
	t.Run("a rollback does not believe one look at a cloud that lags", func(t *testing.T) {
		cloudDef := stateDef
		cloudDef.Scope, cloudDef.Kind = plan.Cloud, "cloud"
		for name, c := range map[string]struct {
			state journal.State
			shown time.Duration // from when on the effect is shown
			undos int
			waits bool
		}{
			"cut off, shown late":     {journal.Started, 5 * time.Second, 1, true},
			"cut off, never there":    {journal.Started, time.Hour, 0, true},
			"just done, shown late":   {journal.Done, 5 * time.Second, 1, true},
			"failed: it is not there": {journal.Failed, time.Hour, 0, false},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := plan.NewBuilder(plan.Plan{Operation: "test", ResumePolicy: plan.ResumeAnyBoot})
					plan.Add(b, cloudDef, "s", in{Name: "s"})
					p, err := b.Build()
					if err != nil {
						t.Fatal(err)
					}
					start, undos := time.Now(), 0
					h := plan.Handlers{}
					plan.Bind(h, cloudDef, plan.Funcs[in, string]{
						Observe: func(context.Context, plan.Attempt, in) (plan.Observed[string], error) {
							if time.Since(start) < c.shown {
								return plan.Observed[string]{State: plan.Absent}, nil
							}
							return plan.Observed[string]{State: plan.Satisfied}, nil
						},
						Do:   func(context.Context, plan.Attempt, in) (string, error) { return "", nil },
						Undo: func(context.Context, plan.Attempt, in, string) error { undos++; return nil },
					})
					rec := journal.Record{State: c.state, Generation: 1, Token: Token("r", "s", 1), Input: p.Steps[0].In, Seen: plan.Absent, StartedAt: start, EndedAt: start}
					res := Rollback(t.Context(), Config{Plan: p, Run: "r", Records: map[plan.StepID]journal.Record{"s": rec}, Journal: nowhere{}, Handlers: h, BootID: "b"})
					if res.Outcome != journal.RolledBack || undos != c.undos || (time.Since(start) > 0) != c.waits {
						t.Errorf("ended as %q after %s with %d undos", res.Outcome, time.Since(start), undos)
					}
				})
			})
		}
	})
	t.Run("the time between two processes belongs to no step", func(t *testing.T) {
		for _, rollback := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeCloud()
				p := scenario(t, nil, "token:v")
				rec := journal.Record{State: journal.Started, Generation: 1, Token: Token("r", "v", 1), Input: p.Steps[0].In, Seen: plan.Absent, BootID: "b", StartedAt: time.Now()}
				w.things["v@"+rec.Token] = rec.Token
				time.Sleep(time.Hour) // the machine was down
				do := Execute
				if rollback {
					do = Rollback
				}
				res := do(t.Context(), Config{Plan: p, Run: "r", Records: map[plan.StepID]journal.Record{"v": rec}, Journal: nowhere{}, Handlers: w.handlers(), BootID: "b"})
				if got := journal.Active(maps.Values(res.Records), time.Time{}); got > time.Minute || res.Err != nil || len(res.Failures) > 0 {
					t.Errorf("rollback %v: the step took %s: %+v", rollback, got, res)
				}
			})
		}
	})
}

func TestNoEventIsSentWhileAnAtomicSectionIsOpen(t *testing.T) {
	p := scenario(t, map[string]plan.SectionKind{"x": plan.Atomic}, "state:a", "open:o opens=x", "shot:s in=x", "close:c closes=x")
	b := newBench(t, p)
	var told []string
	b.conf = func(c *Config) {
		c.Window = func(open bool) { told = append(told, fmt.Sprint("window ", open)) }
		c.Observe = func(e Event) {
			if b.w.open {
				t.Errorf("told of %s %s while open", e.Step.ID, e.Kind)
			}
			told = append(told, string(e.Step.ID)+" "+string(e.Kind))
		}
	}
	b.do(false, 0)
	if !order(told, "o window-opened", "window true") || !order(told, "window false", "o window-closed") || !order(told, "o window-closed", "o done") {
		t.Errorf("told of the window as %v", told)
	}
	if !order(told, "window true", "window false") || !order(told, "window false", "s done") {
		t.Errorf("told %v", told)
	}
}

func TestAnUnknownKindIsRefusedBeforeAnything(t *testing.T) {
	b := newBench(t, scenario(t, nil, "state:a", "token:v"))
	b.conf = func(c *Config) { delete(c.Handlers, "token") }
	res, _ := b.do(false, 0)
	if res.Err == nil || len(b.w.log) != 0 || !strings.Contains(res.Err.Error(), "another version") {
		t.Errorf("err %v, happened %v", res.Err, b.w.log)
	}
}
