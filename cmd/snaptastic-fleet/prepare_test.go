package main

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic-fleet/flow"
)

// Whatever one host would refuse at the instant is found while nothing is frozen anywhere, with the host's name and what to do there.
func TestNothingIsFrozenUnlessEveryHostIsReady(t *testing.T) {
	r := newRig(t, 3, func(r *rig) { r.hold, r.lead = "3s", "20s" })
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	h1, h2, h3 := r.hosts["h1"], r.hosts["h2"], r.hosts["h3"]
	for _, c := range []struct {
		name string
		do   func(t *testing.T)
		want []string
	}{
		{"a hold that is too long for a host", func(t *testing.T) { r.changed(t, h2.dir+"/snaptastic.hcl", `max_hold = "10s"`, `max_hold = "2s"`) },
			[]string{"h2: ", "--hold-until is 3 s after --at, and max_hold is 2s"}},
		{"a volume that is not mounted", func(t *testing.T) {
			if err := syscall.Unmount(h3.mount, 0); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.must(h3, "run", "mount", "db") })
		}, []string{"h3: ", "not mounted (mount it first with `snaptastic run mount`)"}},
		{"a permission that EC2 denies", func(t *testing.T) {
			r.write("sandbox/faults.json", `{"faults": [{"action": "CreateSnapshot", "error": "UnauthorizedOperation"}]}`)
			t.Cleanup(func() { _ = os.Remove(r.dir + "/sandbox/faults.json") })
		}, []string{"h1: cannot snapshot db without ec2:CreateSnapshot", "no changes made"}},
		{"settings that are wrong, on two hosts", func(t *testing.T) {
			r.changed(t, h1.dir+"/snaptastic.hcl", "file_system", "file_sistem")
			r.changed(t, h3.dir+"/snaptastic.hcl", `snapshotter "db"`, `snapshotter "database"`)
		}, []string{"h1: Unsupported argument", `/h1/snaptastic.hcl line `, `Did you mean "file_system"?`, "; h3: no snapshotter named"}},
		{"a clock that is not synchronized", func(t *testing.T) {
			var now unix.Timex
			if state, err := unix.Adjtimex(&now); err != nil || state != unix.TIME_ERROR && now.Status&unix.STA_UNSYNC == 0 {
				t.Skip("the clock of this machine is synchronized")
			}
			r.changed(t, h2.dir+"/fleet.hcl", "trust_clock = true", "trust_clock = false")
			r.restartWorker(h2)
			t.Cleanup(func() { r.restartWorker(h2) })
		}, []string{"h2: its clock is not synchronized: start chrony"}},
	} {
		t.Run(c.name, func(t *testing.T) { c.do(t); r.notBegun(t, c.want...) })
	}
	r.nothingFrozen(t)
	if n := r.labelledSnapshots(); n != 0 {
		t.Errorf("there are %d labelled snapshots", n)
	}
}

// Metadata that do not answer pass: hosts are asked on for longer than a person would wait.
func TestHostsAreAskedOnWhileMetadataAreSilent(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	r := newRig(t, 2)
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	faults := r.write("sandbox/faults.json", `{"faults": [{"action": "imds", "status": 503}]}`)
	done := make(chan error, 1)
	var got flow.SnapshotResult
	go func() { done <- r.fleet(&got, "snapshot", "shards") }()
	if _, err := r.snaptastic(r.hosts["h1"], "plan", "snapshot", "db"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("metadata answer: this test proves nothing: %v", err)
	}
	time.Sleep(5 * time.Second)
	_ = os.Remove(faults)
	if err := <-done; err != nil || !got.Labelled || got.Hosts[1].Version == "" {
		t.Errorf("%v %+v", err, got)
	}
	r.nothingFrozen(t)
}

// A host whose worker does not run is waited for, for a minute.
func TestNothingIsFrozenWhereAWorkerIsAbsent(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	r := newRig(t, 2)
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	r.hosts["h2"].worker.kill()
	r.notBegun(t, "h2: no worker took the order in time: check that snaptastic-fleet-worker runs there")
}

// notBegun orders a snapshot that must be refused, and looks for whatever could be left of it.
func (r *rig) notBegun(t *testing.T, want ...string) {
	t.Helper()
	var got flow.SnapshotResult
	err := r.fleet(&got, "snapshot", "shards")
	if err == nil || !strings.Contains(err.Error(), "nothing was frozen: ") || got.Labelled || got.Set == "" {
		t.Fatalf("%v %+v", err, got)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in: %v", w, err)
		}
	}
	t.Log(err)
	for _, n := range sortedNames(r.hosts) {
		var runs []struct {
			Operation string `json:"operation"`
		}
		if err := json.Unmarshal([]byte(r.must(r.hosts[n], "runs", "-o", "json")), &runs); err != nil || len(runs) == 0 {
			t.Errorf("%s: %v, %d runs", n, err, len(runs))
		}
		for _, run := range runs {
			if run.Operation != "mount" {
				t.Errorf("%s began to %s", n, run.Operation)
			}
		}
	}
	if n := r.unlabelled(got.Set); n != 0 {
		t.Errorf("there are %d unlabelled snapshots", n)
	}
}

// changed replaces text in a file until the end of the test.
func (r *rig) changed(t *testing.T, file, from, to string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), from) {
		t.Fatalf("%v: no %s in %s", err, from, file)
	}
	put := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(strings.ReplaceAll(string(text), from, to))
	t.Cleanup(func() { put(string(text)) })
}

func (r *rig) restartWorker(h *testHost) {
	h.worker.kill()
	h.worker = r.startWorker(h)
}
