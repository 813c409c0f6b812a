package recipe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"snaptastic/plan"
	"snaptastic/steps"
)

// Restore puts a set in the place of the volumes that are mounted now. Those are kept. All of them are replaced or none: a run
// that does not come to its end puts them back.
var Restore = Register(Operation{
	Name:              "restore",
	Short:             "Replace a snapshotter's volumes with a set of snapshots; the current volumes are kept and billed",
	Resume:            plan.ResumeOrUndo,
	UndoOnFailure:     func(Spec) bool { return true },
	Question:          restoreQuestion,
	Leaves:            Mounted,
	Offline:           true,
	StrictMountPoints: true,
	Replaces:          true,
	Permissions: []Permission{
		{Action: "DescribeVolumes"}, {Action: "DescribeSnapshots", Try: ToCreate}, {Action: "CreateVolume", Try: ToCreate},
		{Action: "AttachVolume", Try: ToCreate}, {Action: "ModifyInstanceAttribute", Try: ToCreate}, {Action: "CreateTags", Try: Attached}, {Action: "DeleteTags"},
		{Action: "DetachVolume", Try: Attached}, {Action: "DeleteVolume", OwnOnly: true}, // the last one to undo it
	},
	Flags:   []Flag{Set, Before, Snap, AllowOlder, MixSets},
	Compile: compiledBy((*compiler).restore),
})

// restoreSection has in it what happens from the first hook on.
const restoreSection = "hooks:restore"

func restoreQuestion(r Request) string {
	what := "the newest set of snapshots"
	switch o := r.Options; {
	case r.Back != nil:
		what = "the ones that they replaced"
	case o.Text(Snap) != "":
		what = o.Text(Snap)
	case o.Text(Set) != "":
		what = "the set " + o.Text(Set)
	case o.Text(Before) != "":
		what = "the newest set of " + o.Text(Before) + " or earlier"
	}
	volumes := "the volume"
	if n := len(r.Spec.Volumes); n > 1 {
		volumes = fmt.Sprintf("the %d volumes", n)
	}
	return fmt.Sprintf("Replace %s of %s with %s? What was written since is no longer there until you roll back; the current volumes are detached, kept and billed.", volumes, r.Spec.Name, what)
}

// restoreLane is the lane of one volume as far as it is compiled.
type restoreLane struct {
	unmountLane
	chosen  plan.Value[steps.Choice]
	next    plan.Value[steps.Volume] // ready to be attached
	mounted plan.Value[steps.Mounted]
}

// restore: the new volumes are ready before anything is stopped or unmounted, so that a set that cannot be restored takes nothing
// away, and what comes in between is short. Then as an unmount of all volumes and a mount of the new ones.
func (c *compiler) restore() {
	c.replaces = true
	lanes := c.nextVolumes()
	closes := c.restoreHooked("post_mounts") || c.restoreHooked("post_mount")
	if closes {
		c.b.Section(restoreSection, plan.Bracket)
	}
	body := func(*plan.Builder, *plan.Step) {}
	if closes {
		body = plan.In(restoreSection)
	}
	off := c.takeOff(lanes, closes, body)
	c.putOn(lanes, off, body)
	c.backHooks(lanes, closes)
}

func (c *compiler) restoreHooked(name string) bool { _, has := c.spec.Hooks[name]; return has }

