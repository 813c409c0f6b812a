package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/steps/recipe"
)

// beginSnapshot begins a snapshot run beside unfinished runs that hold some of its lanes, such as that of a mount of which
// one volume failed. Volumes that are snapshotted each on their own are taken where they can be; left says which are not,
// with exit 3. A group has one moment for all, so it is refused.
func (e *Engine) beginSnapshot(ctx context.Context, store *journal.Store, p *plan.Plan, spec recipe.Spec, o recipe.Options) (run *journal.Run, left, err error) {
	held, err := store.Held(p)
	if err != nil {
		return nil, nil, err
	}
	names := slices.Sorted(maps.Keys(held))
	switch {
	case len(names) == 0:
		run, err = e.beginRun(ctx, store, p)
		return run, nil, err
	case spec.Consistency != "volume":
		return nil, nil, &Error{Code: Busy, Err: fmt.Errorf("cannot snapshot %s as one group: %s: %w", spec.Name, strings.Join(names, ", "), held[names[0]]),
			Hint: "finish or undo that run; or set consistency = \"volume\", and the other volumes are snapshotted without it"}
	}
	spec.Volumes = slices.DeleteFunc(slices.Clone(spec.Volumes), func(v recipe.Volume) bool { return held[v.MountPoint] != nil })
	if len(spec.Volumes) == 0 || len(spec.Volumes)+len(names) != len(p.Lanes) {
		run, err = e.beginRun(ctx, store, p) // says who is in the way
		return run, nil, err
	}
	id, err := e.identity(ctx)
	if err != nil {
		return nil, nil, err
	}
	rest, err := recipe.Compile("snapshot", spec, recipe.Target{InstanceID: id.InstanceID, Region: id.Region, Zone: id.Zone, AccountID: id.AccountID}, o)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		e.log.Warn("a volume is left out", "mount_point", name, "because", held[name])
	}
	run, err = e.beginRun(ctx, store, rest)
	return run, &Error{Code: SomeLanes, Err: fmt.Errorf("no snapshot of %s: %w", strings.Join(names, ", "), held[names[0]])}, err
}

// leftOut ends a run that went well with what it was begun without.
func leftOut(left, err error) error {
	if err != nil {
		return err
	}
	return left
}
