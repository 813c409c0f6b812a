package steps

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"golang.org/x/sync/errgroup"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/plan/units"
	"snaptastic/steps/snapset"
)

// TagSnapshots gives each snapshot of a set its tags, and then labels the whole set consistent with one call: only then
// can it be restored.
var TagSnapshots = plan.Def[TagSnapshotsIn, SnapshotSet]{Kind: "tag-snapshots", ObserveBy: plan.ByState, Scope: plan.Cloud}

// tagConcurrency is how many snapshots are tagged side by side: a set of 16 takes two round trips, and EC2's bucket of 100
// requests notices nothing. https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
const tagConcurrency = 8

// TagSnapshotsIn says what to tag with what.
type TagSnapshotsIn struct {
	Set         plan.Value[SnapshotSet] `json:"set"`
	Tags        map[string]string       `json:"tags"`
	ExpireAfter plan.Duration           `json:"expire_after,omitempty"` // 0: never
	// Part is the larger set that they are of: whoever has all of it labels it. They have all tags but their mount points then.
	Part *Part `json:"part,omitempty"`
}

// LabelsNothing says whether a step of this kind leaves the label to somebody else.
func LabelsNothing(s *plan.Step) bool {
	var in struct {
		Part *Part `json:"part"`
	}
	return s.Kind == TagSnapshots.Kind && json.Unmarshal(s.In, &in) == nil && in.Part != nil
}

func (w *Env) tagSnapshots() plan.Funcs[TagSnapshotsIn, SnapshotSet] {
	return plan.Funcs[TagSnapshotsIn, SnapshotSet]{
		Observe: func(ctx context.Context, _ plan.Attempt, in TagSnapshotsIn) (plan.Observed[SnapshotSet], error) {
			set := in.Set.Must()
			there, err := w.Cloud.Snapshots(ctx, ec2.SnapshotQuery{IDs: set.ids()})
			if err != nil {
				return plan.Observed[SnapshotSet]{}, errorAction(err)
			}
			labelled := 0
			for _, s := range there {
				if snapset.Labelled(s) || in.Part != nil && s.Tags[TagMountPoint] != "" {
					labelled++
				}
			}
			if labelled == len(set.Snapshots) {
				return plan.Observed[SnapshotSet]{State: plan.Satisfied, Out: set}, nil
			}
			return plan.Observed[SnapshotSet]{State: plan.Absent}, nil
		},
		Do: func(ctx context.Context, a plan.Attempt, in TagSnapshotsIn) (SnapshotSet, error) {
			set := in.Set.Must()
			if err := w.deleteUnplanned(ctx, a, set); err != nil {
				return SnapshotSet{}, err
			}
			each, some := errgroup.WithContext(ctx)
			each.SetLimit(tagConcurrency)
			for _, t := range set.Snapshots {
				each.Go(func() error { return w.Cloud.CreateTags(some, []string{t.SnapshotID}, in.tagsOf(a, t)) })
			}
			if err := each.Wait(); err != nil {
				return SnapshotSet{}, eventualErrorAction(err)
			}
			if in.Part != nil {
				return set, nil
			}
			// One request, which EC2 carries out for all or for none.
			if err := w.Cloud.CreateTags(ctx, set.ids(), map[string]string{TagState: Consistent}); err != nil {
				return SnapshotSet{}, eventualErrorAction(err)
			}
			return set, nil
		},
		// A labelled snapshot is never taken back, and what was not labelled is deleted by the snapshot's own undo.
		Preview: func(in TagSnapshotsIn) plan.Preview {
			if in.Part != nil {
				return plan.PreviewOf(plan.PreviewChange, "tag it, and leave the label to whoever labels set %s", in.Part.Set)
			}
			if in.ExpireAfter > 0 {
				return plan.PreviewOf(plan.PreviewChange, "label it %s, expiring after %s", Consistent, units.Limit(time.Duration(in.ExpireAfter)))
			}
			return plan.PreviewOf(plan.PreviewChange, "label it %s", Consistent)
		},
	}
}

// tagsOf are one snapshot's: the original's names, so that either program finds what the other made.
func (in TagSnapshotsIn) tagsOf(a plan.Attempt, t Taken) map[string]string {
	if in.Part != nil {
		return map[string]string{TagMountPoint: t.MountPoint}
	}
	created := t.Started
	if created.IsZero() {
		run, _ := runTime(a.Run)
		created = cmp.Or(run, time.Now())
	}
	tags := merged(in.Tags, map[string]string{TagMountPoint: t.MountPoint, TagCreated: stamp(created)})
	if in.ExpireAfter > 0 {
		tags[TagExpires] = stamp(created.Add(time.Duration(in.ExpireAfter)))
	}
	return tags
}

// deleteUnplanned deletes what the one call made of volumes that are not in the plan.
func (w *Env) deleteUnplanned(ctx context.Context, a plan.Attempt, set SnapshotSet) error {
	for _, id := range set.Unplanned {
		w.log().Warn("deleting a snapshot of a volume that was attached during the run and is not in the plan", "step", a.Step, "snapshot", id)
		err := w.Cloud.DeleteSnapshot(ctx, id)
		if notFound(err) {
			err = w.snapshotGone(ctx, id, err)
		}
		if err != nil {
			return errorAction(err)
		}
	}
	return nil
}