// nextVolumes finds what is there, and makes what takes its place.
func (c *compiler) nextVolumes() []restoreLane {
	var lanes []restoreLane
	find := steps.FindSnapshotIn{Search: c.search()}
	find.Search.MayCreate, find.Search.Existing, find.Search.Name = false, true, c.spec.Name
	for _, v := range outsideIn(c.spec.Volumes) {
		if back, is := c.Back[v.MountPoint]; is {
			v.MountOptions = back.Options
		}
		lanes = append(lanes, restoreLane{unmountLane: unmountLane{Volume: v, found: c.findVolume(v, steps.ToMount)}})
		find.Lanes = append(find.Lanes, steps.SnapshotLane{MountPoint: v.MountPoint, Found: plan.Literal(steps.FoundVolume{})})
	}
	looked := laneIDs("find-volume", lanes)
	if c.Back != nil {
		for i, l := range lanes {
			lanes[i].next = plan.Add(c.b, steps.FindReplaced, id("find-replaced", l.Volume), steps.FindReplacedIn{VolumeID: c.Back[l.MountPoint].VolumeID, MountPoint: l.MountPoint, Zone: c.Target.Zone},
				plan.InLane(l.MountPoint), plan.After(looked...), plan.Title("find the volume that %s had before", l.MountPoint), plan.Within(describeTimeout))
		}
		return lanes
	}
	choices := plan.Add(c.b, steps.FindSnapshot, "find-snapshot", find, plan.Title("choose the snapshots to restore"), plan.Within(describeTimeout), plan.After(looked...))
	for i, l := range lanes {
		lanes[i].chosen = plan.Add(c.b, steps.WaitSnapshot, id("wait-snapshot", l.Volume), steps.WaitSnapshotIn{MountPoint: l.MountPoint, Search: find.Search, Choices: choices},
			plan.InLane(l.MountPoint), plan.Title("wait for the snapshot of %s", l.MountPoint), plan.Within(c.timeouts.Snapshot))
	}
	for i, l := range lanes {
		lane := plan.InLane(l.MountPoint)
		made := plan.Add(c.b, steps.CreateVolume, id("create-volume", l.Volume), c.volumeOf(l.Volume, plan.Literal(steps.FoundVolume{}), l.chosen), lane, plan.After(laneIDs("wait-snapshot", lanes)...),
			plan.Title("create the new volume of %s", l.MountPoint), plan.Within(c.timeouts.Volume), plan.KeptBy("hand-over"))
		lanes[i].next = plan.Add(c.b, steps.WaitAvailable, id("wait-available", l.Volume), steps.WaitAvailableIn{Volume: made}, lane,
			plan.Title("wait until it is available"), plan.Within(c.timeouts.Volume), plan.Redoes(id("create-volume", l.Volume)))
	}
	return lanes
}

// ready are the steps after which all new volumes are there.
func (c *compiler) ready(lanes []restoreLane) []plan.StepID {
	if c.Back != nil {
		return laneIDs("find-replaced", lanes)
	}
	return laneIDs("wait-available", lanes)
}

// takeOff unmounts and detaches what is there, after its hooks, and returns the steps after which it is off.
func (c *compiler) takeOff(lanes []restoreLane, closes bool, body plan.Option) []plan.StepID {
	ready := plan.After(c.ready(lanes)...)
	found := c.aboutLanes(lanes, func(l restoreLane, h *steps.HookVolume) { h.Found = l.found })
	ifMounted := func(in *steps.HookIn) { in.IfMounted = true }
	opens := body
	if closes {
		opens = plan.Opens(restoreSection)
	}
	before := []plan.StepID{c.restoreHook("pre_unmounts", nil, found, ifMounted, opens, ready)}
	var unmounting []unmountLane
	for _, l := range slices.Backward(lanes) { // inner ones first
		before = append(before, c.restoreHook("pre_unmount", &l.Volume, only(found, l.MountPoint), ifMounted, body, ready, plan.After(before[0])))
		unmounting = append(unmounting, l.unmountLane)
	}
	c.checkInUse("check-in-use", unmounting, body, ready, plan.After(before...), plan.Title("check that nothing uses the volumes"))
	for _, l := range unmounting {
		c.unmountStep(l, plan.InLane(l.MountPoint), body, plan.After("check-in-use"), plan.After(c.inner(l.Volume)...))
	}
	mark := steps.MarkReplacedIn{}
	for _, l := range lanes {
		mark.Found = append(mark.Found, l.found)
	}
	plan.Add(c.b, steps.MarkReplaced, "mark-replaced", mark, body, plan.After(laneIDs("unmount", lanes)...), plan.Title("tag the current volumes as replaced"), plan.Within(write))
	unmounted := plan.After("mark-replaced")
	for _, l := range unmounting {
		in := together(plan.InLane(l.MountPoint), body)
		detached := plan.Add(c.b, steps.Detach, id("detach", l.Volume), steps.DetachIn{VolumeRef: steps.VolumeRef{Found: l.found}, MountPoint: l.MountPoint, Device: l.Device, NameOffset: l.DeviceNameOffset,
			Replaced: true, Patience: plan.Duration(c.timeouts.Attach)}, in, unmounted, plan.Title("detach its current volume (it is kept)"), plan.Within(c.timeouts.Detach))
		plan.Add(c.b, steps.WaitDetached, id("wait-detached", l.Volume), steps.WaitDetachedIn{Detached: detached}, in,
			plan.Title("wait until it is detached"), plan.Within(c.timeouts.Detach))
	}
	var between []plan.StepID // hooks between the unmounting and the mounting: none, as a rule
	for _, l := range unmounting {
		between = append(between, c.restoreHook("post_unmount", &l.Volume, only(found, l.MountPoint), ifMounted, body, plan.After(id("wait-detached", l.Volume))))
	}
	if last := c.restoreHook("post_unmounts", nil, found, ifMounted, body, plan.After(between...), plan.After(laneIDs("wait-detached", lanes)...)); last != "" {
		between = append(between, last)
	}
	if first := c.restoreHook("pre_mounts", nil, found, nil, body, plan.After(between...), plan.After(laneIDs("wait-detached", lanes)...)); first != "" {
		between = append(between, first)
	}
	return between
}

