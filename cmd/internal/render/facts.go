package render

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// facts is what a summary says about a volume. They are read from the inputs
// and outputs of the steps by these field names, whatever the step kind.
type facts struct {
	Volume   string  `json:"volume_id,omitempty"`
	Snapshot string  `json:"snapshot_id,omitempty"`
	Device   string  `json:"device,omitempty"`      // EC2's name for it: /dev/sdf
	Path     string  `json:"path,omitempty"`        // the kernel's: /dev/nvme1n1; also read from "node"
	Mount    string  `json:"mount_point,omitempty"` // absolute
	Reason   string  `json:"reason,omitempty"`      // what a step chose, and why; also read from "note" and "notes"
	Warning  string  `json:"warning,omitempty"`     // what should be looked at; read from "warnings"
	Frozen   string  `json:"-"`                     // how long it stood still, in words
	Still    float64 `json:"frozen_seconds,omitempty"`
	Remains  string  `json:"-"` // what is left over and billed, in words
}

// merge takes what o knows.
func (f *facts) merge(o facts) {
	for _, x := range []struct{ to, from *string }{
		{&f.Volume, &o.Volume}, {&f.Snapshot, &o.Snapshot}, {&f.Device, &o.Device},
		{&f.Path, &o.Path}, {&f.Mount, &o.Mount}, {&f.Frozen, &o.Frozen}, {&f.Warning, &o.Warning},
	} {
		if *x.from != "" {
			*x.to = *x.from
		}
	}
	if o.Still > 0 {
		f.Still = o.Still
	}
	// What one step has to say does not unsay what another had: that an older
	// snapshot was taken, and that the volume was restored from it.
	if !strings.Contains(f.Reason, o.Reason) {
		f.Reason = strings.TrimPrefix(f.Reason+"; "+o.Reason, "; ")
	}
}

// compare says whether o names this volume, another one, or neither. The mount
// point decides before the volume id, and that before the device name, which
// has several spellings.
func (f facts) compare(o facts) (same, other bool) {
	for _, x := range [][2]string{{f.Mount, o.Mount}, {f.Volume, o.Volume}, {f.Device, o.Device}} {
		if x[0] != "" && x[1] != "" {
			return x[0] == x[1], x[0] != x[1]
		}
	}
	return false, false
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
	get := func(keys ...string) string {
		for _, key := range keys {
			var s string
			if json.Unmarshal(m[key], &s) == nil && s != "" {
				return s
			}
		}
		return ""
	}
	f := facts{Volume: get("volume_id"), Snapshot: get("snapshot_id"), Device: get("device"),
		Path: get("path", "node"), Mount: get("mount_point"), Reason: get("reason", "note"), Remains: get("remains")}
	var notes []string
	if json.Unmarshal(m["notes"], &notes) == nil && f.Reason == "" {
		f.Reason = strings.Join(notes, "; ")
	}
	var warnings []string
	if json.Unmarshal(m["warnings"], &warnings) == nil {
		f.Warning = strings.Join(warnings, "; ")
	}
	if d, err := time.ParseDuration(get("frozen")); err == nil && d > 0 {
		f.Frozen, f.Still = fmt.Sprintf("%d ms", d.Milliseconds()), d.Seconds()
	}
	if !strings.HasPrefix(f.Path, "/") {
		f.Path = ""
	}
	return f
}

// laneFacts gathers the facts of each lane: first its names, then, in plan
// order, what its own steps and steps of the whole plan put out about it. What
// was chosen for its mount point after its volume was known is not where that
// volume came from.
func laneFacts(p *plan.Plan, records map[plan.StepID]journal.Record) map[string]facts {
	out := map[string]facts{}
	for _, lane := range p.Lanes {
		var f facts
		each(p, records, lane.ID, func(s *plan.Step, _ journal.Record) { f.gather(s.In, true, f.merge) })
		each(p, records, lane.ID, func(_ *plan.Step, r journal.Record) { f.gather(r.Input, true, f.merge) })
		each(p, records, lane.ID, func(_ *plan.Step, r journal.Record) { f.gather(r.Output, true, f.merge) })
		f.Snapshot, f.Reason, f.Warning = "", "", ""
		known := false
		for i := range p.Steps {
			s := &p.Steps[i]
			if s.Lane != lane.ID && s.Lane != "" {
				continue
			}
			f.gather(records[s.ID].Output, s.Lane != "", func(o facts) {
				if known && o.Volume == "" && o.Snapshot != "" {
					o.Snapshot, o.Reason, o.Warning = "", "", ""
				}
				f.merge(o)
				known = known || (s.Lane != "" && o.Volume != "")
			})
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

// gather hands to take what raw says about the volume. mine: raw belongs to
// its lane, so what names no other volume is about this one.
func (f *facts) gather(raw json.RawMessage, mine bool, take func(facts)) {
	var m map[string]json.RawMessage
	if !mine || json.Unmarshal(raw, &m) != nil {
		f.gatherNested(raw, mine, take)
		return
	}
	take(shallow(m)) // even where it spells the device name another way
	f.gatherFields(m, true, take)
}

func (f *facts) gatherFields(m map[string]json.RawMessage, mine bool, take func(facts)) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		foreign := strings.HasPrefix(key, "/") || strings.HasPrefix(key, "vol-")
		if ours := f.hasKey(key); ours || !foreign {
			f.gatherNested(m[key], mine || ours, take)
		}
	}
}

// gatherNested goes on inside a value. Of several items in a list only those
// that name the volume are about it.
func (f *facts) gatherNested(raw json.RawMessage, mine bool, take func(facts)) {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) == nil {
		same, other := f.compare(shallow(m))
		if other {
			return
		}
		if mine || same {
			mine = true
			take(shallow(m))
		}
		f.gatherFields(m, mine, take)
		return
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) == nil {
		for _, v := range items {
			f.gatherNested(v, mine && len(items) == 1, take)
		}
	}
}

// A freezeView is one freeze: of a lane's file system, or of all together.
type freezeView struct {
	Step    plan.StepID `json:"step"` // that thawed
	Lane    string      `json:"lane,omitempty"`
	Seconds float64     `json:"frozen_seconds"`
}

// freezesOf are the freezes of a run that are over.
func freezesOf(p *plan.Plan, records map[plan.StepID]journal.Record) []freezeView {
	out := []freezeView{}
	for i := range p.Steps {
		s := &p.Steps[i]
		if f := factsOf(records[s.ID].Output); f.Still > 0 {
			out = append(out, freezeView{s.ID, s.Lane, f.Still})
		}
	}
	return out
}
