package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// withSettings adds lines to the snapshotter of the rig.
func (r *rig) withSettings(lines string) {
	r.t.Helper()
	text, err := os.ReadFile(r.settings)
	if err == nil {
		err = os.WriteFile(r.settings, []byte(strings.TrimSuffix(string(text), "}\n")+lines+"}\n"), 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) locks() map[string]ec2.Lock {
	r.t.Helper()
	locks, err := r.client.LockedSnapshots(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return locks
}

// A part of a larger set is not labelled, and may have to be deleted: nothing locks it.
func TestAPartIsNotLocked(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.withSettings("  lock {\n    for = \"14d\"\n  }\n")
	r.must("run", "mount", "db")
	r.snapshotPart("set-1", 3)
	if locks := r.locks(); len(locks) != 0 {
		t.Errorf("locked are %v", locks)
	}
	r.must("undo", "--set", "set-1")
	if left := r.snapshots(); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}

// A set is locked once it is labelled, and nothing deletes it before its time.
func TestALockedSetStays(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.withSettings("  keep {\n    last = 1\n  }\n  lock {\n    for = \"14d\"\n  }\n")
	r.restrict(false)
	r.must("run", "mount", "db")
	if out := r.must("plan", "snapshot", "db"); !strings.Contains(out, "lock it (governance) for 14 days") {
		t.Errorf("the plan says nothing of the lock:\n%s", out)
	}
	out := r.must("run", "snapshot", "db")
	if !strings.Contains(out, "locked (governance) for 14 days, until ") {
		t.Errorf("the run says nothing of the lock:\n%s", out)
	}
	if shown := r.must("show", r.lastOf("snapshot")); !strings.Contains(shown, "locked (governance) for 14 days, until ") {
		t.Errorf("show says nothing of the lock:\n%s", shown)
	}
	first := r.locks()
	if len(first) != 2 {
		t.Fatalf("locked are %v", first)
	}
	if out := r.must("run", "snapshot", "db", "--clean"); strings.Contains(out, "deleted 1 set") {
		t.Errorf("a locked set was deleted:\n%s", out)
	}
	r.must("run", "snapshot", "db")
	out = r.must("clean", "snapshots", "db", "--yes")
	if !strings.Contains(out, "locked (governance) until ") {
		t.Errorf("clean does not say until when:\n%s", out)
	}
	if n := len(r.snapshots()); n != 6 || len(r.locks()) != 6 {
		t.Errorf("%d snapshots and %d locks are left", n, len(r.locks()))
	}
	for _, c := range r.calls() {
		if c.Action == "DeleteSnapshot" && c.Params["DryRun"] != "true" {
			t.Errorf("DeleteSnapshot was called for %v: %s", c.Params, c.Result)
		}
	}
	// What has no lock goes as before, whole sets with a locked member do not.
	w := r.openSandbox()
	unlock := func(id string) {
		t.Helper()
		if err := w.EditSnapshot(id, func(s *sandbox.Snapshot) { s.Lock = nil }); err != nil {
			t.Fatal(err)
		}
	}
	ids := make([]string, 0, 2)
	for id := range first {
		ids = append(ids, id)
	}
	unlock(ids[0])
	r.must("clean", "snapshots", "db", "--yes")
	if n := len(r.snapshots()); n != 6 {
		t.Errorf("half a set was deleted: %d snapshots are left", n)
	}
	unlock(ids[1])
	r.must("clean", "snapshots", "db", "--yes")
	if n := len(r.snapshots()); n != 4 {
		t.Errorf("a set that is not locked any more stays: %d snapshots are left", n)
	}
}

// A lock that EC2 refuses takes nothing from the set, and monitoring hears of it.
func TestALockThatIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.withSettings("  lock {\n    mode     = \"compliance\"\n    for      = \"30d\"\n    cool_off = \"24h\"\n  }\n")
	r.must("run", "mount", "db")
	if out := r.must("plan", "snapshot", "db"); !strings.Contains(out, "WARNING: after 24 hours nobody can unlock or delete it") {
		t.Errorf("the plan does not warn:\n%s", out)
	}
	r.setFaults(sandbox.Fault{Action: "LockSnapshot", Count: 1, Error: "UnauthorizedOperation"})
	code, out := r.run("run", "snapshot", "db")
	if code != exitSomeLanes || !strings.Contains(out, "not all locked") || !strings.Contains(out, "allow ec2:LockSnapshot") && !strings.Contains(out, "UnauthorizedOperation") {
		t.Errorf("exit %d\n%s", code, out)
	}
	snapshots := r.snapshots()
	if len(snapshots) != 2 || len(r.locks()) != 1 {
		t.Errorf("%d snapshots, %d locks", len(snapshots), len(r.locks()))
	}
	for _, s := range snapshots {
		if s.Tags["snaptastic:state"] != "consistent" {
			t.Errorf("%s is not labelled: %v", s.ID, s.Tags)
		}
	}
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
	if shown := r.must("show", r.lastOf("snapshot")); !strings.Contains(shown, "lock-snapshots") {
		t.Errorf("show does not name the lock:\n%s", shown)
	}
	r.setFaults()
	out = r.must("run", "snapshot", "db")
	if !strings.Contains(out, "locked (compliance-cooloff) for 30 days") || !strings.Contains(out, "nobody can unlock or delete these snapshots from "+time.Now().Add(24*time.Hour).UTC().Format("2006-01-02")) {
		t.Errorf("the next run:\n%s", out)
	}
}
