package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"snaptastic/linux"
	"snaptastic/plan"
)

// Grow enlarges a mounted file system to its volume: a snapshot may be smaller than the volume made from it.
var Grow = plan.Def[GrowIn, Grown]{Kind: "grow", ObserveBy: plan.ByState, Scope: plan.Cloud}

// GrowIn names the mount.
type GrowIn struct {
	Mounted plan.Value[Mounted] `json:"mounted"`
}

// Grown tells sizes in bytes; both are 0 where there was nothing to do.
type Grown struct {
	Grown  bool   `json:"grown"`
	Before int64  `json:"before,omitempty"`
	After  int64  `json:"after,omitempty"`
	Reason string `json:"reason,omitempty"` // why it was not grown, though it could be
}

// Facts are the file system's size.
func (g Grown) Facts() plan.Facts { return plan.Facts{SizeBytes: g.After, Remarks: remark(g.Reason)} }

func (w *Env) grow() plan.Funcs[GrowIn, Grown] {
	return plan.Funcs[GrowIn, Grown]{
		Observe: func(ctx context.Context, _ plan.Attempt, in GrowIn) (plan.Observed[Grown], error) {
			d, m, err := w.Host.VolumeOf(in.Mounted.Must().MountPoint)
			if errors.Is(err, linux.ErrNotMountPoint) { // a rollback after a reboot looks here too
				return plan.Observed[Grown]{State: plan.Absent}, nil
			}
			if err != nil {
				return plan.Observed[Grown]{}, err
			}
			if p := d.Mounted; p != nil {
				return plan.Observed[Grown]{State: plan.Satisfied, Note: fmt.Sprintf("%s is on partition %d and cannot be larger than it: grow the partition with `growpart %s %d`", m.Target, p.Number, d.Path, p.Number)}, nil
			}
			growable, err := w.Host.Growable(ctx, d, m)
			switch {
			case errors.Is(err, linux.ErrCannotGrow):
				return plan.Observed[Grown]{State: plan.Satisfied, Note: fmt.Sprintf("%s is smaller than its volume: %s cannot be grown while mounted", m.Target, m.FileSystem)}, nil
			case err != nil:
				return plan.Observed[Grown]{}, err
			case !growable:
				return plan.Observed[Grown]{State: plan.Satisfied}, nil
			}
			return plan.Observed[Grown]{State: plan.Absent}, nil
		},
		Do: func(ctx context.Context, a plan.Attempt, in GrowIn) (Grown, error) {
			d, m, err := w.Host.VolumeOf(in.Mounted.Must().MountPoint)
			if errors.Is(err, linux.ErrNotMountPoint) {
				return Grown{}, cmp.Or(w.stillMounted(ctx, in.Mounted.Must(), 0), err)
			}
			if err != nil {
				return Grown{}, err
			}
			if d.Mounted != nil {
				return Grown{Reason: "it is on a partition"}, nil
			}
			if err := w.refuseFrozen(ctx, a, "grow", m.Target); err != nil {
				return Grown{}, err
			}
			r, err := w.Host.Grow(ctx, d, m)
			if errors.Is(err, linux.ErrCannotGrow) { // it serves as it is; that it is smaller is no reason to stop the lane
				w.log().Warn("the file system is smaller than its volume", "step", a.Step, "error", err)
				return Grown{Before: r.Before, After: r.After, Reason: err.Error()}, nil
			}
			return Grown{Grown: r.Grown, Before: r.Before, After: r.After}, err
		},
		Preview: func(GrowIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewChange, "grow the file system if the volume is larger")
		},
	}
}
