package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// part are the flags of a part of a larger set.
func part(set string, members int) []string {
	return []string{"--set", set, "--members", fmt.Sprint(members), "--defer-label"}
}

func (r *rig) snapshotPart(set string, members int, more ...string) {
	r.t.Helper()
	r.must(append(append([]string{"run", "snapshot", "db"}, part(set, members)...), more...)...)
}

// A set of two hosts is nobody's to restore until the whole of it is labelled, which is one call.
func TestALargerSetIsLabelledAsAWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	r.mark("before")
	r.must("run", "snapshot", "db")
	r.mark("part")
	time.Sleep(16 * time.Millisecond)
	r.snapshotPart("set-1", 4, "--key", "one")
	for _, s := range r.snapshots() {
		if s.Tags["snaptastic:larger-set"] == "" {
			continue
		}
		if s.Tags["snaptastic:state"] != "unverified" || s.Tags["role"] != "db" || s.Tags["mount_point"] == "" || s.Tags["created"] != "" || s.Tags["snaptastic:larger-members"] != "4" {
			t.Errorf("%s has %v", s.ID, s.Tags)
		}
	}
	code, out := r.run("label", "--set", "set-1")
	if code != exitFailed || !strings.Contains(out, "2 of its 4 snapshots") {
		t.Errorf("exit %d\n%s", code, out)
	}
	looked := func() (l engine.LabelledSet) {
		t.Helper()
		code, out, stderr := r.apart(r.command("label", "--set", "set-1", "--dry-run", "-o", "json"))
		if err := json.Unmarshal([]byte(out), &l); code != 0 || err != nil {
			t.Fatalf("exit %d, %v\n%s%s", code, err, out, stderr)
		}
		return l
	}
	if l := looked(); l.Members != 4 || len(l.Snapshots) != 0 || l.Already || len(l.Parts) != 2 || l.Parts[0].Labelled || l.Parts[0].Tags["role"] != "db" || l.Parts[0].Tags["snaptastic:state"] != "" {
		t.Errorf("a half of it is there: %+v", l)
	}
	r.wants(exitSomeLanes, "snaptastic label --set set-1", "plan", "restore", "db", "--set", "set-1")
	before := count(r.calls())["CreateTags"]   // a look has not labelled anything
	r.snapshotPart("set-1", 4, "--key", "two") // the part of another host, as far as EC2 can tell
	tags := count(r.calls())["CreateTags"]
	if tags-before != 2 {
		t.Errorf("%d calls to tag a part of two", tags-before)
	}
	code, out, stderr := r.apart(r.command("label", "--set", "set-1", "-o", "json"))
	var l struct {
		Members   int
		Snapshots []string
		Already   bool
	}
	if err := json.Unmarshal([]byte(out), &l); code != 0 || err != nil || l.Members != 4 || len(l.Snapshots) != 4 || l.Already {
		t.Fatalf("exit %d, %v\n%s%s", code, err, out, stderr)
	}
	if n := count(r.calls())["CreateTags"] - tags; n != 1 {
		t.Errorf("%d calls to label it", n)
	}
	if out := r.must("label", "--set", "set-1"); !strings.Contains(out, "already") {
		t.Error(out)
	}
	if l := looked(); !l.Already || len(l.Snapshots) != 4 || len(l.Parts) != 4 || !l.Parts[3].Labelled {
		t.Errorf("it is labelled: %+v", l)
	}
	r.restorable(6)
	for _, s := range r.snapshots() {
		if s.Tags["created"] == "" {
			t.Errorf("%s does not say when it was made", s.ID)
		}
	}
	r.quiet(func() {
		if code, out := r.run("undo", "--set", "set-1"); code != exitFailed || !strings.Contains(out, "labelled") {
			t.Errorf("exit %d\n%s", code, out)
		}
		if _, out := r.run("undo", "--set", "set-1", "-o", "json"); strings.Count(out, `"labelled": true`) != 4 {
			t.Error(out)
		}
	})
	r.lose()
	r.must("run", "mount", "db")
	if got := r.marks(); got != "part part" {
		t.Errorf("restored is %q", got)
	}
}

