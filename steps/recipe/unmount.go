package recipe

import (
	"fmt"
	"slices"

	"snaptastic/plan"
	"snaptastic/steps"
)

// Unmount unmounts and detaches a snapshotter's volumes, which remain. One that was interrupted last month must not detach
// anything at today's boot.
var Unmount = Register(Operation{
	Name:          "unmount",
	Aliases:       []string{"unmount-snapshots"},
	Short:         "Unmount and detach a snapshotter's volumes; the volumes are kept and billed",
	Resume:        plan.ResumeManually,
	UndoOnFailure: unmountsTogether,
	Question: func(r Request) string {
		volumes := "the volume"
		if n := len(r.Spec.Volumes); n > 1 {
			volumes = fmt.Sprintf("the %d volumes", n)
		}
		return fmt.Sprintf("Unmount and detach %s of %s (detached volumes are kept and billed)?", volumes, r.Spec.Name)
	},
	Leaves: Unmounted,
	Permissions: []Permission{
		{Action: "DescribeVolumes"}, {Action: "CreateTags", Try: Attached}, {Action: "DetachVolume", Try: Attached},
		{Action: "DeleteTags"}, {Action: "AttachVolume"}, {Action: "ModifyInstanceAttribute"}, // to undo it
	},
	Compile: compiledBy((*compiler).unmount),
})

// unmount: what is nested before what it lies in. With consistency = "group" the volumes go together: nothing is unmounted
// while anything uses one of them, and nothing is detached before all are unmounted.
func (c *compiler) unmount() {
	volumes := outsideIn(c.spec.Volumes)
	slices.Reverse(volumes)
	all := c.open("unmounts", nil, c.hookVolumes(nil))
	lanes := make([]unmountLane, len(volumes))
	for i, v := range slices.Backward(volumes) {
		lanes[i] = unmountLane{Volume: v, found: c.findVolume(v, steps.ToUnmount, all.first())}
	}
	for i := range lanes {
		l := &lanes[i]
		l.hooks = c.open("unmount", &l.Volume, c.aboutLane(*l), all.body())
	}
	asGroup := unmountsTogether(c.spec)
	var free plan.StepID
	if asGroup {
		free = c.checkInUse("check-in-use", lanes, all.body(), plan.Title("check that nothing uses the volumes"))
	}
	unmounts := ids(lanes, func(l unmountLane) plan.StepID { return id("unmount", l.Volume) })
	for _, l := range lanes {
		if !asGroup {
			free = c.checkInUse(id("check-in-use", l.Volume), []unmountLane{l}, plan.InLane(l.MountPoint), all.body(), plan.Title("check that nothing uses it"))
		}
		options := []plan.Option{c.body(l, all), plan.After(free), plan.After(c.inner(l.Volume)...)}
		if asGroup {
			options = append(options, plan.Commits())
		}
		c.unmountStep(l, options...)
	}
	var ends []plan.StepID
	for _, l := range lanes {
		after := plan.After(id("unmount", l.Volume))
		if asGroup {
			after = plan.After(unmounts...)
		}
		ends = append(ends, c.detachSteps(l, all, after)...)
	}
	c.close(all, nil, c.hookVolumes(func(v Volume, h *steps.HookVolume) {
		h.Found = lanes[slices.IndexFunc(lanes, func(l unmountLane) bool { return l.MountPoint == v.MountPoint })].found
	}), ends)
}

// unmountsTogether: should one of the volumes turn out to be in use after all, the others are mounted again.
func unmountsTogether(s Spec) bool { return len(s.Volumes) > 1 && s.Together() }

// unmountLane is the lane of one volume as far as it is compiled.
type unmountLane struct {
	Volume
	found plan.Value[steps.FoundVolume]
	hooks bracket
}

// aboutLane is what a hook of one volume is told.
func (c *compiler) aboutLane(l unmountLane) []steps.HookVolume {
	return c.hookVolumes(func(o Volume, h *steps.HookVolume) {
		if o.MountPoint == l.MountPoint {
			h.Found = l.found
		}
	})
}

func (c *compiler) body(l unmountLane, all bracket) plan.Option {
	return together(plan.InLane(l.MountPoint), all.body(), l.hooks.body())
}

// inner are the unmount steps of what is mounted right inside v.
func (c *compiler) inner(v Volume) (inner []plan.StepID) {
	for _, o := range c.spec.Volumes {
		if parent, nested := parentOf(o, c.spec.Volumes); nested && parent.MountPoint == v.MountPoint {
			inner = append(inner, id("unmount", o))
		}
	}
	return inner
}

// checkInUse adds the check of these lanes, after their hooks, which may stop what uses them. It is in no lane's bracket: a
// post hook answers for what came of an unmount, and a check that refuses has begun none.
func (c *compiler) checkInUse(step plan.StepID, lanes []unmountLane, options ...plan.Option) plan.StepID {
	in := steps.CheckInUseIn{AlsoUnmounted: mountPoints(c.spec.Volumes), Replaced: c.replaces}
	for _, l := range slices.Backward(lanes) {
		in.Volumes = append(in.Volumes, steps.InUseVolume{Found: l.found, MountPoint: l.MountPoint, Device: l.Device, NameOffset: l.DeviceNameOffset})
		options = append(options, plan.After(l.hooks.pre))
	}
	_, all := c.spec.Hooks["pre_unmounts"]
	_, one := c.spec.Hooks["pre_unmount"]
	in.AfterHooks = all || one
	plan.Add(c.b, steps.CheckInUse, step, in, together(options...), plan.Within(describeTimeout))
	return step
}

func mountPoints(volumes []Volume) (out []string) {
	for _, v := range volumes {
		out = append(out, v.MountPoint)
	}
	return out
}

func (c *compiler) unmountStep(l unmountLane, options ...plan.Option) {
	plan.Add(c.b, steps.Unmount, id("unmount", l.Volume), steps.UnmountIn{VolumeRef: steps.VolumeRef{Found: l.found}, MountPoint: l.MountPoint, Device: l.Device, NameOffset: l.DeviceNameOffset,
		Options: l.MountOptions}, together(options...), plan.Title("unmount %s", l.MountPoint), plan.Within(write))
}

// detachSteps adds what comes after the unmounting, and returns the lane's last steps.
func (c *compiler) detachSteps(l unmountLane, all bracket, after plan.Option) []plan.StepID {
	in := c.body(l, all)
	detached := plan.Add(c.b, steps.Detach, id("detach", l.Volume), steps.DetachIn{VolumeRef: steps.VolumeRef{Found: l.found}, MountPoint: l.MountPoint, Device: l.Device, NameOffset: l.DeviceNameOffset,
		Patience: plan.Duration(c.timeouts.Attach)}, in, after, plan.Title("detach its volume (it is kept)"), plan.Within(c.timeouts.Detach))
	plan.Add(c.b, steps.WaitDetached, id("wait-detached", l.Volume), steps.WaitDetachedIn{Detached: detached}, in,
		plan.Title("wait until it is detached"), plan.Within(c.timeouts.Detach))
	ends := []plan.StepID{id("wait-detached", l.Volume)}
	if post := c.close(l.hooks, &l.Volume, c.aboutLane(l), ends, all.body()); post != "" {
		ends = append(ends, post)
	}
	return ends
}
