package steps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// DeleteSets deletes whole sets, unless things have changed since that was decided. A set of several snapshots loses its
// label first, with one call for all: from then on nothing restores it, wherever the deletion is cut off.
var DeleteSets = plan.Def[DeleteSetsIn, DeletedSets]{Kind: "delete-sets", ObserveBy: plan.ByState, Scope: plan.Cloud}

// DeleteSetsIn names the sets.
type DeleteSetsIn struct {
	Expired plan.Value[ExpiredSets] `json:"expired"`
}

// DeletedSets is what was deleted, and what was not deleted after all.
type DeletedSets struct {
	Sets      int       `json:"sets"`
	Snapshots []string  `json:"snapshots"`
	Size      int32     `json:"size_gib"` // of their volumes
	Kept      []KeptSet `json:"kept,omitempty"`
}

// A KeptSet was to be deleted, and was not.
type KeptSet struct {
	ID  string `json:"id"`
	Why string `json:"why"`
}

// Facts say how much was deleted.
func (d DeletedSets) Facts() (facts plan.Facts) {
	if d.Sets > 0 {
		facts.Remarks = []string{fmt.Sprintf("deleted %s (%s of %d GiB)", counted(d.Sets, "set"), counted(len(d.Snapshots), "snapshot"), d.Size)}
	}
	for _, k := range d.Kept {
		facts.Warnings = append(facts.Warnings, k.ID+" is kept: "+k.Why)
	}
	return facts
}

func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func (d *DeletedSets) add(one ExpiredSet) {
	d.Sets, d.Size = d.Sets+1, d.Size+one.Size
	d.Snapshots = append(d.Snapshots, one.ids()...)
}

func (e ExpiredSet) ids() (ids []string) {
	for _, m := range e.Members {
		ids = append(ids, m.SnapshotID)
	}
	return ids
}

func (w *Env) deleteSets() plan.Funcs[DeleteSetsIn, DeletedSets] {
	return plan.Funcs[DeleteSetsIn, DeletedSets]{
		Observe: func(ctx context.Context, _ plan.Attempt, in DeleteSetsIn) (plan.Observed[DeletedSets], error) {
			expired, _ := in.Expired.Get()
			out := DeletedSets{Snapshots: []string{}}
			for _, one := range expired.Sets {
				out.add(one)
			}
			there, err := w.Cloud.SnapshotsByID(ctx, out.Snapshots...)
			if err != nil {
				return plan.Observed[DeletedSets]{}, errorAction(err)
			}
			if len(there) > 0 {
				return plan.Observed[DeletedSets]{State: plan.Absent}, nil
			}
			return plan.Observed[DeletedSets]{State: plan.Satisfied, Out: out}, nil
		},
		Do: func(ctx context.Context, a plan.Attempt, in DeleteSetsIn) (DeletedSets, error) {
			expired, known := in.Expired.Get()
			if !known {
				return DeletedSets{}, plan.Skip(errors.New("it was not found out what to delete"))
			}
			return w.deleteExpired(ctx, a, expired.Sets)
		},
		Undo: func(_ context.Context, _ plan.Attempt, in DeleteSetsIn, out DeletedSets) error {
			return plan.Skip(errors.New("the deleted sets cannot be recovered"))
		},
		Preview: func(in DeleteSetsIn) plan.Preview {
			expired, known := in.Expired.Get()
			if !known {
				return plan.PreviewOf(plan.PreviewDelete, "delete what is no longer kept, set by set")
			}
			return plan.PreviewOf(plan.PreviewDelete, "delete %s", counted(len(expired.Sets), "set"))
		},
	}
}

// deleteExpired deletes one set after the other. One that cannot be deleted does not keep the others; EC2's refusal of all
// does.
func (w *Env) deleteExpired(ctx context.Context, a plan.Attempt, sets []ExpiredSet) (DeletedSets, error) {
	out := DeletedSets{Snapshots: []string{}}
	var failed error
	for i, one := range sets {
		a.Report(plan.Progress{Percent: 100 * i / len(sets), Text: fmt.Sprintf("%d of %s", i, counted(len(sets), "set"))})
		kept, err := w.deleteSet(ctx, a, one)
		switch {
		case ctx.Err() != nil:
			return out, ctx.Err()
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("set %s: %w", one.ID, err))
			if class := ec2.ClassOf(err); class == ec2.Denied || class == ec2.Throttled {
				return out, firstAction(failed, err)
			}
		case kept != "":
			out.Kept = append(out.Kept, KeptSet{one.ID, kept})
			w.log().Warn("not deleted", "set", one.ID, "because", kept)
		default:
			out.add(one)
		}
	}
	if failed != nil {
		return out, firstAction(failed, failed)
	}
	if len(sets) > 0 && out.Sets == 0 {
		return out, changed("%s", out.Kept[0].Why)
	}
	return out, nil
}

