package steps

import (
	"context"
	"slices"

	"snaptastic/ec2"
	"snaptastic/plan"
)

// FindSnapshot chooses, in one look for all lanes, what each volume is made from.
var FindSnapshot = plan.Def[FindSnapshotIn, Choices]{Kind: "find-snapshot", Scope: plan.Cloud, ReadOnly: true}

// FindSnapshotIn says for which mount points; those whose volume was found are left out.
type FindSnapshotIn struct {
	Lanes  []SnapshotLane `json:"lanes"`
	Search Search         `json:"search"`
}

// Search says which snapshots there are to choose from, and how.
type Search struct {
	FilterTags map[string]string `json:"filter_tags"`
	Group      bool              `json:"group"`
	AllowOlder bool              `json:"allow_older,omitempty"`
	MixSets    bool              `json:"mix_sets,omitempty"`
	MayCreate  bool              `json:"may_create"`
}

// SnapshotLane is one mount point. Of a lane whose look failed no volume is known: it is chosen for all the same, since
// a resume looks again and goes on with what was chosen for the others.
type SnapshotLane struct {
	MountPoint string                  `json:"mount_point"`
	Found      plan.Value[FoundVolume] `json:"found"`
}

func (w *World) findSnapshot() plan.Funcs[FindSnapshotIn, Choices] {
	return plan.Funcs[FindSnapshotIn, Choices]{
		Do: func(ctx context.Context, _ plan.Attempt, in FindSnapshotIn) (Choices, error) {
			var wished, unsure []string
			for _, lane := range in.Lanes {
				switch found, known := lane.Found.Get(); {
				case !known:
					unsure = append(unsure, lane.MountPoint)
				case !found.Found:
					wished = append(wished, lane.MountPoint)
				}
			}
			if len(wished)+len(unsure) == 0 {
				return Choices{}, nil
			}
			snapshots, err := w.candidates(ctx, in.Search)
			if err != nil {
				return nil, err
			}
			return chooseBeside(in.Search.wish(wished), unsure, snapshots), nil
		},
	}
}

func (s Search) wish(mountPoints []string) Wish {
	return Wish{MountPoints: mountPoints, Group: s.Group, AllowOlder: s.AllowOlder, MixSets: s.MixSets, MayCreate: s.MayCreate}
}

// candidates are all snapshots that bear the filter tags, of one describe.
func (w *World) candidates(ctx context.Context, s Search) ([]ec2.Snapshot, error) {
	query := ec2.SnapshotQuery{Tags: map[string][]string{}}
	for key, value := range s.FilterTags {
		query.Tags[key] = []string{ec2.Literal(value)}
	}
	snapshots, err := w.Cloud.Snapshots(ctx, query)
	return snapshots, verdict(err)
}

// chooseBeside chooses for the wished mount points, and for the unsure ones as far as that changes nothing for those:
// they may never need it, and two sets are never mixed.
func chooseBeside(wish Wish, unsure []string, snapshots []ec2.Snapshot) []Choice {
	both := wish
	both.MountPoints = slices.Concat(wish.MountPoints, unsure)
	all := choose(both, snapshots)
	if len(wish.MountPoints) == 0 || len(unsure) == 0 {
		return all
	}
	chosen := choose(wish, snapshots)
	if slices.EqualFunc(chosen, all[:len(chosen)], func(a, b Choice) bool { return a.SnapshotID == b.SnapshotID }) {
		return all
	}
	for _, mountPoint := range unsure {
		chosen = append(chosen, Choice{MountPoint: mountPoint, Problem: "the others are restored from a set that has none of it",
			Hint: "let go of the run with `snaptastic abandon`; " + mixHint})
	}
	return chosen
}
