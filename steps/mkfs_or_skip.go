package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"snaptastic/linux"
	"snaptastic/plan"
)

// MkfsOrSkip makes a file system on a volume that this run made empty, and on no other.
var MkfsOrSkip = plan.Def[MkfsOrSkipIn, FileSystem]{Kind: "mkfs-or-skip", ObserveBy: plan.ByState, Scope: plan.Cloud}

// MkfsOrSkipIn says what is wanted on which device. Choice and Found only serve the preview.
type MkfsOrSkipIn struct {
	Volume     plan.Value[Volume]      `json:"volume"`
	Device     plan.Value[DeviceNode]  `json:"device"`
	Choice     plan.Value[Choice]      `json:"choice"`
	Found      plan.Value[FoundVolume] `json:"found"`
	FileSystem string                  `json:"file_system"`
	Options    []string                `json:"options,omitempty"` // words for mkfs
	Root       *RootFolder             `json:"root,omitempty"`    // of a new file system
}

// RootFolder says whose the root folder of a new file system is: names or numbers, and an octal mode. "" leaves what mkfs makes.
type RootFolder struct {
	Owner string `json:"owner,omitempty"`
	Group string `json:"group,omitempty"`
	Mode  string `json:"mode,omitempty"`
}

// FileSystem is what the device carries.
type FileSystem struct {
	Formatted  bool   `json:"formatted"`
	FileSystem string `json:"file_system"`
	UUID       string `json:"uuid,omitempty"`
	Partition  int    `json:"partition,omitempty"` // its number, where the volume has a partition table with this one alone
	Why        string `json:"reason"`
}

// String says what it carries, and why.
func (f FileSystem) String() string { return f.FileSystem + ": " + f.Why }

// Facts say why it was made or kept.
func (f FileSystem) Facts() plan.Facts { return plan.Facts{Remarks: remark(f.Why)} }

func (w *Env) mkfsOrSkip() plan.Funcs[MkfsOrSkipIn, FileSystem] {
	return plan.Funcs[MkfsOrSkipIn, FileSystem]{
		Observe: w.observeFileSystem,
		Do: func(ctx context.Context, a plan.Attempt, in MkfsOrSkipIn) (FileSystem, error) {
			v := in.Volume.Must()
			if !v.Created || !v.Empty {
				return FileSystem{}, fmt.Errorf("internal error: %s was not created empty by this run and must not be formatted", v.VolumeID)
			}
			d, err := w.currentNode(ctx, in)
			if err != nil {
				return FileSystem{}, err
			}
			uuid := linux.UUIDFromToken(a.Token)
			// Format looks once more and refuses unless the device is blank or has this UUID.
			err = w.Host.Format(ctx, linux.FormatRequest{Device: d.Path, FileSystem: in.FileSystem, UUID: uuid, Options: in.Options, Root: in.root()})
			if err != nil {
				return FileSystem{}, err
			}
			return FileSystem{Formatted: true, FileSystem: in.FileSystem, UUID: uuid, Why: "the volume was new and blank"}, nil
		},
		// A file system is not taken off: its volume is deleted.
		Preview: func(in MkfsOrSkipIn) plan.Preview {
			if found, known := in.Found.Get(); known && found.Found {
				return plan.PreviewOf(plan.PreviewSkip, "skip: %s keeps its contents", found.VolumeID)
			}
			switch c, known := in.Choice.Get(); {
			case !known || c.Problem != "":
				return plan.Preview{}
			case c.SnapshotID != "":
				return plan.PreviewOf(plan.PreviewSkip, "skip: restored from %s", c.SnapshotID)
			}
			return plan.PreviewOf(plan.PreviewChange, "mkfs %s: new and empty", in.FileSystem)
		},
	}
}

// root: it is set before this step is done, so that nobody ever sees another one, and a crash in between formats again.
func (in MkfsOrSkipIn) root() linux.RootAttributes {
	if in.Root == nil {
		return linux.RootAttributes{}
	}
	return linux.RootAttributes(*in.Root)
}

// currentNode is the volume's device as this boot names it. The input is the one of the first try, which may have been under
// another boot, and a boot gives NVMe devices new numbers: that name may be another volume's now, and blank as
// well. Where the kernel tells no volume ids (Xen) the names stay.
func (w *Env) currentNode(ctx context.Context, in MkfsOrSkipIn) (DeviceNode, error) {
	was := in.Device.Must()
	d, there, err := w.Host.FindDevice(ctx, linux.DeviceQuery{VolumeID: in.Volume.Must().VolumeID})
	switch {
	case err != nil:
		return was, err
	case !there && was.BySerial:
		return was, plan.Terminal("check `lsblk -o NAME,SERIAL`, and whether the volume is still attached",
			fmt.Errorf("cannot find the device of %s: %w", in.Volume.Must().VolumeID, fs.ErrNotExist))
	case !there:
		return was, nil
	}
	return DeviceNode{VolumeID: d.VolumeID, Path: d.Path, Major: d.Major, Minor: d.Minor, Size: d.Size}, nil
}

