package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/linux/guard"
)

// The names in the last column of the table of faults are tests that exist.
func TestTheTableOfFaultsNamesTests(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir("../..", func(p string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		src, err := os.ReadFile(p)
		for _, m := range declared.FindAllStringSubmatch(string(src), -1) {
			there[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(doc), "| fault | ")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	if !found || len(rows) < 2+15 {
		t.Fatalf("the table has %d rows", len(rows)-2)
	}
	named := regexp.MustCompile("`(Test\\w+)`")
	for _, row := range rows[2:] {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		names := named.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(names) == 0 {
			t.Errorf("no test shows %q", cells[0])
		}
		for _, n := range names {
			if !there[n[1]] {
				t.Errorf("%s, which is to show %q, does not exist", n[1], cells[0])
			}
		}
	}
}

// mark writes what a restore is told by.
func (r *rig) mark(text string) {
	r.t.Helper()
	for _, m := range r.mounts {
		if err := os.WriteFile(filepath.Join(m, "marker"), []byte(text), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

// marks is what is in each volume, in the order of the mount points.
func (r *rig) marks() string {
	r.t.Helper()
	var all []string
	for _, m := range r.mounts {
		b, err := os.ReadFile(filepath.Join(m, "marker"))
		if err != nil {
			b = []byte("none")
		}
		all = append(all, string(b))
	}
	return strings.Join(all, " ")
}

// of is the snapshot of a mount point in the newest set.
func (r *rig) newest(mount string) ec2.Snapshot {
	r.t.Helper()
	var best ec2.Snapshot
	for _, s := range r.snapshots() {
		if s.Tags["mount_point"] == mount && (best.ID == "" || s.Started.After(best.Started)) {
			best = s
		}
	}
	return best
}

// What is restored of a group of three when something is the matter with one
// snapshot of its newest set: the last complete set, never a mixture, unless
// somebody asks for one.
func TestASetIsRestoredWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	drop := func(r *rig) {
		if err := r.client.DeleteSnapshot(context.Background(), r.newest(r.mounts[1]).ID); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		fault   sandbox.Fault // while the newest set is taken
		lat     sandbox.Latency
		then    func(*rig) // to the newest set
		mount   string
		message string
		want    string
	}{
		{name: "one is missing", then: drop, mount: "run mount db", message: "1 of its 3 snapshots is gone", want: "old old old"},
		{name: "one is missing, and a mixture is asked for", then: drop, mount: "run mount db --mix-sets", want: "new old new"},
		{name: "one has lost its label", then: func(r *rig) {
			if err := r.client.CreateTags(context.Background(), []string{r.newest(r.mounts[2]).ID}, map[string]string{"snaptastic:state": "unverified"}); err != nil {
				r.t.Fatal(err)
			}
		}, mount: "run mount db", message: "1 of its 3 snapshots is gone", want: "old old old"},
		{name: "they end in error", fault: sandbox.Fault{Action: "CreateSnapshots", Effect: "error", At: 1}, lat: sandbox.Latency{Snapshot: 100 * time.Millisecond},
			then: func(*rig) { time.Sleep(200 * time.Millisecond) }, mount: "run mount db", message: "in state error", want: "old old old"},
		{name: "they are pending", lat: sandbox.Latency{Snapshot: time.Hour}, mount: "run mount db", message: "pending", want: "new new new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 3, "ext4")
			r.must("run", "mount", "db")
			r.mark("old")
			r.must("run", "snapshot", "db")
			r.mark("new")
			if err := sandbox.SetFaults(r.sandboxDir(), c.lat, c.fault); c.fault.Action != "" && err != nil {
				t.Fatal(err)
			} else if c.fault.Action == "" {
				_ = sandbox.SetFaults(r.sandboxDir(), c.lat)
			}
			r.must("run", "snapshot", "db")
			if c.then != nil {
				c.then(r)
			}
			r.lose()
			plan := r.must("plan", "mount", "db")
			r.complete(2 * time.Second)
			out := r.must(strings.Fields(c.mount)...)
			if !strings.Contains(plan+out, c.message) {
				t.Errorf("neither plan nor run says %q:\n%s\n%s", c.message, plan, out)
			}
			if got := r.marks(); got != c.want {
				t.Errorf("restored is %q, want %q", got, c.want)
			}
		})
	}
}

// complete makes all snapshots that are pending complete in a while.
func (r *rig) complete(in time.Duration) {
	r.t.Helper()
	w, at := r.openSandbox(), time.Now().Add(in)
	for _, s := range r.snapshots() {
		if s.State != "pending" {
			continue
		}
		if err := w.EditSnapshot(s.ID, func(s *sandbox.Snapshot) { s.CompletedAt = at }); err != nil {
			r.t.Fatal(err)
		}
	}
}

// A newest snapshot in the archive is not passed over in silence.
func TestFaultNewestSnapshotIsArchived(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.mark("old")
	r.must("run", "snapshot", "db")
	r.mark("new")
	r.setFaults(sandbox.Fault{Action: "CreateSnapshot", Effect: "archive"})
	r.must("run", "snapshot", "db")
	r.calm()
	r.lose()
	r.wants(1, "is archived", "run", "mount", "db")
	if got := r.mounted(); len(got) > 0 {
		t.Errorf("mounted: %v", got)
	}
	r.must("run", "mount", "db", "--allow-older")
	if got := r.marks(); got != "old" {
		t.Errorf("restored is %q", got)
	}
}

// While the newest snapshot is pending a mount waits, as long as its time-out
// says; then it fails, holds nothing, and can be run again.
func TestFaultNewestSnapshotIsPending(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.mark("new")
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{Snapshot: time.Hour}); err != nil {
		t.Fatal(err)
	}
	r.must("run", "snapshot", "db")
	r.lose()
	r.hooked("  timeouts { snapshot = \"1s\" }\n")
	r.wants(1, "timed out", "run", "mount", "db")
	r.complete(0)
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
	r.must("run", "mount", "db")
	if got := r.marks(); got != "new" {
		t.Errorf("restored is %q", got)
	}
}

// Another tool's snapshot of our volume, with the volume's tags copied, is none
// of ours, however new.
func TestFaultCopiedTags(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.mark("ours")
	r.must("run", "snapshot", "db")
	r.mark("copied")
	tool(t, "sync")
	v := r.volumes()[r.mounts[0]]
	copied, err := r.client.CreateSnapshot(context.Background(), ec2.CreateSnapshotRequest{VolumeID: v.ID, Tags: v.Tags})
	if err != nil {
		t.Fatal(err)
	}
	r.lose()
	r.wants(0, copied.ID+" is newer but was created by another tool", "plan", "mount", "db")
	r.must("run", "mount", "db")
	if got := r.marks(); got != "ours" {
		t.Errorf("restored is %q", got)
	}
}

// The second file system does not freeze: the first is thawed, nothing is
// snapshotted, and what somebody else froze stays frozen.
func TestFaultSecondFreezeFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	r.precious()
	tool(t, "fsfreeze", "-f", r.mounts[1])
	t.Cleanup(func() { _ = guard.ThawMount(r.mounts[1]) })
	r.wants(1, "snaptastic thaw", "run", "snapshot", "db")
	if isFrozen(r.mounts[0]) || !isFrozen(r.mounts[1]) {
		t.Error("the first is frozen, or the second is not")
	}
	r.must("thaw", r.mounts[1])
	if s := r.snapshots(); len(s) > 0 {
		t.Errorf("snapshots are left: %v", s)
	}
	r.check(true)
}

// A state directory on a volume of the set: refused before anything is frozen.
func TestFaultStateFolderOnTheFrozenVolume(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.precious()
	w := startStopwatch(t, r.mounts[0])
	state := filepath.Join(r.mounts[0], "state")
	r.wants(1, "it holds the journal ("+state+")", "run", "snapshot", "db", "--state-dir", state)
	if n := count(r.calls())["CreateSnapshot"]; n > 0 {
		t.Errorf("%d calls", n)
	}
	if _, longest := w.freed(); longest > 15*time.Second { // what a freeze without its thaw would take
		t.Errorf("the writer was blocked for %s", longest)
	}
}

// Killed when EC2 had made the volume and nothing was written of it: resume
// finds it by its token.
func TestFaultKilledAfterCreateVolume(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"resume", "rollback"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			r.hang("CreateVolume", time.Minute, "after")
			r.killWhen("volume", func() bool { return len(r.volumes()) == 1 && r.inside("create-volume") }, "run", "mount", "db")
			r.calm()
			made := r.volumes()[r.mounts[0]].ID
			r.must(how, r.only())
			after := r.volumes()
			if how == "rollback" && len(after) > 0 || how == "resume" && after[r.mounts[0]].ID != made {
				t.Errorf("made was %s; after %s there are %v", made, how, after)
			}
		})
	}
}

