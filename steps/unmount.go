package steps

import (
	"context"
	"encoding/json"
	"fmt"

	"snaptastic/linux"
	"snaptastic/plan"
)

// Unmount takes a lane's mount away: never lazily, never by force. A reboot does not revoke it, so its scope is the cloud.
var Unmount = plan.Def[UnmountIn, Unmounted]{Kind: "unmount", ObserveBy: plan.ByState, Scope: plan.Cloud}

// UnmountIn names the mount. MountPoint and Device may be left out where a reference gives them. Options are the declared
// ones, for an undo whose recorded ones the kernel does not take.
type UnmountIn struct {
	VolumeRef
	MountPoint string   `json:"mount_point,omitempty"`
	Device     string   `json:"device,omitempty"`
	NameOffset int      `json:"name_offset,omitempty"`
	Options    []string `json:"options,omitempty"`
}

func (in UnmountIn) where() string { return in.mountPoint(in.MountPoint) }

func (in UnmountIn) query() linux.DeviceQuery { return in.device(in.Device, in.NameOffset) }

// Unmounted names what is mounted no more.
type Unmounted struct {
	MountPoint string `json:"mount_point"`
	VolumeID   string `json:"volume_id,omitempty"`
}

// Facts are what was mounted where.
func (u Unmounted) Facts() plan.Facts {
	return plan.Facts{VolumeID: u.VolumeID, MountPoint: u.MountPoint}
}

// beforeUnmount is the mount as it was.
type beforeUnmount struct {
	FileSystem string   `json:"file_system"`
	Options    []string `json:"options,omitempty"`
	Partition  int      `json:"partition,omitempty"` // its number, where the volume has one
}

func (w *Env) unmount() plan.Funcs[UnmountIn, Unmounted] {
	return plan.Funcs[UnmountIn, Unmounted]{
		Observe: func(_ context.Context, _ plan.Attempt, in UnmountIn) (plan.Observed[Unmounted], error) {
			_, there := in.get()
			if _, looked := in.Found.Get(); !there && !looked {
				return plan.Observed[Unmounted]{State: plan.Satisfied, Note: "there is no volume to unmount"}, nil
			}
			at, err := w.occupantOf(in.where())
			switch {
			case err != nil:
				return plan.Observed[Unmounted]{}, err
			case !at.mounted:
				return plan.Observed[Unmounted]{State: plan.Satisfied, Out: in.out()}, nil
			case there && w.isVolume(at, in.query()):
				return plan.Observed[Unmounted]{State: plan.Absent, Before: beforeUnmount{at.mount.FileSystem, at.mount.Options, at.partition()}}, nil
			}
			return plan.Observed[Unmounted]{State: plan.Conflict, Note: fmt.Sprintf("%s is mounted on %s, but it is not the volume of this lane", at, in.where())}, nil
		},
		Do: func(ctx context.Context, a plan.Attempt, in UnmountIn) (Unmounted, error) {
			return in.out(), w.unmountNow(ctx, a, in.where())
		},
		Undo: w.mountAgain,
		Preview: func(in UnmountIn) plan.Preview {
			if found, known := in.Found.Get(); known && !found.Mounted {
				return plan.PreviewOf(plan.PreviewNone, "nothing is mounted")
			}
			return plan.PreviewOf(plan.PreviewChange, "unmount %s", in.where())
		},
	}
}

func (in UnmountIn) out() Unmounted {
	return Unmounted{MountPoint: in.where(), VolumeID: in.id()}
}

// isVolume reports whether the volume is what is mounted; where the kernel tells no serial, by the device's name.
func (w *Env) isVolume(at occupant, q linux.DeviceQuery) bool {
	if at.device == nil {
		return false
	}
	if at.device.VolumeID != "" {
		return at.device.VolumeID == q.VolumeID
	}
	d, ok, err := w.Host.FindDevice(context.Background(), q)
	return err == nil && ok && d.Same(*at.device)
}

// mountAgain undoes an unmount. The volume may have been off in between, so its device is looked for again.
func (w *Env) mountAgain(ctx context.Context, a plan.Attempt, in UnmountIn, _ Unmounted) error {
	var before beforeUnmount
	if err := json.Unmarshal(a.Before, &before); err != nil || before.FileSystem == "" {
		return fmt.Errorf("cannot mount %s again: the mount was not recorded", in.where())
	}
	at, err := w.occupantOf(in.where())
	switch {
	case err != nil:
		return err
	case at.mounted && w.isVolume(at, in.query()):
		return nil
	case at.mounted:
		return plan.Terminal("unmount it, then roll back again", fmt.Errorf("cannot mount %s again: %s is mounted there", in.where(), at))
	}
	d, err := w.Host.WaitDevice(ctx, in.query())
	if err != nil {
		return err
	}
	r := linux.MountRequest{Source: d.Path, Partition: before.Partition, Target: in.where(), FileSystem: before.FileSystem, Options: before.Options}
	if _, err = w.Host.Mount(ctx, r); err == nil {
		return nil
	}
	r.Options = in.Options // the mount table also shows words that mount(2) does not take
	if _, again := w.Host.Mount(ctx, r); again != nil {
		return err
	}
	return nil
}
