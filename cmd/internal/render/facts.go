package render

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	"snaptastic/journal"
	"snaptastic/plan"
)

// facts is what a summary says about a volume. They are read from the inputs
// and outputs of the steps by these field names, whatever the step kind.
type facts struct {
	Volume   string `json:"volume_id,omitempty"`
	Snapshot string `json:"snapshot_id,omitempty"`
	Device   string `json:"device,omitempty"`      // EC2's name for it: /dev/sdf
	Path     string `json:"path,omitempty"`        // the kernel's: /dev/nvme1n1
	Mount    string `json:"mount_point,omitempty"` // absolute

	note       string // for people: what the step chose, and why
	noSnapshot bool   // it was said that there is no snapshot
}

// merge takes what o knows.
func (f *facts) merge(o facts) {
	for _, x := range []struct{ to, from *string }{
		{&f.Volume, &o.Volume}, {&f.Snapshot, &o.Snapshot}, {&f.Device, &o.Device}, {&f.Path, &o.Path}, {&f.Mount, &o.Mount},
	} {
		if *x.from != "" {
			*x.to = *x.from
		}
	}
	if o.noSnapshot {
		f.Snapshot = ""
	}
}

// disagrees says that o is about another volume.
func (f facts) disagrees(o facts) bool {
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	return differ(f.Mount, o.Mount) || differ(f.Device, o.Device) || differ(f.Volume, o.Volume)
}

// names says that o names this volume.
func (f facts) names(o facts) bool {
	same := func(a, b string) bool { return a != "" && a == b }
	return same(f.Mount, o.Mount) || same(f.Device, o.Device) || same(f.Volume, o.Volume)
}

// hasKey says that a JSON key is one of this volume's names.
func (f facts) hasKey(k string) bool {
	return k != "" && (k == f.Mount || k == f.Device || k == f.Volume)
}

func (f facts) device() string {
	if f.Path == "" || f.Path == f.Device {
		return f.Device
	}
	return strings.TrimSpace(f.Device + " (" + path.Base(f.Path) + ")")
}

// ids is what a log line or a listing says about one step.
func (f facts) ids() string {
	var out []string
	for _, s := range []string{f.Volume, f.Snapshot, f.device(), f.Mount} {
		if s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

// factsOf reads the top level of one step's output.
func factsOf(raw json.RawMessage) facts {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return facts{}
	}
	return shallow(m)
}

// shallow reads the fields of one object. A reference, being an object, is not
// a string and is passed over.
func shallow(m map[string]json.RawMessage) facts {
	get := func(key string) string {
		var s string
		if json.Unmarshal(m[key], &s) != nil {
			return ""
		}
		return s
	}
	f := facts{Volume: get("volume_id"), Snapshot: get("snapshot_id"), Device: get("device"), Path: get("path"), Mount: get("mount_point"), note: get("note")}
	_, f.noSnapshot = m["snapshot_id"]
	f.noSnapshot = f.noSnapshot && f.Snapshot == "" && string(m["snapshot_id"])[0] == '"'
	if !strings.HasPrefix(f.Path, "/") {
		f.Path = ""
	}
	return f
}

// laneFacts gathers the facts of each lane: its names first, then, in plan
// order, what its own steps and steps of the whole plan say about it. The last
// word counts: a volume that was adopted did not come from the snapshot that a
// step before had found.
func laneFacts(p *plan.Plan, records map[plan.StepID]journal.Record) map[string]facts {
	out := map[string]facts{}
	for _, lane := range p.Lanes {
		var f facts
		each(p, records, lane.ID, func(s *plan.Step, _ journal.Record) { f.gather(s.In, true) })
		each(p, records, lane.ID, func(_ *plan.Step, r journal.Record) { f.gather(r.Input, true) })
		each(p, records, lane.ID, func(_ *plan.Step, r journal.Record) { f.gather(r.Output, true) })
		for i := range p.Steps {
			if s := &p.Steps[i]; s.Lane == lane.ID || s.Lane == "" {
				f.gather(records[s.ID].Output, s.Lane != "")
			}
		}
		out[lane.ID] = f
	}
	return out
}

func each(p *plan.Plan, records map[plan.StepID]journal.Record, lane string, f func(*plan.Step, journal.Record)) {
	for i := range p.Steps {
		if s := &p.Steps[i]; s.Lane == lane {
			f(s, records[s.ID])
		}
	}
}

// gather takes what raw says about the volume. mine: raw belongs to its lane,
// so what does not name another volume is about this one.
func (f *facts) gather(raw json.RawMessage, mine bool) {
	if len(raw) == 0 {
		return
	}
	switch raw[0] {
	case '{':
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) != nil {
			return
		}
		here := shallow(m)
		if f.disagrees(here) {
			return
		}
		if mine = mine || f.names(here); mine {
			f.merge(here)
		}
		for _, key := range slices.Sorted(maps.Keys(m)) {
			v := m[key]
			foreign := strings.HasPrefix(key, "/") || strings.HasPrefix(key, "vol-")
			if f.hasKey(key) {
				f.gather(v, true)
			} else if !foreign {
				f.gather(v, mine)
			}
		}
	case '[':
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return
		}
		for _, v := range items {
			f.gather(v, mine && len(items) == 1)
		}
	}
}
