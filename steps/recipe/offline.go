package recipe

import (
	"encoding/json"
	"fmt"
	"slices"

	"snaptastic/plan"
	"snaptastic/steps"
)

// A Recorded is what a finished mount did in one lane: enough to do it again in another boot without asking EC2.
type Recorded struct {
	Lane   string
	Device steps.WaitDeviceIn
	Mount  steps.MountIn
	pre    []hookStep
	post   []hookStep
}

// VolumeID is the volume that the lane had.
func (r Recorded) VolumeID() string { return r.Device.Attached.Must().VolumeID }

// Where is the folder that it was mounted on.
func (r Recorded) Where() string {
	if r.Mount.LeadsTo != "" {
		return r.Mount.LeadsTo
	}
	return r.Mount.MountPoint
}

type hookStep struct {
	step *plan.Step
	in   steps.HookIn
}

// Record reads a finished mount: p is its plan, input the input that a step was given, resolved; nil for one that is not done.
// A lane that was left alone is not among them.
func Record(p *plan.Plan, input func(plan.StepID) json.RawMessage) (lanes []Recorded, err error) {
	for _, l := range p.Lanes {
		r := Recorded{Lane: l.ID}
		has := map[plan.Kind]bool{}
		for i := range p.Steps {
			s := &p.Steps[i]
			raw := input(s.ID)
			if s.Lane != l.ID || raw == nil {
				continue
			}
			switch s.Kind {
			case steps.WaitDevice.Kind:
				err = json.Unmarshal(raw, &r.Device)
			case steps.Mount.Kind:
				err = json.Unmarshal(raw, &r.Mount)
			case steps.Hook.Kind:
				h := hookStep{step: s}
				err = json.Unmarshal(raw, &h.in)
				if h.in.Name != "pre_mount" && h.in.Name != "post_mount" {
					continue // of the unmounting that a restore begins with
				}
				if h.in.IfChanged = false; h.in.Name == "pre_mount" { // it runs because something is mounted
					r.pre = append(r.pre, h)
				} else {
					r.post = append(r.post, h)
				}
			}
			if err != nil {
				return nil, fmt.Errorf("cannot read the input of step %s: %w", s.ID, err)
			}
			has[s.Kind] = true
		}
		if has[steps.WaitDevice.Kind] && has[steps.Mount.Kind] {
			lanes = append(lanes, r)
		}
	}
	return lanes, nil
}

// Offline compiles a mount of these lanes, and of nothing else: no step of it asks EC2, makes, formats, tags or detaches anything.
// The hooks around the whole mount are in it when all its lanes are.
func Offline(p *plan.Plan, lanes []Recorded, input func(plan.StepID) json.RawMessage) (*plan.Plan, error) {
	head := plan.Plan{Operation: p.Operation, Snapshotter: p.Snapshotter, Instance: p.Instance, ResumePolicy: p.ResumePolicy}
	for _, l := range p.Lanes {
		if slices.ContainsFunc(lanes, func(r Recorded) bool { return r.Lane == l.ID }) {
			head.Lanes = append(head.Lanes, l)
		}
	}
	b := plan.NewBuilder(head)
	whole := len(head.Lanes) == len(p.Lanes)
	add := func(h hookStep, after ...plan.StepID) plan.StepID {
		o := []plan.Option{plan.After(after...), func(_ *plan.Builder, s *plan.Step) {
			s.Lane, s.Title, s.Timeout, s.Once, s.Tolerated = h.step.Lane, h.step.Title, h.step.Timeout, h.step.Once, h.step.Tolerated
		}}
		plan.Add(b, steps.Hook, h.step.ID, h.in, o...)
		return h.step.ID
	}
	plural := func(name string, after ...plan.StepID) (plan.StepID, error) {
		id := plan.StepID("hook:" + name)
		i := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.ID == id })
		if !whole || i < 0 || input(id) == nil {
			return "", nil
		}
		h := hookStep{step: &p.Steps[i]}
		if err := json.Unmarshal(input(id), &h.in); err != nil {
			return "", fmt.Errorf("cannot read the input of step %s: %w", id, err)
		}
		h.in.IfChanged = false
		return add(h, after...), nil
	}
	before, err := plural("pre_mounts")
	if err != nil {
		return nil, err
	}
	mounts, ends := map[string]plan.StepID{}, []plan.StepID{}
	for _, r := range outsideInRecorded(lanes) {
		lane := plan.InLane(r.Lane)
		first := before
		for _, h := range r.pre {
			first = add(h, first)
		}
		v := Volume{MountPoint: r.Lane}
		device := plan.Add(b, steps.WaitDevice, id("wait-device", v), r.Device, lane, plan.Title("wait for the device of %s", r.Lane), plan.Within(DefaultTimeouts.Device), plan.After(first))
		in := r.Mount
		in.Device = device
		mounts[r.Lane] = id("mount", v)
		plan.Add(b, steps.Mount, id("mount", v), in, lane, plan.Title("mount it on %s", r.Lane), plan.Within(DefaultTimeouts.Mount), plan.After(mounts[parentLane(r, lanes)]))
		end := id("mount", v)
		for _, h := range r.post {
			end = add(h, end)
		}
		ends = append(ends, end)
	}
	if _, err := plural("post_mounts", ends...); err != nil {
		return nil, err
	}
	return b.Build()
}

func outsideInRecorded(lanes []Recorded) []Recorded {
	return slices.SortedStableFunc(slices.Values(lanes), func(a, b Recorded) int { return len(a.Where()) - len(b.Where()) })
}

// parentLane is the lane in whose mount point r's lies; "" for none.
func parentLane(r Recorded, lanes []Recorded) string {
	var all []Volume
	for _, l := range lanes {
		all = append(all, Volume{MountPoint: l.Where()})
	}
	parent, nested := parentOf(Volume{MountPoint: r.Where()}, all)
	i := slices.IndexFunc(lanes, func(l Recorded) bool { return nested && l.Where() == parent.MountPoint })
	if i < 0 {
		return ""
	}
	return lanes[i].Lane
}
