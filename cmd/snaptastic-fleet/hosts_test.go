package main

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic-fleet/flow"
)

// killedUnderWay has an operation done on three hosts, two at a time; the worker of the first and control are killed in it, and started again.
func (r *rig) killedUnderWay(operation string) {
	r.t.Helper()
	h1 := r.hosts["h1"]
	ended := make(chan error, 1)
	var got flow.HostsResult
	go func() { ended <- r.fleet(&got, operation, "shards", "--at-once", "2") }()
	r.eventually(operation+" on h1", func() bool { return strings.Contains(r.must(h1, "status", "-o", "json"), strconv.Quote(operation)) })
	h1.worker.kill()
	r.control.signal(syscall.SIGKILL)
	time.Sleep(time.Second)
	h1.worker = r.startWorker(h1)
	r.startControl()
	if err := <-ended; err != nil || got.Done != 3 {
		r.t.Fatalf("%v: %+v", err, got)
	}
}

// Drills on every host, a few at a time; asked again under another word they are done again, and a worker or control that is killed does not make a second one.
func TestDrillsOnEveryHost(t *testing.T) {
	r := newRig(t, 3)
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
		r.must(r.hosts[n], "run", "snapshot", "db")
	}
	r.killedUnderWay("verify")
	r.saveHistory("verify", flowID("verify", "shards"))
	for _, n := range sortedNames(r.hosts) {
		if runs := strings.Count(r.must(r.hosts[n], "runs", "--operation", "verify", "-o", "json"), `"operation"`); runs != 1 {
			t.Errorf("%s has had %d drills", n, runs)
		}
	}
	var list []work
	if err := r.fleet(&list, "status"); err != nil || len(list) != 1 || list[0].State != "done" || len(list[0].Hosts) != 3 || list[0].Hosts[0].Run == "" {
		t.Errorf("%v %+v", err, list)
	}
}

// What a host's own settings do not allow is refused, and no further host is begun.
func TestAHostDoesOnlyWhatItAllows(t *testing.T) {
	r := newRig(t, 2)
	var got flow.HostsResult
	err := r.fleet(&got, "warm", "shards")
	if err == nil || !strings.Contains(err.Error(), `h1: this host does not allow "warm db": its fleet.hcl allows snapshot db`) {
		t.Errorf("%v", err)
	}
	if got.Failed != 1 || len(got.Hosts) != 2 || got.Hosts[1].State != "not begun" {
		t.Errorf("%+v", got)
	}
	if out := r.must(r.hosts["h1"], "runs", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("something was begun: %s", out)
	}
}
