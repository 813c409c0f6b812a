package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
)

// A mount failed after its volume was mounted (its hook did), and somebody
// works on the volume. Mounting again with other settings, under this boot or
// the next, must adopt it: taking it off would bring back an older state, or
// none, over what was written.
func TestAChangedPlanLeavesAMountedVolumeWhereItIs(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]func(*rig){
		"the same boot": func(*rig) {},
		"the next boot": func(r *rig) { r.must("sandbox", "reboot") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2, "ext4")
			before := "snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n" + r.volume(0, "ext4")
			r.declare(before + "  hook \"post_mount\" {\n    command = [\"false\"]\n  }\n}\n")
			if code, out := r.run("run", "mount", "db"); code != 1 {
				t.Fatalf("exit %d, want 1:\n%s", code, out)
			}
			data := filepath.Join(r.mounts[0], "data")
			if err := os.WriteFile(data, []byte("weeks of work"), 0o600); err != nil {
				t.Fatal(err)
			}
			made := r.volumes()[r.mounts[0]].ID
			failed := r.unfinished()

			between(r)
			r.declare(before + r.volume(1, "ext4") + "}\n")
			out := r.must("run", "mount", "db")

			if b, err := os.ReadFile(data); err != nil || string(b) != "weeks of work" {
				t.Errorf("what was written is not there: %q, %v\n%s", b, err, out)
			}
			now := r.volumes()
			if len(now) != 2 || now[r.mounts[0]].ID != made || now[r.mounts[0]].Tags["snaptastic:detached"] != "" {
				t.Errorf("volumes are %v, want %s and one more", now, made)
			}
			if did := count(r.calls()); did["DetachVolume"] != 0 || did["CreateVolume"] != 2 {
				t.Errorf("calls: %v", did)
			}
			if left := r.unfinished(); len(left) != 0 {
				t.Errorf("unfinished: %v", left)
			}
			if show := r.must("show", failed[0]); !strings.Contains(show, "abandoned") {
				t.Errorf("the older run does not say what became of it:\n%s", show)
			}
		})
	}
}

// One lane failed and has to be undone for a changed plan, but that fails as
// well. What goes on with the undoing later, a boot's resume, must keep to that
// lane: the other one's volume is in use.
func TestAnUndoingOfOneLaneNeverSpreadsToTheOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	before := "snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n" + r.volume(0, "ext4")
	r.declare(before + strings.Replace(r.volume(1, "ext4"), "size = 1", "size = 1\n    mkfs_options = \"-b 7\"", 1) + "}\n")
	if code, out := r.run("run", "mount", "db"); code != 3 {
		t.Fatalf("exit %d, want 3:\n%s", code, out)
	}
	data := filepath.Join(r.mounts[0], "data")
	if err := os.WriteFile(data, []byte("weeks of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	made := r.volumes()
	good, bad := made[r.mounts[0]].ID, made[r.mounts[1]].ID
	failed := r.unfinished()[0]

	r.setFaults(sandbox.Fault{Action: "DeleteVolume", Error: "UnauthorizedOperation"})
	r.declare(before + r.volume(1, "ext4") + "}\n")
	if code, out := r.run("run", "mount", "db"); code != 1 || !strings.Contains(out, "cannot undo run "+failed) {
		t.Errorf("exit %d, want 1 and that it cannot undo %s:\n%s", code, failed, out)
	}
	r.calm()
	out := r.must("resume")
	if b, err := os.ReadFile(data); err != nil || string(b) != "weeks of work" {
		t.Errorf("what was written is not there: %q, %v\n%s", b, err, out)
	}
	for _, c := range r.calls() {
		if (c.Action == "DetachVolume" || c.Action == "DeleteVolume") && c.Params["VolumeId"] != bad {
			t.Errorf("%s of %v; only %s was to be undone", c.Action, c.Params, bad)
		}
	}
	r.must("run", "mount", "db")
	now := r.volumes()
	if len(now) != 2 || now[r.mounts[0]].ID != good || now[r.mounts[1]].ID == bad || len(r.mounted()) != 2 {
		t.Errorf("volumes are %v, mounted %v", now, r.mounted())
	}
}
