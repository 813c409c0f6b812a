package steps

import (
	"context"
	"time"

	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// DeleteVolume deletes a volume that a clean-up decided on, unless things have changed since.
var DeleteVolume = plan.Def[DeleteVolumeIn, Deleted]{Kind: "delete-volume", Look: plan.ByState, Scope: plan.Cloud}

// DeleteVolumeIn names the volume and what the decision went by.
type DeleteVolumeIn struct {
	VolumeID string   `json:"volume_id"`
	Tags     string   `json:"tags"`             // TagDigest of the tags it had
	Stands   []string `json:"stands,omitempty"` // snapshots that have what is on it
}

func (w *World) deleteCleanedVolume() plan.Funcs[DeleteVolumeIn, Deleted] {
	return plan.Funcs[DeleteVolumeIn, Deleted]{
		Observe: func(ctx context.Context, _ plan.Attempt, in DeleteVolumeIn) (plan.Seen[Deleted], error) {
			v, err := w.Cloud.Volume(ctx, in.VolumeID)
			gone := plan.Seen[Deleted]{Sight: plan.AsWanted, Out: Deleted{in.VolumeID}, Note: "it is gone already"}
			switch {
			case notFound(err):
				return gone, nil
			case err != nil:
				return plan.Seen[Deleted]{}, verdict(err)
			case v.State == "deleting" || v.State == "deleted":
				return gone, nil
			case v.State != "available":
				return plan.Seen[Deleted]{}, changed("it is %s", v.State)
			case snapset.TagDigest(v.Tags) != in.Tags:
				return plan.Seen[Deleted]{}, changed("its tags were changed after the plan was made")
			case len(in.Stands) == 0:
				return plan.Seen[Deleted]{Sight: plan.Absent}, nil
			}
			there, err := w.Cloud.SnapshotsByID(ctx, in.Stands...)
			if err != nil {
				return plan.Seen[Deleted]{}, verdict(err)
			}
			return plan.Seen[Deleted]{Sight: plan.Absent}, standing(there, in.Stands)
		},
		Do: func(ctx context.Context, _ plan.Attempt, in DeleteVolumeIn) (Deleted, error) {
			err := w.Cloud.DeleteVolume(ctx, in.VolumeID)
			if notFound(err) { // a look has just shown it: look again
				err = plan.Retry(time.Second, err)
			}
			return Deleted{in.VolumeID}, verdict(err)
		},
		Undo: func(_ context.Context, _ plan.Attempt, in DeleteVolumeIn, _ Deleted) error {
			return cannotBringBack(in.VolumeID)
		},
		Preview: func(in DeleteVolumeIn) plan.Preview { return plan.Will(plan.PreviewDelete, "delete %s", in.VolumeID) },
	}
}
