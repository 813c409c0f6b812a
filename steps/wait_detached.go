package steps

import (
	"context"

	"snaptastic/plan"
)

// WaitDetached waits until a volume is off.
var WaitDetached = plan.Def[WaitDetachedIn, Detached]{Kind: "wait-detached", Scope: plan.Cloud, ReadOnly: true}

// WaitDetachedIn names the volume.
type WaitDetachedIn struct {
	Detached plan.Value[Detached] `json:"detached"`
}

func (w *Env) waitDetached() plan.Funcs[WaitDetachedIn, Detached] {
	return plan.Funcs[WaitDetachedIn, Detached]{
		Do: func(ctx context.Context, a plan.Attempt, in WaitDetachedIn) (Detached, error) {
			d := in.Detached.Must()
			if d.VolumeID == "" || w.PreviewOnly {
				return d, nil
			}
			return d, w.awaitDetached(ctx, a, d.VolumeID)
		},
	}
}
