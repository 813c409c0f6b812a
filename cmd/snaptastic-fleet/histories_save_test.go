package main

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"snaptastic-fleet/flow"
)

// TestSaveHistories has a real server record each kind of work once. It is for whoever changes a workflow: what it saves is what the next
// change is held against.
func TestSaveHistories(t *testing.T) {
	if os.Getenv("SNAPTASTIC_SAVE_HISTORIES") == "" {
		t.Skip("saves histories for the replay: SNAPTASTIC_SAVE_HISTORIES=" + histories)
	}
	r := newRig(t, 2, func(r *rig) {
		r.allow, r.inVolume, r.inCluster = `, "warm db"`, "    warm        = true\n", "  probe       = \"there\"\n"
	})
	r.controlCopies("  keep {\n    last = 1\n  }\n  copy \"eu-central-1\" {}")
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	set := r.saveSnapshots(t)
	save := func(name, operation, want string, args ...string) {
		t.Helper()
		err := r.fleet(nil, append([]string{operation, "shards"}, args...)...)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", name, err)
		}
		r.saveHistory(name, flowID(operation, "shards"))
	}
	save("drills", "verify", "")
	save("restore with a probe", "restore", "", "--set", set, "--at-once", "2")
	save("restore that failed", "restore", "no host was begun", "--set", "shards-none")
	save("warming", "warm", "")
	save("copy to another region", "copy", "")
	save("clean", "clean", "")
	r.saveScheduled(t)
	r.nothingFrozen(t)
}

// saveSnapshots returns a set that can be restored.
func (r *rig) saveSnapshots(t *testing.T) string {
	t.Helper()
	id, h1 := flowID("snapshot", "shards"), r.hosts["h1"]
	var got flow.SnapshotResult
	snapshot := func(want string, args ...string) {
		t.Helper()
		got = flow.SnapshotResult{}
		err := r.fleet(&got, append([]string{"snapshot", "shards"}, args...)...)
		if want == "" && (err != nil || !got.Labelled) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v: %v %+v", args, err, got)
		}
	}
	snapshot("")
	r.saveHistory("snapshot labelled", id)
	snapshot("", "--set", "release-1")
	r.saveHistory("snapshot with a chosen name", id)
	snapshot("which can be restored", "--set", "release-1")
	r.saveHistory("snapshot with a name that is taken", id)
	snapshot("", "--rolling", "1")
	r.saveHistory("rolling with two cells", id)
	r.saveHistory("one cell of a rolling snapshot", id+"/"+got.Cells[1].Set)

	go func() {
		at, _ := r.armed(h1)
		time.Sleep(time.Until(at) + 200*time.Millisecond)
		_ = syscall.Kill(r.armedProcess(h1), syscall.SIGKILL)
	}()
	snapshot("No snapshot of the set is left")
	r.saveHistory("snapshot undone", id)
	r.must(h1, "run", "unmount", "db", "--yes")
	snapshot("nothing was frozen: h1: ")
	r.saveHistory("snapshot not begun", id)
	r.must(h1, "run", "mount", "db")
	return "release-1"
}

func (r *rig) saveScheduled(t *testing.T) {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: r.address(), Namespace: "fleet", Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, operation := range []string{"snapshot", "verify"} {
		if err := r.fleet(nil, "schedule", "shards", operation, "--cron", "0 3 1 1 *"); err != nil {
			t.Fatal(err)
		}
		if err := c.ScheduleClient().GetHandle(context.Background(), scheduleID(operation, "shards")).Trigger(context.Background(), client.ScheduleTriggerOptions{}); err != nil {
			t.Fatal(err)
		}
		r.eventually("the scheduled "+operation+" is done", func() bool {
			l := r.status(operation).Schedule.Last
			return l != nil && l.State == "done"
		})
		r.saveHistory("scheduled "+operation, r.lastScheduled(c, operation))
	}
}
