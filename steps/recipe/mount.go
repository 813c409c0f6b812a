package recipe

import (
	"time"

	"snaptastic/plan"
	"snaptastic/steps"
)

// Mount attaches and mounts a snapshotter's volumes, and creates those that are missing.
var Mount = Register(Operation{
	Name:              "mount",
	Aliases:           []string{"mount-snapshots"},
	Short:             "Mount a snapshotter's volumes; restore missing ones from their newest snapshots",
	Resume:            plan.ResumeAnyBoot,
	UndoneBy:          "unmount",
	Leaves:            Mounted,
	Offline:           true,
	StrictMountPoints: true,
	FormatsNew:        true,
	Warms:             true,
	Permissions: []Permission{
		{Action: "DescribeVolumes"}, {Action: "DescribeSnapshots", Try: ToCreate}, {Action: "CreateVolume", Try: ToCreate},
		{Action: "AttachVolume", Try: ToCreate}, {Action: "ModifyInstanceAttribute", Try: ToCreate}, {Action: "CreateTags"}, {Action: "DeleteTags"},
		{Action: "DetachVolume"}, {Action: "DeleteVolume", OwnOnly: true}, // the last two to undo it
	},
	Flags:   []Flag{AllowOlder, MixSets, IgnoreMounted, Set, Before, Snap, WaitWarm},
	Compile: compiledBy((*compiler).mount),
})

// The flags of a mount.
var (
	AllowOlder    = Flag{"allow-older", false, "skip a newest snapshot that is archived or in the recycle bin"}
	MixSets       = Flag{"mix-sets", false, "restore the newest snapshot of each mount point, even from different sets"}
	WaitWarm      = Flag{"wait", false, "read the volumes that have `warm` set before the mount is done and its post hooks run: see `run warm`"}
	IgnoreMounted = Flag{"ignore-mounted", false, "skip a device name that is used by an unexpected volume, and mount the others"}
)

// mount: look at all, choose the snapshots in one go, then each lane by itself; a nested mount point waits for the one
// that it lies in.
func (c *compiler) mount() {
	volumes := outsideIn(c.spec.Volumes)
	find := steps.FindSnapshotIn{Search: c.search()}
	found := map[string]plan.Value[steps.FoundVolume]{}
	lookAll := func(o ...plan.Option) {
		for _, v := range volumes {
			found[v.MountPoint] = c.findVolume(v, steps.ToMount, o...)
			find.Lanes = append(find.Lanes, steps.SnapshotLane{MountPoint: v.MountPoint, Found: found[v.MountPoint]})
		}
	}
	looked := ids(volumes, func(v Volume) plan.StepID { return id("find-volume", v) })
	early := c.spec.Hooks["pre_mounts"].When == Changed
	var all bracket
	if early { // what the volumes are decides whether the hook runs
		lookAll()
		all = c.open("mounts", nil, c.hookVolumes(func(v Volume, h *steps.HookVolume) { h.Found = found[v.MountPoint] }), plan.AfterSettled(looked...))
		all.late = true
	} else {
		all = c.open("mounts", nil, c.hookVolumes(nil))
		lookAll(all.first())
	}
	choices := plan.Add(c.b, steps.FindSnapshot, "find-snapshot", find, plan.Title("choose the snapshots to restore from"),
		plan.Within(describeTimeout), plan.AfterSettled(looked...), all.first())
	made, mounted := map[string]plan.Value[steps.Volume]{}, map[string]plan.Value[steps.Mounted]{}
	var ends []plan.StepID
	lasts := map[string][]plan.StepID{}
	for _, v := range volumes {
		var last []plan.StepID
		made[v.MountPoint], mounted[v.MountPoint], last = c.mountLane(v, all, found[v.MountPoint], choices)
		ends, lasts[v.MountPoint] = append(ends, last...), last
	}
	changed := c.spec.Hooks["post_mounts"].When == Changed
	post := c.close(all, nil, c.hookVolumes(func(v Volume, h *steps.HookVolume) {
		h.Volume, h.Mounted = made[v.MountPoint], mounted[v.MountPoint]
		if changed {
			h.Found = found[v.MountPoint]
		}
	}), ends)
	for _, v := range volumes { // at the end of all: whatever happens meanwhile may unmount
		plan.Add(c.b, steps.ConfirmMount, id("confirm-mount", v), steps.ConfirmMountIn{Mounted: mounted[v.MountPoint]}, plan.InLane(v.MountPoint),
			plan.Title("check that it is still mounted"), plan.Within(describeTimeout), plan.AfterSettled(post), plan.AfterSettled(lasts[v.MountPoint]...))
	}
}