// putOn attaches and mounts the new volumes, and hands them over.
func (c *compiler) putOn(lanes []restoreLane, off []plan.StepID, body plan.Option) {
	var grown []plan.StepID
	hand := steps.HandOverIn{}
	for i, l := range lanes {
		c.restoreMount(&lanes[i], off, body)
		grown = append(grown, id("grow", l.Volume), id("delete-on-termination", l.Volume))
		hand.Mounted = append(hand.Mounted, lanes[i].mounted)
	}
	if c.Back != nil {
		back := steps.MarkReplacedIn{}
		for _, l := range lanes {
			back.Back = append(back.Back, l.next)
		}
		plan.Add(c.b, steps.MarkReplaced, "unmark-replaced", back, body, plan.After(grown...), plan.Title("tag them as replaced no more"), plan.Within(write))
		grown = append(grown, "unmark-replaced")
	}
	plan.Add(c.b, steps.HandOver, "hand-over", hand, body, plan.After(grown...), plan.Title("check that all are mounted, and hand them over"), plan.Within(describeTimeout))
	known := c.aboutLanes(lanes, func(l restoreLane, h *steps.HookVolume) { h.Volume, h.Mounted = l.next, l.mounted })
	stops := c.undoHooks(lanes, known, body)
	ends := []plan.StepID{"hand-over"}
	for _, l := range lanes {
		ends = append(ends, c.restoreHook("post_mount", &l.Volume, only(known, l.MountPoint), nil, body, plan.After(stops...)))
	}
	ends = append(ends, stops...)
	ends = append(ends, c.restoreHook("post_mounts", nil, known, nil, body, plan.After(ends...)))
	for _, l := range lanes {
		plan.Add(c.b, steps.ConfirmMount, id("confirm-mount", l.Volume), steps.ConfirmMountIn{Mounted: l.mounted}, plan.InLane(l.MountPoint), body,
			plan.Title("check that it is still mounted"), plan.Within(describeTimeout), plan.After(ends...))
	}
}

