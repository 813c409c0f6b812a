package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/steps/snapset"
)

// drillRig has one volume of each file system, one inside another, a set of them, and a probe that looks for what was written and then
// does what a test wants.
func drillRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, 3, "ext4")
	r.mounts[1] = filepath.Join(r.mounts[0], "inner")
	r.drill("exit 0")
	r.must("run", "mount", "db")
	for i, m := range r.mounts {
		if err := os.WriteFile(filepath.Join(m, "file"), fmt.Appendf(nil, "precious %d\n", i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.must("run", "snapshot", "db")
	return r
}

// drill declares the volumes, and a probe that ends with some shell.
func (r *rig) drill(probe string, more ...string) {
	r.t.Helper()
	var hcl strings.Builder
	hcl.WriteString("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n")
	for i, fs := range []string{"ext4", "xfs", "btrfs"} {
		hcl.WriteString(r.volume(i, fs))
	}
	r.script("probe", "set -e\ncd $SNAPTASTIC_VERIFY_ROOT"+r.dir+"/mnt\ncat a/file a/inner/file c/file >/dev/null\n"+probe+"\n")
	fmt.Fprintf(&hcl, "  verify {\n    probe = [%q]\n%s  }\n}\n", filepath.Join(r.dir, "probe"), strings.Join(more, "\n"))
	r.declare(hcl.String())
}

// nothingLeft: no scratch volume, no mount, no folder, and what is in use is as it was.
func (r *rig) nothingLeft() {
	r.t.Helper()
	vs, err := r.client.VolumesByTag(context.Background(), map[string]string{snapset.TagPurpose: snapset.PurposeVerify})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, v := range vs {
		r.t.Errorf("scratch volume %s is left: %s, %+v", v.ID, v.State, v.Attachments)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(r.state()))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range mounts {
		r.t.Errorf("%s is left mounted", m.Mountpoint)
	}
	if left, _ := filepath.Glob(filepath.Join(r.state(), "verify", "*")); len(left) > 0 {
		r.t.Errorf("left are %v", left)
	}
	if got := r.mounted(); len(got) != len(r.mounts) {
		r.t.Errorf("mounted are %v", got)
	}
	for i, m := range r.mounts {
		if text, err := os.ReadFile(filepath.Join(m, "file")); err != nil || string(text) != fmt.Sprintf("precious %d\n", i) {
			r.t.Errorf("%s holds %q, %v", m, text, err)
		}
	}
}

// drilled is what the snapshots tell of the last drill: the same on all.
func (r *rig) drilled() snapset.Drill {
	r.t.Helper()
	var all []snapset.Drill
	for _, s := range r.snapshots() {
		all = append(all, snapset.DrillOf(s.Tags, s.Started))
	}
	if len(slices.Compact(slices.Clone(all))) != 1 {
		r.t.Errorf("the snapshots tell %+v", all)
	}
	return all[0]
}

func (r *rig) wantDrill(state snapset.DrillState, reason string) {
	r.t.Helper()
	if d := r.drilled(); d.State() != state || !strings.Contains(d.Reason(), reason) {
		r.t.Errorf("the set is %q (%s), want %q (%s)", d.State(), d.Reason(), state, reason)
	}
	r.nothingLeft()
}

// damage writes garbage into what a snapshot has of a volume.
func (r *rig) damage(mount string, from, to int64) {
	r.t.Helper()
	for _, s := range r.snapshots() {
		if s.Tags["mount_point"] != mount {
			continue
		}
		f, err := os.OpenFile(filepath.Join(r.sandboxDir(), "vol", s.ID), os.O_WRONLY, 0)
		if err != nil {
			r.t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte(strings.Repeat("garbage!", int(to-from)/8)), from); err != nil {
			r.t.Fatal(err)
		}
		return
	}
	r.t.Fatalf("there is no snapshot of %s", mount)
}

// A set is drilled beside the volumes that it was taken of, which are in use: XFS and btrfs have the same UUID.
func TestADrillFindsWhatASetIsWorth(t *testing.T) {
	t.Parallel()
	r := drillRig(t)
	r.must("run", "verify", "db")
	r.wantDrill(snapset.Verified, "")
	fail := func(reason string) {
		t.Helper()
		if code, out := r.run("run", "verify", "db"); code != exitFailed || !strings.Contains(out, reason) {
			t.Errorf("exit %d, want %d and %q:\n%s", code, exitFailed, reason, out)
		}
		r.wantDrill(snapset.DrillFailed, reason)
	}
	r.drill("echo 'the index is rotten' >&2; echo done; exit 1")
	fail("the index is rotten")
	r.drill("echo \"cannot read $PWD/a/file: $(seq -s ' ' 200): it is torn\" >&2; exit 1")
	fail("cannot read " + r.mounts[0] + "/file: 1 2 3 ") // as it is in life, and with both ends
	if reason := r.drilled().Reason(); strings.Contains(reason, "verify") || !strings.HasSuffix(reason, "it is torn") {
		t.Errorf("the tag says %q", reason)
	}
	// What a probe leaves behind keeps nothing, however it hides: in a session of its own, deaf, and with a mount.
	r.drill("mkdir $SNAPTASTIC_VERIFY_SCRATCH/m; mount -t tmpfs none $SNAPTASTIC_VERIFY_SCRATCH/m\n"+
		"setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' <c/file >/dev/null 2>&1 &\nsleep 1000 </dev/null >/dev/null 2>&1", "    timeout = \"15s\"\n") // the checks of the file systems have the same
	fail("the probe timed out after 15 s")
	r.drill("exit 0")
	r.must("run", "verify", "db")
	r.wantDrill(snapset.Verified, "")
	r.damage(r.mounts[0], 4096, 300<<10) // the group descriptors and bitmaps, but not the superblock
	fail("")
}

func TestADrillFindsEachDamagedFileSystem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		volume   int
		from, to int64
	}{
		"xfs, the allocation group headers": {1, 512, 64 << 10},
		"btrfs, both superblocks":           {2, 64 << 10, 65<<20 + 4096},
		"ext4, all of the beginning":        {0, 0, 4 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := drillRig(t)
			r.damage(r.mounts[c.volume], c.from, c.to)
			if code, out := r.run("run", "verify", "db"); code != exitFailed {
				t.Errorf("exit %d:\n%s", code, out)
			}
			r.wantDrill(snapset.DrillFailed, "")
		})
	}
}

