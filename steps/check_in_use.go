package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"snaptastic/linux"
	"snaptastic/plan"
)

// CheckInUse looks for whoever uses the volumes of an unmount, before the first of them is unmounted: a database that keeps
// one volume busy must not have the others taken from under it.
var CheckInUse = plan.Def[CheckInUseIn, NotInUse]{Kind: "check-in-use", Scope: plan.Boot, ReadOnly: true}

// CheckInUseIn names the volumes that go together. What is mounted inside one of them on a mount point of AlsoUnmounted is
// unmounted before it. AfterHooks says that hooks run first which may stop what uses them.
type CheckInUseIn struct {
	Volumes       []InUseVolume `json:"volumes"`
	AlsoUnmounted []string      `json:"also_unmounted,omitempty"`
	AfterHooks    bool          `json:"after_hooks,omitempty"`
	Replaced      bool          `json:"replaced,omitempty"` // they are unmounted for others to take their place
}

// InUseVolume is one of the volumes that are to be unmounted.
type InUseVolume struct {
	Found      plan.Value[FoundVolume] `json:"found"`
	MountPoint string                  `json:"mount_point"`
	Device     string                  `json:"device"`
	NameOffset int                     `json:"name_offset,omitempty"`
}

// NotInUse says that nothing was in the way. Now is for a plan that is only shown: who uses the volumes before the hooks run.
type NotInUse struct {
	Now string `json:"now,omitempty"`
}

// String says what was seen.
func (n NotInUse) String() string {
	if n.Now != "" {
		return "in use now, checked again after the hooks: " + n.Now
	}
	return "not in use"
}

func (w *Env) checkInUse() plan.Funcs[CheckInUseIn, NotInUse] {
	return plan.Funcs[CheckInUseIn, NotInUse]{
		Do: func(ctx context.Context, a plan.Attempt, in CheckInUseIn) (NotInUse, error) {
			busy, err := w.inUse(ctx, in)
			if err != nil {
				return NotInUse{}, err
			}
			if len(busy) == 0 {
				return NotInUse{}, w.refuseAnyFrozen(ctx, a, in)
			}
			var words []string
			for _, b := range busy {
				words = append(words, b.Error())
			}
			who := strings.Join(words, "; ")
			if w.PreviewOnly && in.AfterHooks {
				return NotInUse{Now: who}, nil
			}
			what := in.Volumes[0].MountPoint
			if n := len(in.Volumes); n > 1 {
				what = fmt.Sprintf("the %d volumes of the group (all or none are unmounted)", n)
			}
			hint := "stop what uses it, then run the unmount again"
			if in.Replaced {
				hint = "stop what uses it (a pre_unmounts hook can do that), then run the restore again"
			}
			return NotInUse{}, plan.Terminal(hint, fmt.Errorf("cannot unmount %s: %s", what, who))
		},
		Preview: func(CheckInUseIn) plan.Preview { return plan.PreviewOf(plan.PreviewRead, "check that nothing uses it") },
	}
}

// inUse returns an error for each volume that something uses.
func (w *Env) inUse(ctx context.Context, in CheckInUseIn) (busy []error, err error) {
	var mounted []string
	for _, v := range in.Volumes {
		found := v.Found.Must()
		_, there, err := w.Host.MountAt(v.MountPoint)
		switch {
		case err != nil:
			return nil, err
		case !found.Found: // nothing that would be unmounted
		case there:
			mounted = append(mounted, v.MountPoint)
		default:
			err := w.checkNotInUse(ctx, linux.DeviceQuery{VolumeID: found.VolumeID, Name: v.Device, NameOffset: v.NameOffset, Size: bytesOf(found.Size)})
			if errors.Is(err, linux.ErrDeviceBusy) {
				busy = append(busy, err)
			} else if err != nil {
				return nil, err
			}
		}
	}
	users, err := w.Host.Users(mounted)
	if errors.Is(err, linux.ErrNotMountPoint) { // unmounted a moment ago
		return nil, plan.Retry(0, err)
	}
	if err != nil {
		return nil, err
	}
	var also []string // the kernel names what is mounted by where it is
	for _, mountPoint := range in.AlsoUnmounted {
		also = append(also, linux.LeadsTo(mountPoint))
	}
	for _, mountPoint := range mounted {
		left := slices.DeleteFunc(users[mountPoint], func(h linux.Holder) bool {
			return h.PID == 0 && h.How == linux.NestedMount && slices.Contains(also, h.Path)
		})
		if len(left) > 0 {
			busy = append(busy, linux.InUse(mountPoint, left))
		}
	}
	return busy, nil
}

// refuseAnyFrozen looks whether somebody else has frozen one of them: it would not be unmounted, so the others stay as well.
// A plan that is only shown does not ask, since the only way to ask is to freeze.
func (w *Env) refuseAnyFrozen(ctx context.Context, a plan.Attempt, in CheckInUseIn) error {
	if w.PreviewOnly {
		return nil
	}
	for _, v := range in.Volumes {
		if _, mounted, err := w.Host.MountAt(v.MountPoint); err != nil {
			return err
		} else if mounted && v.Found.Must().Found {
			if err := w.refuseFrozen(ctx, a, "unmount", v.MountPoint); err != nil {
				return err
			}
		}
	}
	return nil
}
