package steps

import (
	"context"
	"fmt"

	"snaptastic/ec2"
	"snaptastic/plan"
)

// WaitAvailable waits until a new volume can be attached.
var WaitAvailable = plan.Def[WaitAvailableIn, Volume]{Kind: "wait-available", Scope: plan.Cloud, ReadOnly: true}

// WaitAvailableIn names the volume.
type WaitAvailableIn struct {
	Volume plan.Value[Volume] `json:"volume"`
}

func (w *World) waitAvailable() plan.Funcs[WaitAvailableIn, Volume] {
	return plan.Funcs[WaitAvailableIn, Volume]{
		Do: func(ctx context.Context, a plan.Attempt, in WaitAvailableIn) (Volume, error) {
			v := in.Volume.Must()
			if !v.Created { // it is attached
				return v, nil
			}
			// The state error and a volume that vanishes end the wait with the likely cause: its KMS key.
			now, err := w.Cloud.WaitVolume(ctx, v.VolumeID, func(now ec2.Volume) (bool, error) {
				switch now.State {
				case "available", "in-use":
					return true, nil
				case "deleting", "deleted":
					return false, plan.Terminal("", fmt.Errorf("cannot use %s: somebody deletes it (%s)", now.ID, now.State))
				}
				return false, nil
			}, func(now ec2.Volume) { a.Report(plan.Progress{Percent: -1, Text: now.ID + " " + now.State}) })
			if err != nil {
				return Volume{}, startOver(verdict(err))
			}
			v.Size = now.Size
			return v, nil
		},
	}
}
