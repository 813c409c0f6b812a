package steps

import (
	"context"
	"errors"
	"fmt"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// DeleteSnapshot deletes a snapshot that a clean-up decided on, unless things have changed since.
var DeleteSnapshot = plan.Def[DeleteSnapshotIn, Deleted]{Kind: "delete-snapshot", ObserveBy: plan.ByState, Scope: plan.Cloud}

// DeleteSnapshotIn names the snapshot and what the decision went by.
type DeleteSnapshotIn struct {
	SnapshotID string   `json:"snapshot_id"`
	Tags       string   `json:"tags"`             // TagDigest of the tags it had
	ReplacedBy []string `json:"stands,omitempty"` // snapshots that can be restored instead
	Image      string   `json:"image,omitempty"`  // that it belonged to, deregistered before
}

// Deleted is a resource that was deleted.
type Deleted struct {
	ID string `json:"id"`
}

// irreversible ends every undo of a deletion.
func irreversible(id string) error {
	return plan.Terminal("", errors.New(id+" is deleted and cannot be recovered"))
}

// changed leaves a thing alone that is not as it was when its deletion was decided.
func changed(format string, args ...any) error {
	return plan.Skip(fmt.Errorf("not deleted: "+format, args...))
}

func (w *Env) deleteCleanedSnapshot() plan.Funcs[DeleteSnapshotIn, Deleted] {
	return plan.Funcs[DeleteSnapshotIn, Deleted]{
		Observe: func(ctx context.Context, _ plan.Attempt, in DeleteSnapshotIn) (plan.Observed[Deleted], error) {
			there, err := w.Cloud.SnapshotsByID(ctx, append([]string{in.SnapshotID}, in.ReplacedBy...)...)
			if err != nil {
				return plan.Observed[Deleted]{}, errorAction(err)
			}
			s, exists := there[in.SnapshotID]
			if !exists {
				return plan.Observed[Deleted]{State: plan.Satisfied, Out: Deleted{in.SnapshotID}, Note: "it is already deleted"}, nil
			}
			if snapset.TagDigest(s.Tags) != in.Tags {
				return plan.Observed[Deleted]{}, changed("its tags were changed after the plan was made")
			}
			return plan.Observed[Deleted]{State: plan.Absent}, checkReplacements(there, in.ReplacedBy)
		},
		Do: func(ctx context.Context, _ plan.Attempt, in DeleteSnapshotIn) (Deleted, error) {
			err := w.Cloud.DeleteSnapshot(ctx, in.SnapshotID)
			switch {
			case err == nil:
				return Deleted{in.SnapshotID}, nil
			case notFound(err): // a look has just shown it: look again
				return Deleted{}, plan.Retry(time.Second, err)
			case in.Image != "" && ec2.ClassOf(err) == ec2.InUse: // EC2 takes a moment to see that the image is gone
				return Deleted{}, plan.Retry(2*time.Second, err)
			}
			return Deleted{}, errorAction(err)
		},
		Undo: func(_ context.Context, _ plan.Attempt, in DeleteSnapshotIn, _ Deleted) error {
			return irreversible(in.SnapshotID)
		},
		Preview: func(in DeleteSnapshotIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewDelete, "delete %s", in.SnapshotID)
		},
	}
}

// checkReplacements reports whether what was to be restored instead still can be.
func checkReplacements(there map[string]ec2.Snapshot, stands []string) error {
	for _, id := range stands {
		s, exists := there[id]
		if !exists {
			return changed("its replacement %s has been deleted", id)
		}
		if !snapset.OriginOf(s).Restorable() || s.State != ebs.SnapshotCompleted || snapset.Dormant(s) != "" {
			return changed("its replacement %s can no longer be restored", id)
		}
	}
	return nil
}
