package steps

import (
	"context"
	"fmt"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// FindExpired decides which sets a snapshotter no longer keeps, once a new one is labelled.
var FindExpired = plan.Def[FindExpiredIn, ExpiredSets]{Kind: "find-expired", Scope: plan.Cloud, ReadOnly: true}

// FindExpiredIn says whose sets, and by which rules.
type FindExpiredIn struct {
	FilterTags map[string]string         `json:"filter_tags"`
	Keep       *snapset.Keep             `json:"keep,omitempty"` // nil: by the date on each snapshot
	Labelled   []plan.Value[SnapshotSet] `json:"labelled"`       // the new sets: they count
}

// ExpiredSets is what is to be deleted, and what that went by.
type ExpiredSets struct {
	Sets []ExpiredSet `json:"sets"`
	Kept int          `json:"kept"` // sets and single snapshots that are not deleted
}

// An ExpiredSet goes as a whole or not at all.
type ExpiredSet struct {
	ID         string          `json:"id"`
	Why        string          `json:"why"`
	Members    []ExpiredMember `json:"members"`
	Size       int32           `json:"size_gib"`              // of all its volumes
	ReplacedBy []string        `json:"replaced_by,omitempty"` // snapshots that can be restored instead
}

// An ExpiredMember is one snapshot and the tags that the decision went by.
type ExpiredMember struct {
	SnapshotID string `json:"snapshot_id"`
	Tags       string `json:"tags"` // TagDigest
}

// String is said when the decision is made.
func (e ExpiredSets) String() string {
	return fmt.Sprintf("%d to delete, %d kept", len(e.Sets), e.Kept)
}

// ExpiredSetOf is what a decision to delete snapshots says.
func ExpiredSetOf(d snapset.Decision) ExpiredSet {
	one := ExpiredSet{ID: d.ID, Why: d.Why, Size: d.Size, ReplacedBy: d.ReplacedBy}
	if d.Resource == snapset.SnapshotResource {
		one.Members = []ExpiredMember{{d.ID, d.Tags}}
		return one
	}
	for i, id := range d.Snapshots {
		one.Members = append(one.Members, ExpiredMember{id, d.Dependents[i]})
	}
	return one
}

// SnapshotCloud is what the rules for snapshots ask of EC2.
type SnapshotCloud interface {
	Images(ctx context.Context, ids ...string) ([]ec2.Image, error)
	LockedSnapshots(ctx context.Context, ids ...string) (map[string]ec2.Lock, error)
	Snapshots(ctx context.Context, query ec2.SnapshotQuery) ([]ec2.Snapshot, error)
}

// SnapshotInventory looks at what the rules for snapshots go by, but for the machine's own runs: the snapshots with the filter
// tags, or all that may be ours, and what may hold one.
func SnapshotInventory(ctx context.Context, c SnapshotCloud, filter map[string]string) (inv snapset.Inventory, err error) {
	inv.Filter = filter
	if inv.Images, err = c.Images(ctx); err != nil {
		return inv, err
	}
	if inv.Locked, err = c.LockedSnapshots(ctx); err != nil {
		return inv, err
	}
	if inv.Pending, err = c.Snapshots(ctx, ec2.SnapshotQuery{States: []ebs.SnapshotState{ebs.SnapshotPending}}); err != nil {
		return inv, err
	}
	q := ec2.SnapshotQuery{TagKeys: []string{TagMountPoint, TagState}}
	for key, value := range filter {
		q.Tags = map[string][]string{key: {ec2.Literal(value)}} // one is enough for EC2 to go by
	}
	inv.Snapshots, err = c.Snapshots(ctx, q)
	return inv, err
}

// RunsHere is what the unfinished runs of this machine are about.
type RunsHere struct {
	Unfinished map[string]bool   // by run id; a live one too
	InUse      map[string]string // snapshots that they chose or took, and which run it is
}

func (w *Env) runsHere(self plan.RunID) (RunsHere, error) {
	if w.RunsHere == nil {
		return RunsHere{}, nil
	}
	return w.RunsHere(self)
}

func (w *Env) findExpired() plan.Funcs[FindExpiredIn, ExpiredSets] {
	return plan.Funcs[FindExpiredIn, ExpiredSets]{
		Do: func(ctx context.Context, a plan.Attempt, in FindExpiredIn) (ExpiredSets, error) {
			inv, err := SnapshotInventory(ctx, w.Cloud, in.FilterTags)
			if err != nil {
				return ExpiredSets{}, errorAction(err)
			}
			if err := w.checkShown(inv.Snapshots, in.Labelled); err != nil {
				return ExpiredSets{}, err
			}
			here, err := w.runsHere(a.Run)
			if err != nil {
				return ExpiredSets{}, err
			}
			inv.Unfinished, inv.InUse, inv.Now = here.Unfinished, here.InUse, w.Cloud.Now()
			if w.CloudTime != nil {
				if inv.Now, err = w.CloudTime(ctx); err != nil {
					return ExpiredSets{}, errorAction(err)
				}
			}
			if in.Keep != nil {
				if _, err := in.Keep.Location(); err != nil {
					return ExpiredSets{}, plan.Terminal("", err)
				}
				inv.Policies = []snapset.Policy{{Filter: in.FilterTags, Keep: *in.Keep}}
			}
			out := ExpiredSets{Sets: []ExpiredSet{}}
			for _, d := range snapset.Decide(snapset.Cleanup{Resources: []snapset.Resource{snapset.SnapshotResource}}, inv) {
				if d.Delete {
					out.Sets = append(out.Sets, ExpiredSetOf(d))
				} else {
					out.Kept++
				}
			}
			return out, nil
		},
		Preview: func(in FindExpiredIn) plan.Preview {
			if in.Keep != nil {
				return plan.PreviewOf(plan.PreviewRead, "sets that no rule keeps: %s", in.Keep)
			}
			return plan.PreviewOf(plan.PreviewRead, "snapshots whose %s date has passed", TagExpires)
		},
	}
}

// checkShown asks to look again while EC2 does not show a new set as labelled: it counts for the rules. Without it more would
// be kept than need be, never less.
func (w *Env) checkShown(snapshots []ec2.Snapshot, labelled []plan.Value[SnapshotSet]) error {
	index := snapset.IndexOf(snapshots)
	for _, v := range labelled {
		set, known := v.Get()
		if missing := index.Unlabelled(set.ids()); known && len(missing) > 0 && !w.waitedForLag() {
			return plan.Retry(500*time.Millisecond, fmt.Errorf("EC2 does not show the new label of %s yet", missing[0]))
		}
	}
	return nil
}
