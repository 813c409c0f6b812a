package steps

import (
	"cmp"
	"context"
	"fmt"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan"
)

// WaitAvailable waits until a new volume can be attached.
var WaitAvailable = plan.Def[WaitAvailableIn, Volume]{Kind: "wait-available", Scope: plan.Cloud, ReadOnly: true}

// WaitAvailableIn names the volume.
type WaitAvailableIn struct {
	Volume plan.Value[Volume] `json:"volume"`
}

func (w *Env) waitAvailable() plan.Funcs[WaitAvailableIn, Volume] {
	return plan.Funcs[WaitAvailableIn, Volume]{
		Do: func(ctx context.Context, a plan.Attempt, in WaitAvailableIn) (Volume, error) {
			v := in.Volume.Must()
			if !v.Created { // it is attached
				return v, nil
			}
			now, err := w.awaitAvailable(ctx, v.VolumeID, func(now ec2.Volume) { a.Report(plan.Progress{Percent: -1, Text: now.ID + " " + string(now.State)}) })
			if err != nil {
				return Volume{}, err
			}
			v.Size = now.Size
			return v, nil
		},
	}
}

// awaitAvailable waits until a volume that this run made can be attached. One that ends in the state error, vanishes or is deleted
// before that is of no use: with the likely cause, its KMS key, another one is asked for.
func (w *Env) awaitAvailable(ctx context.Context, id string, progress func(ec2.Volume)) (ec2.Volume, error) {
	now, err := w.Cloud.WaitVolume(ctx, id, func(now ec2.Volume) (bool, error) {
		switch now.State {
		case ebs.VolumeAvailable, ebs.VolumeInUse:
			return true, nil
		case ebs.VolumeDeleting, ebs.VolumeDeleted:
			return false, plan.Redo(failedCreateHint, fmt.Errorf("cannot use %s: it is being deleted (%s) before it was attached", now.ID, now.State))
		}
		return false, nil
	}, progress)
	if fault, ok := asFault(err); ok && (fault.Class == ec2.NotFound || now.State == ebs.VolumeError) {
		return now, plan.Redo(cmp.Or(plan.HintOf(err), failedCreateHint), err)
	}
	return now, errorAction(err)
}

const failedCreateHint = "this happens to encrypted volumes if the KMS key cannot be used: check that the key is enabled and that the role may use it " +
	"(kms:CreateGrant, kms:Decrypt, kms:GenerateDataKeyWithoutPlaintext). Then resume the run to create a new volume"
