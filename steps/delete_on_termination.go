package steps

import (
	"context"

	"snaptastic/ec2"
	"snaptastic/plan"
)

// DeleteOnTermination reports whether a volume goes when its instance goes.
var DeleteOnTermination = plan.Def[DeleteOnTerminationIn, DeletedOnTermination]{Kind: "delete-on-termination", ObserveBy: plan.ByState, Scope: plan.Cloud}

// DeleteOnTerminationIn says what is wanted of which attachment.
type DeleteOnTerminationIn struct {
	Attached plan.Value[Attached] `json:"attached"`
	Want     bool                 `json:"want"`
}

// DeletedOnTermination is what an attachment has.
type DeletedOnTermination struct {
	DeleteOnTermination bool `json:"delete_on_termination"`
}

func (w *Env) deleteOnTermination() plan.Funcs[DeleteOnTerminationIn, DeletedOnTermination] {
	return plan.Funcs[DeleteOnTerminationIn, DeletedOnTermination]{
		Observe: func(ctx context.Context, a plan.Attempt, in DeleteOnTerminationIn) (plan.Observed[DeletedOnTermination], error) {
			// AttachVolume gives an attachment that does not go with its instance; nothing needs to be asked.
			// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/preserving-volumes-on-termination.html
			if in.Attached.Must().New && in.Want && !a.Resumed {
				return plan.Observed[DeletedOnTermination]{State: plan.Absent}, nil
			}
			v, err := w.Cloud.Volume(ctx, in.Attached.Must().VolumeID)
			if err != nil && !notFound(err) {
				return plan.Observed[DeletedOnTermination]{}, errorAction(err)
			}
			if at, on := v.On(w.Instance.ID); on && at.DeleteOnTermination == in.Want {
				return plan.Observed[DeletedOnTermination]{State: plan.Satisfied, Out: DeletedOnTermination{in.Want}}, nil
			}
			return plan.Observed[DeletedOnTermination]{State: plan.Absent}, nil
		},
		Do: func(ctx context.Context, _ plan.Attempt, in DeleteOnTerminationIn) (DeletedOnTermination, error) {
			err := w.Cloud.SetDeleteOnTermination(ctx, w.Instance.ID, in.Attached.Must().Device, in.Want)
			return DeletedOnTermination{in.Want}, eventualErrorAction(err)
		},
		// It was the other way round, or the step would have had nothing to do.
		Undo: func(ctx context.Context, _ plan.Attempt, in DeleteOnTerminationIn, _ DeletedOnTermination) error {
			at := in.Attached.Must()
			err := w.Cloud.SetDeleteOnTermination(ctx, w.Instance.ID, at.Device, !in.Want)
			if class := ec2.ClassOf(err); class != ec2.NotFound && class != ec2.SettleLater {
				return errorAction(err)
			}
			// EC2 does not see the attachment there: not yet, or it is off, and then there is nothing to set back.
			v, lookErr := w.Cloud.Volume(ctx, at.VolumeID)
			if _, on := v.On(w.Instance.ID); !on && (lookErr == nil || notFound(lookErr)) {
				return nil
			}
			return eventualErrorAction(err)
		},
		Preview: func(in DeleteOnTerminationIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewChange, "set to %t", in.Want)
		},
	}
}
