package main

import (
	"os"
	"strings"
	"testing"

	"snaptastic-fleet/flow"
)

// Two hosts and real processes. Each makes two requests of CreateSnapshot(s), a dry run when it prepares and the call, of a bucket that is
// never filled again. Cancelled before the order, the snapshot is cancelled, and its hosts are shown.
func TestASnapshotBeforeItsOrder(t *testing.T) {
	r := newRig(t, 2)
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	faults := func(t *testing.T, text string) {
		r.write("sandbox/faults.json", `{"faults": [`+text+`]}`)
		t.Cleanup(func() { _ = os.Remove(r.dir + "/sandbox/faults.json") })
	}
	t.Run("has made one request of each host", func(t *testing.T) {
		faults(t, `{"action": "CreateSnapshot*", "rate": 0.00001, "burst": 4}`)
		var got flow.SnapshotResult
		if err := r.fleet(&got, "snapshot", "shards"); err != nil || !got.Labelled {
			t.Errorf("%v %+v", err, got)
		}
		if n := len(r.calls("CreateSnapshot")); n != 2 {
			t.Errorf("%d calls", n)
		}
		r.saveHistory("snapshot that counts all requests", flowID("snapshot", "shards"))
	})
	t.Run("can be cancelled", func(t *testing.T) {
		before := r.labelledSnapshots()
		faults(t, `{"action": "DescribeVolumes", "latency": "10s"}`)
		var got flow.SnapshotResult
		ended := r.begun(&got, "snapshot", "shards")
		r.eventually("h1 prepares", func() bool { return r.planOf(r.hosts["h1"]) != 0 })
		if err := r.fleet(nil, "cancel", "shards", "snapshot"); err != nil {
			t.Error(err)
		}
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "it was cancelled") || len(got.Hosts) != 2 || got.Error != "it was cancelled: nothing was frozen" {
			t.Errorf("%v %+v", err, got)
		}
		if w := r.status("snapshot"); w.State != "cancelled" || len(w.Hosts) != 2 || w.Set != got.Set {
			t.Errorf("%+v", w)
		}
		r.saveHistory("snapshot that was cancelled while it prepares", flowID("snapshot", "shards"))
		r.noneLeft(t, got.Set, before)
	})
}
