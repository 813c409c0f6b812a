package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/linux"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// A VolumeView is one declared volume beside what is there. Its JSON is part
// of the command line's contract.
type VolumeView struct {
	Device     string          `json:"device"`
	MountPoint string          `json:"mount_point"`
	Declared   DeclaredVolume  `json:"declared"`
	Attached   *AttachedVolume `json:"attached"` // null: nothing is
	Mounted    *MountedVolume  `json:"mounted"`  // null: its volume is not
	Problems   []string        `json:"problems"`
}

type DeclaredVolume struct {
	Size                int32  `json:"size_gib"`
	FileSystem          string `json:"file_system"`
	VolumeType          string `json:"volume_type"`
	DeleteOnTermination bool   `json:"delete_on_termination"`
}

type AttachedVolume struct {
	VolumeID            string              `json:"volume_id"`
	Device              string              `json:"device"` // EC2's name
	State               ebs.VolumeState     `json:"state"`
	Attachment          ebs.AttachmentState `json:"attachment"` // its state
	Type                string              `json:"type"`
	Size                int32               `json:"size_gib"`
	SnapshotID          string              `json:"snapshot_id,omitempty"`
	DeleteOnTermination bool                `json:"delete_on_termination"`
}

type MountedVolume struct {
	At         string `json:"at"`
	Source     string `json:"source"`
	FileSystem string `json:"file_system"`
	ReadOnly   bool   `json:"read_only"`
	Used       uint64 `json:"used_bytes"`
	Total      uint64 `json:"total_bytes"`
}

// Volumes looks at all declared volumes with one DescribeVolumes. It needs
// no root: no device is opened.
func (e *Engine) Volumes(ctx context.Context, name string) ([]VolumeView, error) {
	spec, err := e.spec(ctx, name)
	if err != nil {
		return nil, err
	}
	id, err := e.identity(ctx)
	if err != nil {
		return nil, err
	}
	c, err := e.cloud(ctx)
	if err != nil {
		return nil, err
	}
	var attached []ec2.Volume
	err = e.retry(ctx, func(ctx context.Context) (err error) {
		attached, err = c.AttachedVolumes(ctx, id.InstanceID)
		return err
	})
	if err != nil {
		return nil, err
	}
	host := linux.New(e.Roots)
	mounts, err := host.Mounts()
	if err != nil {
		return nil, err
	}
	look := volumeReader{host: host, mounts: mounts, attached: attached, instance: id.InstanceID, filter: spec.FilterTags}
	views := make([]VolumeView, 0, len(spec.Volumes))
	for _, v := range spec.Volumes {
		view, err := look.at(v)
		if err != nil {
			return nil, err
		}
		views = append(views, view)
	}
	return views, nil
}

// volumeReader is what the views of all volumes are made from.
type volumeReader struct {
	host     *linux.Host
	mounts   []linux.Mount
	attached []ec2.Volume
	instance string
	filter   map[string]string
}

func (l volumeReader) at(v recipe.Volume) (VolumeView, error) {
	view := VolumeView{Device: v.Device, MountPoint: v.MountPoint, Problems: []string{},
		Declared: DeclaredVolume{Size: v.Size, FileSystem: v.FileSystem, VolumeType: v.VolumeType, DeleteOnTermination: v.DeleteOnTermination}}
	volume, found := l.volumeOf(v, &view)
	if !found {
		if m, taken, err := l.host.MountAt(v.MountPoint); err != nil {
			return view, err
		} else if taken {
			view.wrong("%s is mounted there", m.Source)
		}
		return view, nil
	}
	at, _ := volume.On(l.instance)
	view.Attached = &AttachedVolume{VolumeID: volume.ID, Device: at.Device, State: volume.State, Attachment: at.State, Type: volume.Type, Size: volume.Size,
		SnapshotID: volume.SnapshotID, DeleteOnTermination: at.DeleteOnTermination}
	if at.State != ebs.Attached {
		view.wrong("%s", at.State)
	}
	device, there, err := l.host.LookupDevice(linux.DeviceQuery{VolumeID: volume.ID, Name: v.Device, NameOffset: v.DeviceNameOffset, Size: int64(volume.Size) << 30})
	if err != nil {
		return view, err
	}
	if !there {
		view.wrong("no device on this machine")
		return view, nil
	}
	if err := l.mountOf(v, device, &view); err != nil {
		return view, err
	}
	view.compare(v)
	return view, nil
}

// volumeOf finds the volume of a lane: under the declared name, or else the
// one with the mount point's tags.
func (l volumeReader) volumeOf(v recipe.Volume, view *VolumeView) (ec2.Volume, bool) {
	own := slices.IndexFunc(l.attached, func(o ec2.Volume) bool { return steps.HasTags(o.Tags, l.filter, v.MountPoint) })
	under, found := steps.AttachedAs(l.attached, l.instance, v.Device)
	if found && steps.HasTags(under.Tags, l.filter, v.MountPoint) {
		return under, true
	}
	if found {
		view.wrong("tags do not match: %s", steps.Mismatch(under.Tags, l.filter, v.MountPoint))
	}
	if own >= 0 {
		at, _ := l.attached[own].On(l.instance)
		view.wrong("its volume %s is attached as %s", l.attached[own].ID, at.Device)
	}
	switch {
	case found:
		return under, true
	case own >= 0:
		return l.attached[own], true
	}
	view.wrong("not attached")
	return ec2.Volume{}, false
}

// mountOf says where the volume is mounted, and what is at the mount point if
// it is not.
func (l volumeReader) mountOf(v recipe.Volume, device linux.Device, view *VolumeView) error {
	top, taken, err := l.host.MountAt(v.MountPoint)
	if err != nil {
		return err
	}
	of, err := l.host.MountsOf(device)
	if err != nil {
		return err
	}
	here := slices.IndexFunc(of, func(m linux.Mount) bool { return taken && m.ID == top.ID })
	switch {
	case here >= 0:
	case taken && len(of) == 0:
		view.wrong("not mounted: %s is mounted there", top.Source)
		return nil
	case len(of) == 0:
		view.wrong("not mounted")
		return nil
	default:
		here = 0
		view.wrong("mounted elsewhere")
	}
	m := of[here]
	view.Mounted = &MountedVolume{At: m.Target, Source: cmp.Or(device.Path, m.Source), FileSystem: m.FileSystem}
	if view.Mounted.ReadOnly = m.HasOption("ro"); view.Mounted.ReadOnly && !slices.Contains(v.MountOptions, "ro") {
		view.wrong("mounted read-only")
	}
	total, free, err := l.host.Usage(m.Target)
	if err != nil { // of a device that is gone
		view.wrong("%v", err)
		return nil
	}
	view.Mounted.Total, view.Mounted.Used = total, total-min(free, total)
	return nil
}

// compare holds what is there against what is declared.
func (v *VolumeView) compare(declared recipe.Volume) {
	if m := v.Mounted; m != nil && m.FileSystem != declared.FileSystem {
		v.wrong("%s, declared %s", m.FileSystem, declared.FileSystem)
	}
	if v.Attached.Size < declared.Size {
		v.wrong("%d GiB, declared %d", v.Attached.Size, declared.Size)
	}
	if v.Attached.DeleteOnTermination != declared.DeleteOnTermination {
		v.wrong("delete on termination is %s, declared %s", yesNo(v.Attached.DeleteOnTermination), yesNo(declared.DeleteOnTermination))
	}
}

func (v *VolumeView) wrong(format string, a ...any) {
	v.Problems = append(v.Problems, fmt.Sprintf(format, a...))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
