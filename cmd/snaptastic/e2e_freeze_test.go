package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
	"snaptastic/linux/guard"
)

// The snapshots of a group are of one moment, made by one call, labelled as
// one set, and restore together.
func TestAGroupIsOneSetOfOneMoment(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "ext4")
	r.must("run", "mount", "db")
	out := r.must("run", "snapshot", "db", "--wait")
	snaps := r.snapshots()
	if len(snaps) != 3 || count(r.calls())["CreateSnapshots"] != 1 {
		t.Fatalf("%d snapshots\n%s", len(snaps), out)
	}
	points := map[string]bool{}
	for _, s := range snaps {
		for tag, want := range map[string]string{"snaptastic:run": snaps[0].Tags["snaptastic:run"], "snaptastic:members": "3", "snaptastic:state": "consistent", "role": "db"} {
			if s.Tags[tag] != want || want == "" {
				t.Errorf("%s has %s = %q, want %q", s.ID, tag, s.Tags[tag], want)
			}
		}
		if !s.Started.Equal(snaps[0].Started) {
			t.Errorf("%s is of %s, another of %s", s.ID, s.Started, snaps[0].Started)
		}
		points[s.Tags["mount_point"]] = true
		if s.State != "completed" {
			t.Errorf("%s is %s after --wait", s.ID, s.State)
		}
	}
	if len(points) != 3 {
		t.Errorf("mount points %v", points)
	}
	r.lose()
	r.must("run", "mount", "db")
	for m, v := range r.volumes() {
		if v.SnapshotID == "" {
			t.Errorf("%s was made empty", m)
		}
	}
}

// Where a freeze fails there is no snapshot, and nothing that this program
// froze stays frozen; what somebody else froze is left to him.
func TestAFreezeThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "ext4")
	r.must("run", "mount", "db")
	tool(t, "fsfreeze", "-f", r.mounts[1])
	t.Cleanup(func() { _ = guard.ThawMount(r.mounts[1]) })
	code, out := r.run("run", "snapshot", "db")
	plain(t, out)
	if code != exitFailed || !strings.Contains(out, r.mounts[1]) || !strings.Contains(out, "frozen") {
		t.Errorf("exit %d\n%s", code, out)
	}
	r.writable(r.mounts[0])
	r.writable(r.mounts[2])
	if !isFrozen(r.mounts[1]) {
		t.Error("what somebody else had frozen was thawed")
	}
	tool(t, "fsfreeze", "-u", r.mounts[1])
	if n := len(r.snapshots()); n != 0 {
		t.Errorf("%d snapshots are left", n)
	}
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
	r.must("run", "snapshot", "db")
	r.restorable(3)
}

// restorable wants so many snapshots, all of them restorable.
func (r *rig) restorable(want int) {
	r.t.Helper()
	snaps := r.snapshots()
	for _, s := range snaps {
		if s.Tags["snaptastic:state"] != "consistent" {
			r.t.Errorf("%s is %q", s.ID, s.Tags["snaptastic:state"])
		}
	}
	if len(snaps) != want {
		r.t.Errorf("%d snapshots, want %d", len(snaps), want)
	}
}

// A call that fails, or lasts longer than the hold may, or whose answer is
// lost: everything is thawed, and no snapshot stays that is not of one moment.
func TestASnapshotCallThatGoesWrongLeavesNothingDoubtful(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		fault   sandbox.Fault
		code    int
		snaps   int
		message string
	}{
		{"refused", sandbox.Fault{Action: "CreateSnapshots", Error: "SnapshotLimitExceeded"}, exitFailed, 0, "SnapshotLimitExceeded"},
		{"too slow", sandbox.Fault{Action: "CreateSnapshots", Hang: 4 * time.Second, When: "after"}, exitFailed, 0, "hold"},
		{"answer lost", sandbox.Fault{Action: "CreateSnapshots", Reset: "after", Count: 1}, exitDone, 2, ""},
		{"connection lost", sandbox.Fault{Action: "CreateSnapshots", Reset: "before", Count: 1}, exitDone, 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // a section is tried again after 15 s
			r := newRig(t, 2, "ext4")
			r.declare("snapshotter \"db\" {\n filter_tags = { role = \"db\" }\n max_hold = \"2s\"\n" + r.volume(0, "ext4") + r.volume(1, "ext4") + "}\n")
			r.must("run", "mount", "db")
			if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{}, tt.fault); err != nil {
				t.Fatal(err)
			}
			code, out := r.run("run", "snapshot", "db")
			plain(t, out)
			if code != tt.code || !strings.Contains(out, tt.message) {
				t.Errorf("exit %d, want %d and %q\n%s", code, tt.code, tt.message, out)
			}
			for _, m := range r.mounts {
				r.writable(m)
			}
			r.restorable(tt.snaps)
			if left := r.unfinished(); len(left) > 0 {
				t.Errorf("unfinished: %v\n%s", left, out)
			}
		})
	}
}

