package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What the account has, and what was asked of it.

// sets are the labelled snapshots, by their larger set and shard; unlabelled are all others.
func (r *rig) sets() (sets map[string]map[string]string, unlabelled []string) {
	sets = map[string]map[string]string{}
	for _, h := range r.hosts {
		var list struct {
			Snapshots []struct {
				SnapshotID  string `json:"snapshot_id"`
				LargerSet   string `json:"larger_set"`
				Consistency string `json:"consistency"`
			} `json:"snapshots"`
		}
		if err := json.Unmarshal([]byte(r.must(h, "snapshots", "db", "-o", "json")), &list); err != nil {
			r.t.Fatal(err)
		}
		for _, x := range list.Snapshots {
			if x.Consistency != "consistent" {
				unlabelled = append(unlabelled, x.SnapshotID+" of "+x.LargerSet)
				continue
			}
			if sets[x.LargerSet] == nil {
				sets[x.LargerSet] = map[string]string{}
			}
			if other := sets[x.LargerSet][h.shard]; other != "" {
				r.t.Errorf("set %s has two snapshots of shard %s: %s and %s", x.LargerSet, h.shard, other, x.SnapshotID)
			}
			sets[x.LargerSet][h.shard] = x.SnapshotID
		}
	}
	return sets, unlabelled
}

// newest is the newest set that can be restored; "" for none.
func (r *rig) newest() (newest string) {
	sets, _ := r.sets()
	for set := range sets {
		newest = max(newest, set) // its name ends with its time
	}
	return newest
}

// unfinished are the runs of a host that wait for somebody.
func (r *rig) unfinished(h *testHost) (ids []string) {
	var rows []struct{ Run, Operation, Outcome, State string }
	if err := json.Unmarshal([]byte(r.must(h, "runs", "-o", "json")), &rows); err != nil {
		r.t.Fatal(err)
	}
	for _, x := range rows {
		if x.Outcome == "" || x.Outcome == "interrupted" || x.State == "interrupted" {
			ids = append(ids, x.Run+" ("+x.Operation+" "+x.Outcome+" "+x.State+")")
		}
	}
	return ids
}

// A call is one of the account's own record, in any region.
type call struct {
	Time                  time.Time
	Action, Result, World string
	Params                map[string]string
	Lost                  bool // its answer
}

// calls are those whose name begins so, without dry runs.
func (r *rig) calls(action string) (all []call) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, "sandbox", "log.jsonl"))
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var c call
		if json.Unmarshal([]byte(line), &c) == nil && strings.HasPrefix(c.Action, action) && c.Params["DryRun"] == "" {
			all = append(all, c)
		}
	}
	return all
}

// called are the calls of an action that were carried out.
func (r *rig) called(action string) []call {
	r.t.Helper()
	return slices.DeleteFunc(r.calls(action), func(c call) bool { return c.Action != action || c.Result != "ok" })
}

// createdByKey counts the snapshots that were ever made under each key.
func (r *rig) createdByKey() map[string]int {
	made := map[string]int{}
	for _, c := range r.calls("CreateSnapshot") {
		if c.Result != "ok" {
			continue
		}
		for name, value := range c.Params {
			if value == "snaptastic:key" {
				made[c.Params[strings.TrimSuffix(name, "Key")+"Value"]]++
			}
		}
	}
	return made
}

// snapshotFiles counts the snapshots that there are, whatever their tags say.
func (r *rig) snapshotFiles() int {
	files, err := filepath.Glob(r.dir + "/sandbox/vol/snap-*")
	if err != nil {
		r.t.Fatal(err)
	}
	return len(files)
}

// labelledSnapshots counts what the hosts' own commands can restore.
func (r *rig) labelledSnapshots() int {
	n := 0
	for _, name := range sortedNames(r.hosts) {
		var list struct {
			Snapshots []struct {
				State       string `json:"state"`
				Consistency string `json:"consistency"`
			} `json:"snapshots"`
		}
		if err := json.Unmarshal([]byte(r.must(r.hosts[name], "snapshots", "db", "-o", "json")), &list); err != nil {
			r.t.Fatal(err)
		}
		for _, s := range list.Snapshots {
			if s.Consistency == "consistent" {
				n++
			}
		}
	}
	return n
}

// unlabelled counts what an undo of the set would delete.
func (r *rig) unlabelled(set string) int {
	r.t.Helper()
	out, err := r.snaptastic(r.hosts["h2"], "undo", "--set", set, "--dry-run", "-o", "json")
	if err != nil && out == "" {
		r.t.Error(err)
	}
	var a struct {
		Deleted []string `json:"deleted"`
	}
	_ = json.Unmarshal([]byte(out), &a)
	return len(a.Deleted)
}
