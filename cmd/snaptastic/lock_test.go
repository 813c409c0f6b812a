package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
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

// A part of a larger set may have to be deleted: nothing locks it before the whole of it is labelled.
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

// Whoever labels a larger set locks it, as each host's settings say, and may be asked again.
func TestALargerSetIsLockedOnceItIsLabelled(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	plain, err := os.ReadFile(r.settings)
	if err != nil {
		t.Fatal(err)
	}
	r.must("run", "mount", "db")
	r.snapshotPart("set-1", 6, "--key", "one") // a host that locks nothing
	r.withSettings("  lock {\n    for = \"14d\"\n  }\n")
	r.restrict(false)
	r.snapshotPart("set-1", 6, "--key", "two")
	if err := os.WriteFile(r.settings, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	r.withSettings("  lock {\n    mode     = \"compliance\"\n    for      = \"30d\"\n    cool_off = \"24h\"\n  }\n")
	r.snapshotPart("set-1", 6, "--key", "three")
	if locks := r.locks(); len(locks) != 0 {
		t.Errorf("locked are %v", locks)
	}
	label := func() (code int, l engine.LabelledSet, stderr string) {
		t.Helper()
		code, out, stderr := r.apart(r.command("label", "--set", "set-1", "-o", "json"))
		if err := json.Unmarshal([]byte(out), &l); err != nil {
			t.Fatalf("%v\n%s%s", err, out, stderr)
		}
		return code, l, stderr
	}
	r.setFaults(sandbox.Fault{Action: "LockSnapshot", Count: 1, Error: "UnauthorizedOperation"})
	code, l, stderr := label()
	if code != exitSomeLanes || l.Already || len(l.Snapshots) != 6 || len(l.Locked) != 3 || !strings.Contains(l.LockError, "ec2:LockSnapshot") ||
		!strings.Contains(stderr, "set set-1 is labelled and can be restored, but not all locked") || !strings.Contains(stderr, "label --set set-1") {
		t.Errorf("exit %d %+v\n%s", code, l, stderr)
	}
	r.restorable(6)
	r.setFaults()
	if code, l, _ := label(); code != 0 || !l.Already || len(l.Locked) != 4 || l.LockError != "" || time.Until(l.LockedUntil).Round(time.Hour) != 14*24*time.Hour {
		t.Errorf("again: exit %d %+v", code, l)
	}
	states := map[string]int{}
	for _, lock := range r.locks() {
		states[fmt.Sprint(lock.State, " ", lock.Days)]++
	}
	if fmt.Sprint(states) != "map[compliance-cooloff 30:2 governance 14:2]" {
		t.Errorf("%v", states)
	}
	before := count(r.calls())["LockSnapshot"]
	if out := r.must("label", "--set", "set-1"); !strings.Contains(out, "already (6 snapshots, 4 locked)") || count(r.calls())["LockSnapshot"] != before {
		t.Errorf("once more: %s", out)
	}

	// Anybody who may tag could have written the tag: what is no lock of ours locks nothing.
	r.snapshotPart("set-2", 2)
	for _, s := range r.snapshots() {
		if s.Tags["snaptastic:larger-set"] == "set-2" {
			if err := r.client.CreateTags(t.Context(), []string{s.ID}, map[string]string{"snaptastic:lock": "compliance 36500d 1h; or so"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if code, out := r.run("label", "--set", "set-2"); code != exitSomeLanes || !strings.Contains(out, "expected something like") || len(r.locks()) != 4 {
		t.Errorf("exit %d, %d locks\n%s", code, len(r.locks()), out)
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