// Killed in whatever step, a drill is taken down by a bare resume, and says nothing about the set.
func TestADrillThatIsKilledIsTakenDown(t *testing.T) {
	t.Parallel()
	for _, reboot := range []bool{false, true} {
		for _, at := range []string{"create-volume", "attach", "replay-log", "probe", "delete-volume"} {
			t.Run(fmt.Sprintf("%s, reboot %t", at, reboot), func(t *testing.T) {
				t.Parallel()
				r := drillRig(t)
				if at == "probe" {
					r.drill("sleep 1000")
				}
				env := r.env
				r.slowly(at)
				r.killInStep(at, "run", "verify", "db")
				r.calm()
				r.env = env
				if reboot {
					r.reboot()
					r.must("run", "mount", "db") // what is in use comes back, whatever became of the drill
				}
				r.must("resume")
				r.wantDrill(snapset.Untested, "")
				r.drill("exit 0")
				r.must("run", "verify", "db")
				r.wantDrill(snapset.Verified, "")
			})
		}
	}
}

// slowly makes the calls of a step hang, or what it runs.
func (r *rig) slowly(kind string) {
	r.t.Helper()
	action := map[string]string{"create-volume": "CreateVolume", "attach": "AttachVolume", "delete-volume": "DeleteVolume"}[kind]
	switch {
	case action != "":
		r.hang(action, time.Minute, "after")
	case kind == "replay-log":
		r.env = slices.Clone(r.env)
		r.script("first/btrfstune", "exec sleep 60\n")
		r.pathFirst(filepath.Join(r.dir, "first"))
	}
}

func TestAnInterruptedDrillIsTakenDownAtOnce(t *testing.T) {
	t.Parallel()
	r := drillRig(t)
	r.drill("sleep 1000")
	s := r.start("run", "verify", "db")
	r.eventually("probe", func() bool { return r.inside("probe") })
	s.signal(syscall.SIGINT)
	if code, out := s.ends(); code != exitInterrupted || len(r.unfinished()) > 0 {
		t.Errorf("exit %d, unfinished %v:\n%s", code, r.unfinished(), out)
	}
	r.wantDrill(snapset.Untested, "")
}

