package engine

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
	"snaptastic/plan"
)

// The way of a volume through all use cases, without a binary and without a terminal.
func TestAVolumeIsMountedSnapshottedAndUnmounted(t *testing.T) {
	r := newRig(t, 2)
	f, err := r.engine().Plan(t.Context(), PlanRequest{Operation: "mount", Name: "db"})
	if err != nil || len(f.Plan.Lanes) != 2 || len(f.Previews) != len(f.Plan.Steps) || len(f.Unfinished) != 0 {
		t.Fatalf("plan: %v, %+v", err, f)
	}
	if _, err := r.engine().Status(true); !NoState(err) {
		t.Fatalf("a plan made a state folder: %v", err)
	}
	r.must("mount")
	r.must("snapshot")
	if n := r.mounted(); n != 2 || len(r.asked) != 0 {
		t.Fatalf("%d volumes are mounted; asked %q", n, r.asked)
	}
	r.looksWell()
	r.answer = false
	r.fails(Failed, r.run("unmount", ""))
	if n := r.mounted(); n != 2 || strings.Join(r.asked, ",") != "unmount db" {
		t.Fatalf("after a no %d volumes are mounted; asked %q", n, r.asked)
	}
	r.answer = true
	r.must("unmount")
	if n := r.mounted(); n != 0 {
		t.Fatalf("%d volumes are mounted", n)
	}
	runs, err := r.engine().Status(true)
	if err != nil || len(runs) != 3 || len(r.ends) != 3 {
		t.Fatalf("%v: %d runs, told of %d", err, len(runs), len(r.ends))
	}
	for i, s := range runs {
		if s.Outcome != journal.RunDone || s.Action != Leave || r.ends[i].Run != s.Run || r.ends[i].Result.Outcome != journal.RunDone {
			t.Errorf("%s %s: %+v", s.Operation, s.Outcome, s.Decision)
		}
	}
	r.fails(Failed, second(r.engine().Resume(t.Context(), ResumeRequest{Run: runs[0].Run})))
}

// looksWell asks the use cases that change nothing about two mounted volumes with a snapshot.
func (r *rig) looksWell() {
	r.t.Helper()
	views, err := r.engine().Volumes(r.t.Context(), "db")
	if err != nil || len(views) != 2 {
		r.t.Fatalf("volumes: %v, %+v", err, views)
	}
	for i, v := range views {
		if len(v.Problems) > 0 || v.Mounted == nil || v.Mounted.At != r.mounts[i] {
			r.t.Errorf("volumes: %+v", v)
		}
	}
	if p, err := r.engine().PlanClean(r.t.Context(), CleanRequest{Operation: "clean snapshots", Name: "db"}); err != nil || p.Deletes() || len(p.Decisions) != 2 {
		r.t.Errorf("clean: %v, %+v", err, p)
	}
	findings, err := r.engine().Doctor(r.t.Context())
	for _, f := range findings {
		if f.Level == Fail && f.Check != "mount namespace" { // of a container
			r.t.Errorf("doctor: %+v: %v", f, err)
		}
	}
	if len(findings) < 10 {
		r.t.Errorf("doctor found %+v, %v", findings, err)
	}
}

func second[T any](_ T, err error) error { return err }

