package steps

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// DeleteVolume deletes a volume: one that this run made, or one that a clean-up decided on, unless things have changed since.
var DeleteVolume = plan.Def[DeleteVolumeIn, Deleted]{Kind: "delete-volume", ObserveBy: plan.ByState, Scope: plan.Cloud}

// DeleteVolumeIn names the volume: by Made, which may turn out not to have been made, or by its id and what the decision
// went by.
type DeleteVolumeIn struct {
	Made       plan.Value[Volume] `json:"made,omitzero"`
	VolumeID   string             `json:"volume_id,omitempty"`
	Tags       string             `json:"tags,omitempty"`     // TagDigest of the tags it had
	Detached   bool               `json:"detached,omitempty"` // by this run, a moment ago: EC2 may not show it yet
	ReplacedBy []string           `json:"stands,omitempty"`   // snapshots that have what is on it
}

// decided says that a clean-up decided on the volume.
func (in DeleteVolumeIn) decided() bool { return in.VolumeID != "" }

func (in DeleteVolumeIn) id() string { return cmp.Or(in.VolumeID, in.Made.Must().VolumeID) }

func (w *Env) deleteOneVolume() plan.Funcs[DeleteVolumeIn, Deleted] {
	return plan.Funcs[DeleteVolumeIn, Deleted]{
		Observe: func(ctx context.Context, _ plan.Attempt, in DeleteVolumeIn) (plan.Observed[Deleted], error) {
			if !in.decided() {
				return w.seeMade(ctx, in)
			}
			v, err := w.Cloud.Volume(ctx, in.VolumeID)
			gone := plan.Observed[Deleted]{State: plan.Satisfied, Out: Deleted{in.VolumeID}, Note: "it is already deleted"}
			switch {
			case notFound(err):
				return gone, nil
			case err != nil:
				return plan.Observed[Deleted]{}, errorAction(err)
			case v.State.Gone():
				return gone, nil
			case v.State == ebs.VolumeInUse && in.Detached:
				return plan.Observed[Deleted]{}, plan.Retry(time.Second, fmt.Errorf("EC2 still shows %s as %s", v.ID, v.State))
			case v.State != ebs.VolumeAvailable:
				return plan.Observed[Deleted]{}, changed("it is %s", v.State)
			case snapset.TagDigest(v.Tags) != in.Tags:
				return plan.Observed[Deleted]{}, changed("its tags were changed after the plan was made")
			case len(in.ReplacedBy) == 0:
				return plan.Observed[Deleted]{State: plan.Absent}, nil
			}
			there, err := w.Cloud.SnapshotsByID(ctx, in.ReplacedBy...)
			if err != nil {
				return plan.Observed[Deleted]{}, errorAction(err)
			}
			return plan.Observed[Deleted]{State: plan.Absent}, checkReplacements(there, in.ReplacedBy)
		},
		Do: func(ctx context.Context, _ plan.Attempt, in DeleteVolumeIn) (Deleted, error) {
			if !in.decided() {
				return Deleted{in.id()}, errorAction(w.deleteWhenFree(ctx, in.id()))
			}
			err := w.Cloud.DeleteVolume(ctx, in.VolumeID)
			if notFound(err) { // a look has just shown it: look again
				err = plan.Retry(time.Second, err)
			}
			return Deleted{in.VolumeID}, errorAction(err)
		},
		Undo: func(_ context.Context, _ plan.Attempt, in DeleteVolumeIn, _ Deleted) error {
			return irreversible(in.id())
		},
		Preview: func(in DeleteVolumeIn) plan.Preview {
			if in.id() == "" {
				return plan.PreviewOf(plan.PreviewDelete, "delete the volume")
			}
			return plan.PreviewOf(plan.PreviewDelete, "delete %s", in.id())
		},
	}
}

// seeMade looks for a volume that this run may have made. One that was there before is not this run's to delete.
func (w *Env) seeMade(ctx context.Context, in DeleteVolumeIn) (plan.Observed[Deleted], error) {
	gone := plan.Observed[Deleted]{State: plan.Satisfied, Out: Deleted{in.id()}, Note: "it is already deleted"}
	made, known := in.Made.Get()
	switch {
	case !known || made.VolumeID == "":
		gone.Note = "no volume was made"
		return gone, nil
	case !made.Created:
		return gone, plan.Skip(fmt.Errorf("%s stays: it was there before this run", made.VolumeID))
	}
	v, err := w.Cloud.Volume(ctx, made.VolumeID)
	if notFound(err) {
		return gone, w.volumeGone(ctx, made.VolumeID, err)
	}
	if err == nil && !v.State.Gone() {
		gone = plan.Observed[Deleted]{State: plan.Absent}
	}
	return gone, errorAction(err)
}

// deleteWhenFree deletes a volume once it is neither being created nor being detached. One that stays attached longer than EC2
// may lag behind a detach is not waited for.
func (w *Env) deleteWhenFree(ctx context.Context, id string) error {
	var attached time.Time
	v, err := w.Cloud.WaitVolume(ctx, id, func(v ec2.Volume) (bool, error) {
		if a, on := v.On(w.Instance.ID); !on || a.State != ebs.Attached {
			attached = time.Time{}
		} else if attached.IsZero() {
			attached = time.Now()
		} else if time.Since(attached) > cmp.Or(w.MaxLag, maxLag) {
			return false, plan.Terminal("stop what uses it, then resume the run, which detaches it first", fmt.Errorf("cannot delete %s: it is still attached as %s", id, a.Device))
		}
		return v.State != ebs.VolumeCreating && v.State != ebs.VolumeInUse, nil
	}, nil)
	switch {
	case notFound(err):
		return nil
	case err != nil && v.State != ebs.VolumeError: // a failed volume is deleted like another
		return err
	}
	switch err := w.Cloud.DeleteVolume(ctx, id); {
	case notFound(err):
		return w.volumeGone(ctx, id, err)
	case ec2.ClassOf(err) == ec2.InUse:
		return plan.Retry(2*time.Second, err)
	default:
		return err
	}
}