// The answer of CreateSnapshots is lost: what it made is found by its token and
// deleted, and the set is taken once more, after the time that EC2 wants.
func TestFaultAmbiguousCreateSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	r.precious()
	r.setFaults(sandbox.Fault{Action: "CreateSnapshots", Reset: "after", Nth: 1})
	r.must("run", "snapshot", "db")
	if n := count(r.calls())["CreateSnapshots"]; n != 2 {
		t.Errorf("%d calls", n)
	}
	if n := len(r.snapshots()); n != 2 {
		t.Errorf("%d snapshots", n)
	}
	r.check(true)
}

// Every volume that EC2 makes is in error, as when its KMS key cannot be
// used: a new one is made a few times, then the key is named, nothing is left,
// and a resume with a key that works goes on.
func TestFaultKMSGhostVolume(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.setFaults(sandbox.Fault{Action: "CreateVolume", Effect: "error"})
	r.wants(1, "KMS", "run", "mount", "db")
	if n := r.made(); n != 4 {
		t.Errorf("%d volumes were made, want 4", n)
	}
	if left := r.volumes(); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	r.calm()
	r.must("resume", r.only())
	r.precious()
	r.check(true)
}

// A volume that died before anything was built on it is given up and created again, without an operator: one that ends in
// error while it is made, one that vanishes, and one that was available and is in error before it is attached. Nothing is
// left of it, and the run tells why.
func TestFaultAVolumeThatFailedInCreationIsReplaced(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		from  string
		fault sandbox.Fault
	}{
		{"error while it is made", "empty", sandbox.Fault{Effect: "error", Count: 1}},
		{"error while it is made, twice", "snapshot", sandbox.Fault{Effect: "error", Count: 2}},
		{"vanishes", "empty", sandbox.Fault{Effect: "vanish", Count: 1}},
		{"error before it is attached", "empty", sandbox.Fault{Effect: "error", After: 250 * time.Millisecond, Count: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, fault := c.from, c.fault
			fault.Action = "CreateVolume"
			t.Parallel()
			r := newRig(t, 2, "ext4")
			if from == "snapshot" {
				r.must("run", "mount", "db")
				r.mark("old")
				r.must("run", "snapshot", "db")
				r.lose()
			}
			before := r.made()
			faults := []sandbox.Fault{fault}
			if fault.After > 0 {
				faults = append(faults, sandbox.Fault{Action: "AttachVolume", Latency: time.Second})
			}
			r.setFaults(faults...)
			r.wants(0, "was replaced", "run", "mount", "db")
			if n := r.made() - before; n != 2+fault.Count {
				t.Errorf("%d volumes were made", n)
			}
			if from == "snapshot" && r.marks() != "old old" {
				t.Errorf("restored is %q", r.marks())
			}
			if all, err := r.client.VolumesByTag(context.Background(), map[string]string{"role": "db"}); err != nil || len(all) != 2 {
				t.Errorf("the account has %v, %v", all, err)
			}
			r.precious()
			r.check(true)
			runs := r.journals()
			id := strings.TrimSuffix(filepath.Base(runs[len(runs)-1]), ".db")
			r.wants(0, "was replaced", "show", id)
		})
	}
}

