package steps

import (
	"context"
	"fmt"
	"strings"

	"snaptastic/linux"
	"snaptastic/plan"
)

// HandOver is the moment of a restore after which its volumes may be in use: all are mounted, and the hooks that start what
// works on them come next. It changes nothing itself. Undoing it makes sure that nothing works on them, before the first is
// unmounted: either all of the old volumes come back or none.
var HandOver = plan.Def[HandOverIn, HandedOver]{Kind: "hand-over", ObserveBy: plan.ByState, Scope: plan.Boot}

// HandOverIn names the mounts, in any order.
type HandOverIn struct {
	Mounted []plan.Value[Mounted] `json:"mounted"`
}

// HandedOver are the mount points.
type HandedOver struct {
	MountPoints []string `json:"mount_points"`
}

func (w *Env) handOver() plan.Funcs[HandOverIn, HandedOver] {
	return plan.Funcs[HandOverIn, HandedOver]{
		// What was handed over is what is mounted still. A first look is the step's own work, or it would adopt what it has to confirm.
		Observe: func(_ context.Context, a plan.Attempt, in HandOverIn) (plan.Observed[HandedOver], error) {
			mounted, err := w.stillThere(in)
			if err != nil {
				return plan.Observed[HandedOver]{}, err
			}
			if a.Resumed && len(mounted) > 0 {
				return plan.Observed[HandedOver]{State: plan.Satisfied, Out: HandedOver{MountPoints: mounted}}, nil
			}
			return plan.Observed[HandedOver]{State: plan.Absent}, nil
		},
		Do: func(ctx context.Context, _ plan.Attempt, in HandOverIn) (out HandedOver, err error) {
			for _, m := range in.Mounted {
				if err := w.stillMounted(ctx, m.Must(), mountedFor); err != nil {
					return out, err
				}
				out.MountPoints = append(out.MountPoints, m.Must().MountPoint)
			}
			return out, nil
		},
		Undo: w.handBack,
		Preview: func(HandOverIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewRead, "check that all are mounted")
		},
	}
}

// handBack refuses to undo the mounts while something uses them.
func (w *Env) handBack(_ context.Context, a plan.Attempt, in HandOverIn, _ HandedOver) error {
	mounted, err := w.stillThere(in)
	if err != nil {
		return err
	}
	nested := map[string]bool{}
	for _, mountPoint := range mounted {
		nested[linux.LeadsTo(mountPoint)] = true
	}
	users, err := w.Host.Users(mounted)
	if err != nil {
		return err
	}
	var busy []string
	for _, mountPoint := range mounted {
		var left []linux.Holder
		for _, h := range users[mountPoint] {
			if h.PID != 0 || h.How != linux.NestedMount || !nested[h.Path] {
				left = append(left, h)
			}
		}
		if len(left) > 0 {
			busy = append(busy, linux.InUse(mountPoint, left).Error())
		}
	}
	if len(busy) == 0 {
		return nil
	}
	return plan.Terminal("stop what uses the restored volumes, then run `snaptastic rollback "+string(a.Run)+"`",
		fmt.Errorf("cannot put the previous volumes back: %s", strings.Join(busy, "; ")))
}

// stillThere are the mount points that have their volumes mounted.
func (w *Env) stillThere(in HandOverIn) (mounted []string, _ error) {
	for _, m := range in.Mounted {
		at, err := w.occupantOf(m.Must().MountPoint)
		if err != nil {
			return nil, err
		}
		if at.mounted && w.isMounted(m.Must(), at) {
			mounted = append(mounted, m.Must().MountPoint)
		}
	}
	return mounted, nil
}