// What belongs to a set or to a key is deleted from anywhere, as long as it is not labelled.
func TestUndoByTags(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--key", "labelled")
	r.snapshotPart("set-1", 4, "--key", "one")
	r.snapshotPart("set-1", 4, "--key", "two")
	r.snapshotPart("set-2", 2, "--key", "three")
	of := func(tag, value string) (ids []string) {
		for _, s := range r.snapshots() {
			if s.Tags[tag] == value {
				ids = append(ids, s.ID)
			}
		}
		return ids
	}
	// A copy takes tags along, and is its maker's.
	original := r.snapshots()[slices.IndexFunc(r.snapshots(), func(s ec2.Snapshot) bool { return s.Tags["snaptastic:key"] == "one" })]
	copied, err := r.client.CreateSnapshot(context.Background(), ec2.CreateSnapshotRequest{VolumeID: original.VolumeID, Tags: original.Tags,
		Description: "[Copied " + original.ID + " from us-east-1]"})
	if err != nil {
		t.Fatal(err)
	}
	r.quiet(func() {
		if out := r.must("undo", "--key", "one", "--dry-run"); strings.Count(out, "would delete") != 2 {
			t.Error(out)
		}
		for _, args := range [][]string{{"undo"}, {"undo", "--key", "a b"}, {"undo", "--set", "a/b"}, {"undo", "--key", "a", "--set", "b"}, {"label"}} {
			if code, out := r.run(args...); code != exitUsage {
				t.Errorf("%v: exit %d\n%s", args, code, out)
			}
		}
	})
	elsewhere := r.command("undo", "--key", "one")
	elsewhere.Args[slices.Index(elsewhere.Args, r.state())] = r.state() + "-of-another-host"
	if code, out, stderr := r.apart(elsewhere); code != 0 || strings.Count(out, "deleted") != 2 {
		t.Errorf("exit %d\n%s%s", code, out, stderr)
	}
	if got := of("snaptastic:key", "one"); len(got) != 1 || got[0] != copied.ID {
		t.Errorf("left are %v", got)
	}
	r.must("undo", "--set", "set-1")
	r.must("undo", "--set", "set-1")
	if n := len(of("snaptastic:larger-set", "set-1")); n != 1 {
		t.Errorf("%d are left of the set", n)
	}
	if code, out := r.run("undo", "--key", "labelled"); code != exitFailed || !strings.Contains(out, "kept") {
		t.Errorf("exit %d\n%s", code, out)
	}
	// What is labelled while the question is open is not deleted.
	code, out := r.askedThen(func() { r.must("label", "--set", "set-2") }, "y\n", "undo", "--set", "set-2")
	if code != exitFailed || !strings.Contains(out, "it is labelled and can be restored") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, out := r.run("label", "--set", "set-3"); code != exitFailed || strings.Contains(out, "undo") {
		t.Errorf("a set that does not exist: exit %d\n%s", code, out)
	}
	if len(of("snaptastic:larger-set", "set-2")) != 2 || len(of("snaptastic:key", "labelled")) != 2 {
		t.Error("another set was deleted")
	}
}

// A host that fails after its part was made deletes it: nobody labels half a set.
func TestAPartWhoseHookFailsIsDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.declare("snapshotter \"db\" {\n filter_tags = { role = \"db\" }\n" + r.volume(0, "ext4") + "hook \"post_snapshots\" { command = [\"false\"] }\n}\n")
	r.must("run", "mount", "db")
	if code, out := r.run(append([]string{"run", "snapshot", "db"}, part("set-1", 1)...)...); code != exitFailed {
		t.Errorf("exit %d\n%s", code, out)
	}
	r.restorable(0)
}

// Killed after its part was tagged and before it could say so: the key says so.
func TestAPartIsMadeOnceThoughItsProcessIsKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{}, sandbox.Fault{Action: "CreateTags", Hang: 10 * time.Second, When: "after"}); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"run", "snapshot", "db", "--key", "K"}, part("set-1", 2)...)
	r.killInStep("tag-snapshots", args...)
	r.calm()
	r.must(args...)
	if n := count(r.calls())["CreateSnapshots"]; n != 1 {
		t.Errorf("%d calls", n)
	}
	r.must("label", "--set", "set-1")
	r.restorable(2)
}

func TestPartsAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	r.quiet(func() {
		for _, args := range [][]string{{"--set", "s"}, {"--defer-label"}, {"--members", "3"}, {"--set", "s", "--members", "3"}, part("a/b", 2), part("s", 0), part("s", 1), part("s", 1001), append(part("s", 2), "--clean")} {
			if code, out := r.run(append([]string{"run", "snapshot", "db"}, args...)...); code != exitUsage {
				t.Errorf("%v: exit %d\n%s", args, code, out)
			}
		}
	})
}
