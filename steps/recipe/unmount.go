package recipe

import (
	"slices"

	"snaptastic/plan"
	"snaptastic/steps"
)

// unmount: each lane by itself, what is nested before what it lies in.
func (c *compiler) unmount() {
	volumes := outsideIn(c.spec.Volumes)
	all := c.open("unmounts", nil, c.hookVolumes(nil))
	found := map[string]plan.Value[steps.FoundVolume]{}
	for _, v := range volumes {
		found[v.MountPoint] = c.findVolume(v, all.first())
	}
	slices.Reverse(volumes)
	var ends []plan.StepID
	for _, v := range volumes {
		ends = append(ends, c.unmountLane(v, all, found[v.MountPoint])...)
	}
	c.close(all, nil, c.hookVolumes(func(v Volume, h *steps.HookVolume) { h.Found = found[v.MountPoint] }), ends)
}

func (c *compiler) unmountLane(v Volume, all bracket, found plan.Value[steps.FoundVolume]) []plan.StepID {
	known := c.hookVolumes(func(o Volume, h *steps.HookVolume) {
		if o.MountPoint == v.MountPoint {
			h.Found = found
		}
	})
	one := c.open("unmount", &v, known, all.body())
	lane := together(plan.InLane(v.MountPoint), all.body(), one.body())
	var inner []plan.StepID
	for _, o := range c.spec.Volumes {
		if parent, nested := parentOf(o, c.spec.Volumes); nested && parent.MountPoint == v.MountPoint {
			inner = append(inner, id("unmount", o))
		}
	}
	plan.Add(c.b, steps.Unmount, id("unmount", v), steps.UnmountIn{Found: found, MountPoint: v.MountPoint, Device: v.Device, NameOffset: v.DeviceNameOffset,
		Options: v.MountOptions}, lane, one.first(), plan.After(inner...), plan.Title("unmount %s", v.MountPoint), plan.Within(write))
	detached := plan.Add(c.b, steps.Detach, id("detach", v), steps.DetachIn{Found: found, MountPoint: v.MountPoint, Device: v.Device, NameOffset: v.DeviceNameOffset,
		Patience: plan.Duration(c.timeouts.Attach)}, lane, plan.After(id("unmount", v)), plan.Title("detach its volume, which remains"), plan.Within(c.timeouts.Detach))
	plan.Add(c.b, steps.WaitDetached, id("wait-detached", v), steps.WaitDetachedIn{Detached: detached}, lane,
		plan.Title("wait until it is off"), plan.Within(c.timeouts.Detach))
	ends := []plan.StepID{id("wait-detached", v)}
	if post := c.close(one, &v, known, ends, all.body()); post != "" {
		ends = append(ends, post)
	}
	return ends
}
