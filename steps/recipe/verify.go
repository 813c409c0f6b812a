package recipe

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// Verify is the drill: it restores a set to scratch volumes beside those in use, checks and probes them, takes everything down
// again, and tells on the set's snapshots what it found. What it makes has no other use, so that a run that is cut off is taken
// down and never continued: a drill that lay idle for a week measures nothing.
var Verify = Register(Operation{
	Name:          "verify",
	Short:         "Restore a set to scratch volumes, check and probe it, and tag the result",
	Resume:        plan.ResumeUndoes,
	UndoOnFailure: func(Spec) bool { return true },
	Scratch:       true,
	Permissions: []Permission{
		{Action: "DescribeVolumes"}, {Action: "DescribeSnapshots"}, {Action: "CreateVolume", Try: ToCreate}, {Action: "AttachVolume", Try: ToCreate}, {Action: "ModifyInstanceAttribute", Try: ToCreate},
		{Action: "DetachVolume", Try: Attached}, {Action: "DeleteVolume", OwnOnly: true, Try: Attached}, {Action: "CreateTags", Try: Labelled}, {Action: "DeleteTags"},
	},
	Flags:   []Flag{AllowOlder, Set, Before},
	Compile: compiledBy((*compiler).verify),
})

// CheckKind says how thoroughly a drill looks at a file system.
type CheckKind string

const (
	CheckFull  CheckKind = "full"  // the default: mount it, and run its read-only check
	CheckMount CheckKind = "mount" // mount it
)

// A Drill is what the settings say about `run verify`.
type Drill struct {
	Probe   []string      `json:"probe,omitempty"` // argv, no shell
	Timeout time.Duration `json:"timeout"`         // of the probe, and of each file system check
	Every   time.Duration `json:"every,omitempty"` // how often a set has to be proven; 0: nobody asks
	Check   CheckKind     `json:"check"`
	Devices []string      `json:"devices,omitempty"` // EC2 device names for scratch volumes; none: those that are free
}

// DefaultDrillTimeout is for a snapshotter that says nothing of it.
const DefaultDrillTimeout = 30 * time.Minute

// drillSection is what is taken down in any case.
const drillSection = "drill"

// drillLane is the lane of one volume as far as it is compiled.
type drillLane struct {
	Volume
	spare    string // the device name of its scratch volume
	chosen   plan.Value[steps.Choice]
	volume   plan.Value[steps.Volume]
	attached plan.Value[steps.Attached]
	replayed plan.Value[steps.Replayed]
	checked  plan.Value[steps.Checked]
	mounted  plan.Value[steps.ScratchMount]
}

// verify: choose as a mount would; each lane by itself up to its read-only mount, one nested in another after that one; then one
// probe for all. The closing steps take down what there is of it.
func (c *compiler) verify() {
	c.spec.Drill.Timeout = cmp.Or(c.spec.Drill.Timeout, DefaultDrillTimeout)
	nothing := plan.Literal(steps.FoundVolume{})
	find := steps.FindSnapshotIn{Search: c.drillSearch()}
	for _, v := range c.spec.Volumes {
		find.Lanes = append(find.Lanes, steps.SnapshotLane{MountPoint: v.MountPoint, Found: nothing})
	}
	choices := plan.Add(c.b, steps.FindSnapshot, "find-snapshot", find, plan.Title("choose the set to restore"), plan.Within(describeTimeout))
	c.b.Section(drillSection, plan.Bracket)
	lanes := map[string]*drillLane{}
	var all []*drillLane
	for _, v := range outsideIn(c.spec.Volumes) {
		l := &drillLane{Volume: v, spare: c.spareOf(v)}
		lanes[v.MountPoint], all = l, append(all, l)
		c.restoreScratch(l, choices, nothing)
		c.mountScratch(l, lanes)
	}
	probed := c.probe(all, choices)
	down := c.takeDown(all)
	in := steps.TagDrillIn{Choices: choices, Probed: probed}
	settled := append([]plan.StepID{"find-snapshot", "probe"}, down...)
	for _, l := range all {
		in.Chosen = append(in.Chosen, l.chosen)
		in.Replays, in.Mounts = append(in.Replays, l.replayed), append(in.Mounts, l.mounted)
		settled = append(settled, id("wait-snapshot", l.Volume), id("replay-log", l.Volume), id("mount-scratch", l.Volume))
		if c.spec.Drill.Check != CheckMount {
			in.Checks = append(in.Checks, l.checked)
			settled = append(settled, id("check-file-system", l.Volume))
		}
	}
	plan.Add(c.b, steps.TagDrill, "tag-drill", in, plan.AfterSettled(settled...), plan.Title("tag the snapshots of the set with the result"), plan.Within(write))
}

