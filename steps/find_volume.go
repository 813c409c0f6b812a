package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/linux"
	"snaptastic/plan"
)

// FindVolume looks at what is attached under a lane's device name, and at its mount point.
var FindVolume = plan.Def[FindVolumeIn, FoundVolume]{Kind: "find-volume", Scope: plan.Cloud, ReadOnly: true}

// Purpose says what the volume of a lane is looked for.
type Purpose string

const (
	ToMount    Purpose = "mount"    // adopt what is attached, if its tags match
	ToSnapshot Purpose = "snapshot" // it must be the volume that is mounted
	ToUnmount  Purpose = "unmount"  // the same, or nothing
	ToWarm     Purpose = "warm"     // it must be the volume that is mounted
)

// FindVolumeIn says where to look, and what for.
type FindVolumeIn struct {
	For           Purpose           `json:"for"`
	Device        string            `json:"device"`
	NameOffset    int               `json:"name_offset,omitempty"`
	Rivals        []string          `json:"rivals,omitempty"` // see linux.DeviceQuery
	MountPoint    string            `json:"mount_point"`
	FilterTags    map[string]string `json:"filter_tags,omitempty"`
	IgnoreForeign bool              `json:"ignore_foreign,omitempty"` // a foreign volume there: leave the lane alone
}

// FoundVolume is the volume of a lane, if there is one.
type FoundVolume struct {
	Found               bool   `json:"found"`
	VolumeID            string `json:"volume_id,omitempty"`
	Device              string `json:"device,omitempty"`           // the name it is attached as
	SnapshotID          string `json:"from_snapshot_id,omitempty"` // that the volume was made from
	Size                int32  `json:"size,omitempty"`             // GiB
	DeleteOnTermination bool   `json:"delete_on_termination,omitempty"`
	Mounted             bool   `json:"mounted,omitempty"` // at the lane's mount point
	Dev                 string `json:"dev,omitempty"`     // major:minor, when mounted
	Node                string `json:"node,omitempty"`    // device node, when mounted
	FileSystem          string `json:"file_system,omitempty"`
	// Note is what an operator should know of it before it is snapshotted.
	Note string `json:"note,omitempty"`
}

// String says what was found.
func (f FoundVolume) String() string {
	switch {
	case f.Mounted && f.Note != "":
		return f.VolumeID + " is attached as " + f.Device + " and " + f.Note
	case f.Mounted:
		return f.VolumeID + " is attached as " + f.Device + " and mounted"
	case f.Found:
		return f.VolumeID + " is attached as " + f.Device
	}
	return "no volume attached"
}

// Facts are its ids and its place. What it was made from is for a mount to tell that adopts it.
func (f FoundVolume) Facts() plan.Facts {
	return plan.Facts{VolumeID: f.VolumeID, Device: f.Device, Path: f.Node, SizeGiB: f.Size, Remarks: remark(f.Note)}
}

func (w *Env) findVolume() plan.Funcs[FindVolumeIn, FoundVolume] {
	return plan.Funcs[FindVolumeIn, FoundVolume]{
		Do: func(ctx context.Context, _ plan.Attempt, in FindVolumeIn) (FoundVolume, error) {
			attached, at, err := w.awaitAgreement(ctx, in)
			if err != nil {
				return FoundVolume{}, err
			}
			volume, found := attachedAt(attached, w.Instance.ID, in.Device)
			if found && at.device != nil && at.device.VolumeID == "" { // Xen tells no serial: go by the name
				q := linux.DeviceQuery{VolumeID: volume.ID, Name: in.Device, NameOffset: in.NameOffset, Size: bytesOf(volume.Size), Rivals: in.Rivals}
				if d, ok, err := w.Host.FindDevice(ctx, q); err != nil {
					return FoundVolume{}, err
				} else if ok && d.Same(*at.device) {
					at.device.VolumeID = volume.ID
				}
			}
			out := w.describeFound(volume, found, at)
			if in.For == ToSnapshot && out.Mounted && at.mount.HasOption("ro") {
				out.Note = "mounted read-only: the snapshot contains what was written before"
				w.log().Warn("the volume to snapshot is mounted read-only; the kernel does this after a file system error, see `dmesg`", "mount_point", in.MountPoint)
			}
			if in.For == ToMount {
				err = w.checkForMount(in, attached, volume, out, at)
			} else {
				err = checkForUse(in, volume, out, at)
			}
			return out, err
		},
		Preview: func(in FindVolumeIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewRead, "check %s and %s", in.Device, in.MountPoint)
		},
	}
}

