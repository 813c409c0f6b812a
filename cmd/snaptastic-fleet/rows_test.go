package main

import "encoding/json"

// snapshotRows takes the snapshots of one line of the sandbox's records: id to the state that Snaptastic gave it; what is deleted goes.
func snapshotRows(line string, states map[string]string) {
	var row struct {
		Snapshots map[string]*struct {
			Deleted bool `json:"deleted"`
			Tags    map[string]struct {
				Value   string `json:"value"`
				Deleted bool   `json:"deleted"`
			} `json:"tags"`
		} `json:"snapshots"`
	}
	if json.Unmarshal([]byte(line), &row) != nil {
		return
	}
	for id, s := range row.Snapshots {
		if s == nil || s.Deleted {
			delete(states, id)
			continue
		}
		states[id] = s.Tags["snaptastic:state"].Value
	}
}
