package render

import (
	"path"
	"strings"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// laneFacts gathers what the steps of a run, in the plan's order, came to in each lane. A step of the whole plan tells of
// each volume by its mount point.
func laneFacts(p *plan.Plan, records map[plan.StepID]journal.Record) map[string]*plan.Facts {
	lanes, at := map[string]*plan.Facts{}, map[string]*plan.Facts{}
	for _, lane := range p.Lanes {
		f := lane.Facts
		lanes[lane.ID], at[lane.ID] = &f, &f
		if f.MountPoint != "" {
			at[f.MountPoint] = &f
		}
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		facts := records[s.ID].Facts
		if facts == nil {
			continue
		}
		if f := lanes[s.Lane]; f != nil {
			f.Add(*facts)
		}
		for _, one := range facts.Each {
			if f := at[one.MountPoint]; f != nil {
				f.Add(one)
			}
		}
	}
	return lanes
}

// device is a device's names: EC2's, and the kernel's behind it.
func device(f plan.Facts) string {
	if f.Path == "" || f.Path == f.Device {
		return f.Device
	}
	return strings.TrimSpace(f.Device + " (" + path.Base(f.Path) + ")")
}

// ids is what a listing says about one step.
func ids(f *plan.Facts) string {
	if f == nil {
		return ""
	}
	var out []string
	for _, s := range []string{f.VolumeID, f.SnapshotID, device(*f), f.MountPoint} {
		if s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

// A freezeView is one freeze: of a lane's file system, or of all together.
type freezeView struct {
	Step    plan.StepID `json:"step"` // that thawed
	Lane    string      `json:"lane,omitempty"`
	Seconds float64     `json:"frozen_seconds"`
	Mounts  []stillView `json:"mounts,omitempty"`
	Clock   *plan.Clock `json:"clock,omitempty"`
}

// A stillView is when one file system stood still.
type stillView struct {
	MountPoint string    `json:"mount_point"`
	FrozenAt   time.Time `json:"frozen_at"`
	ThawedAt   time.Time `json:"thawed_at"`
}

// freezesOf are the freezes of a run that are over.
func freezesOf(p *plan.Plan, records map[plan.StepID]journal.Record) []freezeView {
	out := []freezeView{}
	for i := range p.Steps {
		s := &p.Steps[i]
		if f := records[s.ID].Facts; f != nil && f.FrozenSeconds > 0 {
			one := freezeView{Step: s.ID, Lane: s.Lane, Seconds: f.FrozenSeconds, Clock: f.Clock}
			for _, m := range f.Each {
				one.Mounts = append(one.Mounts, stillView{m.MountPoint, m.FrozenAt, m.ThawedAt})
			}
			out = append(out, one)
		}
	}
	return out
}
