package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic-fleet/flow"
)

// Whoever asks is told soon what does not answer, control or the server, and what to do.
func TestStatusSaysWhoDoesNotAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for what does not answer")
	}
	r := newRig(t, 1)
	r.must(r.hosts["h1"], "run", "mount", "db")
	r.takeSet("set-1", 1, "h1")
	for _, op := range [][]string{{"verify", "shards"}, {"restore", "shards", "--set", "set-1"}, {"clean", "shards"}} {
		_ = r.fleet(nil, op...) // they are on record
	}
	took := func(what string, do func()) {
		t.Helper()
		begun := time.Now()
		do()
		t.Logf("%s: %.1f s", what, time.Since(begun).Seconds())
		if d := time.Since(begun); d > time.Minute {
			t.Errorf("%s: %s", what, d)
		}
	}
	r.control.kill()
	var got flow.HostsResult
	ended := r.begun(&got, "verify", "shards", "--again", "x")
	r.eventually("a drill is asked for", func() bool { return r.status("verify").State == "running" })
	took("control is away", func() {
		w := r.status("verify")
		if w.State != "running" || !strings.Contains(w.Phase, "is snaptastic-fleet-control running?") {
			t.Errorf("%+v", w)
		}
		if w := r.status("restore"); w.State != "done" {
			t.Errorf("%+v", w)
		}
	})
	r.startControl()
	if err := <-ended; err != nil || got.Done != 1 {
		t.Errorf("when control is back: %v %+v", err, got)
	}

	r.server.signal(syscall.SIGSTOP)
	for _, args := range [][]string{{"status", "shards"}, {"verify", "shards"}, {"cancel", "shards", "verify"}} {
		took("the server hangs: "+args[0], func() {
			if err := r.fleet(nil, args...); err == nil || !strings.Contains(err.Error(), "cannot reach Temporal at "+r.address()) || !strings.Contains(err.Error(), "that the server runs") {
				t.Errorf("%s: %v", args[0], err)
			}
		})
	}
	r.server.signal(syscall.SIGCONT)
	r.server.kill()
	took("the server is away", func() {
		if err := r.fleet(nil, "status", "shards"); err == nil || !strings.Contains(err.Error(), "cannot reach Temporal at "+r.address()) {
			t.Error(err)
		}
	})
}

// What is cancelled ends as docs/fleet.md says of the moment at which it is.
func TestEachMomentAtWhichASnapshotIsCancelled(t *testing.T) {
	if testing.Short() {
		t.Skip("has two windows")
	}
	r := newRig(t, 2)
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	h2 := r.hosts["h2"]
	cancel := func() {
		t.Helper()
		if err := r.fleet(nil, "cancel", "shards", "snapshot"); err != nil {
			t.Error(err)
		}
	}
	var got flow.SnapshotResult

	// In prepare: nothing was frozen.
	h2.worker.kill()
	ended := r.begun(&got, "snapshot", "shards")
	r.eventually("h1 is ready", func() bool { return states(r.status("snapshot").Hosts) == "ready, preparing" })
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "it was cancelled") || got.Error != "it was cancelled: nothing was frozen" {
		t.Errorf("in prepare: %v %+v", err, got)
	}
	if n := r.labelledSnapshots() + r.unlabelled(got.Set); n != 0 {
		t.Errorf("in prepare: %d snapshots", n)
	}
	h2.worker = r.startWorker(h2)

	// While it is labelled: it is.
	ended = r.begun(&got, "snapshot", "shards")
	r.armed(h2)
	faults := r.write("sandbox/faults.json", `{"faults": [{"action": "DescribeSnapshots", "latency": "3s"}]}`)
	r.eventually("it is being labelled", func() bool { return r.status("snapshot").Phase == "labelling" })
	cancel()
	if err := os.Remove(faults); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil || !got.Labelled || r.labelledSnapshots() != 2 {
		t.Errorf("while labelling: %v %+v", err, got)
	}
	if w := r.status("snapshot"); w.State != "done" || w.Phase != "labelled" {
		t.Errorf("%+v", w)
	}
	r.noneLeft(t, got.Set, 2)

	// A host that is under way is asked to stop, and no further one is begun. The same command goes on.
	r.write("sandbox/faults.json", `{"faults": [{"action": "AttachVolume", "latency": "20s"}]}`)
	var hosts flow.HostsResult
	ended = r.begun(&hosts, "restore", "shards", "--set", got.Set)
	r.eventually("h1 is restored", func() bool {
		at := r.status("restore").Hosts
		return len(at) > 0 && strings.Contains(at[0].Step, "attach")
	})
	if err := r.fleet(nil, "cancel", "shards", "restore"); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "it was cancelled") || states(hosts.Hosts) != "failed, not begun" {
		t.Errorf("%v %+v", err, hosts)
	}
	if err := os.Remove(faults); err != nil {
		t.Error(err)
	}
	if !strings.Contains(hosts.Hosts[0].Error, "was interrupted and can be resumed") || !strings.Contains(r.must(r.hosts["h1"], "runs", "--operation", "restore"), "interrupted") {
		t.Errorf("%+v", hosts.Hosts[0])
	}
	if err := r.fleet(&hosts, "restore", "shards", "--set", got.Set); err != nil || hosts.Done != 2 {
		t.Errorf("%v %+v", err, hosts)
	}
	if n := r.restores(); n != "1 1" {
		t.Errorf("the hosts have had %s restores", n)
	}
}