// Two snapshotters are drilled side by side, with device names of their own; the same one is refused meanwhile.
func TestTwoDrillsAtOnce(t *testing.T) {
	t.Parallel()
	r := drillRig(t)
	text, err := os.ReadFile(r.settings)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(strings.Replace(string(text), `snapshotter "db"`, `snapshotter "also"`, 1), "/dev/sd", "/dev/xvd", -1)
	other = strings.NewReplacer("/dev/xvdf", "/dev/sdf", "/dev/xvdg", "/dev/sdg", "/dev/xvdh", "/dev/sdh").Replace(other)
	r.declare(string(text) + other)
	r.script("probe", "touch "+r.dir+"/probing.$SNAPTASTIC_SNAPSHOTTER\nwhile test ! -e "+r.dir+"/go; do sleep 0.1; done\n")
	one, two := r.start("run", "verify", "db"), r.start("run", "verify", "also")
	r.eventually("two probes", func() bool { found, _ := filepath.Glob(r.dir + "/probing.*"); return len(found) == 2 })
	if code, out := r.run("run", "verify", "db"); code != exitBusy {
		t.Errorf("a third drill: exit %d, want %d:\n%s", code, exitBusy, out)
	}
	attached, err := r.client.VolumesByTag(context.Background(), map[string]string{snapset.TagPurpose: snapset.PurposeVerify})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, v := range attached {
		names[v.Attachments[0].Device] = true
		ours := slices.DeleteFunc(slices.Collect(maps.Keys(v.Tags)), func(key string) bool {
			return key == snapset.TagToken || key == snapset.TagRun || key == snapset.TagPurpose
		})
		if len(ours) > 0 {
			t.Errorf("a scratch volume has the tags %v", v.Tags)
		}
	}
	if len(names) != 6 {
		t.Errorf("the scratch volumes are attached as %v", names)
	}
	if err := os.WriteFile(r.dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*started{one, two} {
		if code, out := s.ends(); code != 0 {
			t.Errorf("exit %d:\n%s", code, out)
		}
	}
	r.wantDrill(snapset.Verified, "")
}

// A drill that cannot be carried out says nothing about the set.
func TestADrillThatCannotBeDoneLeavesTheSetAlone(t *testing.T) {
	t.Parallel()
	r := drillRig(t)
	r.drill("exit 0", "    devices = [\"/dev/sdx\", \"/dev/sdy\", \"/dev/sdz\"]\n")
	id, err := r.client.Metadata().Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	busy, err := r.client.CreateVolume(t.Context(), ec2.CreateVolumeRequest{Zone: id.Zone, Size: 1, Type: "gp3", ClientToken: "other"})
	if err != nil {
		t.Fatal(err)
	}
	r.eventually("volume", func() bool {
		v, err := r.client.Volume(t.Context(), busy.ID)
		return err == nil && v.State == "available"
	})
	if _, err := r.client.AttachVolume(t.Context(), busy.ID, id.InstanceID, "/dev/sdy"); err != nil {
		t.Fatal(err)
	}
	if code, out := r.run("run", "verify", "db"); code != exitFailed || !strings.Contains(out, "/dev/sdy ("+busy.ID+")") {
		t.Errorf("without a device name: exit %d:\n%s", code, out)
	}
	r.drill("exit 0")
	r.setFaults(sandbox.Fault{Action: "CreateVolume", Error: "VolumeLimitExceeded"})
	if code, out := r.run("run", "verify", "db"); code != exitFailed || !strings.Contains(out, "VolumeLimitExceeded") {
		t.Errorf("without capacity: exit %d:\n%s", code, out)
	}
	r.calm()
	r.wantDrill(snapset.Untested, "")
}

// What is left of a set that lost a snapshot is tagged failed, instead of an older set proven.
func TestADrillFindsAMissingMember(t *testing.T) {
	t.Parallel()
	r := drillRig(t)
	r.must("run", "verify", "db")
	first := r.drilled()
	r.must("run", "snapshot", "db")
	r.must("run", "snapshot", "db")
	all := r.snapshots()
	slices.SortFunc(all, func(a, b ec2.Snapshot) int { return a.Started.Compare(b.Started) })
	var runs []string
	for i, s := range all { // three of each set
		if i%3 == 0 {
			runs = append(runs, s.Tags[snapset.TagRun])
		}
	}
	lose := func(run string) (left []string) {
		t.Helper()
		for _, s := range r.snapshots() {
			switch {
			case s.Tags[snapset.TagRun] != run:
			case s.Tags["mount_point"] == r.mounts[2]:
				if err := r.client.DeleteSnapshot(t.Context(), s.ID); err != nil {
					t.Fatal(err)
				}
			default:
				left = append(left, s.ID)
			}
		}
		return left
	}
	state := func(run string, want snapset.DrillState) {
		t.Helper()
		for _, s := range r.snapshots() {
			d := snapset.DrillOf(s.Tags, s.Started)
			if s.Tags[snapset.TagRun] == run && (d.State() != want || want.Failed() && d.Reason() != "1 of its 3 snapshots is gone") {
				t.Errorf("%s of run %s is %q (%s), want %q", s.ID, run, d.State(), d.Reason(), want)
			}
		}
	}
	fail := func(args ...string) {
		t.Helper()
		if code, out := r.run(append([]string{"run", "verify", "db"}, args...)...); code != exitFailed || !strings.Contains(out, "1 of its 3 snapshots is gone") {
			t.Errorf("exit %d, want %d:\n%s", code, exitFailed, out)
		}
		r.nothingLeft()
	}
	if left := lose(runs[2]); len(left) != 2 {
		t.Fatalf("left are %v", left)
	}
	fail()
	state(runs[2], snapset.DrillFailed)
	state(runs[1], snapset.Untested) // it is not drilled instead
	if code, out := r.run("check", "db", "--max-verify-age", "8d"); code == 0 || !strings.Contains(out, "1 of its 3 snapshots is gone") {
		t.Errorf("check: exit %d:\n%s", code, out)
	}
	lose(runs[0])
	fail("--set", runs[0])
	state(runs[0], snapset.DrillFailed)
	if first.State() != snapset.Verified {
		t.Errorf("it was %q before", first.State())
	}
	r.must("run", "verify", "db", "--set", runs[1])
	state(runs[1], snapset.Verified)
	r.nothingLeft()
	// One that EC2 cannot describe is no broken one.
	r.setFaults(sandbox.Fault{Action: "DescribeSnapshots", Error: "UnauthorizedOperation"})
	if code, out := r.run("run", "verify", "db", "--set", runs[1]); code == 0 {
		t.Errorf("exit %d:\n%s", code, out)
	}
	r.calm()
	state(runs[1], snapset.Verified)
}

// A drill that is abandoned leaves its volumes attached and mounted, and says so. A clean-up on this instance takes them off, and
// nothing but them: not those of a drill that may go on, nor a volume that only has the tags.
func TestAnAbandonedDrillIsCleanedUp(t *testing.T) {
	t.Parallel()
	r := drillRig(t)
	ctx := context.Background()
	r.drill("touch " + filepath.Join(r.dir, "in") + "\nsleep 1000")
	r.killWhen("probe", func() bool { _, err := os.Stat(filepath.Join(r.dir, "in")); return err == nil }, "run", "verify", "db")
	id := r.only()
	scratch, err := r.client.VolumesByTag(ctx, map[string]string{snapset.TagPurpose: snapset.PurposeVerify})
	if err != nil || len(scratch) != len(r.mounts) {
		t.Fatalf("the drill made %+v, %v", scratch, err)
	}
	if out := r.must("clean", "volumes", "--dry-run"); !strings.Contains(out, "unfinished on this machine") || strings.Contains(out, "unmounted and detached first") {
		t.Errorf("while the drill may be taken down, a clean-up says\n%s", out)
	}
	out := r.must("abandon", id)
	listed, _, _ := strings.Cut(out, "\n\n")
	for _, v := range scratch {
		if want := v.ID + ", a scratch volume of "; !strings.Contains(listed, want) || !strings.Contains(listed, ", attached as "+v.Attachments[0].Device+", mounted") {
			t.Errorf("abandon lists\n%s\nwant %s", listed, v.ID)
		}
	}
	// A backup tool has copied the tags onto a volume of somebody.
	stranger, err := r.openSandbox().AddVolume("/dev/sdz", 1, scratch[0].Tags)
	if err != nil {
		t.Fatal(err)
	}
	dry := r.must("clean", "volumes", "--dry-run")
	for _, v := range scratch {
		if !strings.Contains(dry, v.ID) || !strings.Contains(dry, "left attached as "+v.Attachments[0].Device) {
			t.Errorf("a clean-up would\n%s", dry)
		}
	}
	r.wants(0, "3 deleted", "clean", "volumes")
	if vs, err := r.client.VolumesByTag(ctx, map[string]string{snapset.TagPurpose: snapset.PurposeVerify}); err != nil || len(vs) != 1 || vs[0].ID != stranger || vs[0].State != "in-use" {
		t.Errorf("there are %+v (%v), want only %s, attached", vs, err, stranger)
	} else if err := r.client.DeleteTags(ctx, []string{stranger}, []string{snapset.TagPurpose}); err != nil {
		t.Fatal(err)
	}
	r.nothingLeft()
}

// A drill that is not allowed what it needs is refused before it makes anything, as far as there is something to try the permission
// on. A snapshot that may not clean up afterwards is taken, and says so at once.
func TestADrillWithoutPermissionIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	r := drillRig(t)
	for _, action := range []string{"CreateVolume", "DetachVolume", "DeleteVolume", "CreateTags"} {
		r.setFaults(sandbox.Fault{Action: action, Error: "UnauthorizedOperation"})
		r.quiet(func() { r.wants(exitFailed, "without ec2:"+action, "run", "verify", "db") })
	}
	r.setFaults(sandbox.Fault{Action: "DeleteSnapshot", Error: "UnauthorizedOperation"})
	r.wants(0, "the clean-up after them will fail", "run", "snapshot", "db", "--clean")
	r.calm()
	r.nothingLeft()
	r.must("run", "verify", "db")
}
