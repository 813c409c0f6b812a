package main

import (
	"slices"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
)

// A mount, two snapshots right after each other, an unmount, a restore and a
// clean-up against an EC2 that limits, lags, goes back in time and allows
// nothing but the policy of the documentation.
func TestALifeUnderStrictLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.restrict(true)
	r.lags()
	r.must("run", "mount", "db")
	r.mark("one")
	r.must("run", "snapshot", "db")
	r.mark("two")
	r.must("run", "snapshot", "db") // has to wait for its 15 seconds
	r.eventually("the second set", func() bool { return len(r.snapshots()) == 2*len(r.mounts) })
	r.must("run", "mount", "db") // a second one finds everything in its place
	r.must("run", "unmount", "db")
	r.must("run", "mount", "db")
	if got := r.marks(); !strings.Contains(got, "two") {
		t.Errorf("restored is %q", got)
	}
	// One look may still not show the snapshots that the volumes were just made from.
	r.eventually("good check", func() bool { code, _ := r.run("check", "db"); return code == 0 })
	for _, words := range [][]string{{"volumes", "db"}, {"snapshots", "db"}, {"status"}} {
		r.must(words...)
	}
	r.must("run", "unmount", "db")
	r.must("clean", "volumes")
	r.must("clean", "snapshots")
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished runs: %v", left)
	}
	var codes []string
	for _, c := range r.calls() {
		codes = append(codes, c.Result)
	}
	if !slices.Contains(codes, "SnapshotCreationPerVolumeRateExceeded") {
		t.Error("no snapshot came too soon after another: this shows nothing about the limit")
	}
	if i := slices.Index(codes, "UnauthorizedOperation"); i >= 0 {
		t.Errorf("the policy refuses %+v", r.calls()[i])
	}
	if !slices.ContainsFunc(r.calls(), func(c sandbox.Call) bool { return slices.Contains(c.Faults, "stale") }) {
		t.Error("no describe went back in time")
	}
}