// Not even marking a dead volume keeps a boot from going on.
func TestFaultADeadVolumeThatCannotBeDeletedIsLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.setFaults(sandbox.Fault{Action: "CreateVolume", Effect: "error", Count: 1}, sandbox.Fault{Action: "DeleteVolume", Error: "UnauthorizedOperation"})
	r.wants(0, "an unusable volume is left over", "run", "mount", "db")
	r.precious()
	all, err := r.client.VolumesByTag(context.Background(), map[string]string{"role": "db"})
	if err != nil || len(all) != 2 {
		t.Fatalf("the account has %v, %v", all, err)
	}
	for _, v := range all {
		if dead := v.State == "error"; dead != (v.Tags["snaptastic:failed"] != "") {
			t.Errorf("%s is %s, tags %v", v.ID, v.State, v.Tags)
		}
	}
}

// The device does not show: bounded, said, and resumable when it does.
func TestFaultDeviceMissingAtMkfs(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.hooked("  timeouts { device = \"1s\" }\n")
	r.hang("AttachVolume", 1500*time.Millisecond, "after")
	cmd := r.start("run", "mount", "db")
	block := filepath.Join(r.sandboxDir(), "sys", "block", "nvme1n1")
	r.eventually("device", func() bool { // its link comes last
		links, _ := filepath.Glob(filepath.Join(r.sandboxDir(), "dev", "disk", "by-id", "*"))
		return len(links) > 0
	})
	if err := os.RemoveAll(block); err != nil {
		t.Fatal(err)
	}
	code, out := cmd.ends()
	if code != 1 || !strings.Contains(out, "did not appear") || !strings.Contains(out, "lsblk") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	r.calm()
	r.reboot() // shows it again
	r.must("resume", r.only())
	r.precious()
	r.check(true)
	if n := r.made(); n != 1 {
		t.Errorf("%d volumes were made", n)
	}
}

