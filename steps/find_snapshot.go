package steps

import (
	"context"

	"snaptastic/ec2"
	"snaptastic/plan"
)

// FindSnapshot chooses, in one look for all lanes, what each volume is made from.
var FindSnapshot = plan.Def[FindSnapshotIn, Choices]{Kind: "find-snapshot", Scope: plan.Cloud, ReadOnly: true}

// FindSnapshotIn says for which mount points; those whose volume was found are left out.
type FindSnapshotIn struct {
	Lanes      []SnapshotLane    `json:"lanes"`
	FilterTags map[string]string `json:"filter_tags"`
	Group      bool              `json:"group"`
	AllowOlder bool              `json:"allow_older,omitempty"`
	MixSets    bool              `json:"mix_sets,omitempty"`
	MayCreate  bool              `json:"may_create"`
}

// SnapshotLane is one mount point. A lane whose look failed has no known volume and is left out too.
type SnapshotLane struct {
	MountPoint string                  `json:"mount_point"`
	Found      plan.Value[FoundVolume] `json:"found"`
}

func (w *World) findSnapshot() plan.Funcs[FindSnapshotIn, Choices] {
	return plan.Funcs[FindSnapshotIn, Choices]{
		Do: func(ctx context.Context, _ plan.Attempt, in FindSnapshotIn) (Choices, error) {
			wish := Wish{Group: in.Group, AllowOlder: in.AllowOlder, MixSets: in.MixSets, MayCreate: in.MayCreate}
			for _, lane := range in.Lanes {
				if found, known := lane.Found.Get(); known && !found.Found {
					wish.MountPoints = append(wish.MountPoints, lane.MountPoint)
				}
			}
			if len(wish.MountPoints) == 0 {
				return Choices{}, nil
			}
			query := ec2.SnapshotQuery{Tags: map[string][]string{}}
			for key, value := range in.FilterTags {
				query.Tags[key] = []string{ec2.Literal(value)}
			}
			snapshots, err := w.Cloud.Snapshots(ctx, query)
			if err != nil {
				return nil, verdict(err)
			}
			return choose(wish, snapshots), nil
		},
	}
}