// How long EC2 is asked again when it disagrees with the kernel about what is attached. Its describes lag behind an
// attach and a detach of a moment ago, and one may show an older view than the one before it:
// https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
const (
	disagreement      = 5 * time.Second
	disagreementPause = 500 * time.Millisecond
)

// awaitAgreement returns what EC2 shows attached and what is mounted at the lane's mount point, once the two agree, or else as
// they stand.
func (w *Env) awaitAgreement(ctx context.Context, in FindVolumeIn) ([]ec2.Volume, occupant, error) {
	for deadline := time.Now().Add(disagreement); ; {
		attached, err := w.Cloud.AttachedVolumes(ctx, w.Instance.ID)
		if err != nil {
			return nil, occupant{}, errorAction(err)
		}
		at, err := w.occupantOf(in.MountPoint)
		if err != nil {
			return nil, occupant{}, err
		}
		if w.agrees(ctx, in, attached, at) || time.Now().After(deadline) {
			return attached, at, nil
		}
		select {
		case <-time.After(disagreementPause):
		case <-ctx.Done():
			return nil, occupant{}, context.Cause(ctx)
		}
	}
}

// agrees: a volume that is mounted is attached, and one that has been attached under the lane's name is a device.
func (w *Env) agrees(ctx context.Context, in FindVolumeIn, attached []ec2.Volume, at occupant) bool {
	if at.device != nil && at.device.VolumeID != "" && !slices.ContainsFunc(attached, func(v ec2.Volume) bool { return v.ID == at.device.VolumeID }) {
		return false
	}
	v, found := attachedAt(attached, w.Instance.ID, in.Device)
	if a, _ := v.On(w.Instance.ID); !found || a.State != ebs.Attached || at.mounted {
		return true
	}
	_, there, err := w.Host.FindDevice(ctx, linux.DeviceQuery{VolumeID: v.ID, Name: in.Device, NameOffset: in.NameOffset, Size: bytesOf(v.Size), Rivals: in.Rivals})
	return there || err != nil // who may open no device cannot tell
}

// occupant is what is mounted at a mount point.
type occupant struct {
	mounted bool
	device  *linux.Device // nil when it is not a whole block device
	mount   linux.Mount
	why     error // device is nil
}

func (w *Env) occupantOf(mountPoint string) (occupant, error) {
	m, mounted, err := w.Host.MountAt(mountPoint)
	if err != nil || !mounted {
		return occupant{}, err
	}
	d, m2, err := w.Host.VolumeOf(mountPoint)
	if errors.Is(err, linux.ErrNotMountPoint) { // gone in between
		return occupant{}, nil
	}
	if err != nil {
		return occupant{mounted: true, mount: m, why: err}, nil
	}
	return occupant{mounted: true, device: &d, mount: m2}, nil
}

func (o occupant) String() string {
	if o.device != nil && o.device.VolumeID != "" {
		return fmt.Sprintf("%s (%s)", o.device.VolumeID, o.device.Path)
	}
	return fmt.Sprintf("%s (%s)", o.mount.Source, o.mount.FileSystem)
}

// partition is the number of the partition that is mounted; 0 for the whole device.
func (o occupant) partition() int {
	if o.device == nil || o.device.Mounted == nil {
		return 0
	}
	return o.device.Mounted.Number
}

func attachedAt(attached []ec2.Volume, instance, device string) (ec2.Volume, bool) {
	for _, v := range attached {
		if a, on := v.On(instance); on && SameDeviceName(a.Device, device) {
			return v, true
		}
	}
	return ec2.Volume{}, false
}

func (w *Env) describeFound(v ec2.Volume, found bool, at occupant) FoundVolume {
	if !found {
		return FoundVolume{}
	}
	a, _ := v.On(w.Instance.ID)
	out := FoundVolume{Found: true, VolumeID: v.ID, Device: a.Device, SnapshotID: v.SnapshotID, Size: v.Size, DeleteOnTermination: a.DeleteOnTermination}
	if at.device != nil && at.device.VolumeID == v.ID {
		out.Mounted, out.Node, out.FileSystem = true, at.device.Path, at.mount.FileSystem
		out.Dev = fmt.Sprintf("%d:%d", at.device.Major, at.device.Minor)
		if p := at.device.Mounted; p != nil {
			out.Node, out.Dev = p.Path, fmt.Sprintf("%d:%d", p.Major, p.Minor)
		}
	}
	return out
}