// Links under by-id that point at the wrong device are not believed.
func TestFaultStaleByIDLink(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	r.precious()
	r.reboot()
	links, _ := filepath.Glob(filepath.Join(r.sandboxDir(), "dev", "disk", "by-id", "nvme-Amazon*vol*"))
	if len(links) < 2 {
		t.Fatalf("links: %v", links)
	}
	targets := make([]string, len(links))
	for i, l := range links {
		targets[i], _ = os.Readlink(l)
	}
	for i, l := range links { // each points at the next one's device
		_ = os.Remove(l)
		if err := os.Symlink(targets[(i+1)%len(links)], l); err != nil {
			t.Fatal(err)
		}
	}
	r.must("run", "mount", "db")
	r.check(true)
}

// An attachment that never ends is taken off again after its time-out, and a
// resume tries again.
func TestFaultStuckAttaching(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.hooked("  timeouts { attach = \"5s\" }\n")
	r.setFaults(sandbox.Fault{Action: "AttachVolume", Effect: "stuck"})
	r.wants(1, "it is being detached", "run", "mount", "db")
	r.calm()
	r.must("resume", r.only())
	r.precious()
	r.check(true)
	if n := r.made(); n != 1 {
		t.Errorf("%d volumes were made", n)
	}
}

// A restored XFS beside the one it was taken of: mounted with nouuid, and said.
func TestFaultDuplicateXFSUUID(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "xfs")
	settings := func(second string) {
		r.declare(fmt.Sprintf("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n%s}\nsnapshotter \"copy\" {\n  filter_tags = { role = \"db\" }\n%s}\n", r.volume(0, "xfs"), second))
	}
	settings(r.volume(1, "xfs"))
	r.must("run", "mount", "db")
	if err := os.WriteFile(filepath.Join(r.mounts[0], "marker"), []byte("xfs"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.must("run", "snapshot", "db")
	if err := r.client.CreateTags(context.Background(), []string{r.newest(r.mounts[0]).ID}, map[string]string{"mount_point": r.mounts[1]}); err != nil {
		t.Fatal(err)
	}
	r.wants(0, "nouuid", "run", "mount", "copy")
	if got := r.marks(); got != "xfs xfs" {
		t.Errorf("the volumes hold %q", got)
	}
}

// Many hosts boot at once and EC2 throttles: it takes longer and that is all.
func TestFaultBootStormThrottling(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "ext4")
	r.setFaults(sandbox.Fault{Action: "Describe*", Rate: 4, Burst: 2}, sandbox.Fault{Action: "*Volume", Rate: 3, Burst: 1})
	r.must("run", "mount", "db")
	throttled := 0
	for _, c := range r.calls() {
		if c.Result == "RequestLimitExceeded" {
			throttled++
		}
	}
	if throttled == 0 {
		t.Error("nothing was throttled")
	}
	if n := r.made(); n != 3 {
		t.Errorf("%d volumes were made", n)
	}
	r.calm()
	r.precious()
	r.check(true)
}
