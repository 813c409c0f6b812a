package steps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"snaptastic/ec2"
	"snaptastic/linux"
	"snaptastic/linux/guard"
	"snaptastic/plan"
)

// sectionRig is a section of one or more volumes, with everything under it played.
type sectionRig struct {
	*Env
	cloud   *sectionCloud
	freezer *fakeFreezer
	members []Member
	a       plan.Attempt
}

type sectionCloud struct {
	Cloud
	attached []ec2.Volume
	warmErr  error
	create   func(ctx context.Context, excluded []string) ([]ec2.Snapshot, error)
	log      []string
}

func (*sectionCloud) Now() time.Time { return time.Now() }

func (c *sectionCloud) AttachedVolumes(context.Context, string) ([]ec2.Volume, error) {
	c.log = append(c.log, "attached")
	return c.attached, nil
}

func (c *sectionCloud) Warm(context.Context) error {
	c.log = append(c.log, "warm")
	return c.warmErr
}

func (c *sectionCloud) CreateSnapshot(ctx context.Context, r ec2.CreateSnapshotRequest) (ec2.Snapshot, error) {
	c.log = append(c.log, "create one")
	made, err := c.create(ctx, nil)
	if err != nil {
		return ec2.Snapshot{}, err
	}
	return made[0], nil
}

func (c *sectionCloud) CreateSnapshots(ctx context.Context, r ec2.CreateSnapshotsRequest) ([]ec2.Snapshot, error) {
	c.log = append(c.log, "create several")
	return c.create(ctx, r.ExcludeVolumes)
}

type syncHost struct{ Host }

func (syncHost) Clock() (linux.Clock, error) {
	return linux.Clock{Synchronized: true, MaxError: time.Millisecond}, nil
}

func (syncHost) SyncFS(context.Context, string) (time.Duration, error) { return 0, nil }

func newSectionRig(volumes ...string) *sectionRig {
	s := &sectionRig{cloud: &sectionCloud{}, freezer: &fakeFreezer{hold: guard.Result{Unbroken: true, Frozen: time.Second}, broken: make(chan struct{})}, a: attempt("freeze")}
	s.a.Section = "freeze"
	s.Env = &Env{Cloud: s.cloud, Host: syncHost{}, Freezer: s.freezer, Instance: Instance{ID: "i-1"}}
	s.cloud.attached = append(s.cloud.attached, onInstance("vol-root", "/dev/xvda", nil), onInstance("vol-other", "/dev/sdz", nil))
	for _, id := range volumes {
		s.members = append(s.members, Member{"/mnt/" + id, plan.Literal(FoundVolume{Found: true, VolumeID: id, Mounted: true, Dev: "259:1"})})
		s.cloud.attached = append(s.cloud.attached, onInstance(id, "/dev/sdf", nil))
	}
	s.cloud.create = func(context.Context, []string) (made []ec2.Snapshot, _ error) {
		for _, id := range volumes {
			made = append(made, ec2.Snapshot{ID: "snap-of-" + id, VolumeID: id})
		}
		return made, nil
	}
	return s
}

// run goes through the section as the runner does: the close step always runs.
func (s *sectionRig) run(ctx context.Context) (set SnapshotSet, thawed Thawed, freezeErr, snapErr, thawErr error) {
	if _, freezeErr = s.freeze().Do(ctx, s.a, FreezeIn{Mounts: s.members}); freezeErr == nil {
		set, snapErr = s.snapshot().Do(ctx, s.a, SnapshotIn{Members: s.members})
	}
	thawed, thawErr = s.thaw().Do(ctx, s.a, ThawIn{})
	return set, thawed, freezeErr, snapErr, thawErr
}

func TestOneCallIsMadeInsideAFreezeAndNothingElse(t *testing.T) {
	s := newSectionRig("vol-1", "vol-2")
	var excluded []string
	create := s.cloud.create
	s.cloud.create = func(ctx context.Context, e []string) ([]ec2.Snapshot, error) {
		excluded = e
		if s.freezer.log[len(s.freezer.log)-1] != "freeze" {
			t.Errorf("the call was made after %v", s.freezer.log)
		}
		return create(ctx, e)
	}
	set, thawed, err1, err2, err3 := s.run(t.Context())
	if err := errors.Join(err1, err2, err3); err != nil || len(set.Snapshots) != 2 || !thawed.Held || time.Duration(thawed.Frozen) != time.Second {
		t.Fatalf("%+v %+v %v", set, thawed, err)
	}
	if !slices.Equal(s.cloud.log, []string{"attached", "warm", "create several"}) || !slices.Equal(s.freezer.log, []string{"start", "freeze", "thaw", "release"}) {
		t.Errorf("cloud %v, freezer %v", s.cloud.log, s.freezer.log)
	}
	if !slices.Equal(excluded, []string{"vol-other"}) {
		t.Errorf("left out %v, want the one data volume that is not in the set", excluded)
	}
	if s.windowOf(s.a) != nil {
		t.Error("the window is still kept")
	}
}