// undoHooks adds the hooks that stop what works on the restored volumes, should they be taken off again: before the hooks that
// start it, so that a rollback comes upon them after it has passed those, and in the order of an unmount. It returns the steps
// after which it may be started.
func (c *compiler) undoHooks(lanes []restoreLane, known []steps.HookVolume, body plan.Option) []plan.StepID {
	stops := []plan.StepID{"hand-over"}
	add := func(name string, of *Volume, known []steps.HookVolume, after ...plan.StepID) {
		h, has := c.spec.Hooks[name]
		if !has {
			return
		}
		step := plan.StepID("undo-hook:" + name)
		text := plan.Title("if it is rolled back from here on, run the %s hook", name)
		lane := together()
		if of != nil {
			step = id("undo-hook:"+name, *of)
			text = plan.Title("if it is rolled back from here on, run the %s hook of %s", name, of.MountPoint)
			lane = plan.InLane(of.MountPoint)
		}
		plan.Add(c.b, steps.UndoHook, step, steps.UndoHookIn{HookIn: c.hookIn(name, h, of, known), Once: !h.Repeatable}, text,
			plan.Within(h.Timeout+hookGrace), lane, body, plan.After(after...))
		stops = append(stops, step)
	}
	for _, l := range lanes {
		add("pre_unmount", &l.Volume, only(known, l.MountPoint), "hand-over")
	}
	add("pre_unmounts", nil, known, stops...)
	return stops
}

// restoreMount adds what a lane does with its new volume.
func (c *compiler) restoreMount(l *restoreLane, off []plan.StepID, body plan.Option) {
	v := l.Volume
	lane := together(plan.InLane(v.MountPoint), body)
	before := c.restoreHook("pre_mount", &v, only(c.aboutLanes([]restoreLane{*l}, func(l restoreLane, h *steps.HookVolume) { h.Found = l.found }), v.MountPoint), nil,
		body, plan.After(off...), plan.After(id("wait-detached", v)))
	attached := plan.Add(c.b, steps.Attach, id("attach", v), steps.AttachIn{Volume: l.next, Device: v.Device, NameOffset: v.DeviceNameOffset,
		Patience: plan.Duration(c.timeouts.Attach)}, lane, plan.After(off...), plan.After(before, id("wait-detached", v)), plan.Title("attach the new one as %s", v.Device), plan.Within(c.timeouts.Attach+attachMore))
	device := plan.Add(c.b, steps.WaitDevice, id("wait-device", v), steps.WaitDeviceIn{Attached: attached, Device: v.Device, NameOffset: v.DeviceNameOffset, Rivals: c.rivals(v)}, lane,
		plan.Title("wait for its device"), plan.Within(c.timeouts.Device))
	plan.Add(c.b, steps.DeleteOnTermination, id("delete-on-termination", v), steps.DeleteOnTerminationIn{Attached: attached, Want: v.DeleteOnTermination}, lane,
		plan.Title("%s it when the instance is terminated", map[bool]string{true: "delete", false: "keep"}[v.DeleteOnTermination]), plan.Within(describeTimeout))
	fileSystem := plan.Add(c.b, steps.MkfsOrSkip, id("mkfs-or-skip", v), steps.MkfsOrSkipIn{Volume: l.next, Device: device, Choice: l.chosen,
		FileSystem: v.FileSystem, Options: v.MkfsOptions}, lane, plan.Title("check its file system"), plan.Within(c.timeouts.Mkfs))
	var outer plan.StepID
	if parent, nested := parentOf(v, c.spec.Volumes); nested {
		outer = id("mount", parent)
	}
	l.mounted = plan.Add(c.b, steps.Mount, id("mount", v), steps.MountIn{Device: device, FileSystem: fileSystem, MountPoint: v.MountPoint, LeadsTo: v.Place(), Options: v.MountOptions}, lane,
		plan.Title("mount it on %s", v.MountPoint), plan.Within(c.timeouts.Mount), plan.After(outer))
	plan.Add(c.b, steps.Grow, id("grow", v), steps.GrowIn{Mounted: l.mounted}, lane,
		plan.Title("grow its file system to the volume"), plan.Within(c.timeouts.Mount))
}

// backHooks start again what the first hooks stopped, when a restore did not come to its end and the volumes that were there are
// mounted as before.
func (c *compiler) backHooks(lanes []restoreLane, closes bool) {
	if !closes {
		return
	}
	found := c.aboutLanes(lanes, func(l restoreLane, h *steps.HookVolume) { h.Found = l.found })
	add := func(name string, of *Volume, known []steps.HookVolume) {
		c.restoreHookAs("hook-back:"+name, "if the current volumes come back, ", name, of, known, func(in *steps.HookIn) { in.IfBack = true }, plan.Closes(restoreSection))
	}
	for _, l := range lanes {
		add("post_mount", &l.Volume, only(found, l.MountPoint))
	}
	add("post_mounts", nil, found)
}