// mountLane adds the lane of one volume, and returns what its last steps are.
func (c *compiler) mountLane(v Volume, all bracket, found plan.Value[steps.FoundVolume], choices plan.Value[steps.Choices]) (plan.Value[steps.Volume], plan.Value[steps.Mounted], []plan.StepID) {
	lane := together(plan.InLane(v.MountPoint), all.body())
	chosen := plan.Add(c.b, steps.WaitSnapshot, id("wait-snapshot", v), steps.WaitSnapshotIn{MountPoint: v.MountPoint, Search: c.search(), Found: found, Choices: choices},
		lane, all.begins(), plan.Title("wait for the snapshot of %s", v.MountPoint), plan.Within(c.timeouts.Snapshot), plan.AfterSettled("find-snapshot"))

	one := c.open("mount", &v, c.hookVolumes(func(o Volume, h *steps.HookVolume) {
		if o.MountPoint == v.MountPoint {
			h.Found = found
		}
	}), all.begins())
	lane = together(lane, one.body())

	volume := plan.Add(c.b, steps.CreateVolume, id("create-volume", v), c.volumeOf(v, found, chosen), lane, one.first(),
		plan.Title("create the volume of %s", v.MountPoint), plan.Within(c.timeouts.Volume), plan.KeptBy(id("mount", v)))
	available := plan.Add(c.b, steps.WaitAvailable, id("wait-available", v), steps.WaitAvailableIn{Volume: volume}, lane,
		plan.Title("wait until it is available"), plan.Within(c.timeouts.Volume), plan.Redoes(id("create-volume", v)))
	attached := plan.Add(c.b, steps.Attach, id("attach", v), steps.AttachIn{Volume: available, Device: v.Device, NameOffset: v.DeviceNameOffset,
		Patience: plan.Duration(c.timeouts.Attach)}, lane, plan.Title("attach it as %s", v.Device), plan.Within(c.timeouts.Attach+attachMore),
		plan.Redoes(id("create-volume", v)))
	device := plan.Add(c.b, steps.WaitDevice, id("wait-device", v), steps.WaitDeviceIn{Attached: attached, Device: v.Device, NameOffset: v.DeviceNameOffset, Rivals: c.rivals(v)}, lane,
		plan.Title("wait for its device"), plan.Within(c.timeouts.Device))
	plan.Add(c.b, steps.DeleteOnTermination, id("delete-on-termination", v), steps.DeleteOnTerminationIn{Attached: attached, Want: v.DeleteOnTermination}, lane,
		plan.Title("%s it when the instance is terminated", map[bool]string{true: "delete", false: "keep"}[v.DeleteOnTermination]), plan.Within(describeTimeout))
	fileSystem := plan.Add(c.b, steps.MkfsOrSkip, id("mkfs-or-skip", v), steps.MkfsOrSkipIn{Volume: available, Device: device, Choice: chosen, Found: found,
		FileSystem: v.FileSystem, Options: v.MkfsOptions, Root: rootFolder(v)}, lane, plan.Title("format it with %s if it is new and blank", v.FileSystem), plan.Within(c.timeouts.Mkfs))

	var outer plan.StepID
	if parent, nested := parentOf(v, c.spec.Volumes); nested {
		outer = id("mount", parent)
	}
	mounted := plan.Add(c.b, steps.Mount, id("mount", v), steps.MountIn{Device: device, FileSystem: fileSystem, MountPoint: v.MountPoint, LeadsTo: v.Place(), Options: v.MountOptions}, lane,
		plan.Title("mount it on %s", v.MountPoint), plan.Within(c.timeouts.Mount), plan.After(outer))
	plan.Add(c.b, steps.Grow, id("grow", v), steps.GrowIn{Mounted: mounted}, lane,
		plan.Title("grow its file system to the volume"), plan.Within(c.timeouts.Mount))

	changed := c.spec.Hooks["post_mount"].When == Changed
	ends := []plan.StepID{id("grow", v), id("delete-on-termination", v)}
	if v.Warm != nil && c.Options.Bool(WaitWarm) {
		ends = append(ends, c.warmStep(v, steps.VolumeRef{Mounted: mounted}, lane, plan.After(id("grow", v))))
	}
	post := c.close(one, &v, c.hookVolumes(func(o Volume, h *steps.HookVolume) {
		if o.MountPoint == v.MountPoint {
			h.Volume, h.Mounted = volume, mounted
			if changed {
				h.Found = found
			}
		}
	}), ends, all.body())
	if post != "" {
		ends = append(ends, post)
	}
	return volume, mounted, ends
}

// rootFolder is nil where the settings say nothing of it.
func rootFolder(v Volume) *steps.RootFolder {
	if r := (steps.RootFolder{Owner: v.Owner, Group: v.Group, Mode: v.Mode}); r != (steps.RootFolder{}) {
		return &r
	}
	return nil
}

// search says what there is to choose from.
func (c *compiler) search() steps.Search {
	s := steps.Search{FilterTags: c.spec.FilterTags, Group: c.spec.Together(), AllowOlder: c.Options.Bool(AllowOlder),
		MixSets: c.Options.Bool(MixSets), MayCreate: c.spec.OnMissing != FailIfMissing,
		Set: c.Options.Text(Set), Snapshot: c.Options.Text(Snap), Verified: c.spec.OnlyVerified}
	s.Before, _ = time.Parse(time.RFC3339, c.Options.Text(Before)) // Asked made it so, or left it empty
	if s.Set != "" || s.Snapshot != "" || !s.Before.IsZero() || s.Verified {
		s.Name = c.spec.Name
	}
	return s
}

func (c *compiler) volumeOf(v Volume, found plan.Value[steps.FoundVolume], chosen plan.Value[steps.Choice]) steps.CreateVolumeIn {
	tags := c.tags()
	tags[steps.TagMountPoint] = v.MountPoint
	return steps.CreateVolumeIn{Found: found, Choice: chosen, MountPoint: v.MountPoint, Zone: c.Target.Zone, Size: v.Size, Type: v.VolumeType,
		IOPS: v.IOPS, Throughput: v.Throughput, Encrypted: v.Encrypted, KMSKeyID: v.KMSKeyID, InitializationRate: v.InitializationRate, Tags: tags}
}