// Unmounted while frozen, a file system stays frozen on a device that nobody can name or thaw.
func TestAFileSystemFrozenByAnotherProcessIsNotUnmounted(t *testing.T) {
	t.Parallel()
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			r := newRig(t, 1, fs)
			r.must("run", "mount", "db")
			tool(t, "fsfreeze", "-f", r.mounts[0])
			t.Cleanup(func() { _ = guard.ThawMount(r.mounts[0]) })
			code, out := r.run("run", "unmount", "db")
			plain(t, out)
			if code == exitDone || !strings.Contains(out, "the file system is frozen") || !strings.Contains(out, "snaptastic thaw "+r.mounts[0]) {
				t.Errorf("exit %d\n%s", code, out)
			}
			if len(r.mounted()) != 1 || !isFrozen(r.mounts[0]) {
				t.Errorf("mounted %v, frozen %v", r.mounted(), isFrozen(r.mounts[0]))
			}
			r.must("thaw", r.mounts[0])
			if left := r.unfinished(); len(left) > 0 {
				r.must("resume", left[0])
			} else {
				r.must("run", "unmount", "db")
			}
			if len(r.mounted()) != 0 {
				t.Errorf("mounted %v", r.mounted())
			}
		})
	}
}

// Of a group, none is unmounted when one of them is frozen.
func TestAGroupOfWhichOneIsFrozenIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "ext4")
	r.must("run", "mount", "db")
	frozen := r.mounts[2] // the one that would come last
	tool(t, "fsfreeze", "-f", frozen)
	t.Cleanup(func() { _ = guard.ThawMount(frozen) })
	before := len(r.calls())
	code, out := r.run("run", "unmount", "db")
	if code == exitDone || !strings.Contains(out, "snaptastic thaw "+frozen) {
		t.Errorf("exit %d\n%s", code, out)
	}
	if len(r.mounted()) != 3 || !isFrozen(frozen) || strings.Contains(out, "mounted again") {
		t.Errorf("mounted %v, frozen %v\n%s", r.mounted(), isFrozen(frozen), out)
	}
	if did := mutating(r.calls()[before:]); len(did) > 0 {
		t.Errorf("it made %v", did)
	}
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished runs %v", left)
	}
	r.must("thaw", frozen)
	r.must("run", "unmount", "db")
}

// A volume that somebody mounted elsewhere and froze there: the same file system at its own mount point would hang whoever writes.
func TestAFileSystemFrozenElsewhereIsNotMounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	var node string
	for _, v := range r.volumes() {
		node = r.node(v.ID)
	}
	other := t.TempDir()
	tool(t, "mount", node, other)
	t.Cleanup(func() { _ = guard.ThawMount(other); _ = syscall.Unmount(other, 0) })
	tool(t, "umount", r.mounts[0])
	tool(t, "fsfreeze", "-f", other)
	code, out := r.run("run", "mount", "db")
	if code == exitDone || !strings.Contains(out, "the file system is frozen") || !strings.Contains(out, "snaptastic thaw "+other) || len(r.mounted()) != 0 {
		t.Errorf("exit %d, mounted %v\n%s", code, r.mounted(), out)
	}
	r.must("thaw", other)
	r.must("run", "mount", "db")
	r.writable(r.mounts[0])
}

// A volume that is mounted read-only, by an operator or by the kernel after an error, is snapshotted as it is, and that is said
// wherever somebody looks.
func TestAReadOnlyMountIsReported(t *testing.T) {
	t.Parallel()
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			r := newRig(t, 1, fs)
			r.must("run", "mount", "db")
			tool(t, "mount", "-o", "remount,ro", r.mounts[0])
			for _, args := range [][]string{{"plan", "snapshot", "db"}, {"plan", "snapshot", "db", "-o", "json"}, {"volumes", "db"}, {"run", "snapshot", "db"}} {
				if out := r.must(append([]string{"--log-level", "error"}, args...)...); !strings.Contains(out, "mounted read-only") {
					t.Errorf("%v does not say it:\n%s", args, out)
				}
			}
			r.restorable(1)
			if out := r.must("volumes", "db", "-o", "json"); !strings.Contains(out, `"read_only": true`) {
				t.Errorf("JSON does not say it:\n%s", out)
			}
			tool(t, "mount", "-o", "remount,rw", r.mounts[0])
			for _, args := range [][]string{{"plan", "snapshot", "db"}, {"volumes", "db"}} {
				if out := r.must(args...); strings.Contains(out, "read-only") {
					t.Errorf("%v says it of one that is not:\n%s", args, out)
				}
			}
		})
	}
}
