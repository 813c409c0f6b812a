package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"snaptastic-fleet/flow"
)

// Control cleans once for all hosts, by its own rules: a set goes from all of them or from none.
func TestAFleetIsCleanedOnce(t *testing.T) {
	r := newRig(t, 3)
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	r.controlCopies("  keep {\n    last = 2\n  }\n")
	for _, set := range []string{"set-1", "set-2", "set-3", "set-4"} {
		r.takeSet(set, 3, "h1", "h2", "h3")
	}
	r.takeSet("set-5", 4, "h1", "h2", "h3") // it is being made: a part is missing

	// Two at once: one joins the other, or finds nothing more to do.
	var first, second flow.SetResult
	r.write("sandbox/faults.json", `{"faults": [{"action": "DeleteSnapshot", "latency": "300ms"}]}`)
	ended := r.begun(&first, "clean", "shards")
	r.eventually("the first has deleted a snapshot", func() bool { return len(r.called("DeleteSnapshot")) > 0 })
	if err := r.fleet(&second, "clean", "shards"); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	slices.Sort(first.DeletedSets)
	if strings.Join(first.DeletedSets, " ") != "set-1 set-2" || len(first.Deleted) != 0 || len(second.DeletedSets) != 2 {
		t.Errorf("%+v %+v", first, second)
	}
	if n := len(r.called("DeleteSnapshot")); n != 6 {
		t.Errorf("%d snapshots were deleted", n)
	}
	if n := r.labelledSnapshots(); n != 6 {
		t.Errorf("%d snapshots can be restored", n)
	}
	if n := r.unlabelled("set-5"); n != 3 {
		t.Errorf("%d snapshots are there of the set that is being made", n)
	}
	for _, n := range sortedNames(r.hosts) {
		if out := r.must(r.hosts[n], "runs", "-o", "json"); strings.Contains(out, `"clean`) {
			t.Errorf("%s cleaned: %s", n, out)
		}
	}

	// In words, and with nothing left to do.
	if err := os.Remove(r.dir + "/sandbox/faults.json"); err != nil {
		t.Fatal(err)
	}
	bin, _ := programs()
	p := r.spawn(bin.fleet, "clean", "shards", "--config", r.dir+"/fleet.hcl")
	<-p.end
	if out := p.out.String(); out != "0 sets and 0 other snapshots deleted\n" {
		t.Error(out)
	}
	r.takeSet("set-6", 3, "h1", "h2", "h3")
	p = r.spawn(bin.fleet, "clean", "shards", "--config", r.dir+"/fleet.hcl")
	<-p.end
	if out := p.out.String(); out != "1 set and 0 other snapshots deleted\n" {
		t.Error(out)
	}
	var got flow.HostsResult
	if err := r.fleet(&got, "restore", "shards", "--set", "set-4"); err != nil || got.Done != 3 {
		t.Errorf("what was kept: %v %+v", err, got)
	}
}
