package main

import (
	"encoding/json"
	"strings"
	"testing"

	"snaptastic-fleet/flow"
)

// Drills run on the spare hosts, each on the part of its own shard, and the hosts themselves are left alone.
func TestDrillsOnSpareHosts(t *testing.T) {
	r := newRig(t, 2)
	for _, n := range []string{"h1", "h2"} {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	r.takeSet("set-1", 2, "h1", "h2")
	r.takeSet("set-2", 2, "h1", "h2")
	spare := func(h *testHost) { h.spare = true }
	r.addHost("h3", "1", spare)
	r.addHost("h4", "2", spare)
	r.cluster("")
	drills := func(host string) (shard string, runs []string) {
		t.Helper()
		var list []struct{ Run, State string }
		if err := json.Unmarshal([]byte(r.must(r.hosts[host], "runs", "--operation", "verify", "-o", "json")), &list); err != nil {
			t.Fatal(err)
		}
		for _, run := range list {
			runs = append(runs, run.State)
			shard += r.must(r.hosts[host], "show", run.Run, "-o", "json")
		}
		return shard, runs
	}
	// The parts of set-1, although there is a newer one.
	var got flow.HostsResult
	if err := r.fleet(&got, "verify", "shards", "--set", "set-1", "--at-once", "2"); err != nil || states(got.Hosts) != "done, done" || got.Hosts[0].Host != "h3" || got.Hosts[1].Host != "h4" {
		t.Fatalf("%v %+v", err, got)
	}
	for host, of := range map[string]string{"h3": "h1", "h4": "h2"} {
		text, runs := drills(host)
		if strings.Join(runs, " ") != "done" || !strings.Contains(text, r.parts("set-1", of)) || strings.Contains(text, r.parts("set-2", of)) {
			t.Errorf("%s has had the drills %v", host, runs)
		}
		if _, runs := drills(of); len(runs) != 0 {
			t.Errorf("%s has had drills, and is not spare", of)
		}
	}
	// The newest set. One that fails keeps the other from being begun.
	if err := r.fleet(&got, "verify", "shards"); err != nil || got.Done != 2 {
		t.Errorf("%v %+v", err, got)
	}
	if _, runs := drills("h4"); len(runs) != 2 {
		t.Errorf("h4 has had the drills %v", runs)
	}
	err := r.fleet(&got, "verify", "shards", "--set", "set-none")
	if err == nil || !strings.Contains(err.Error(), "0 of 2 hosts done, 1 failed, 1 not begun; h3: ") || !strings.Contains(err.Error(), "set-none") {
		t.Errorf("%v %+v", err, got)
	}
}

// parts is the snapshot that a host has in a set.
func (r *rig) parts(set, host string) string {
	r.t.Helper()
	var list struct {
		Snapshots []struct {
			SnapshotID string `json:"snapshot_id"`
			LargerSet  string `json:"larger_set"`
		} `json:"snapshots"`
	}
	if err := json.Unmarshal([]byte(r.must(r.hosts[host], "snapshots", "db", "-o", "json")), &list); err != nil {
		r.t.Fatal(err)
	}
	for _, s := range list.Snapshots {
		if s.LargerSet == set {
			return s.SnapshotID
		}
	}
	r.t.Fatalf("%s has no part of %s", host, set)
	return ""
}