// restoreHook adds a hook of a mount or an unmount, if there is one, and returns its step. It runs whatever its settings say of
// when: everything changes.
func (c *compiler) restoreHook(name string, of *Volume, known []steps.HookVolume, tune func(*steps.HookIn), options ...plan.Option) plan.StepID {
	return c.restoreHookAs("hook:"+name, "", name, of, known, tune, options...)
}

func (c *compiler) restoreHookAs(kind, title, name string, of *Volume, known []steps.HookVolume, tune func(*steps.HookIn), options ...plan.Option) plan.StepID {
	h, has := c.spec.Hooks[name]
	if !has {
		return ""
	}
	step := plan.StepID(kind)
	text := plan.Title("%srun the %s hook", title, name)
	if of != nil {
		step = id(kind, *of)
		text = plan.Title("%srun the %s hook of %s", title, name, of.MountPoint)
		options = append(options, plan.InLane(of.MountPoint))
	}
	if !h.Repeatable {
		options = append(options, plan.Once())
	}
	if h.OnFailure == ContinueRun {
		options = append(options, plan.Tolerated())
	}
	in := c.hookIn(name, h, of, known)
	if tune != nil {
		tune(&in)
	}
	plan.Add(c.b, steps.Hook, step, in, text, plan.Within(h.Timeout+hookGrace), together(options...))
	return step
}

// aboutLanes is what a hook is told of all volumes.
func (c *compiler) aboutLanes(lanes []restoreLane, tell func(restoreLane, *steps.HookVolume)) []steps.HookVolume {
	return c.hookVolumes(func(v Volume, h *steps.HookVolume) {
		if i := slices.IndexFunc(lanes, func(l restoreLane) bool { return l.MountPoint == v.MountPoint }); i >= 0 {
			tell(lanes[i], h)
		}
	})
}

// only leaves what is known of one volume: whatever a hook is told of it also waits for.
func only(known []steps.HookVolume, mountPoint string) []steps.HookVolume {
	out := slices.Clone(known)
	for i, h := range out {
		if h.MountPoint != mountPoint {
			out[i] = steps.HookVolume{Device: h.Device, MountPoint: h.MountPoint, FileSystem: h.FileSystem}
		}
	}
	return out
}

func laneIDs(kind string, lanes []restoreLane) []plan.StepID {
	return ids(lanes, func(l restoreLane) plan.StepID { return id(kind, l.Volume) })
}

// Back is a volume that a restore replaced, and how it was mounted.
type Back struct {
	VolumeID string   `json:"volume_id"`
	Device   string   `json:"device"`
	Options  []string `json:"options,omitempty"`
}

// Replaced reads a finished restore: the volumes that it replaced, by mount point. output and input are what the journal has of a
// step that is done.
func Replaced(p *plan.Plan, input, output func(plan.StepID) json.RawMessage) (map[string]Back, error) {
	back := map[string]Back{}
	for _, l := range p.Lanes {
		v := Volume{MountPoint: l.ID}
		var detached steps.Detached
		var unmount steps.UnmountIn
		for _, read := range []struct {
			from json.RawMessage
			to   any
		}{{output(id("detach", v)), &detached}, {input(id("unmount", v)), &unmount}} {
			if len(read.from) == 0 {
				continue
			}
			if err := json.Unmarshal(read.from, read.to); err != nil {
				return nil, fmt.Errorf("cannot read what the restore of %s recorded: %w", l.ID, err)
			}
		}
		if detached.VolumeID != "" {
			back[l.ID] = Back{VolumeID: detached.VolumeID, Device: cmp.Or(unmount.Device, l.Facts.Device), Options: unmount.Options}
		}
	}
	return back, nil
}
