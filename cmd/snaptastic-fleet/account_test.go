package main

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
)

// What the account has, for TestTortureOfAFleet.

// sets are the labelled snapshots, by their larger set and shard; unlabelled are all others.
func (s *storm) sets() (sets map[string]map[string]string, unlabelled []string) {
	sets = map[string]map[string]string{}
	for _, h := range s.hosts {
		var list struct {
			Snapshots []struct {
				SnapshotID  string `json:"snapshot_id"`
				LargerSet   string `json:"larger_set"`
				Consistency string `json:"consistency"`
			} `json:"snapshots"`
		}
		if err := json.Unmarshal([]byte(s.must(h, "snapshots", "db", "-o", "json")), &list); err != nil {
			s.t.Fatal(err)
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
				s.t.Errorf("set %s has two snapshots of shard %s: %s and %s", x.LargerSet, h.shard, other, x.SnapshotID)
			}
			sets[x.LargerSet][h.shard] = x.SnapshotID
		}
	}
	return sets, unlabelled
}

// newest is the newest set that can be restored; "" for none.
func (s *storm) newest() (newest string) {
	sets, _ := s.sets()
	for set := range sets {
		newest = max(newest, set) // its name ends with its time
	}
	return newest
}

// unfinished are the runs of a host that wait for somebody.
func (s *storm) unfinished(h *testHost) (ids []string) {
	var rows []struct{ Run, Operation, Outcome, State string }
	if err := json.Unmarshal([]byte(s.must(h, "runs", "-o", "json")), &rows); err != nil {
		s.t.Fatal(err)
	}
	for _, x := range rows {
		if x.Outcome == "" || x.Outcome == "interrupted" || x.State == "interrupted" {
			ids = append(ids, x.Run+" ("+x.Operation+" "+x.Outcome+" "+x.State+")")
		}
	}
	return ids
}

// createdByKey counts the snapshots that were ever made under each key, by the account's own record.
func (s *storm) createdByKey() map[string]int {
	f, err := os.Open(s.dir + "/sandbox/log.jsonl")
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	made := map[string]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var call struct {
			Action string            `json:"action"`
			Params map[string]string `json:"params"`
			Result string            `json:"result"`
		}
		if json.Unmarshal(lines.Bytes(), &call) != nil || !strings.HasPrefix(call.Action, "CreateSnapshot") || call.Result != "ok" || call.Params["DryRun"] != "" {
			continue
		}
		for name, value := range call.Params {
			if value == "snaptastic:key" {
				made[call.Params[strings.TrimSuffix(name, "Key")+"Value"]]++
			}
		}
	}
	return made
}
