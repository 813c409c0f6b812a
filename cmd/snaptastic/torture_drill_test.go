package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
	"snaptastic/steps/snapset"
)

// TestTortureDrills kills drills at random moments, and their recovery now and then. SNAPTASTIC_TORTURE sets how many kills;
// without it a short form runs.
func TestTortureDrills(t *testing.T) {
	t.Parallel()
	kills := tortureKills(t, 6)
	for _, tt := range []struct {
		name   string
		kills  int
		faults []sandbox.Fault
	}{
		{name: "kills", kills: kills},
		{name: "kills and faults", kills: kills / 2, faults: []sandbox.Fault{
			{Error: "RequestLimitExceeded", Probability: 0.05, Seed: 1},
			{Action: "Create*", Reset: "after", Probability: 0.05, Seed: 2},
			{Action: "*Volume", Reset: "after", Probability: 0.05, Seed: 3},
			{Action: "Describe*", Error: "InternalError", Probability: 0.03, Seed: 4},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := drillRig(t)
			r.setFaults(tt.faults...)
			r.tortureDrills(tt.kills, rand.New(rand.NewPCG(20260102, uint64(len(tt.name)))))
		})
	}
}

func (r *rig) tortureDrills(kills int, rng *rand.Rand) {
	probed := filepath.Join(r.dir, "probed")
	r.drill("sleep 0.2\necho $SNAPTASTIC_SET >> " + probed)
	began := time.Now()
	r.mayDrill(func() { r.run("run", "verify", "db") }, probed)
	whole := time.Since(began)
	hits, verified := 0, 0
	for hits < kills && !r.t.Failed() {
		r.mayDrill(func() {
			if r.killed(time.Duration(rng.Int64N(int64(whole))), "run", "verify", "db") {
				hits++
			}
			r.recover("verify", true, rng, &hits)
		}, probed)
		if r.drilled().State().Good() {
			verified++
		}
		if r.t.Failed() {
			r.t.Logf("after kill %d", hits)
		}
	}
	r.t.Logf("%d kills of a drill of %s; %d times the set was verified all the same", hits, whole.Round(time.Millisecond), verified)
}

// mayDrill does something to a set of which nothing is known, and wants it to be told good only by a probe that came to its end, and
// nothing to be left.
func (r *rig) mayDrill(do func(), probed string) {
	r.t.Helper()
	var ids []string
	for _, s := range r.snapshots() {
		ids = append(ids, s.ID)
	}
	// The sandbox may be made to refuse this one.
	r.eventually("a set without result", func() bool {
		return r.client.DeleteTags(r.t.Context(), ids, []string{snapset.TagVerified, snapset.TagRestoreSeconds, snapset.TagVerifyFailed}) == nil
	})
	if err := os.RemoveAll(probed); err != nil {
		r.t.Fatal(err)
	}
	do()
	_, err := os.Stat(probed)
	switch d := r.drilled(); {
	case d.State().Good() && err != nil:
		r.t.Errorf("the set is told good, and no probe came to its end: %v", err)
	case d.State().Failed():
		r.t.Errorf("the set is told bad: %s", d.Reason())
	}
	r.nothingLeft()
	if loops := r.loops(); len(loops) != len(r.mounts) {
		r.t.Errorf("loop devices are left: %v", loops)
	}
	if left := r.unfinished(); len(left) > 0 {
		r.t.Errorf("unfinished runs: %v", left)
	}
}

// loops are the loop devices of the rig's volumes.
func (r *rig) loops() (mine []string) {
	r.t.Helper()
	all, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range all {
		if file, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(file), filepath.Join(r.sandboxDir(), "vol")+"/") {
			mine = append(mine, strings.TrimSpace(string(file)))
		}
	}
	slices.Sort(mine)
	return mine
}