// drillSearch is that of a mount, but for what is not verified yet: that is what a drill is for.
func (c *compiler) drillSearch() steps.Search {
	s := c.search()
	s.MayCreate, s.Verified, s.Drill, s.Name = false, false, true, c.spec.Name
	return s
}

// spareOf is the device name of a volume's scratch copy: they are given out in the order of the declaration.
func (c *compiler) spareOf(v Volume) string { return spareOf(c.Request, v) }

func spareOf(r Request, v Volume) string {
	for i, o := range r.Spec.Volumes {
		if o.MountPoint == v.MountPoint && i < len(r.Spares) {
			return r.Spares[i]
		}
	}
	return ""
}

// restoreScratch adds the steps of a lane up to its device.
func (c *compiler) restoreScratch(l *drillLane, choices plan.Value[steps.Choices], nothing plan.Value[steps.FoundVolume]) {
	v, search := l.Volume, c.drillSearch()
	lane := plan.InLane(v.MountPoint)
	chosen := plan.Add(c.b, steps.WaitSnapshot, id("wait-snapshot", v), steps.WaitSnapshotIn{MountPoint: v.MountPoint, Search: search, Found: nothing, Choices: choices},
		lane, plan.Title("wait for the snapshot of %s", v.MountPoint), plan.Within(c.timeouts.Snapshot), plan.AfterSettled("find-snapshot"))
	l.chosen = chosen
	in := c.volumeOf(v, nothing, chosen)
	in.Scratch, in.Tags = true, map[string]string{snapset.TagPurpose: snapset.PurposeVerify}
	body := together(lane, plan.In(drillSection))
	l.volume = plan.Add(c.b, steps.CreateVolume, id("create-volume", v), in, body, plan.Title("create a scratch volume of %s", v.MountPoint), plan.Within(c.timeouts.Volume))
	available := plan.Add(c.b, steps.WaitAvailable, id("wait-available", v), steps.WaitAvailableIn{Volume: l.volume}, body,
		plan.Title("wait until it is available"), plan.Within(c.timeouts.Volume), plan.Redoes(id("create-volume", v)))
	l.attached = plan.Add(c.b, steps.Attach, id("attach", v), steps.AttachIn{Volume: available, Device: l.spare, NameOffset: v.DeviceNameOffset,
		Patience: plan.Duration(c.timeouts.Attach)}, body, plan.Title("attach it as %s", l.spare), plan.Within(c.timeouts.Attach+attachMore), plan.Redoes(id("create-volume", v)))
	plan.Add(c.b, steps.DeleteOnTermination, id("delete-on-termination", v), steps.DeleteOnTerminationIn{Attached: l.attached, Want: true}, body,
		plan.Title("delete it when the instance is terminated"), plan.Within(describeTimeout))
}

// mountScratch adds the steps of a lane from its device to its read-only mount.
func (c *compiler) mountScratch(l *drillLane, lanes map[string]*drillLane) {
	v := l.Volume
	body := together(plan.InLane(v.MountPoint), plan.In(drillSection))
	device := plan.Add(c.b, steps.WaitDevice, id("wait-device", v), steps.WaitDeviceIn{Attached: l.attached, Device: l.spare, NameOffset: v.DeviceNameOffset, Rivals: c.spareRivals(l)}, body,
		plan.Title("wait for its device"), plan.Within(c.timeouts.Device))
	replay := steps.ReplayLogIn{Device: device, MountPoint: v.MountPoint, Options: v.MountOptions}
	for _, o := range c.spec.Volumes {
		if parent, nested := parentOf(o, c.spec.Volumes); nested && parent.MountPoint == v.MountPoint {
			if inside, err := filepath.Rel(v.Place(), o.Place()); err == nil {
				replay.Inside = append(replay.Inside, inside)
			}
		}
	}
	l.replayed = plan.Add(c.b, steps.ReplayLog, id("replay-log", v), replay, body, plan.Title("replay the log of its file system"), plan.Within(c.timeouts.Mount))
	in := steps.MountScratchIn{Device: device, Replayed: l.replayed, MountPoint: v.Place(), Options: v.MountOptions}
	if c.spec.Drill.Check != CheckMount {
		l.checked = plan.Add(c.b, steps.CheckFileSystem, id("check-file-system", v), steps.CheckFileSystemIn{Device: device, Replayed: l.replayed, MountPoint: v.MountPoint,
			Timeout: plan.Duration(c.spec.Drill.Timeout)}, body, plan.Title("check its file system"), plan.Within(c.spec.Drill.Timeout+hookGrace))
		in.Checked = l.checked
	}
	if parent, nested := parentOf(v, c.spec.Volumes); nested {
		in.Outer = lanes[parent.MountPoint].mounted
	}
	l.mounted = plan.Add(c.b, steps.MountScratch, id("mount-scratch", v), in, body, plan.Title("mount it read-only below the state directory"), plan.Within(c.timeouts.Mount))
}

