package steps

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"snaptastic/linux"
	"snaptastic/plan"
)

// Mount mounts a lane's file system.
var Mount = plan.Def[MountIn, Mounted]{Kind: "mount", ObserveBy: plan.ByState, Scope: plan.Boot}

// MountIn says what to mount where.
type MountIn struct {
	Device     plan.Value[DeviceNode] `json:"device"`
	FileSystem plan.Value[FileSystem] `json:"file_system"`
	MountPoint string                 `json:"mount_point"`
	LeadsTo    string                 `json:"leads_to,omitempty"` // where it led to when this was planned; "" in plans of earlier versions
	Options    []string               `json:"options,omitempty"`
}

// Mounted is a mount.
type Mounted struct {
	VolumeID   string   `json:"volume_id"`
	Source     string   `json:"source"`
	MountPoint string   `json:"mount_point"`
	FileSystem string   `json:"file_system"`
	Notes      []string `json:"notes,omitempty"`
	New        bool     `json:"new,omitempty"` // this run mounted it, or may have
}

// Facts are what is mounted where.
func (m Mounted) Facts() plan.Facts {
	return plan.Facts{VolumeID: m.VolumeID, MountPoint: m.MountPoint, Remarks: m.Notes}
}

// beforeMount is what an undo has to take away again.
type beforeMount struct {
	Missing []string `json:"missing,omitempty"` // folders that were not there, outermost first
}

func (w *Env) mount() plan.Funcs[MountIn, Mounted] {
	return plan.Funcs[MountIn, Mounted]{
		Observe: func(_ context.Context, a plan.Attempt, in MountIn) (plan.Observed[Mounted], error) {
			d := in.Device.Must()
			at, err := w.occupantOf(in.MountPoint)
			switch {
			case err != nil:
				return plan.Observed[Mounted]{}, err
			case !at.mounted:
				return plan.Observed[Mounted]{State: plan.Absent, Before: beforeMount{missingFolders(linux.LeadsTo(in.MountPoint))}}, nil
			case at.device != nil && d.is(*at.device):
				out := Mounted{VolumeID: d.VolumeID, Source: at.mount.Source, MountPoint: in.MountPoint, FileSystem: at.mount.FileSystem, New: a.Resumed}
				return plan.Observed[Mounted]{State: plan.Satisfied, Out: out, Note: "mounted already"}, nil
			}
			return plan.Observed[Mounted]{State: plan.Conflict, Note: fmt.Sprintf("%s is mounted on %s, and %s should be", at, in.MountPoint, d.VolumeID)}, nil
		},
		Do: w.mountVolume,
		Undo: func(ctx context.Context, a plan.Attempt, in MountIn, _ Mounted) error {
			at, err := w.occupantOf(in.MountPoint)
			if err != nil {
				return err
			}
			if at.device != nil && in.Device.Must().is(*at.device) {
				if err := w.unmountNow(ctx, a, in.MountPoint); err != nil {
					return err
				}
			}
			var before beforeMount
			if json.Unmarshal(a.Before, &before) == nil { // none was recorded where nothing was missing
				w.Host.RemoveCreated(before.Missing)
			}
			return nil
		},
		Preview: func(in MountIn) plan.Preview { return plan.PreviewOf(plan.PreviewChange, "mount on %s", in.MountPoint) },
	}
}

// unmountNow unmounts; somebody who works there is named, and never cut off.
func (w *Env) unmountNow(ctx context.Context, a plan.Attempt, mountPoint string) error {
	if err := w.refuseFrozen(ctx, a, "unmount", mountPoint); err != nil {
		return err
	}
	err := w.Host.Unmount(ctx, mountPoint)
	switch {
	case errors.Is(err, linux.ErrNotMountPoint):
		return nil
	case errors.Is(err, linux.ErrBusy):
		return plan.Refused("stop what uses it, then try again", err)
	}
	return err
}

// missingFolders lists what a mount point lacks of its path, outermost first.
func missingFolders(mountPoint string) (missing []string) {
	for p := filepath.Clean(mountPoint); ; p = filepath.Dir(p) {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) || p == filepath.Dir(p) {
			break
		}
		missing = append(missing, p)
	}
	slices.Reverse(missing)
	return missing
}

// mountVolume mounts, unless the volume is mounted there meanwhile.
func (w *Env) mountVolume(ctx context.Context, a plan.Attempt, in MountIn) (Mounted, error) {
	d, f := in.Device.Must(), in.FileSystem.Must()
	out := Mounted{VolumeID: d.VolumeID, Source: d.Path, MountPoint: in.MountPoint, FileSystem: f.FileSystem, New: true}
	if at, err := w.occupantOf(in.MountPoint); err == nil && at.device != nil && d.is(*at.device) {
		return out, nil
	}
	if err := w.refuseFrozenElsewhere(ctx, a, d.Path); err != nil {
		return Mounted{}, err
	}
	m, err := w.Host.Mount(ctx, linux.MountRequest{Source: d.Path, Partition: f.Partition, Target: in.MountPoint, LeadsTo: in.LeadsTo, FileSystem: f.FileSystem, Options: in.Options})
	if errors.Is(err, linux.ErrDuplicateUUID) {
		return Mounted{}, plan.Terminal("unmount the other one first: two btrfs with the same UUID on one host corrupt each other", err)
	}
	if errors.Is(err, linux.ErrNotMountPoint) {
		return Mounted{}, cmp.Or(w.stillMounted(ctx, out, 0), err)
	}
	if errors.Is(err, linux.ErrUntrustedLink) {
		return Mounted{}, plan.Terminal("replace the symlink with a directory, or declare the directory it should point to", err)
	}
	if err != nil {
		return Mounted{}, err
	}
	w.noteMount(in.MountPoint)
	out.FileSystem = m.Mount.FileSystem // another program may have mounted it
	for _, note := range m.Notes {
		w.log().Warn(note, "step", a.Step)
	}
	out.Notes = m.Notes
	return out, nil
}
