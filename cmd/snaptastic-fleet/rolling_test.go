package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"go.temporal.io/sdk/client"

	"snaptastic-fleet/flow"
)

func (r *rig) temporal() client.Client {
	r.t.Helper()
	c, err := client.Dial(client.Options{HostPort: r.address(), Namespace: "fleet", Logger: quiet{}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

func states(hosts []flow.HostState) string {
	var all []string
	for _, h := range hosts {
		all = append(all, h.State)
	}
	return strings.Join(all, ", ")
}

// noneLeft fails unless nothing is left of a set, and nothing is frozen.
func (r *rig) noneLeft(t *testing.T, set string, labelled int) {
	t.Helper()
	r.eventually("nothing is left of "+set, func() bool { return r.unlabelled(set) == 0 })
	if n := r.labelledSnapshots(); n != labelled {
		t.Errorf("%d snapshots are labelled, and %d were", n, labelled)
	}
	r.nothingFrozen(t)
}

// begun begins a command of the fleet, which decodes its JSON into out; its error comes when it has ended.
func (r *rig) begun(out any, args ...string) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- r.fleet(out, args...) }()
	return ended
}

// Three hosts in cells of two. Each cell is a set of its own, whatever becomes of the others, and whoever stops the whole of it stops no cell half-way.
func TestHostsAreSnapshottedInCells(t *testing.T) {
	if testing.Short() {
		t.Skip("has five windows, one after the other")
	}
	r := newRig(t, 3)
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	h1 := r.hosts["h1"]
	c := r.temporal()

	t.Run("one that fails does not stop the next", func(t *testing.T) {
		before := r.labelledSnapshots()
		r.must(h1, "run", "unmount", "db", "--yes")
		var got flow.SnapshotResult
		err := r.fleet(&got, "snapshot", "shards", "--rolling", "2")
		if err == nil || !strings.Contains(err.Error(), "1 of 2 cells failed: "+got.Set+".1: nothing was frozen: h1: ") || got.Labelled {
			t.Fatalf("%v %+v", err, got)
		}
		if len(got.Cells) != 2 || got.Cells[0].Labelled || !got.Cells[1].Labelled || got.Cells[1].Set != got.Set+".2" || states(got.Hosts) != "failed, ready, done" {
			t.Errorf("%+v", got)
		}
		r.must(h1, "run", "mount", "db")
		r.noneLeft(t, got.Set+".1", before+1)
	})

	t.Run("a schedule does it too, and its hosts are seen", func(t *testing.T) {
		before := r.labelledSnapshots()
		if err := r.fleet(nil, "schedule", "shards", "snapshot", "--cron", "0 3 * * *", "--rolling", "2"); err != nil {
			t.Fatal(err)
		}
		if err := c.ScheduleClient().GetHandle(context.Background(), scheduleID("snapshot", "shards")).Trigger(context.Background(), client.ScheduleTriggerOptions{}); err != nil {
			t.Fatal(err)
		}
		r.armed(h1)
		w := r.status("snapshot")
		if states(w.Hosts) != "armed, armed, waiting" || !w.BySchedule || w.Schedule.Rolling != 2 || w.Phase != "0 of 3 hosts, set "+w.Set+".1: armed" {
			t.Errorf("%+v", w)
		}
		r.eventually("a heartbeat of the cell is seen", func() bool {
			at := r.status("snapshot").Hosts
			return len(at) > 0 && (at[0].Run != "" || at[0].State != "armed")
		})
		var got flow.SnapshotResult
		if err := r.fleet(&got, "snapshot", "shards", "--rolling", "2"); err != nil || !got.Labelled || len(got.Cells) != 2 || got.Snapshots != 3 || states(got.Hosts) != "done, done, done" {
			t.Fatalf("%v %+v", err, got)
		}
		for i, cell := range got.Cells {
			if !cell.Labelled || cell.Instant == nil || len(cell.Hosts) != 2-i {
				t.Errorf("%+v", cell)
			}
		}
		r.saveHistory("rolling that waits for its cells", flowID("snapshot", "shards"))
		r.noneLeft(t, got.Cells[1].Set, before+3)
		if err := r.fleet(nil, "schedule", "shards", "snapshot", "--delete"); err != nil {
			t.Error(err)
		}
	})

	t.Run("cancelled, the cell under way is undone and no other one is begun", func(t *testing.T) {
		before := r.labelledSnapshots()
		var got flow.SnapshotResult
		ended := r.begun(&got, "snapshot", "shards", "--rolling", "2")
		r.armed(h1)
		if err := r.fleet(nil, "cancel", "shards", "snapshot"); err != nil {
			t.Error(err)
		}
		err := <-ended
		if err == nil || !strings.Contains(err.Error(), "it was cancelled") || len(got.Cells) != 1 || !strings.Contains(got.Cells[0].Error, "the snapshot was cancelled. No snapshot of the set is left: 2 were deleted") {
			t.Errorf("%v %+v", err, got)
		}
		if states(got.Hosts) != "done, done, not begun" {
			t.Errorf("%+v", got.Hosts)
		}
		w := r.status("snapshot")
		if w.State != "cancelled" || states(w.Hosts) != "done, done, not begun" {
			t.Errorf("%+v", w)
		}
		r.saveHistory("rolling snapshot that was cancelled", flowID("snapshot", "shards"))
		r.noneLeft(t, w.Set+".1", before)
		if out := r.must(r.hosts["h3"], "runs", "-o", "json"); strings.Contains(out, w.Set) {
			t.Errorf("h3 was begun: %s", out)
		}
	})

	t.Run("terminated, the cell under way is undone", func(t *testing.T) {
		before := r.labelledSnapshots()
		var got flow.SnapshotResult
		ended := r.begun(&got, "snapshot", "shards", "--rolling", "2")
		r.armed(h1)
		set := r.status("snapshot").Set
		if err := c.TerminateWorkflow(context.Background(), flowID("snapshot", "shards"), "", "a test"); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil {
			t.Error("a snapshot that was terminated has succeeded")
		}
		if w := r.status("snapshot"); w.State != "terminated" || !slices.Contains([]string{"armed", "done"}, w.Hosts[0].State) || w.Hosts[2].State == "armed" {
			t.Errorf("%+v", w)
		}
		var cell flow.SnapshotResult
		err := wait(context.Background(), c.GetWorkflow(context.Background(), flowID("snapshot", "shards")+"/"+set+".1", ""), &cell)
		if err == nil || !strings.Contains(err.Error(), "the snapshot was cancelled. No snapshot of the set is left: 2 were deleted") {
			t.Errorf("%v %+v", err, cell)
		}
		r.noneLeft(t, set+".1", before)
	})
}
