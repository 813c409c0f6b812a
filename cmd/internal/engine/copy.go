package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"snaptastic/ec2"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// cloudIn is the client of a region; "" and the own one are the client itself.
func (e *Engine) cloudIn(ctx context.Context, region string) (*ec2.Client, error) {
	c, err := e.cloud(ctx)
	if err != nil {
		return nil, err
	}
	return c.In(ctx, region)
}

// lacking finds the sets to copy: it looks at the sets here, and at those in each destination. A destination that does not answer, as when
// its region is lost, has a lane that fails with it, and keeps no other one from its copies.
func (e *Engine) lacking(ctx context.Context, op *recipe.Operation, r *recipe.Request) error {
	spec := r.Spec
	if op.Check != nil && op.Check(spec) != nil {
		return nil // compiling says it
	}
	now, err := e.cloudTime(ctx)
	if err != nil {
		return err
	}
	if spec.CopyFrom != "" {
		if err := e.lackingOfOthers(ctx, r, now); err != nil {
			return err
		}
	}
	source, err := e.snapshotsIn(ctx, "", spec)
	if err != nil {
		return err
	}
	if err := e.toShare(ctx, r, source); err != nil {
		return err
	}
	r.CopyFrom = r.Target.Region
	for _, d := range spec.Copies {
		if d.Region == r.Target.Region {
			if spec.CopyFrom != "" {
				continue // it says how the other account's sets are kept here
			}
			r.Notes = append(r.Notes, fmt.Sprintf("%s is the region of this instance: nothing is copied to it", d.Region))
			continue
		}
		if err := e.lackingIn(ctx, r, recipe.SetCopy{}, d, source, now); err != nil {
			return fmt.Errorf("cannot find out which sets %s lacks: %w", d.Region, err)
		}
	}
	recipe.NameCopies(r.Copies)
	switch {
	case len(r.Copies) == 0 && (len(spec.Copies) > 0 || spec.CopyFrom != ""):
		r.Notes = append(r.Notes, "nothing to copy")
	case len(r.Copies)+len(r.Shares) == 0:
		r.Notes = append(r.Notes, "nothing to share")
	}
	return nil
}

// lackingIn adds what one destination lacks. like has what all these copies have in common.
func (e *Engine) lackingIn(ctx context.Context, r *recipe.Request, like recipe.SetCopy, d recipe.Destination, source []ec2.Snapshot, now time.Time) error {
	there, err := e.snapshotsIn(ctx, d.Region, r.Spec)
	if err != nil && ctx.Err() == nil {
		if slices.ContainsFunc(r.Copies, func(c recipe.SetCopy) bool { return c.Silent != "" && c.Region == d.Region }) {
			return nil // one lane says it
		}
		r.Copies = append(r.Copies, recipe.SetCopy{CopyDecision: snapset.CopyDecision{Region: d.Region}, Silent: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	decisions, err := snapset.CopyTo{Region: d.Region, Filter: r.Spec.FilterTags, Keep: d.Keep, Source: source, There: there, Now: now}.Lacking()
	if err != nil {
		return err
	}
	kept := 0
	for _, one := range decisions {
		switch {
		case one.Copy:
			like.CopyDecision, like.KMSKeyID = one, d.KMSKeyID
			r.Copies = append(r.Copies, like)
		case one.Why == "":
			kept++
		default:
			r.Notes = append(r.Notes, fmt.Sprintf("%s: set %s is not copied: %s", d.Region, one.Set, one.Why))
		}
	}
	if kept > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s has %d sets already", d.Region, kept))
	}
	return nil
}

// snapshotsIn are the snapshots of a snapshotter in a region.
func (e *Engine) snapshotsIn(ctx context.Context, region string, spec recipe.Spec) (all []ec2.Snapshot, err error) {
	c, err := e.cloudIn(ctx, region)
	if err != nil {
		return nil, err
	}
	err = e.retry(ctx, func(ctx context.Context) (err error) {
		all, err = c.Snapshots(ctx, ec2.SnapshotQuery{Tags: literally(spec.FilterTags)})
		return err
	})
	return all, err
}
