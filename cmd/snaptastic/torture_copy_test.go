package main

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
)

// TestTortureOfCopies kills copies at random moments, and their recovery now and then: each time whole labelled sets are there in the
// end, each member copied once and nothing besides. SNAPTASTIC_TORTURE sets how many kills; without it a short form runs.
func TestTortureOfCopies(t *testing.T) {
	t.Parallel()
	kills := tortureKills(t, 6)
	for _, tt := range []struct {
		name   string
		kills  int
		faults string
		lag    time.Duration
	}{
		{name: "kills", kills: kills, faults: `{"latency": {"copy": "300ms"}}`},
		{name: "kills and faults", kills: kills / 2, lag: 200 * time.Millisecond, faults: `{"latency": {"copy": "300ms", "lag": "200ms"}, "faults": [
			{"error": "RequestLimitExceeded", "probability": 0.03, "seed": 1},
			{"action": "CopySnapshot", "reset": "after", "probability": 0.1, "seed": 2},
			{"action": "CreateTags", "reset": "after", "probability": 0.1, "seed": 3},
			{"action": "DeleteSnapshot", "reset": "after", "probability": 0.1, "seed": 4}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			r.copying(`  copy "eu-central-1" {}`)
			r.must("run", "mount", "db")
			r.faultsIn(frankfurt, tt.faults)
			if r.lag = tt.lag + tt.lag/4; r.lag > 0 {
				r.lags()
			}
			r.tortureCopies(tt.kills, rand.New(rand.NewPCG(20260103, uint64(len(tt.name)))))
		})
	}
}

// copiesKept is how many sets a torture has in a place before it deletes all: listing more and more would tell nothing new.
const copiesKept = 5

func (r *rig) tortureCopies(kills int, rng *rand.Rand) {
	r.must("run", "snapshot", "db", "--wait")
	began := time.Now()
	r.must("run", "copy", "db")
	whole := time.Since(began)
	hits, sets, rounds := 0, 1, 0
	for hits < kills && !r.t.Failed() {
		if sets >= copiesKept {
			r.deleteSnapshotsIn(sandbox.World{Account: sandbox.Account, Region: sandbox.Region})
			r.deleteSnapshotsIn(frankfurt)
			sets = 0
		}
		for range 1 + rng.IntN(2) { // one or two to copy
			r.must("run", "snapshot", "db", "--wait")
			sets++
		}
		for range 3 {
			if r.killed(time.Duration(rng.Int64N(int64(whole))), "run", "copy", "db") {
				hits++
			}
			if left := r.unfinished(); len(left) > 0 && rng.IntN(4) == 0 {
				if r.killed(time.Duration(rng.Int64N(int64(whole))), "rollback", left[0]) {
					hits++
				}
				r.rolledBack(left[0])
			}
		}
		time.Sleep(r.lag) // what a rollback has just deleted is somebody's copy while EC2 shows it
		out := r.must("run", "copy", "db")
		time.Sleep(r.lag)
		if n := r.wholeSets(frankfurt); n != sets {
			r.t.Errorf("%d sets are there, want %d:\n%s", n, sets, out)
		}
		if left := r.unfinished(); len(left) > 0 {
			r.t.Errorf("unfinished are %v", left)
		}
		if rounds++; r.t.Failed() {
			r.t.Logf("after %d kills", hits)
		}
	}
	r.t.Logf("%d kills of a copy of %s, in %d rounds", hits, whole.Round(time.Millisecond), rounds)
}

// rolledBack rolls a run back until it ended, as somebody does who was cut off as well.
func (r *rig) rolledBack(run string) {
	r.t.Helper()
	for try := 0; len(r.unfinished()) > 0; try++ {
		if try > 5 {
			r.t.Fatalf("the rollback of run %s does not end", run)
		}
		if code, out := r.run("rollback", run); code != 0 {
			r.t.Logf("rollback %s: exit %d\n%s", run, code, out)
		}
	}
}

func (r *rig) deleteSnapshotsIn(in sandbox.World) {
	r.t.Helper()
	c := r.clientIn(in)
	for len(r.snapshotsIn(in)) > 0 {
		for _, s := range r.snapshotsIn(in) {
			_ = c.DeleteSnapshot(context.Background(), s.ID) // the sandbox may be made to refuse it
		}
		time.Sleep(r.lag)
	}
}