// checkForMount: what is there has our tags and is adopted, or is in the way.
func (w *Env) checkForMount(in FindVolumeIn, attached []ec2.Volume, v ec2.Volume, out FoundVolume, at occupant) error {
	inTheWay := func(hint string, format string, a ...any) error {
		err := fmt.Errorf("cannot mount a volume on %s: "+format, append([]any{in.MountPoint}, a...)...)
		if in.IgnoreForeign {
			return plan.Skip(fmt.Errorf("left alone: %w", err))
		}
		return plan.Terminal(hint, err)
	}
	const ignore = "; use --ignore-mounted to skip this volume"
	if out.Found && !hasTags(v.Tags, in.FilterTags, in.MountPoint) {
		return inTheWay("check filter_tags in the settings and the tags of the volume, or declare another device name"+ignore,
			"%s is attached as %s, and its tags do not match: %s", v.ID, out.Device, Mismatch(v.Tags, in.FilterTags, in.MountPoint))
	}
	if at.mounted && !out.Mounted {
		return inTheWay("unmount it or declare another mount point"+ignore, "%s is mounted there", at)
	}
	if !at.mounted {
		inner, hides, err := w.Host.MountedBelow(in.MountPoint)
		if err != nil {
			return err
		}
		if hides {
			return inTheWay("unmount that first"+ignore, "%s is mounted below it, on %s, and would become hidden", inner.Source, inner.Target)
		}
	}
	if out.Found {
		if a, _ := v.On(w.Instance.ID); a.State.Leaving() {
			return plan.Retry(2*time.Second, fmt.Errorf("cannot adopt %s: it is still being detached (%s)", v.ID, a.State))
		}
		return nil
	}
	for _, other := range attached {
		if hasTags(other.Tags, in.FilterTags, in.MountPoint) {
			a, _ := other.On(w.Instance.ID)
			return inTheWay("declare "+a.Device+" in the settings"+ignore,
				"%s has the tags of this mount point and is attached as %s, not as %s", other.ID, a.Device, in.Device)
		}
	}
	return nil
}

// checkForUse: what is frozen must be what is snapshotted, and what is unmounted what is detached.
func checkForUse(in FindVolumeIn, v ec2.Volume, out FoundVolume, at occupant) error {
	refuse := func(hint, format string, a ...any) error {
		return plan.Terminal(hint, fmt.Errorf("cannot %s the volume of %s: "+format, append([]any{in.For, in.MountPoint}, a...)...))
	}
	switch {
	case at.mounted && !out.Mounted && out.Found:
		return refuse("the settings do not match the machine; mount the volume where it is declared, or declare the mount point that it has",
			"%s is mounted there, while %s is attached as %s", at, v.ID, out.Device)
	case at.mounted && !out.Found && at.device != nil && at.device.VolumeID != "":
		return refuse("declare the device name that it is attached as",
			"%s is mounted there, and EC2 has no volume attached as %s", at, in.Device)
	case at.mounted && !out.Found:
		return refuse("unmount it by hand if it is in the way", "%s is mounted there, which is not a volume attached as %s", at, in.Device)
	case in.For == ToUnmount && out.Found && !out.Mounted && !hasTags(v.Tags, in.FilterTags, in.MountPoint):
		return refuse("check filter_tags in the settings and the tags of the volume",
			"%s is attached as %s, not mounted there, and its tags do not match: %s", v.ID, out.Device, Mismatch(v.Tags, in.FilterTags, in.MountPoint))
	case in.For == ToUnmount: // nothing there is nothing to do
		return nil
	case !out.Found:
		return refuse("mount it first with `snaptastic run mount`", "no volume is attached as %s", in.Device)
	case !out.Mounted:
		return refuse("mount it first with `snaptastic run mount`", "%s is attached as %s and not mounted", v.ID, out.Device)
	case at.mount.HasOption("emergency_ro"), at.mount.HasOption("shutdown"): // ext4 and xfs after an error, in kernels that say so
		return refuse("check `dmesg`, unmount it and repair it with fsck or xfs_repair", "the kernel found a file system error and made it read-only")
	}
	return nil
}
