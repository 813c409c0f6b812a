package steps

import (
	"context"
	"errors"

	"snaptastic/ec2"
	"snaptastic/plan"
)

// FindLacking stands for a place of which it was not known, when the plan was made, what is to be copied or shared there: it fails its
// lane with the reason, and no other one. A region is asked again until the step's time is up; once it answers, what it lacks can be found.
var FindLacking = plan.Def[FindLackingIn, Lacking]{Kind: "find-lacking", Scope: plan.Cloud, ReadOnly: true}

// FindLackingIn says why it is not known.
type FindLackingIn struct {
	Why    string `json:"why"`
	Hint   string `json:"hint"`
	Region string `json:"region,omitempty"` // to ask again; "" for none
}

// Lacking is a region that answers again.
type Lacking struct {
	Region string `json:"region"`
}

// Facts say so.
func (l Lacking) Facts() plan.Facts {
	return plan.Facts{Remarks: []string{l.Region + " answers again"}}
}

func (w *Env) findLacking() plan.Funcs[FindLackingIn, Lacking] {
	return plan.Funcs[FindLackingIn, Lacking]{
		Do: func(ctx context.Context, a plan.Attempt, in FindLackingIn) (Lacking, error) {
			why := errors.New(in.Why)
			if in.Region == "" {
				return Lacking{}, plan.Terminal(in.Hint, why)
			}
			there, err := w.in(ctx, in.Region)
			if err == nil {
				_, err = there.Snapshots(ctx, ec2.SnapshotQuery{Tags: map[string][]string{TagToken: {a.Token}}}) // the right that counts, and a short answer
			}
			if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
				return Lacking{}, plan.Retry(0, plan.WithHint(in.Hint, why))
			}
			return Lacking{in.Region}, err
		},
		Preview: func(in FindLackingIn) plan.Preview { return plan.PreviewOf(plan.PreviewConflict, "%s", in.Why) },
	}
}
