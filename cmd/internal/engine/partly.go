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

// beginWithout begins a run beside unfinished runs that hold some of its lanes, such as that of a mount of which one volume
// failed. Volumes that are snapshotted each on their own are taken where they can be; left says which are not. A group has
// one moment for all, so it is refused.
func (e *Engine) beginWithout(ctx context.Context, store *journal.Store, op *recipe.Operation, p *plan.Plan, r recipe.Request) (run *journal.Run, left, err error) {
	if op.LeaveOut == nil {
		run, err = e.beginRun(ctx, store, p, nil)
		return run, nil, err
	}
	held, err := store.HeldLanes(p)
	if err != nil {
		return nil, nil, err
	}
	names := slices.Sorted(maps.Keys(held))
	allowed, hint := op.LeaveOut(r.Spec)
	switch {
	case len(names) == 0:
		run, err = e.beginRun(ctx, store, p, nil)
		return run, nil, err
	case !allowed:
		return nil, nil, &Error{Code: Busy, Err: plan.WithHint("finish or undo that run; or "+hint,
			fmt.Errorf("cannot %s %s as one group: %s: %w", op.Name, r.Spec.Name, strings.Join(names, ", "), held[names[0]]))}
	}
	r.Spec.Volumes = slices.DeleteFunc(slices.Clone(r.Spec.Volumes), func(v recipe.Volume) bool { return held[v.MountPoint] != nil })
	if len(r.Spec.Volumes) == 0 || len(r.Spec.Volumes)+len(names) != len(p.Lanes) {
		run, err = e.beginRun(ctx, store, p, nil) // says who is in the way
		return run, nil, err
	}
	rest, err := op.Plan(r)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		e.log.Warn("a volume is skipped", "mount_point", name, "because", held[name])
	}
	left = &Error{Code: SomeLanes, Err: fmt.Errorf("no %s of %s: %w", op.Name, strings.Join(names, ", "), held[names[0]])}
	run, err = e.beginRun(ctx, store, rest, left)
	return run, left, err
}
