package main

import (
	"fmt"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
)

// A mount of which one volume failed holds that volume until somebody finishes it. The others are in use, and want their snapshots.
func TestOneFailedVolumeDoesNotKeepTheOthersFromTheirSnapshots(t *testing.T) {
	t.Parallel()
	for _, consistency := range []string{"volume", "group"} {
		t.Run(consistency, func(t *testing.T) {
			r := newRig(t, 3, "ext4")
			r.declare(fmt.Sprintf("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n  consistency = %q\n%s%s%s}\n",
				consistency, r.volume(0, "ext4"), r.volume(1, "ext4"), r.volume(2, "ext4")))
			r.setFaults(sandbox.Fault{Action: "AttachVolume", Params: map[string]string{"Device": "/dev/sdg"}, Error: "UnauthorizedOperation"})
			r.wants(exitSomeLanes, "failed", "run", "mount", "db")
			r.calm()
			left := r.only()
			if consistency == "group" {
				r.quiet(func() {
					out := r.wants(exitBusy, r.mounts[1], "run", "snapshot", "db")
					if !strings.Contains(out, left) || !strings.Contains(out, "snaptastic resume") || !strings.Contains(out, `consistency = "volume"`) {
						t.Errorf("it says\n%s", out)
					}
				})
				return
			}
			out := r.wants(exitSomeLanes, "no snapshot of "+r.mounts[1], "run", "snapshot", "db")
			if !strings.Contains(out, "snaptastic resume "+left) {
				t.Errorf("it does not say what to do:\n%s", out)
			}
			taken := map[string]int{}
			for _, s := range r.snapshots() {
				taken[s.Tags["mount_point"]]++
			}
			if len(taken) != 2 || taken[r.mounts[0]] != 1 || taken[r.mounts[2]] != 1 {
				t.Errorf("snapshots of %v", taken)
			}
			r.must("resume", left)
			r.must("run", "snapshot", "db")
			if got := len(r.snapshots()); got != 5 {
				t.Errorf("%d snapshots after the mount was finished, want 2 and 3", got)
			}
		})
	}
}
