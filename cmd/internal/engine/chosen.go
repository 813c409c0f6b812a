package engine

import (
	"context"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan/units"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// chosenVolumes makes a time of an age that the options name, once and for the whole run, and leaves only the volume that a
// named snapshot is of.
func (e *Engine) chosenVolumes(ctx context.Context, op *recipe.Operation, r recipe.Request) (recipe.Request, error) {
	var err error
	if r.Options, err = r.Options.Asked(op, func(text string) (time.Time, error) { return units.ParsePast(text, time.Now()) }); err != nil {
		return r, &Error{Code: Usage, Err: err}
	}
	id, named := r.Options[recipe.Snap.Name].(string)
	if !named || id == "" {
		return r, nil
	}
	c, err := e.cloud(ctx)
	if err != nil {
		return r, err
	}
	var found map[string]ec2.Snapshot
	err = e.retry(ctx, func(ctx context.Context) (err error) {
		found, err = c.SnapshotsByID(ctx, id)
		return err
	})
	if err != nil {
		return r, err
	}
	s, is := found[id]
	if !is {
		return r, hinted("`snaptastic snapshots "+r.Spec.Name+"` lists what there is", "snapshot %q does not exist", id)
	}
	var declared []string
	for _, v := range r.Spec.Volumes {
		declared = append(declared, v.MountPoint)
	}
	point, err := snapset.PointOf(s.Tags, declared)
	if err != nil {
		return r, hinted("add the tag "+snapset.TagMountPoint+" of the volume to restore to the snapshot, or choose another one", "cannot restore %s: %w", id, err)
	}
	r.Spec = r.Spec.Only(point)
	return r, nil
}
