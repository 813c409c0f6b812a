package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/ec2/sandbox"
	"snaptastic/steps/snapset"
)

var frankfurt = sandbox.World{Account: sandbox.Account, Region: "eu-central-1"}

// copying declares the volumes with some blocks for copies.
func (r *rig) copying(blocks string) {
	r.t.Helper()
	var hcl strings.Builder
	hcl.WriteString("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n")
	for i := range r.mounts {
		hcl.WriteString(r.volume(i, "ext4"))
	}
	r.declare(hcl.String() + blocks + "\n}\n")
}

// elsewhere runs the program on an instance of another account or region, with the same settings and a state of its own.
func (r *rig) elsewhere(in sandbox.World, args ...string) (int, string) {
	r.t.Helper()
	out, err := r.elsewhereCommand(in, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	if exit != nil {
		return exit.ExitCode(), string(out)
	}
	return 0, string(out)
}

func (r *rig) elsewhereCommand(in sandbox.World, args ...string) *exec.Cmd {
	state := filepath.Join(r.dir, "state-"+in.Account+"-"+in.Region)
	cmd := exec.Command(r.bin, append([]string{"--settings", r.settings, "--state-dir", state, "--sandbox=" + sandbox.WorldDir(r.sandboxDir(), in), "--yes"}, args...)...)
	cmd.Env = r.env
	return cmd
}

func (r *rig) mustElsewhere(in sandbox.World, args ...string) string {
	r.t.Helper()
	code, out := r.elsewhere(in, args...)
	if code != 0 {
		r.t.Fatalf("in %s: snaptastic %s: exit %d\n%s", in, strings.Join(args, " "), code, out)
	}
	return out
}

// snapshotsIn are those of the snapshotter in a world.
func (r *rig) snapshotsIn(in sandbox.World) []ec2.Snapshot {
	r.t.Helper()
	all, err := r.clientIn(in).Snapshots(context.Background(), ec2.SnapshotQuery{})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *rig) clientIn(in sandbox.World) *ec2.Client {
	r.t.Helper()
	c, err := ec2.New(context.Background(), ec2.Config{Region: in.Region, EndpointURL: r.url, MetadataURL: r.url, Credentials: ec2.Credentials{ID: in.AccessKey(), Secret: "b"}})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// wholeSets fails unless the snapshots of a place are whole labelled sets, each member once, and returns how many sets there are.
func (r *rig) wholeSets(in sandbox.World) int {
	r.t.Helper()
	of := map[string]map[string]int{}
	for _, s := range r.snapshotsIn(in) {
		set, point := s.Tags[snapset.TagSet], s.Tags[snapset.TagMountPoint]
		if s.State != ebs.SnapshotCompleted || s.Tags[snapset.TagState] != snapset.Consistent {
			r.t.Errorf("%s in %s is %s, and labelled %q", s.ID, in, s.State, s.Tags[snapset.TagState])
		}
		if of[set] == nil {
			of[set] = map[string]int{}
		}
		of[set][point]++
	}
	for set, points := range of {
		for _, m := range r.mounts {
			if points[m] != 1 {
				r.t.Errorf("set %s in %s has %d snapshots of %s", set, in, points[m], m)
			}
		}
		if len(points) != len(r.mounts) {
			r.t.Errorf("set %s in %s is of %v", set, in, slices.Sorted(maps.Keys(points)))
		}
	}
	return len(of)
}

func (r *rig) writeAll(text string) {
	r.t.Helper()
	for _, m := range r.mounts {
		if err := os.WriteFile(filepath.Join(m, "file"), []byte(text), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) readAll(want string) {
	r.t.Helper()
	for _, m := range r.mounts {
		if got, err := os.ReadFile(filepath.Join(m, "file")); err != nil || string(got) != want {
			r.t.Errorf("%s has %q (%v), want %q", m, got, err, want)
		}
	}
}

// The sets of two nights are copied to a second region, once; the first region is lost; a mount there has the data.
func TestASecondRegionHasTheData(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying(`  copy "eu-central-1" { kms_key_id = "alias/there" }` + "\n" + `  copy "eu-west-1" {}`)
	r.quiet(func() {
		if out := r.must("plan", "copy", "db"); !strings.Contains(out, "nothing to copy") {
			t.Errorf("there is no set, and it says:\n%s", out)
		}
	})
	r.must("run", "mount", "db")
	for _, night := range []string{"monday", "tuesday"} {
		r.writeAll(night)
		r.must("run", "snapshot", "db", "--wait")
	}
	r.quiet(func() {
		out := r.must("plan", "copy", "db")
		if !strings.Contains(out, "4 to create") || !strings.Contains(out, "eu-west-1 is the region of this instance") {
			t.Errorf("the plan says\n%s", out)
		}
	})
	r.must("run", "copy", "db")
	if n := r.wholeSets(frankfurt); n != 2 {
		t.Fatalf("%d sets are there, want 2", n)
	}
	originals := map[string]ec2.Snapshot{}
	for _, s := range r.snapshotsIn(sandbox.World{Account: sandbox.Account, Region: sandbox.Region}) {
		originals[s.ID] = s
	}
	for _, c := range r.snapshotsIn(frankfurt) {
		mark := strings.Split(c.Tags[snapset.TagCopy], "/")
		s := originals[mark[len(mark)-1]]
		if c.Tags[snapset.TagSet] != s.Tags[snapset.TagSet] || !snapset.DataTime(c).Equal(snapset.DataTime(s)) || c.Tags["role"] != "db" || !c.Encrypted {
			t.Errorf("the copy %+v is not of %+v", c, s)
		}
	}
	r.quiet(func() {
		if out := r.must("run", "copy", "db"); !strings.Contains(out, "nothing to copy") {
			t.Errorf("all is copied, and it says:\n%s", out)
		}
		r.must("check", "db")
	})
	if err := sandbox.Lose(r.sandboxDir(), sandbox.Region); err != nil {
		t.Fatal(err)
	}
	r.mustElsewhere(frankfurt, "run", "mount", "db")
	r.readAll("tuesday")
	r.writeAll("wednesday")
	r.mustElsewhere(frankfurt, "run", "snapshot", "db", "--wait")
	if code, out := r.elsewhere(frankfurt, "check", "db"); code != exitFailed || !strings.Contains(out, "1 gap") || !strings.Contains(out, "copied to eu-west-1") {
		t.Errorf("the lost region is no place for copies any more, and the check ends with %d:\n%s", code, out)
	}
	r.copying(`  copy "eu-central-1" {}`)
	r.mustElsewhere(frankfurt, "check", "db")
	r.mustElsewhere(frankfurt, "run", "unmount", "db")
}

// A destination whose key is disabled fails, with the key and the region in its error, and leaves nothing; the other one gets its
// copies.
func TestADestinationThatFailsKeepsNoOtherOneFromItsCopies(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying(`  copy "eu-central-1" { kms_key_id = "alias/off" }` + "\n" + `  copy "us-east-1" {}`)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	r.faultsIn(frankfurt, `{"disabled_keys": ["alias/off"]}`)
	code, out := r.run("run", "copy", "db")
	if code != exitSomeLanes {
		t.Errorf("exit %d, want %d", code, exitSomeLanes)
	}
	for _, want := range []string{"alias/off", "eu-central-1", "is enabled", "1 of 2 sets done"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if left := r.snapshotsIn(frankfurt); len(left) > 0 {
		t.Errorf("left are %+v", left)
	}
	if n := r.wholeSets(sandbox.World{Account: sandbox.Account, Region: "us-east-1"}); n != 1 {
		t.Errorf("%d sets are in the other region, want 1", n)
	}
	r.faultsIn(frankfurt, `{}`)
	r.must("run", "copy", "db")
	if n := r.wholeSets(frankfurt); n != 1 {
		t.Errorf("%d sets are copied with the key, want 1", n)
	}
}

// A source that is deleted under way is named; the copies of its set go, and the next run copies what there is.
func TestASourceThatIsDeletedUnderWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying(`  copy "eu-central-1" {}`)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	first := r.snapshots()[0].ID
	r.must("run", "snapshot", "db", "--wait")
	r.faultsIn(frankfurt, `{"latency": {"copy": "3s"}}`)
	cmd := r.command("run", "copy", "db")
	done := make(chan string)
	go func() {
		out, _ := cmd.CombinedOutput()
		done <- string(out)
	}()
	r.eventually("four copies", func() bool { return count(r.calls())["CopySnapshot"] >= 4 })
	if err := r.client.DeleteSnapshot(context.Background(), first); err != nil {
		t.Fatal(err)
	}
	out := <-done
	if want := fmt.Sprintf("cannot copy %s to eu-central-1: it was deleted in eu-west-1 while it was copied", first); !strings.Contains(out, want) || cmd.ProcessState.ExitCode() != exitSomeLanes {
		t.Errorf("exit %d; it does not say %q:\n%s", cmd.ProcessState.ExitCode(), want, out)
	}
	if n := r.wholeSets(frankfurt); n != 1 {
		t.Errorf("%d sets are there, want the one that was not touched", n)
	}
	r.must("run", "copy", "db")
}

// faultsIn sets how a world behaves.
func (r *rig) faultsIn(in sandbox.World, faults string) {
	r.t.Helper()
	dir := sandbox.WorldDir(r.sandboxDir(), in)
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "faults.json"), []byte(faults), 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// A lost answer of CopySnapshot makes no second copy, and a resume finds what a killed process began.
func TestNoMemberIsCopiedTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying(`  copy "eu-central-1" {}`)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	r.faultsIn(frankfurt, `{"faults": [{"action": "CopySnapshot", "reset": "after", "count": 1}]}`)
	r.must("run", "copy", "db")
	if n := r.wholeSets(frankfurt); n != 1 {
		t.Errorf("%d sets, want 1", n)
	}
	r.must("run", "snapshot", "db", "--wait")
	r.faultsIn(frankfurt, `{"latency": {"copy": "2s"}}`)
	cmd := r.command("run", "copy", "db")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.eventually("four copies", func() bool { return count(r.calls())["CopySnapshot"] >= 4 })
	time.Sleep(100 * time.Millisecond) // into the waits, or not
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	r.must("run", "snapshot", "db", "--wait") // that the older run knows nothing of
	r.must("run", "copy", "db")
	if n := r.wholeSets(frankfurt); n != 3 {
		t.Errorf("%d sets, want 3", n)
	}
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished are %v", left)
	}
}

// A bare resume says that it leaves a copy alone, and an abandoned one says what it leaves in the other region.
func TestAnAbandonedCopySaysWhatItLeaves(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying(`  copy "eu-central-1" {}`)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	r.faultsIn(frankfurt, `{"latency": {"copy": "1h"}}`)
	id := ""
	r.killWaiting("two copies in the journal", func() bool {
		if left := r.unfinished(); len(left) == 1 {
			id = left[0]
		}
		return id != "" && len(regexp.MustCompile(`wait-copied:\S+ +started`).FindAllString(r.must("show", id), -1)) == 2
	}, "run", "copy", "db")
	if out := r.must("resume"); !strings.Contains(out, "1 run of copy or warm left to the next `run` of it") {
		t.Errorf("resume says\n%s", out)
	}
	out := r.must("abandon", id)
	for _, s := range r.snapshotsIn(frankfurt) {
		if !strings.Contains(out, s.ID+" in eu-central-1, an unverified copy of "+s.Tags[snapset.TagMountPoint]+": `snaptastic --region eu-central-1 clean snapshots") {
			t.Errorf("abandon does not list %s:\n%s", s.ID, out)
		}
	}
}

// A destination without copies, or with old ones alone, is a gap; its own keep decides what is copied and what is deleted there.
func TestADestinationIsCheckedAndCleanedByItsOwnRules(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	const keepOne = `  copy "eu-central-1" {
    max_lag = "1m"
    keep {
      last = 1
    }
  }`
	r.copying(keepOne)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	if code, out := r.run("check", "db"); code != exitFailed || !strings.Contains(out, "copied to eu-central-1: no copy exists there") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	if code, out := r.run("check", "db", "--format", "prometheus"); code != exitFailed || !strings.Contains(out, `region="eu-central-1"} 0`) {
		t.Errorf("exit %d:\n%s", code, out)
	}
	r.must("run", "copy", "db")
	r.must("check", "db")
	r.must("run", "snapshot", "db", "--wait")
	r.must("run", "snapshot", "db", "--wait")
	if out := r.must("plan", "copy", "db"); !strings.Contains(out, "no rule of the destination's keep would keep it") || !strings.Contains(out, "1 to create") {
		t.Errorf("it is to copy the newest alone:\n%s", out)
	}
	r.must("run", "copy", "db")
	if n := r.wholeSets(frankfurt); n != 2 {
		t.Errorf("%d sets, want 2", n)
	}
	r.must("--region", "eu-central-1", "clean", "snapshots", "db")
	if n := r.wholeSets(frankfurt); n != 1 {
		t.Errorf("%d sets are kept, want 1", n)
	}
	if n := r.wholeSets(sandbox.World{Account: sandbox.Account, Region: sandbox.Region}); n != 3 {
		t.Errorf("%d sets are here, want 3: they have no rules", n)
	}
}

// What a copy that is under way, or was cut off, still has to copy is kept by a clean-up, whatever the rules say; once it is copied it goes.
func TestACleanUpKeepsWhatAnUnfinishedCopyNeeds(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying("  keep {\n    last = 1\n  }\n  copy \"eu-central-1\" {\n    keep {\n      last = 3\n    }\n  }")
	r.must("run", "mount", "db")
	for range 3 {
		r.must("run", "snapshot", "db", "--wait")
	}
	home := sandbox.World{Account: sandbox.Account, Region: sandbox.Region}
	r.faultsIn(frankfurt, `{"latency": {"copy": "1h"}}`)
	cmd := r.background("run", "copy", "db")
	r.eventually("six copies", func() bool { return count(r.calls())["CopySnapshot"] >= 6 })
	keeps := func(while string) {
		t.Helper()
		out := r.must("clean", "snapshots", "db")
		if left := r.unfinished(); len(left) > 0 && !strings.Contains(out, left[0]) {
			t.Errorf("%s, it does not name the run %s:\n%s", while, left[0], out)
		}
		if n := r.wholeSets(home); n != 3 {
			t.Fatalf("%s, a clean-up left %d of 3 sets:\n%s", while, n, out)
		}
	}
	keeps("while it copies")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	keeps("after it was killed")
	r.must("rollback", r.unfinished()[0])
	if left := r.snapshotsIn(frankfurt); len(left) > 0 {
		t.Errorf("the rollback left %+v", left)
	}
	r.faultsIn(frankfurt, `{}`)
	r.must("run", "copy", "db")
	if n := r.wholeSets(frankfurt); n != 3 {
		t.Errorf("%d sets are copied, want 3", n)
	}
	r.must("clean", "snapshots", "db")
	if n := r.wholeSets(home); n != 1 {
		t.Errorf("%d sets are left, want the newest alone", n)
	}
}

// EC2 makes 20 copies at a time into one region, whoever asks. While others have taken them all, a copy says so and waits; the other
// region gets its copies meanwhile.
func TestACopyWaitsForAPlaceThatOthersHave(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying(`  copy "eu-central-1" {}` + "\n" + `  copy "us-east-1" {}`)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	r.faultsIn(frankfurt, `{"latency": {"copy": "1h"}}`)
	c := r.clientIn(frankfurt)
	var others []string
	for range ec2.MaxCopies {
		id, err := c.CopySnapshot(t.Context(), ec2.CopySnapshotRequest{SourceID: r.snapshots()[0].ID, SourceRegion: sandbox.Region})
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, id)
	}
	cmd := r.background("run", "copy", "db")
	r.eventually("refusal, and the set in the other region", func() bool {
		refused := slices.ContainsFunc(r.calls(), func(c sandbox.Call) bool { return c.Action == "CopySnapshot" && c.Result == "ResourceLimitExceeded" })
		return refused && len(r.snapshotsIn(sandbox.World{Account: sandbox.Account, Region: "us-east-1"})) == 2
	})
	if out := r.must("status", r.unfinished()[0]); !strings.Contains(out, "EC2 makes no more copies at the moment") || !strings.Contains(out, "limit is 20") {
		t.Errorf("it does not say what the run waits for:\n%s", out)
	}
	r.faultsIn(frankfurt, `{}`)
	for _, id := range others {
		if err := c.DeleteSnapshot(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	for _, in := range []string{"eu-central-1", "us-east-1"} {
		if n := r.wholeSets(sandbox.World{Account: sandbox.Account, Region: in}); n != 1 {
			t.Errorf("%d sets are in %s, want 1", n, in)
		}
	}
}

// A destination that does not answer, since its region is lost, fails with that and keeps no other one from its copies.
func TestALostDestinationKeepsNoOtherOneFromItsCopies(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.copying(`  copy "eu-central-1" {}` + "\n" + `  copy "us-east-1" {}`)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	if err := sandbox.Lose(r.sandboxDir(), "eu-central-1"); err != nil {
		t.Fatal(err)
	}
	const lost = "cannot find out which sets eu-central-1 lacks"
	if out := r.wants(exitSomeLanes, lost, "plan", "copy", "db"); !strings.Contains(out, "The region eu-central-1 is lost") || !strings.Contains(out, "1 to create") {
		t.Errorf("the plan says\n%s", out)
	}
	out := r.wants(exitSomeLanes, lost, "run", "copy", "db", "--patience", "1s")
	if !strings.Contains(out, "remove its copy block") {
		t.Errorf("it says\n%s", out)
	}
	if n := r.wholeSets(sandbox.World{Account: sandbox.Account, Region: "us-east-1"}); n != 1 {
		t.Errorf("%d sets are in the other region, want 1", n)
	}
	r.wants(exitFailed, lost, "run", "copy", "db", "--patience", "1s")
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished are %v", left)
	}
}

// A copy whose undo was cut off is undone by the next run copy, which then copies the same sets, in one command.
func TestACopyThatWasBeingUndoneIsCopiedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying(`  copy "eu-central-1" {}`)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	r.faultsIn(frankfurt, `{"latency": {"copy": "1h"}, "faults": [{"action": "DeleteSnapshot", "error": "RequestLimitExceeded"}]}`)
	kill := func(until string, args ...string) {
		t.Helper()
		r.killWhen(until, func() bool { return count(r.calls())[until] >= 2 }, args...)
	}
	kill("CopySnapshot", "run", "copy", "db")
	kill("DeleteSnapshot", "rollback", "last", "--yes")
	r.faultsIn(frankfurt, `{}`)
	r.must("run", "copy", "db")
	if n := r.wholeSets(frankfurt); n != 1 {
		t.Errorf("%d sets are copied, want 1", n)
	}
}

// What a rollback has deleted is copied again at once, although EC2 still shows the copies.
func TestARolledBackCopyIsCopiedAgainWhileEC2StillShowsIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying(`  copy "eu-central-1" {}`)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	r.lags()
	r.faultsIn(frankfurt, `{"latency": {"copy": "1h", "lag": "4s"}}`)
	r.killWhen("two copies that are shown", func() bool { return len(r.snapshotsIn(frankfurt)) == 2 }, "run", "copy", "db")
	r.must("rollback", r.unfinished()[0])
	shown := len(r.snapshotsIn(frankfurt))
	r.faultsIn(frankfurt, `{"latency": {"lag": "4s"}}`)
	if out := r.must("run", "copy", "db"); strings.Contains(out, "is copying it") {
		t.Errorf("%d deleted copies are shown, and it says\n%s", shown, out)
	}
	time.Sleep(5 * time.Second) // until EC2 shows what there is
	if n := r.wholeSets(frankfurt); n != 1 {
		t.Errorf("%d sets are copied, want 1", n)
	}
}