func TestSnapshotsOfVolumesAttachedMeanwhileAreTold(t *testing.T) {
	s := newSectionRig("vol-1", "vol-2")
	create := s.cloud.create
	s.cloud.create = func(ctx context.Context, e []string) ([]ec2.Snapshot, error) {
		made, err := create(ctx, e)
		return append(made, ec2.Snapshot{ID: "snap-stranger", VolumeID: "vol-new"}), err
	}
	set, _, err1, err2, err3 := s.run(t.Context())
	if err := errors.Join(err1, err2, err3); err != nil || len(set.Snapshots) != 2 || !slices.Equal(set.Unplanned, []string{"snap-stranger"}) {
		t.Errorf("%+v, %v", set, err)
	}
}

func TestOneVolumeIsSnapshottedByItself(t *testing.T) {
	s := newSectionRig("vol-1")
	for range 45 {
		s.cloud.attached = append(s.cloud.attached, onInstance("vol-x", "/dev/sdy", nil))
	}
	if _, _, err1, err2, err3 := s.run(t.Context()); errors.Join(err1, err2, err3) != nil {
		t.Fatal(err1, err2, err3)
	}
	if !slices.Equal(s.cloud.log, []string{"warm", "create one"}) {
		t.Errorf("cloud %v", s.cloud.log)
	}
}

func TestTooManyOtherVolumesAreRefusedBeforeTheFreeze(t *testing.T) {
	s := newSectionRig("vol-1", "vol-2")
	for range 40 {
		s.cloud.attached = append(s.cloud.attached, onInstance("vol-x", "/dev/sdy", nil))
	}
	_, _, err, _, thawErr := s.run(t.Context())
	if v := plan.ActionOf(err); v.Action != plan.ActTerminal || !strings.Contains(plan.HintOf(err), `consistency = "volume"`) || thawErr != nil {
		t.Errorf("%v (%s), then %v", err, plan.HintOf(err), thawErr)
	}
	if len(s.freezer.log) > 0 {
		t.Errorf("the freezer was asked for: %v", s.freezer.log)
	}
}

func TestHowASectionFails(t *testing.T) {
	fault := func(c ec2.Class) func(context.Context, []string) ([]ec2.Snapshot, error) {
		return func(context.Context, []string) ([]ec2.Snapshot, error) {
			return nil, &ec2.Fault{Class: c, Message: c.String()}
		}
	}
	cases := []struct {
		name                string
		arrange             func(*sectionRig)
		freeze, snap, close plan.Action // "" for success
		message             string
	}{
		{"somebody else froze it", func(s *sectionRig) { s.freezer.freezeErr = syscall.EBUSY }, plan.ActTerminal, "", "", "busy"},
		{"no connection", func(s *sectionRig) { s.cloud.warmErr = &ec2.Fault{Class: ec2.Transient} }, plan.ActRestart, "", "", ""},
		{"too fast after another", func(s *sectionRig) { s.cloud.create = fault(ec2.RateExceeded) }, "", plan.ActRestart, "", ""},
		{"the answer was lost", func(s *sectionRig) { s.cloud.create = fault(ec2.Ambiguous) }, "", plan.ActRestart, "", ""},
		{"not allowed", func(s *sectionRig) { s.cloud.create = fault(ec2.Denied) }, "", plan.ActTerminal, "", ""},
		{"not allowed, and the hold broke too", func(s *sectionRig) { s.cloud.create = fault(ec2.Denied); s.freezer.hold.Unbroken = false }, "", plan.ActTerminal, "", ""},
		{"the hold broke", func(s *sectionRig) { s.freezer.hold = guard.Result{Reason: "it lasted longer than 10s"} }, "", "", plan.ActTerminal, "it lasted longer than 10s"},
		{"one snapshot is missing", func(s *sectionRig) {
			s.cloud.create = func(context.Context, []string) ([]ec2.Snapshot, error) {
				return []ec2.Snapshot{{ID: "snap-1", VolumeID: "vol-1"}, {ID: "snap-2", VolumeID: "vol-9"}}, nil
			}
		}, "", plan.ActTerminal, "", "EC2 created 1 snapshots"},
		{"it cannot be thawed", func(s *sectionRig) { s.freezer.thawErr = errors.New("stuck") }, "", "", plan.ActOperator, "stuck"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newSectionRig("vol-1", "vol-2")
			c.arrange(s)
			_, _, err1, err2, err3 := s.run(t.Context())
			for i, err := range []error{err1, err2, err3} {
				want := []plan.Action{c.freeze, c.snap, c.close}[i]
				if (err != nil) != (want != "") || (err != nil && plan.ActionOf(err).Action != want) {
					t.Errorf("step %d: %v (%s), want %q", i, err, plan.ActionOf(err).Action, want)
				}
				if err != nil && !strings.Contains(err.Error(), c.message) {
					t.Errorf("%q does not say %q", err, c.message)
				}
			}
			if s.windowOf(s.a) != nil {
				t.Error("the window is still kept")
			}
			if slices.Contains(s.freezer.log, "freeze") && !slices.Contains(s.freezer.log, "thaw") {
				t.Error("not thawed")
			}
		})
	}
}

func TestACallThatOutlastsTheFreezeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSectionRig("vol-1", "vol-2")
		s.cloud.create = func(ctx context.Context, _ []string) ([]ec2.Snapshot, error) {
			<-ctx.Done()
			return nil, &ec2.Fault{Class: ec2.Ambiguous, Message: "canceled after the request was sent"}
		}
		s.freezer.hold.Unbroken = false
		time.AfterFunc(10*time.Second, func() { close(s.freezer.broken) })
		began := time.Now()
		_, _, _, err, thawErr := s.run(t.Context())
		if v := plan.ActionOf(err); v.Action != plan.ActTerminal || !strings.Contains(err.Error(), "the freeze ended before EC2 answered") || thawErr != nil {
			t.Errorf("%v, then %v", err, thawErr)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestClosingInAnotherProcessThawsWhatIsLeft(t *testing.T) {
	run := string(attempt("").Run)
	cases := []struct {
		name    string
		owned   []guard.Thawed
		want    plan.Action
		message string
	}{
		{"nothing", nil, "", "nothing was frozen"},
		{"ours", []guard.Thawed{{Run: run, Path: "/mnt/a", Outcome: guard.WasFrozen}}, "", "a dead process"},
		{"ours was thawed before", []guard.Thawed{{Run: run, Path: "/mnt/a", Outcome: guard.WasNotFrozen}}, "", "nothing was frozen"},
		{"ours does not thaw", []guard.Thawed{{Run: run, Path: "/mnt/a", Outcome: guard.NotThawed, Err: errors.New("input/output error")}}, plan.ActOperator, "cannot thaw /mnt/a: input/output error"},
		{"another run's does not thaw", []guard.Thawed{{Run: "other", Path: "/mnt/b", Outcome: guard.NotThawed}}, "", "nothing was frozen"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := &Env{Freezer: &fakeFreezer{owned: c.owned}}
			a := attempt("thaw")
			a.Resumed = true
			for range 2 {
				out, err := w.thaw().Do(t.Context(), a, ThawIn{Mounts: []string{"/mnt/a"}})
				said := out.Reason
				if err != nil {
					said = err.Error()
				}
				if (err != nil) != (c.want != "") || (err != nil && plan.ActionOf(err).Action != c.want) || !strings.Contains(said, c.message) {
					t.Errorf("%+v, %v", out, err)
				}
			}
		})
	}
}

