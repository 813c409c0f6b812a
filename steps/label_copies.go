package steps

import (
	"context"
	"fmt"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan"
)

// LabelCopies labels all copies of a set consistent, with one call: only then can it be restored where it was copied to.
var LabelCopies = plan.Def[LabelCopiesIn, LabelledCopies]{Kind: "label-copies", ObserveBy: plan.ByState, Scope: plan.Cloud}

// LabelCopiesIn has the copies, all completed.
type LabelCopiesIn struct {
	Region  string               `json:"region"`
	Copies  []plan.Value[Copied] `json:"copies"`
	Expires time.Time            `json:"expires,omitzero"` // zero: never, or by rules
}

// LabelledCopies are the copies of a set.
type LabelledCopies struct {
	Region string   `json:"region"`
	Copies []Copied `json:"copies"`
}

// Facts are those of each copy.
func (l LabelledCopies) Facts() (f plan.Facts) {
	for _, c := range l.Copies {
		f.Each = append(f.Each, c.Facts().Each...)
	}
	return f
}

func (in LabelCopiesIn) ids() (ids []string) {
	for _, c := range in.Copies {
		if one, known := c.Get(); known {
			ids = append(ids, one.SnapshotID)
		}
	}
	return ids
}

func (in LabelCopiesIn) out() LabelledCopies {
	out := LabelledCopies{Region: in.Region}
	for _, c := range in.Copies {
		out.Copies = append(out.Copies, c.Must())
	}
	return out
}

// copiesThere is what EC2 shows of the copies.
func (w *Env) copiesThere(ctx context.Context, in LabelCopiesIn) (Cloud, map[string]ec2.Snapshot, error) {
	to, err := w.in(ctx, in.Region)
	if err != nil {
		return nil, nil, err
	}
	there, err := to.SnapshotsByID(ctx, in.ids()...)
	if err != nil {
		return nil, nil, errorAction(err)
	}
	return to, there, nil
}

func (w *Env) labelCopies() plan.Funcs[LabelCopiesIn, LabelledCopies] {
	return plan.Funcs[LabelCopiesIn, LabelledCopies]{
		Observe: func(ctx context.Context, _ plan.Attempt, in LabelCopiesIn) (plan.Observed[LabelledCopies], error) {
			_, there, err := w.copiesThere(ctx, in)
			if err != nil {
				return plan.Observed[LabelledCopies]{}, err
			}
			for _, id := range in.ids() {
				if there[id].Tags[TagState] != Consistent {
					return plan.Observed[LabelledCopies]{State: plan.Absent}, nil
				}
			}
			return plan.Observed[LabelledCopies]{State: plan.Satisfied, Out: in.out()}, nil
		},
		Do: func(ctx context.Context, _ plan.Attempt, in LabelCopiesIn) (LabelledCopies, error) {
			to, there, err := w.copiesThere(ctx, in)
			if err != nil {
				return LabelledCopies{}, err
			}
			for _, c := range in.out().Copies { // the waits have seen it; since then somebody may have deleted one
				if s, exists := there[c.SnapshotID]; !exists || s.State != ebs.SnapshotCompleted {
					return LabelledCopies{}, plan.Retry(time.Second, fmt.Errorf("cannot label the copies: EC2 does not show %s as completed", c))
				}
			}
			tags := map[string]string{TagState: Consistent}
			if !in.Expires.IsZero() {
				tags[TagExpires] = stamp(in.Expires)
			}
			// One request, which EC2 carries out for all or for none.
			if err := to.CreateTags(ctx, in.ids(), tags); err != nil {
				return LabelledCopies{}, eventualErrorAction(err)
			}
			return in.out(), nil
		},
		// A label is never taken back; what has none is deleted by the copies' own undo.
		Preview: func(in LabelCopiesIn) plan.Preview {
			if !in.Expires.IsZero() {
				return plan.PreviewOf(plan.PreviewChange, "label it %s, expiring %s", Consistent, stamp(in.Expires))
			}
			return plan.PreviewOf(plan.PreviewChange, "label it %s", Consistent)
		},
	}
}
