package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"snaptastic/ec2"
	"snaptastic/linux"
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
	if op.Replaces {
		if err := e.nothingInside(r.Spec, point, s); err != nil {
			return r, err
		}
	}
	r.Spec = r.Spec.Only(point)
	return r, nil
}

// nothingInside refuses to replace one volume alone as long as something is mounted inside it, before the plan goes as far as to
// find it in use.
func (e *Engine) nothingInside(spec recipe.Spec, point string, s ec2.Snapshot) error {
	place := point
	for _, v := range spec.Volumes {
		if v.MountPoint == point {
			place = v.Place()
		}
	}
	inner, is, err := linux.New(e.Roots).MountedBelow(place)
	if err != nil || !is { // the check before unmounting says what is wrong
		return nil
	}
	hint := fmt.Sprintf("unmount %s first", inner.Target)
	if slices.ContainsFunc(spec.Volumes, func(v recipe.Volume) bool { return v.Place() == inner.Target }) {
		hint = fmt.Sprintf("use `snaptastic run restore %s --set %s`, which replaces both", spec.Name, cmp.Or(s.Tags[snapset.TagRun], s.Tags[snapset.TagSet], "SET"))
	}
	return hinted(hint, "cannot restore %s alone: %s is mounted inside %s", s.ID, inner.Target, point)
}
