package steps

import (
	"context"

	"snaptastic/plan"
)

// TakeDown unmounts all that a drill has mounted, the probe's own mounts too, and removes its folder. A reboot does not revoke
// it, so its scope is the cloud.
var TakeDown = plan.Def[TakeDownIn, TakenDown]{Kind: "take-down", ObserveBy: plan.ByState, Scope: plan.Cloud}

// TakeDownIn names the drill where it is not this run itself: one that has ended, and left its volumes. The folder is named after the run.
type TakeDownIn struct {
	Drill plan.RunID `json:"drill,omitempty"`
}

// TakenDown is nothing.
type TakenDown struct{}

func (w *Env) takeDown() plan.Funcs[TakeDownIn, TakenDown] {
	return plan.Funcs[TakeDownIn, TakenDown]{
		Observe: func(_ context.Context, a plan.Attempt, in TakeDownIn) (plan.Observed[TakenDown], error) {
			seen := plan.Observed[TakenDown]{State: plan.Absent}
			if in.Drill == "" || w.RunsHere == nil {
				return seen, nil
			}
			here, err := w.RunsHere(a.Run)
			if err == nil && here.Unfinished[string(in.Drill)] {
				err = changed("the drill %s has not ended", in.Drill)
			}
			return seen, err
		},
		Do: func(ctx context.Context, a plan.Attempt, in TakeDownIn) (TakenDown, error) {
			run, again := a.Run, "snaptastic rollback "+string(a.Run)
			if in.Drill != "" {
				run, again = in.Drill, "snaptastic resume "+string(a.Run)
			}
			err := w.takeDownScratch(ctx, a, run)
			if err != nil {
				err = plan.Terminal("stop what uses it, then run `"+again+"`", err)
			}
			return TakenDown{}, err
		},
		Preview: func(TakeDownIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewChange, "unmount the scratch volumes and remove their directory")
		},
	}
}
