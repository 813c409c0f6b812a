package main

import (
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
)

// A mount that follows a snapshot at once restores that one, although the first looks at EC2 show only the set before it.
func TestAMountRightAfterASnapshotWaitsUntilEC2ShowsIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.lags()
	r.must("run", "mount", "db")
	r.mark("one")
	r.must("run", "snapshot", "db")
	r.mark("two")
	remember := sandbox.Fault{Action: "DescribeImages", Effect: "stale"} // so that the world keeps what things were
	r.setFaults(remember)
	r.must("run", "snapshot", "db")
	r.must("run", "unmount", "db")
	r.setFaults(remember, sandbox.Fault{Action: "DescribeSnapshots", Effect: "stale", After: 30 * time.Second, Count: 2})
	r.must("run", "mount", "db")
	if got := r.marks(); got != "two two" {
		t.Errorf("restored is %q", got)
	}
}