// What `plan` says of an unfinished run is what `run` does, and what `status` says is what `resume` does.
func TestWhatIsForetoldIsDone(t *testing.T) {
	mountAndCutOff := func(op, at string) func(*rig) plan.RunID {
		return func(r *rig) plan.RunID {
			r.must("mount")
			return r.cutOff(op, at)
		}
	}
	for _, c := range []struct {
		name    string
		left    func(*rig) plan.RunID
		op      string
		change  func(*rig)      // before the next command
		onRun   Action          // "": nothing is mounted that could be run on
		run     journal.Outcome // of the older run, after `run`
		onBoot  Action
		resumed journal.Outcome // and after `resume`
	}{
		{name: "mount", left: func(r *rig) plan.RunID { return r.cutOff("mount", "attach") }, op: "mount",
			onRun: Continue, run: journal.RunDone, onBoot: Continue, resumed: journal.RunDone},
		{name: "mount of other settings", left: func(r *rig) plan.RunID { return r.cutOff("mount", "attach") }, op: "mount",
			change: func(r *rig) { r.mounts = append(r.mounts, filepath.Join(r.dir, "mnt", "b")) },
			onRun:  UndoUnused, run: journal.Abandoned, onBoot: Continue, resumed: journal.RunDone},
		{name: "snapshot", left: mountAndCutOff("snapshot", "sync"), op: "snapshot",
			onRun: Undo, run: journal.RolledBack, onBoot: Continue, resumed: journal.RunDone},
		{name: "snapshot of another boot", left: mountAndCutOff("snapshot", "sync"), op: "snapshot",
			change: func(r *rig) {
				if err := sandbox.Reboot(r.sandbox()); err != nil {
					r.t.Fatal(err)
				}
			},
			onBoot: Undo, resumed: journal.RolledBack},
		{name: "unmount", left: mountAndCutOff("unmount", "unmount"), op: "unmount",
			onRun: Continue, run: journal.RunDone, onBoot: Wait, resumed: journal.Interrupted},
		{name: "unmount of other settings", left: mountAndCutOff("unmount", "unmount"), op: "unmount",
			change: func(r *rig) { r.mounts = append(r.mounts, filepath.Join(r.dir, "mnt", "b")) },
			onRun:  Wait, run: journal.Interrupted, onBoot: Wait, resumed: journal.Interrupted},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, command := range []Command{ToRun, ToResume} {
				if command == ToRun && c.onRun == "" {
					continue
				}
				t.Run(string(command), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, 1)
					left := c.left(r)
					if c.change != nil {
						c.change(r)
					}
					want, ends := c.onRun, c.run
					if command == ToResume {
						want, ends = c.onBoot, c.resumed
					}
					if got := r.foretold(command, c.op); len(got) != 1 || got[0].Run != left || got[0].Action != want {
						t.Fatalf("foretold %+v, want %s of %s", got, want, left)
					}
					r.carriedOut(command, c.op, want)
					if got := r.outcome(left); got != ends {
						t.Errorf("the older run is %s, want %s", got, ends)
					}
				})
			}
		})
	}
}

// foretold is what plan or status says of unfinished runs.
func (r *rig) foretold(command Command, op string) []RunState {
	r.t.Helper()
	if command == ToRun {
		f, err := r.engine().Plan(r.t.Context(), PlanRequest{Operation: op, Name: "db"})
		if err != nil && f.Plan == nil {
			r.t.Fatal(err)
		}
		return f.Unfinished
	}
	runs, err := r.engine().Status(false)
	if err != nil {
		r.t.Fatal(err)
	}
	return runs
}

// carriedOut executes what was foretold.
func (r *rig) carriedOut(command Command, op string, want Action) {
	r.t.Helper()
	if command == ToRun {
		err := r.run(op, "")
		switch {
		case want == Wait:
			r.fails(Busy, err)
		case err != nil:
			r.t.Error(err)
		}
		return
	}
	res, err := r.engine().Resume(r.t.Context(), ResumeRequest{})
	if err != nil || (want == Wait) != (res.Waiting == 1) || (want == Wait) != (len(res.Ends) == 0) {
		r.t.Errorf("resume: %v, %+v", err, res)
	}
}

// A run that an operator undoes, or lets be.
func TestAnOperatorEndsARun(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*rig, plan.RunID) error
		want journal.Outcome
	}{
		{"rollback", func(r *rig, id plan.RunID) error { return second(r.engine().Rollback(r.t.Context(), id, false)) }, journal.RolledBack},
		{"abandon", func(r *rig, id plan.RunID) error { return second(r.engine().Abandon(r.t.Context(), id)) }, journal.Abandoned},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1)
			id := r.cutOff("mount", "attach")
			if err := c.end(r, id); err != nil {
				t.Fatal(err)
			}
			if got := r.outcome(id); got != c.want {
				t.Errorf("it is %s, want %s", got, c.want)
			}
			r.fails(Failed, c.end(r, id)) // it has ended
			r.fails(Failed, c.end(r, "20260101T000000000-none"))
		})
	}
}

// Whatever is asked for and cannot be, the error says what kind it is.
func TestErrorsHaveACode(t *testing.T) {
	r := newRig(t, 1)
	r.fails(Usage, r.run("defragment", ""))
	r.fails(Usage, second(r.engine().Run(t.Context(), RunRequest{Operation: "mount", Name: "nobody"})))
	r.fails(Usage, second(r.engine().Resume(t.Context(), ResumeRequest{Redo: StepIDs([]string{"attach"})})))
	if err := sandbox.SetFaults(r.sandbox(), sandbox.Latency{}, sandbox.Fault{Action: "AttachVolume", Error: "UnauthorizedOperation"}); err != nil {
		t.Fatal(err)
	}
	err := r.run("mount", "")
	r.fails(Failed, err)
	var known *Error
	if !errors.As(err, &known) || HintOf(err) == "" || len(r.ends) != 0 {
		t.Errorf("a missing permission: %v, hint %q, after %d runs", err, HintOf(err), len(r.ends))
	}
	if res, err := r.engine().Thaw(t.Context(), []string{r.dir}, true); err == nil && len(res.Thawed) != 1 || err == nil && res.None == "" {
		t.Errorf("thaw: %v, %+v", err, res)
	}
}
