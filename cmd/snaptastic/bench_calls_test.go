package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// latencies like EC2's.
var realistic = sandbox.Latency{Request: 50 * time.Millisecond, Create: 3 * time.Second, Attach: 2 * time.Second,
	Detach: 2 * time.Second, Snapshot: 5 * time.Second, Lag: 500 * time.Millisecond}

// TestCallsOfOperations counts EC2's API calls of each operation, in virtual
// time: what changes something is asked for once a volume, or once; describes
// are shared by all volumes, so that their number does not grow with N.
func TestCallsOfOperations(t *testing.T) {
	var ofOne map[string]time.Duration
	for _, n := range []int{1, 4, 16} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newSimulation(t, n)
				for i := range u.spec.Volumes {
					u.spec.Volumes[i].DeleteOnTermination = true
				}
				u.production(t)
				took := map[string]time.Duration{}
				ticks := ticksIn(realistic.Create) + ticksIn(realistic.Attach)
				took["mount"] = u.calls(t, "mount", map[string]int{"CreateVolume": n, "AttachVolume": n, "ModifyInstanceAttribute": n, "DescribeVolumes": 1 + ticks,
					"DescribeSnapshots": 2}) // the second for snapshots that miss by a tag, since there are none
				time.Sleep(2 * realistic.Lag)                             // until every host of EC2 shows what was set
				u.calls(t, "mount", map[string]int{"DescribeVolumes": 1}) // it is mounted
				snapshot, tags := "CreateSnapshots", n+1
				if n == 1 {
					snapshot = "CreateSnapshot"
				}
				took["snapshot"] = u.calls(t, "snapshot", map[string]int{snapshot: 1, "CreateTags": tags, "DescribeVolumes": 3, "DescribeSnapshots": 1})
				took["unmount"] = u.calls(t, "unmount", map[string]int{"DetachVolume": n, "CreateTags": n, "DescribeVolumes": 4 + ticksIn(realistic.Detach)})
				if n == 1 {
					ofOne = took
				}
				for op, d := range took { // one volume after the other would take n times as long
					if d > ofOne[op]*3/2 {
						t.Errorf("%s of %d volumes takes %s, that of one %s", op, n, d, ofOne[op])
					}
				}
			})
		})
	}
}

// production gives the universe a client like that of an instance, and a cloud
// with realistic latencies.
func (u *simulation) production(t *testing.T) {
	t.Helper()
	if err := sandbox.SetFaults(u.k.dir, realistic); err != nil {
		t.Fatal(err)
	}
	var err error
	u.client, err = ec2.New(t.Context(), ec2.Config{Region: sandbox.Region, EndpointURL: "http://sandbox", MetadataURL: "http://sandbox",
		Credentials: ec2.Credentials{ID: "a", Secret: "b"}, Transport: u.sandbox.RoundTripper()})
	if err != nil {
		t.Fatal(err)
	}
}

// ticksIn is the most that a poller looks within a wait: each pause is the
// shortest at least, less a quarter, and the look itself takes a round trip.
func ticksIn(wait time.Duration) int {
	return int(wait/(ec2.DefaultPollMin*3/4+realistic.Request)) + 2
}

// calls runs an operation and holds its calls against the most allowed. It
// returns how long it took.
func (u *simulation) calls(t *testing.T, op string, most map[string]int) time.Duration {
	t.Helper()
	before, err := sandbox.Log(u.k.dir)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	u.done(op)
	took := time.Since(began)
	after, err := sandbox.Log(filepath.Clean(u.k.dir))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, c := range after[len(before):] {
		if c.Service == "ec2" {
			got[c.Action]++
		}
	}
	t.Logf("%s: %v in %s", op, got, took)
	for action, n := range got {
		if n > most[action] {
			t.Errorf("%s makes %d calls of %s, more than %d", op, n, action, most[action])
		}
	}
	return took
}
