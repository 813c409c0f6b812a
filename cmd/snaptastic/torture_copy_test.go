package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/steps/snapset"
)

// What a torture of copies does: faults at the place of the copies and how long its answers lag.
var copyTortures = []struct {
	name   string
	part   int // of the kills: one in so many
	faults string
	lag    time.Duration
}{
	{name: "kills", part: 1, faults: `{"latency": {"copy": "300ms"}}`},
	{name: "kills and faults", part: 2, lag: 200 * time.Millisecond, faults: `{"latency": {"copy": "300ms", "lag": "200ms"}, "faults": [
		{"error": "RequestLimitExceeded", "probability": 0.03, "seed": 1},
		{"action": "CopySnapshot", "reset": "after", "probability": 0.1, "seed": 2},
		{"action": "CreateTags", "reset": "after", "probability": 0.1, "seed": 3},
		{"action": "DeleteSnapshot", "reset": "after", "probability": 0.1, "seed": 4}]}`},
}

// TestTortureOfCopies kills copies at random moments, and their recovery now and then: each time whole labelled sets are there in the
// end, each member copied once and nothing besides, and a mount there has the data. SNAPTASTIC_TORTURE sets how many kills; without it a
// short form runs.
func TestTortureOfCopies(t *testing.T) {
	t.Parallel()
	kills := tortureKills(t, 6)
	for _, tt := range copyTortures {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			r.copying(`  copy "eu-central-1" {}`)
			r.must("run", "mount", "db")
			r.faultsIn(frankfurt, tt.faults)
			if r.lag = tt.lag + tt.lag/4; r.lag > 0 {
				r.lags()
			}
			c := copyTorture{rig: r, by: r, there: r.instanceIn(frankfurt), args: func() []string { return []string{"run", "copy", "db"} }, most: 2}
			c.torture(kills/tt.part, tortureSeed(uint64(len(tt.name))))
		})
	}
}

// TestTortureOfCopiesOfAnotherAccount does the same to an account that copies what it was given: `run copy --from`.
func TestTortureOfCopiesOfAnotherAccount(t *testing.T) {
	t.Parallel()
	kills := tortureKills(t, 6)
	for _, tt := range copyTortures {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			r.copying(`  share_with = ["222222222222"]`)
			r.must("run", "mount", "db")
			r.faultsIn(vault, tt.faults)
			if r.lag = tt.lag + tt.lag/4; r.lag > 0 {
				r.lags()
			}
			c := copyTorture{rig: r, by: r.instanceIn(vault), there: r.instanceIn(vault), args: func() []string { return []string{"run", "copy", "db", "--from", r.manifest()} }, most: 1}
			c.torture(kills/tt.part, tortureSeed(uint64(100+len(tt.name))))
		})
	}
}

// copiesKept is how many sets a torture has in a place before it deletes all: listing more and more would tell nothing new.
const copiesKept = 5

// A copyTorture cuts off what copies sets of the rig to a place.
type copyTorture struct {
	*rig
	by, there *rig            // who copies, and where the copies are
	args      func() []string // how
	most      int             // how many sets one command may have to copy
	hits      int
	text      string // in the newest set
}

func (c *copyTorture) torture(kills int, rng *rand.Rand) {
	c.night(0)
	began := time.Now()
	c.by.must(c.args()...)
	whole := time.Since(began)
	sets, rounds := 1, 0
	for ; c.hits < kills && !c.t.Failed(); rounds++ {
		if sets >= copiesKept {
			c.mountThere()
			c.deleteSnapshotsIn(sandbox.World{Account: sandbox.Account, Region: sandbox.Region})
			c.deleteSnapshotsIn(c.there.in)
			sets = 0
		}
		for range 1 + rng.IntN(c.most) {
			c.night(rounds + 1)
			sets++
		}
		args := c.args()
		for range 3 {
			c.cut(rng, whole, args)
		}
		out := c.by.must(args...)
		time.Sleep(c.lag)
		if n := c.wholeSets(c.there.in); n != sets {
			c.t.Errorf("%d sets are there, want %d:\n%s", n, sets, out)
		}
		if left := c.by.unfinished(); len(left) > 0 {
			c.t.Errorf("unfinished are %v", left)
		}
		if c.t.Failed() {
			c.t.Logf("after %d kills", c.hits)
		}
	}
	c.mountThere()
	c.t.Logf("%d kills of a copy of %s, in %d rounds", c.hits, whole.Round(time.Millisecond), rounds)
}

