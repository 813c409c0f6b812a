package steps

import (
	"context"
	"slices"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// DeregisterImage takes an image away that a clean-up decided on, unless an instance uses it by now.
var DeregisterImage = plan.Def[DeregisterImageIn, Deleted]{Kind: "deregister-image", ObserveBy: plan.ByState, Scope: plan.Cloud}

// DeregisterImageIn names the image and what the decision went by.
type DeregisterImageIn struct {
	ImageID string `json:"image_id"`
	Tags    string `json:"tags"` // TagDigest of the tags it had
}

func (w *Env) deregisterImage() plan.Funcs[DeregisterImageIn, Deleted] {
	return plan.Funcs[DeregisterImageIn, Deleted]{
		Observe: func(ctx context.Context, _ plan.Attempt, in DeregisterImageIn) (plan.Observed[Deleted], error) {
			there, err := w.Cloud.Images(ctx, in.ImageID)
			switch {
			case err != nil:
				return plan.Observed[Deleted]{}, errorAction(err)
			case len(there) == 0:
				return plan.Observed[Deleted]{State: plan.Satisfied, Out: Deleted{in.ImageID}, Note: "it is already deleted"}, nil
			case snapset.TagDigest(there[0].Tags) != in.Tags || there[0].Public:
				return plan.Observed[Deleted]{}, changed("it was changed after the plan was made")
			}
			users, err := w.Cloud.Instances(ctx, in.ImageID)
			if err != nil {
				return plan.Observed[Deleted]{}, errorAction(err)
			}
			if i := slices.IndexFunc(users, func(i ec2.Instance) bool { return i.State != ebs.InstanceTerminated }); i >= 0 {
				return plan.Observed[Deleted]{}, changed("%s was made from it", users[i].ID)
			}
			return plan.Observed[Deleted]{State: plan.Absent}, nil
		},
		Do: func(ctx context.Context, _ plan.Attempt, in DeregisterImageIn) (Deleted, error) {
			err := w.Cloud.DeregisterImage(ctx, in.ImageID)
			if notFound(err) { // a look has just shown it: look again
				err = plan.Retry(time.Second, err)
			}
			return Deleted{in.ImageID}, errorAction(err)
		},
		Undo: func(_ context.Context, _ plan.Attempt, in DeregisterImageIn, _ Deleted) error {
			return irreversible(in.ImageID)
		},
		Preview: func(in DeregisterImageIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewDelete, "deregister %s", in.ImageID)
		},
	}
}
