package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"snaptastic-fleet/flow"
)

// status returns the line of an operation; an empty one where there is none.
func (r *rig) status(operation string) work {
	r.t.Helper()
	var list []work
	if err := r.fleet(&list, "status", "shards"); err != nil {
		r.t.Fatal(err)
	}
	for _, w := range list {
		if w.Operation == operation {
			return w
		}
	}
	return work{}
}

// What a schedule begins is seen and stopped like what somebody begins, and there is one of its kind at a time, whoever began it.
func TestSchedulesAreSeenAndDoNotOverlap(t *testing.T) {
	r := newRig(t, 1)
	h1 := r.hosts["h1"]
	r.must(h1, "run", "mount", "db")
	c, err := client.Dial(client.Options{HostPort: r.address(), Namespace: "fleet", Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	nextNight := func() { // it is three in the morning, says the server
		t.Helper()
		if err := c.ScheduleClient().GetHandle(context.Background(), scheduleID("snapshot", "shards")).Trigger(context.Background(), client.ScheduleTriggerOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	text := func() string {
		bin, _ := programs()
		p := r.spawn(bin.fleet, "status", "shards", "--config", r.dir+"/fleet.hcl")
		<-p.end
		return p.out.String()
	}
	if err := r.fleet(nil, "schedule", "shards", "snapshot", "--cron", "0 3 * * *", "--timezone", "Europe/Berlin"); err != nil {
		t.Fatal(err)
	}
	w := r.status("snapshot")
	berlin, _ := time.LoadLocation("Europe/Berlin")
	if s := w.Schedule; w.State != "none" || s == nil || s.Cron != "0 3 * * *" || s.Timezone != "Europe/Berlin" || s.Next == nil || s.Next.In(berlin).Hour() != 3 || s.Last != nil {
		t.Errorf("before its first time: %+v %+v", w, w.Schedule)
	}
	if out := text(); !strings.Contains(out, "snapshot shards: none on record") || !strings.Contains(out, "schedule 0 3 * * * Europe/Berlin: next ") {
		t.Errorf("before its first time: %s", out)
	}

	// Begun by the schedule: whoever begins it by hand joins it.
	nextNight()
	r.armed(h1)
	if w := r.status("snapshot"); w.State != "running" || !w.BySchedule || w.Schedule.Last == nil || w.Schedule.Last.State != "running" {
		t.Errorf("while it is under way: %+v %+v", w, w.Schedule)
	}
	var byHand flow.SnapshotResult
	if err := r.fleet(&byHand, "snapshot", "shards"); err != nil || !byHand.Labelled {
		t.Errorf("%v %+v", err, byHand)
	}
	last := func(want string) lastTime {
		t.Helper()
		var got lastTime
		r.eventually("the schedule's last time was "+want, func() bool {
			if l := r.status("snapshot").Schedule.Last; l != nil {
				got = *l
			}
			return got.State == want
		})
		return got
	}
	last("done")
	if n := r.labelledSnapshots(); n != 1 {
		t.Errorf("%d snapshots are labelled, and one was taken", n)
	}
	after := &transcript{r: r}
	if out := after.fleet("status", "shards"); !strings.Contains(out, "by its schedule), set "+byHand.Set) || !strings.Contains(out, "Z done") {
		t.Errorf("after it: %s", out)
	}
	after.isInTheDocs(t, "## Schedules")

	// Begun by hand: the schedule leaves it alone.
	done := make(chan error, 1)
	go func() { done <- r.fleet(&byHand, "snapshot", "shards") }()
	r.armed(h1)
	nextNight()
	if l := last("skipped"); l.Error != "another snapshot of shards was under way" {
		t.Errorf("%+v", l)
	}
	if err := <-done; err != nil || r.status("snapshot").BySchedule {
		t.Error(err, "or taken for the schedule's")
	}
	if n := r.labelledSnapshots(); n != 2 {
		t.Errorf("%d snapshots are labelled, and two were taken", n)
	}

	// Stopped like any other.
	nextNight()
	r.armed(h1)
	if err := r.fleet(nil, "cancel", "shards", "snapshot"); err != nil {
		t.Error(err)
	}
	if l := last("failed"); !strings.Contains(l.Error, "the snapshot was cancelled. No snapshot of the set is left") {
		t.Errorf("%+v", l)
	}
	r.saveHistory("scheduled snapshot that was cancelled", r.lastScheduled(c, "snapshot"))
	if n := r.labelledSnapshots(); n != 2 {
		t.Errorf("%d snapshots are labelled, and the third was cancelled", n)
	}
	if err := r.fleet(nil, "cancel", "shards", "snapshot"); err == nil || !strings.Contains(err.Error(), "no snapshot of shards is under way") {
		t.Errorf("once more: %v", err)
	}
	r.nothingFrozen(t)

	var paused request
	if err := r.fleet(&paused, "schedule", "shards", "snapshot", "--pause"); err != nil || paused != (request{"shards", "snapshot", "pause"}) {
		t.Error(err, paused)
	}
	if s := r.status("snapshot").Schedule; !s.Paused || s.Next != nil {
		t.Errorf("paused: %+v", s)
	}
	if err := r.fleet(nil, "schedule", "shards", "snapshot", "--unpause"); err != nil || r.status("snapshot").Schedule.Next == nil {
		t.Errorf("no longer paused: %v %+v", err, r.status("snapshot").Schedule)
	}
	if err := r.fleet(nil, "schedule", "shards", "snapshot", "--delete"); err != nil || r.status("snapshot").Schedule != nil {
		t.Errorf("deleted: %v %+v", err, r.status("snapshot").Schedule)
	}
	if err := r.fleet(nil, "schedule", "shards", "snapshot", "--pause"); err == nil || !strings.Contains(err.Error(), "no schedule for snapshot of shards") {
		t.Errorf("there is none: %v", err)
	}
}

// lastScheduled is the id of what the schedule began last.
func (r *rig) lastScheduled(c client.Client, operation string) string {
	r.t.Helper()
	d, err := c.ScheduleClient().GetHandle(context.Background(), scheduleID(operation, "shards")).Describe(context.Background())
	if err != nil || len(d.Info.RecentActions) == 0 {
		r.t.Fatal(err)
	}
	return d.Info.RecentActions[len(d.Info.RecentActions)-1].StartWorkflowResult.WorkflowID
}