// firstAction is what the runner is to do about the first of some errors.
func firstAction(all, first error) error {
	if fault, is := errors.AsType[*ec2.Fault](first); is {
		v := plan.ActionOf(errorAction(fault))
		v.Err = all
		return v
	}
	return all
}

// deleteSet looks again and deletes one set; or says why it is kept.
func (w *Env) deleteSet(ctx context.Context, a plan.Attempt, one ExpiredSet) (kept string, err error) {
	there, err := w.Cloud.SnapshotsByID(ctx, slices.Concat(one.ids(), one.ReplacedBy)...)
	if err != nil {
		return "", err
	}
	left, begun, kept := one.left(there)
	if kept != "" || len(left) == 0 {
		return kept, nil
	}
	if why := checkReplacements(there, one.ReplacedBy); why != nil {
		return strings.TrimPrefix(why.Error(), "not deleted: "), nil
	}
	if !begun {
		if kept, err := w.heldNow(ctx, a, left); kept != "" || err != nil {
			return kept, err
		}
		if len(left) > 1 && snapset.Labelled(there[left[0]]) {
			if err := w.Cloud.CreateTags(ctx, left, map[string]string{TagState: snapset.Deleting}); err != nil {
				return "", err
			}
			begun = true
		}
	}
	for i, id := range left {
		switch err := w.Cloud.DeleteSnapshot(ctx, id); {
		case err == nil || notFound(err): // a look has just shown it
		case i == 0 && begun && len(left) == len(one.Members) && ctx.Err() == nil && refusedForGood(err):
			// Nothing is deleted yet: the set becomes whole again.
			if again := w.Cloud.CreateTags(ctx, left, map[string]string{TagState: Consistent}); again != nil {
				return "", errors.Join(err, again)
			}
			return "", err
		default:
			return "", err
		}
	}
	return "", nil
}

// refusedForGood says that EC2 did not delete, and that the answer will not change by itself.
func refusedForGood(err error) bool {
	switch ec2.ClassOf(err) {
	case ec2.InUse, ec2.Denied, ec2.Invalid, ec2.Limit:
		return true
	}
	return false
}

// left are the members that still exist. begun says that the set's deletion began before; kept why it is not to be deleted.
func (e ExpiredSet) left(there map[string]ec2.Snapshot) (left []string, begun bool, kept string) {
	for _, m := range e.Members {
		s, exists := there[m.SnapshotID]
		if !exists {
			continue
		}
		left = append(left, m.SnapshotID)
		tags := s.Tags
		if tags[TagState] == snapset.Deleting {
			begun = true
			tags = maps.Clone(tags)
			tags[TagState] = Consistent
		}
		if snapset.TagDigest(tags) != m.Tags && snapset.TagDigest(s.Tags) != m.Tags {
			return nil, false, "the tags of " + m.SnapshotID + " were changed after the plan was made"
		}
	}
	if len(left) > 0 && len(left) < len(e.Members) && !begun {
		return nil, false, "a part of it was deleted after the plan was made"
	}
	return left, begun, ""
}

// heldNow says what has come to hold a snapshot since the decision. EC2 refuses to delete one of an image, or a locked one; of
// a set it would do so when others of it are gone already.
func (w *Env) heldNow(ctx context.Context, a plan.Attempt, ids []string) (why string, err error) {
	here, err := w.runsHere(a.Run)
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		if run := here.InUse[id]; run != "" {
			return "run " + run + " uses " + id, nil
		}
	}
	if len(ids) == 1 {
		return "", nil
	}
	locked, err := w.Cloud.LockedSnapshots(ctx)
	if err != nil {
		return "", err
	}
	images, err := w.Cloud.ImagesOf(ctx, ids...)
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		if lock := locked[id]; lock.Locked() {
			return id + " is " + snapset.LockedBy(lock), nil
		}
		for _, i := range images {
			if slices.Contains(i.SnapshotIDs, id) {
				return fmt.Sprintf("image %s uses %s", i.ID, id), nil
			}
		}
	}
	return "", nil
}
