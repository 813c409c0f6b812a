package steps

import (
	"context"
	"fmt"

	"snaptastic/plan"
)

// UndoHook does nothing when the run goes well. Undoing it runs a user's program while the run's volumes are still mounted: the
// hook that stops what the run's last hooks started, so that the volumes can be unmounted.
var UndoHook = plan.Def[UndoHookIn, UndoHooked]{Kind: "undo-hook", ObserveBy: plan.ByState, Scope: plan.Boot}

// UndoHookIn is the program and its context. Its volumes name the mounts that it must release.
type UndoHookIn struct {
	HookIn
	Once bool `json:"once,omitempty"` // it is not run again after an undo that was cut off in it, or in which it failed
}

// UndoHooked is nothing.
type UndoHooked struct{}

func (w *Env) undoHook() plan.Funcs[UndoHookIn, UndoHooked] {
	return plan.Funcs[UndoHookIn, UndoHooked]{
		// It is there to be undone as long as something that the run mounted is.
		Observe: func(_ context.Context, a plan.Attempt, in UndoHookIn) (plan.Observed[UndoHooked], error) {
			mounted, err := w.mountedOf(in.HookIn)
			if a.Resumed && mounted {
				return plan.Observed[UndoHooked]{State: plan.Ours}, err
			}
			return plan.Observed[UndoHooked]{State: plan.Absent}, err
		},
		Do: func(context.Context, plan.Attempt, UndoHookIn) (UndoHooked, error) { return UndoHooked{}, nil },
		Undo: func(ctx context.Context, a plan.Attempt, in UndoHookIn, _ UndoHooked) error {
			if mounted, err := w.mountedOf(in.HookIn); err != nil || !mounted {
				return err
			}
			if in.Once && a.UndoneBefore { // HandOver, which is undone next, says who is still at work on the volumes
				w.log().Warn("the "+in.Name+" hook is not run again: it is not repeatable", "step", a.Step)
				return nil
			}
			_, err := w.Host.RunHook(ctx, w.hookRequest(a, in.HookIn))
			switch {
			case err == nil || ctx.Err() != nil:
				return err
			case in.Tolerated:
				w.log().Warn("the "+in.Name+" hook failed, which its settings tolerate", "step", a.Step, "error", err)
				return nil
			}
			return plan.Terminal("make the "+in.Name+" hook succeed, or stop by hand what uses the restored volumes; then run `snaptastic rollback "+string(a.Run)+"`",
				fmt.Errorf("cannot stop what uses the restored volumes: %w", err))
		},
		Preview: func(in UndoHookIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewRun, "run %q if the restore is rolled back", in.Command)
		},
	}
}

// mountedOf reports whether a volume of the hook is still mounted where the run has mounted it.
func (w *Env) mountedOf(in HookIn) (bool, error) {
	for _, v := range in.Volumes {
		m, known := v.Mounted.Get()
		if !known || in.Of != "" && in.Of != v.MountPoint {
			continue
		}
		at, err := w.occupantOf(m.MountPoint)
		if err != nil {
			return false, err
		}
		if at.mounted && w.isMounted(m, at) {
			return true, nil
		}
	}
	return false, nil
}
