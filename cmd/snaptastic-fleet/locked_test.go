package main

import (
	"os"
	"strings"
	"testing"

	"snaptastic-fleet/flow"
)

// The hosts' settings say that sets are locked: control does it once the whole set is labelled, and a lock that is refused is told and takes nothing from the set.
func TestASetOfManyHostsIsLocked(t *testing.T) {
	r := newRig(t, 2, func(r *rig) { r.declared = "  lock {\n    for = \"14d\"\n  }\n" })
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	var got flow.SnapshotResult
	if err := r.fleet(&got, "snapshot", "shards"); err != nil || !got.Labelled || got.Locked != 2 {
		t.Fatalf("%v %+v", err, got)
	}
	faults := r.write("sandbox/faults.json", `{"faults": [{"action": "LockSnapshot", "error": "UnauthorizedOperation", "count": 1}]}`)
	err := r.fleet(&got, "snapshot", "shards")
	if err == nil || !strings.Contains(err.Error(), "not all locked") || !strings.Contains(err.Error(), "ec2:LockSnapshot") || !got.Labelled || got.Locked != 1 {
		t.Errorf("a lock is refused: %v %+v", err, got)
	}
	if n := r.labelledSnapshots(); n != 4 {
		t.Errorf("%d snapshots are labelled", n)
	}
	if err := os.Remove(faults); err != nil {
		t.Fatal(err)
	}
	if out := r.must(r.hosts["h1"], "label", "--set", got.Set); !strings.Contains(out, "2 locked") {
		t.Errorf("asked again: %s", out)
	}
}