func TestAHookIsHeldAcrossTheFreeze(t *testing.T) {
	s := newSectionRig("vol-1")
	s.Host = heldHost{syncHost{}, linux.New(linux.Roots{})}
	spoken := make(chan string, 2)
	s.HookOutput = func(_ plan.StepID, line string) { spoken <- line + " after " + s.freezer.soFar() }
	held := HookIn{Name: "pre_snapshots", Timeout: plan.Duration(10 * time.Second), Command: []string{"/bin/sh", "-c", "read context; echo locked; echo ready; read nothing; echo unlocked"}}
	in := FreezeIn{Mounts: s.members, Held: []HookIn{held}}
	if _, err := s.freeze().Do(t.Context(), s.a, in); err != nil {
		t.Fatal(err)
	}
	if _, err := s.snapshot().Do(t.Context(), s.a, SnapshotIn{Members: s.members}); err != nil {
		t.Fatal(err)
	}
	if out, err := s.thaw().Do(t.Context(), s.a, ThawIn{}); err != nil || !out.Held {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, want := range []string{"locked after ", "unlocked after start freeze thaw release"} {
		if got := <-spoken; got != want {
			t.Errorf("the hook said %q, want %q", got, want)
		}
	}
}

// Whenever a held hook ends otherwise than with exit code 0 after its release, what it held may have been free.
func TestAHeldHookThatLostItsHoldMakesTheSnapshotsWorthless(t *testing.T) {
	cases := []struct {
		name, script string
		ended        bool // wait for its end before the call
		message      string
	}{
		{"it fails after its release", "echo ready; cat >/dev/null; exit 3", false, "exit status 3"},
		{"it dies of a signal after its release", "echo ready; cat >/dev/null; kill -9 $$", false, "signal: killed"},
		{"it fails under the freeze", "echo ready; read context; echo gone; exit 4", true, "exit status 4"},
		{"it dies of a signal under the freeze", "echo ready; read context; kill -9 $$", true, "signal: killed"},
		{"it ends well, but early", "echo ready; read context; exit 0", true, "it ended before (exit code 0)"},
		{"it closes its input", "read context; exec <&-; echo ready; sleep 0.2", false, "it closed its stdin"},
		{"it does not end in time", "echo ready; cat >/dev/null; exec sleep 1000", false, "did not exit within 300 ms of its release"},
	}
	for _, c := range cases {
		for _, tolerated := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, tolerated %v", c.name, tolerated), func(t *testing.T) {
				s := newSectionRig("vol-1")
				s.Host = heldHost{syncHost{}, linux.New(linux.Roots{})}
				goOn := filepath.Join(t.TempDir(), "go-on")
				script := c.script
				if c.ended { // not before the freeze, which would refuse it
					script = strings.Replace(script, "read context;", "until test -e "+goOn+"; do sleep 0.01; done;", 1)
				}
				hook := HookIn{Name: "pre_snapshots", Timeout: plan.Duration(10 * time.Second), Command: []string{"/bin/sh", "-c", script}, Tolerated: tolerated}
				if _, err := s.freeze().Do(t.Context(), s.a, FreezeIn{Mounts: s.members, Held: []HookIn{hook}}); err != nil {
					t.Fatal(err)
				}
				held := &s.windowOf(s.a).held[0]
				if strings.Contains(c.script, "sleep 1000") {
					held.timeout = 300 * time.Millisecond
				}
				if c.ended {
					if err := os.WriteFile(goOn, nil, 0o600); err != nil {
						t.Fatal(err)
					}
					<-held.live.Exited()
				}
				if _, err := s.snapshot().Do(t.Context(), s.a, SnapshotIn{Members: s.members}); err != nil {
					t.Fatal(err)
				}
				out, err := s.thaw().Do(t.Context(), s.a, ThawIn{})
				if tolerated {
					if err != nil || !out.Held || !strings.Contains(out.Reason, c.message) {
						t.Errorf("%+v, %v", out, err)
					}
					return
				}
				if err == nil || plan.ActionOf(err).Action != plan.ActTerminal || !strings.Contains(err.Error(), c.message) {
					t.Errorf("%+v, %v", out, err)
				}
			})
		}
	}
}

// One of two is enough.
func TestEveryHeldHookMustHold(t *testing.T) {
	for _, bad := range []int{0, 1} {
		s := newSectionRig("vol-1")
		s.Host = heldHost{syncHost{}, linux.New(linux.Roots{})}
		var hooks []HookIn
		for i := range 2 {
			end := "exit 0"
			if i == bad {
				end = "exit 3"
			}
			hooks = append(hooks, HookIn{Name: "pre_snapshot", Timeout: plan.Duration(10 * time.Second), Command: []string{"/bin/sh", "-c", "echo ready; cat >/dev/null; " + end}})
		}
		if _, err := s.freeze().Do(t.Context(), s.a, FreezeIn{Mounts: s.members, Held: hooks}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.snapshot().Do(t.Context(), s.a, SnapshotIn{Members: s.members}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.thaw().Do(t.Context(), s.a, ThawIn{}); plan.ActionOf(err).Action != plan.ActTerminal || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("hook %d of 2 lost its hold: %v", bad, err)
		}
	}
}

func TestNothingIsFrozenWhenAHeldHookHasEndedBefore(t *testing.T) {
	s := newSectionRig("vol-1")
	s.Host = heldHost{syncHost{}, linux.New(linux.Roots{})}
	goOn := filepath.Join(t.TempDir(), "go-on")
	s.freezer.started = func() {
		if err := os.WriteFile(goOn, nil, 0o600); err != nil {
			t.Error(err)
		}
		<-s.windowOf(s.a).held[0].live.Exited()
	}
	hook := HookIn{Name: "pre_snapshots", Timeout: plan.Duration(10 * time.Second), Command: []string{"/bin/sh", "-c", "echo ready; until test -e " + goOn + "; do sleep 0.01; done"}}
	_, err := s.freeze().Do(t.Context(), s.a, FreezeIn{Mounts: s.members, Held: []HookIn{hook}})
	if err == nil || !strings.Contains(err.Error(), "ended before the freeze") || slices.Contains(s.freezer.log, "freeze") {
		t.Errorf("%v, %v", err, s.freezer.log)
	}
	if _, err := s.thaw().Do(t.Context(), s.a, ThawIn{}); err != nil {
		t.Error(err)
	}
}

type heldHost struct {
	syncHost
	real *linux.Host
}

func (h heldHost) StartHeldHook(ctx context.Context, q linux.HookRequest) (*linux.HeldHook, error) {
	return h.real.StartHeldHook(ctx, q)
}