// spareRivals are the names of the other scratch volumes that a kernel which shifts its names would show under this one's.
func (c *compiler) spareRivals(l *drillLane) []string {
	if l.Unshifted || l.DeviceNameOffset != 0 {
		return nil
	}
	var others []string
	for _, v := range c.spec.Volumes {
		if o := c.spareOf(v); o != l.spare {
			others = append(others, o)
		}
		others = append(others, v.Device)
	}
	return steps.RivalNames(l.spare, others)
}

func (c *compiler) probe(all []*drillLane, choices plan.Value[steps.Choices]) plan.Value[steps.Probed] {
	d := c.spec.Drill
	in := steps.ProbeIn{Command: d.Probe, Timeout: plan.Duration(d.Timeout), Operation: c.operation, Snapshotter: c.spec.Name, Choices: choices}
	for _, l := range all {
		in.Chosen, in.Mounts = append(in.Chosen, l.chosen), append(in.Mounts, l.mounted)
		in.Volumes = append(in.Volumes, steps.HookVolume{Device: l.spare, MountPoint: l.MountPoint, FileSystem: l.FileSystem, Volume: l.volume})
	}
	return plan.Add(c.b, steps.Probe, "probe", in, plan.In(drillSection), plan.Title("probe the restored volumes"), plan.Within(d.Timeout+hookGrace))
}

// takeDown adds the closing steps, and returns the last one of each lane.
func (c *compiler) takeDown(all []*drillLane) (last []plan.StepID) {
	plan.Add(c.b, steps.TakeDown, "take-down", steps.TakeDownIn{}, plan.Closes(drillSection), plan.Title("unmount the scratch volumes"), plan.Within(write))
	for _, l := range all {
		plan.Add(c.b, steps.Detach, id("detach", l.Volume), steps.DetachIn{VolumeRef: steps.VolumeRef{Volume: l.volume, Attached: l.attached}, Device: l.spare, NameOffset: l.DeviceNameOffset, ThenDeleted: true,
			Patience: plan.Duration(c.timeouts.Attach)}, plan.InLane(l.MountPoint), plan.Closes(drillSection), plan.Title("detach the scratch volume"), plan.Within(c.timeouts.Detach))
	}
	for _, l := range all {
		last = append(last, id("delete-volume", l.Volume))
		plan.Add(c.b, steps.DeleteVolume, id("delete-volume", l.Volume), steps.DeleteVolumeIn{Made: l.volume}, plan.InLane(l.MountPoint), plan.Closes(drillSection), plan.Title("delete it"), plan.Within(c.timeouts.Detach))
	}
	return last
}

// scratchLane is a lane that works on a volume of its own, beside the one in use. The snapshotter is claimed as well: two drills of
// the same set at once would prove no more than one.
func scratchLane(r Request, v Volume) plan.Lane {
	spare := spareOf(r, v)
	return plan.Lane{ID: v.MountPoint, Claims: []string{"verify:" + r.Spec.Name, "device:" + steps.DeviceKey(spare)},
		Facts: plan.Facts{MountPoint: v.MountPoint, Device: spare}}
}

// checkSpares refuses a request without a device name for each volume.
func checkSpares(r Request) error {
	if len(r.Spares) < len(r.Spec.Volumes) {
		return fmt.Errorf("it needs %d device names for scratch volumes and has %d", len(r.Spec.Volumes), len(r.Spares))
	}
	seen := map[string]bool{}
	for _, s := range r.Spares {
		if key := steps.DeviceKey(s); seen[key] {
			return errors.New("two scratch volumes have the same device name " + s)
		} else {
			seen[key] = true
		}
	}
	return nil
}
