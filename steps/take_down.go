package steps

import (
	"context"

	"snaptastic/plan"
)

// TakeDown unmounts all that a drill has mounted, the probe's own mounts too, and removes its folder. A reboot does not revoke
// it, so its scope is the cloud.
var TakeDown = plan.Def[TakeDownIn, TakenDown]{Kind: "take-down", ObserveBy: plan.ByState, Scope: plan.Cloud}

// TakeDownIn needs nothing: the folder goes by the run.
type TakeDownIn struct{}

// TakenDown is nothing.
type TakenDown struct{}

func (w *Env) takeDown() plan.Funcs[TakeDownIn, TakenDown] {
	return plan.Funcs[TakeDownIn, TakenDown]{
		Do: func(ctx context.Context, a plan.Attempt, _ TakeDownIn) (TakenDown, error) {
			err := w.takeDownScratch(ctx, a)
			if err != nil {
				err = plan.Terminal("stop what uses it, then run `snaptastic rollback "+string(a.Run)+"`", err)
			}
			return TakenDown{}, err
		},
		Preview: func(TakeDownIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewChange, "unmount the scratch volumes and remove their directory")
		},
	}
}
