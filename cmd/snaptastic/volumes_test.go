package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"snaptastic/cmd/internal/engine"
)

// TestVolumesReportsProblems takes three volumes through all that can be amiss.
func TestVolumesReportsProblems(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "ext4")
	look := func() (views []engine.VolumeView) {
		t.Helper()
		before := count(r.calls())["DescribeVolumes"]
		code, out, errs := r.apart(r.command("volumes", "db", "-o", "json"))
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, errs)
		}
		if err := json.Unmarshal([]byte(out), &views); err != nil || len(views) != 3 {
			t.Fatalf("%v: %s", err, out)
		}
		if n := count(r.calls())["DescribeVolumes"] - before; n != 1 {
			t.Errorf("%d calls of DescribeVolumes for all volumes", n)
		}
		return views
	}
	wrong := func(v engine.VolumeView) string { return strings.Join(v.Problems, "; ") }

	for _, v := range look() {
		if wrong(v) != "not attached" || v.Attached != nil || v.Mounted != nil {
			t.Errorf("before the mount: %+v", v)
		}
	}
	r.must("run", "mount", "db")
	for i, v := range look() {
		if wrong(v) != "" || v.Mounted == nil || v.Mounted.At != r.mounts[i] || v.Mounted.FileSystem != "ext4" || v.Mounted.Total == 0 || v.Mounted.Used >= v.Mounted.Total ||
			v.Attached.Attachment != "attached" || v.Attached.Size != 1 || !v.Attached.DeleteOnTermination {
			t.Errorf("mounted: %+v %+v %+v", v, v.Attached, v.Mounted)
		}
	}
	out := r.must("list-volumes", "db") // the original's spelling
	for _, want := range []string{"1 GiB gp3", "attached", r.mounts[0]} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q:\n%s", want, out)
		}
	}

	// The first is unmounted behind our back, the second moved; of the third the settings say something else.
	node := r.node(r.volumes()[r.mounts[1]].ID)
	elsewhere := filepath.Join(r.dir, "elsewhere")
	shell(t, "umount", r.mounts[0])
	shell(t, "umount", r.mounts[1])
	shell(t, "mkdir", elsewhere)
	shell(t, "mount", node, elsewhere)
	t.Cleanup(func() { _ = exec.Command("umount", elsewhere).Run() })
	r.declare("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n" + r.volume(0, "ext4") + r.volume(1, "ext4") +
		strings.Replace(strings.Replace(r.volume(2, "xfs"), "size = 1", "size = 2", 1), "mount_point", "delete_on_termination = false\n    mount_point", 1) + "}\n")
	views := look()
	want := []string{"not mounted", "mounted elsewhere", "ext4, declared xfs; 1 GiB, declared 2; delete on termination is yes, declared no"}
	if got := []string{wrong(views[0]), wrong(views[1]), wrong(views[2])}; !slices.Equal(got, want) {
		t.Errorf("wrong are %q, want %q", got, want)
	}
	if views[1].Mounted == nil || views[1].Mounted.At != elsewhere {
		t.Errorf("the moved one is mounted at %+v", views[1].Mounted)
	}

	// Something else is at the mount point.
	shell(t, "mount", "-t", "tmpfs", "strange", r.mounts[0])
	t.Cleanup(func() { _ = exec.Command("umount", r.mounts[0]).Run() })
	if got := wrong(look()[0]); got != "not mounted: strange is mounted there" {
		t.Errorf("with another file system there: %q", got)
	}

	own := []string{views[0].Attached.VolumeID, views[1].Attached.VolumeID}

	// A stranger's volume has the name, and ours another one.
	shell(t, "umount", r.mounts[0])
	shell(t, "umount", elsewhere)
	shell(t, "mount", node, r.mounts[1])
	if _, err := r.openSandbox().AddVolume("/dev/sdz", 1, nil); err != nil {
		t.Fatal(err)
	}
	r.declare("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n" + strings.Replace(r.volume(0, "ext4"), "/dev/sdf", "/dev/sdz", 1) +
		strings.Replace(r.volume(1, "ext4"), "/dev/sdg", "/dev/sdy", 1) + r.volume(2, "ext4") + "}\n")
	views = look()
	if got, want := wrong(views[0]), fmt.Sprintf("tags do not match: role is missing, want \"db\", mount_point is missing, want %q; its volume %s is attached as /dev/sdf; not mounted; delete on termination is no, declared yes", r.mounts[0], own[0]); got != want {
		t.Errorf("an unexpected volume: %q, want %q", got, want)
	}
	if got := wrong(views[1]); got != "its volume "+own[1]+" is attached as /dev/sdg" || views[1].Mounted == nil {
		t.Errorf("ours under another name: %q", got)
	}
}

func shell(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
