package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// silences are the ways in which a region answers no more, and how it does so again.
var silences = map[string]struct{ ends, begins func(*rig) }{
	"lost": {
		func(r *rig) {
			if err := sandbox.Lose(r.sandboxDir(), frankfurt.Region); err != nil {
				r.t.Fatal(err)
			}
		},
		func(r *rig) {
			if err := os.Remove(filepath.Join(r.sandboxDir(), "lost", frankfurt.Region)); err != nil {
				r.t.Fatal(err)
			}
		},
	},
	"hangs": {
		func(r *rig) {
			r.faultsIn(frankfurt, `{"latency": {"copy": "1h"}, "faults": [{"action": "*", "hang": "10m"}]}`)
		},
		func(r *rig) {},
	},
}

// A destination that falls silent while its copies are made fails after a bounded time, and keeps no other one from the copies of the next
// nights. What it has been left with is cleaned up once it answers, and its sets are copied.
func TestARegionThatFallsSilentUnderWay(t *testing.T) {
	for name, region := range silences {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			r.copiesThatFallSilent()
			cmd, out := r.command("run", "copy", "db"), &strings.Builder{}
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() }).Stop() // without the bound it waits for days
			r.eventually("a copy in each region", func() bool { return len(r.snapshotsIn(frankfurt)) == 1 && r.labelledIn(virginia) == 1 })
			region.ends(r)
			_ = cmd.Wait()
			for _, want := range []string{"EC2 in eu-central-1 has not answered for", "1 of 2 sets done", "hint: the next `run copy` copies to the other regions meanwhile"} {
				if code := cmd.ProcessState.ExitCode(); code != exitSomeLanes || !strings.Contains(out.String(), want) {
					t.Errorf("exit %d, want %d and %q:\n%s", code, exitSomeLanes, want, out)
				}
			}
			r.othersGoOn(region.begins)
		})
	}
}

// What a killed run has in a region that does not answer keeps no other one from its copies either, not even those that it still had to make
// there itself.
func TestACutOffCopyToARegionThatIsSilent(t *testing.T) {
	for name, region := range silences {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			r.copiesThatFallSilent()
			r.faultsIn(virginia, `{"latency": {"copy": "10s"}}`)
			r.killWaiting("a copy in each region", func() bool { return len(r.snapshotsIn(frankfurt)) == 1 && len(r.snapshotsIn(virginia)) == 1 }, "run", "copy", "db")
			region.ends(r)
			r.faultsIn(virginia, `{}`)
			r.othersGoOn(region.begins)
		})
	}
}

// copiesThatFallSilent makes a set, to be copied to two regions; in frankfurt that takes for ever.
func (r *rig) copiesThatFallSilent() {
	r.t.Helper()
	r.env = append(r.env, "SNAPTASTIC_SILENT=8s")
	r.copying(`  copy "eu-central-1" {}` + "\n" + `  copy "us-east-1" {}`)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	r.faultsIn(frankfurt, `{"latency": {"copy": "1h"}}`)
}

func (r *rig) labelledIn(in sandbox.World) (n int) {
	for _, s := range r.snapshotsIn(in) {
		if s.Tags["snaptastic:state"] == "consistent" {
			n++
		}
	}
	return n
}

// othersGoOn: the next run copies all to virginia, whatever an unfinished run has in frankfurt; and once that answers, all to it as well.
func (r *rig) othersGoOn(begins func(*rig)) {
	r.t.Helper()
	old := r.unfinished()
	if len(old) != 1 {
		r.t.Fatalf("unfinished are %v, want one", old)
	}
	r.must("run", "snapshot", "db", "--wait")
	r.wants(exitSomeLanes, "cannot find out which sets eu-central-1 lacks", "run", "copy", "db", "--patience", "1s")
	if n := r.wholeSets(virginia); n != 2 {
		r.t.Fatalf("%d sets are in the other region, want 2", n)
	}
	if out := r.must("show", old[0]); !strings.Contains(out, "in eu-central-1, an unverified copy of") {
		r.t.Errorf("it does not say what may be left in the silent region:\n%s", out)
	}
	r.must("run", "snapshot", "db", "--wait")
	begins(r)
	r.faultsIn(frankfurt, `{}`)
	r.must("run", "copy", "db")
	for _, in := range []sandbox.World{frankfurt, virginia} {
		if n := r.wholeSets(in); n != 3 {
			r.t.Errorf("%d sets are in %s, want 3", n, in)
		}
	}
	if left := r.unfinished(); len(left) > 0 {
		r.t.Errorf("unfinished are %v", left)
	}
}

// A cut-off run that has nothing to do but in a region that does not answer is left as it is, and finished once that answers: nothing is
// copied twice.
func TestACutOffCopyIsFinishedOnceItsRegionAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.copiesThatFallSilent()
	r.faultsIn(frankfurt, `{"latency": {"copy": "30s"}}`)
	r.killWaiting("a copy in each region", func() bool { return len(r.snapshotsIn(frankfurt)) == 1 && r.labelledIn(virginia) == 1 }, "run", "copy", "db")
	begun := r.snapshotsIn(frankfurt)[0].ID
	silences["hangs"].ends(r)
	r.othersGoOn(func(*rig) {})
	if !slices.ContainsFunc(r.snapshotsIn(frankfurt), func(s ec2.Snapshot) bool { return s.ID == begun }) {
		t.Errorf("%s was deleted and made again", begun)
	}
}