// night writes something new and takes a set of it.
func (c *copyTorture) night(n int) {
	c.text = fmt.Sprintf("night %d", n)
	c.writeAll(c.text)
	c.must("run", "snapshot", "db", "--wait")
}

// cut cuts one copy off, and now and then its rollback as well.
func (c *copyTorture) cut(rng *rand.Rand, whole time.Duration, args []string) {
	if c.by.killed(time.Duration(rng.Int64N(int64(whole))), args...) {
		c.hits++
	}
	if left := c.by.unfinished(); len(left) > 0 && rng.IntN(4) == 0 {
		if c.by.killed(time.Duration(rng.Int64N(int64(whole))), "rollback", left[0]) {
			c.hits++
		}
		c.by.rolledBack(left[0])
	}
}

// mountThere mounts the newest copy where it is, and wants the data of the newest set.
func (c *copyTorture) mountThere() {
	c.t.Helper()
	if c.t.Failed() {
		return
	}
	c.must("run", "unmount", "db") // both instances are this machine
	c.there.must("run", "mount", "db")
	c.readAll(c.text)
	c.there.must("run", "unmount", "db")
	c.there.deleteDetached()
	c.must("run", "mount", "db")
	c.deleteDetached()
}

// TestTortureOfShares kills snapshots and copies that share their sets: what is shared is labelled at any time, and in the end each labelled
// set is shared as a whole with every account.
func TestTortureOfShares(t *testing.T) {
	t.Parallel()
	kills := tortureKills(t, 6)
	accounts := []string{vault.Account, "333333333333"}
	r := newRig(t, 2, "ext4", "--latency=3ms")
	r.copying(`  share_with = ["222222222222", "333333333333"]`)
	r.must("run", "mount", "db")
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{}, sandbox.Fault{Action: "ModifySnapshotAttribute", Reset: "after", Probability: 0.2, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	rng, home := tortureSeed(7), sandbox.World{Account: sandbox.Account, Region: sandbox.Region}
	hits, rounds := 0, 0
	for ; hits < kills && !t.Failed(); rounds++ {
		if rounds%copiesKept == 0 {
			r.deleteSnapshotsIn(home)
		}
		for _, args := range [][]string{{"run", "snapshot", "db", "--wait"}, {"run", "snapshot", "db", "--wait"}, {"run", "copy", "db"}} {
			if r.killed(time.Duration(rng.IntN(600))*time.Millisecond, args...) {
				hits++
			}
			r.must("thaw", "--owned")
			r.shares(accounts, false)
		}
		r.must("run", "snapshot", "db", "--wait") // undoes or finishes what was cut off
		r.must("run", "copy", "db")
		r.wholeSets(home)
		r.shares(accounts, true)
		if left := r.unfinished(); len(left) > 0 {
			t.Errorf("unfinished are %v", left)
		}
	}
	t.Logf("%d kills in %d rounds", hits, rounds)
}

// shares wants that nothing is shared which is not labelled; with all, that whatever is labelled is shared.
func (r *rig) shares(accounts []string, all bool) {
	r.t.Helper()
	have := r.snapshots()
	for _, account := range accounts {
		shared, err := r.client.Snapshots(context.Background(), ec2.SnapshotQuery{SharedTo: account})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, s := range have {
			is, labelled := slices.ContainsFunc(shared, func(o ec2.Snapshot) bool { return o.ID == s.ID }), s.Tags[snapset.TagState] == snapset.Consistent
			if is && !labelled || all && labelled && !is {
				r.t.Errorf("%s, labelled %q, is shared with %s: %t", s.ID, s.Tags[snapset.TagState], account, is)
			}
		}
	}
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