// observeFileSystem decides by what is on the device, and by who made the volume.
func (w *Env) observeFileSystem(ctx context.Context, a plan.Attempt, in MkfsOrSkipIn) (seen plan.Observed[FileSystem], err error) {
	v := in.Volume.Must()
	d, err := w.currentNode(ctx, in)
	if errors.Is(err, fs.ErrNotExist) { // there is nothing to see; Do refuses
		return plan.Observed[FileSystem]{State: plan.Absent}, nil
	}
	if err != nil {
		return seen, err
	}
	s, err := w.Host.Probe(ctx, d.Path)
	if errors.Is(err, linux.ErrDeviceBusy) {
		return w.observeMountedFileSystem(v, d, err)
	}
	if errors.Is(err, fs.ErrNotExist) { // a rollback after a reboot looks here too
		return plan.Observed[FileSystem]{State: plan.Absent}, nil
	}
	if err != nil {
		return seen, err
	}
	fresh := v.Created && v.Empty
	switch {
	case fresh && s.Blank():
		return plan.Observed[FileSystem]{State: plan.Absent}, nil
	case fresh && a.Resumed && s.UUID != "" && s.UUID == linux.UUIDFromToken(a.Token):
		// Our own, of a try that was cut off: whether it came to its end cannot be seen, and nothing was ever mounted.
		return plan.Observed[FileSystem]{State: plan.Absent, Note: "left by an interrupted attempt; formatting again"}, nil
	case fresh:
		return plan.Observed[FileSystem]{State: plan.Conflict,
			Note: fmt.Sprintf("%s (%s) was created empty but contains %s, which this run did not write; not formatting it", v.VolumeID, d.Path, s)}, nil
	case s.Class == linux.ClassFileSystem:
		return plan.Observed[FileSystem]{State: plan.Satisfied, Note: whyKept(v, s.Type, in.FileSystem),
			Out: FileSystem{FileSystem: s.Type, UUID: s.UUID, Why: whyKept(v, s.Type, in.FileSystem)}}, nil
	case s.Blank() && v.SnapshotID != "":
		return seen, plan.Terminal("delete the snapshot if it is worthless, or restore another one",
			fmt.Errorf("cannot use %s: it was restored from %s and is blank; not formatting it, because a snapshot should contain data", v.VolumeID, v.SnapshotID))
	case s.Blank() || s.Class == linux.ClassUnfinished:
		return seen, plan.Terminal("if it was left behind by an earlier run, detach and delete it, then run mount again",
			fmt.Errorf("cannot use %s: it has no file system (%s); not formatting it, because this run did not create it", v.VolumeID, s))
	}
	if s.Class == linux.ClassPartitionTable && s.Only != nil && s.Only.Class == linux.ClassFileSystem {
		why := fmt.Sprintf("%s; it is on partition %d, the only one of its %s table", whyKept(v, s.Only.Type, in.FileSystem), s.OnlyNumber, s.Type)
		return plan.Observed[FileSystem]{State: plan.Satisfied, Note: why, Out: FileSystem{FileSystem: s.Only.Type, UUID: s.Only.UUID, Partition: s.OnlyNumber, Why: why}}, nil
	}
	what, todo := notAFileSystem(s, d.Path)
	return seen, plan.Terminal(todo, fmt.Errorf("cannot use %s (%s): it contains %s instead of a file system", v.VolumeID, d.Path, what))
}

// notAFileSystem says what is on a volume that cannot be mounted, and what to do about it.
func notAFileSystem(s linux.Signature, device string) (what, todo string) {
	const elsewhere = "; or detach this volume, or declare another device name"
	switch s.Class {
	case linux.ClassPartitionTable:
		what = fmt.Sprintf("a partition table (%s) with %d partitions", s, s.Partitions)
		switch {
		case s.Only != nil:
			what = fmt.Sprintf("a partition table (%s) whose only partition contains %s", s, s.Only)
		case s.Partitions == 1:
			what = fmt.Sprintf("a partition table (%s) whose only partition cannot be read", s)
		case s.Partitions == 0:
			return what, "check `lsblk " + device + "`; if the kernel does not show its partitions, run `partprobe " + device + "`" + elsewhere
		}
		return what, "check `lsblk -f " + device + "`; only whole volumes or a single partition can be mounted: copy the data to a new volume" + elsewhere
	case linux.ClassLVM:
		return s.String() + " (LVM or similar)", "check `pvs` and `lvs`; a volume must hold one file system: copy the data to a new volume" + elsewhere
	case linux.ClassLUKS:
		return s.String() + " (encrypted)", "open it with `cryptsetup open " + device + " NAME` and copy the data to a new volume; for encryption, use EBS (encrypted = true)" + elsewhere
	case linux.ClassRAID:
		return s.String() + " (a RAID member)", "check `mdadm --examine " + device + "`; a volume must hold one file system: copy the data to a new volume" + elsewhere
	case linux.ClassSwap:
		return s.String() + " (swap space)", "if it is not needed, detach and delete it, and run mount again" + elsewhere
	}
	return s.String(), "check `blkid -p " + device + "` and `hexdump -C " + device + " | head`; nothing on it is overwritten" + elsewhere
}

// observeMountedFileSystem: a mounted device cannot be probed exclusively, and needs not be.
func (w *Env) observeMountedFileSystem(v Volume, d DeviceNode, busy error) (seen plan.Observed[FileSystem], err error) {
	mounts, err := w.Host.MountsOf(linux.Device{Path: d.Path, Major: d.Major, Minor: d.Minor})
	if err != nil {
		return seen, err
	}
	if len(mounts) == 0 {
		return plan.Observed[FileSystem]{State: plan.Conflict, Note: busy.Error()}, nil
	}
	why := fmt.Sprintf("%s is mounted on %s", v.VolumeID, mounts[0].Target)
	return plan.Observed[FileSystem]{State: plan.Satisfied, Note: why, Out: FileSystem{FileSystem: mounts[0].FileSystem, Why: why}}, nil
}

func whyKept(v Volume, has, declared string) string {
	from := "adopted " + v.VolumeID
	if v.Created {
		from = "restored from " + v.SnapshotID
	}
	if has == declared {
		return from
	}
	return fmt.Sprintf("%s: keeping its %s, although the settings say %s", from, has, declared)
}
