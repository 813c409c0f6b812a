package steps

import (
	"context"
	"encoding/json"
	"fmt"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// FindSource waits for a set's turn, as EC2 makes a limited number of copies at a time, and then looks whether its snapshots can
// still be copied.
var FindSource = plan.Def[FindSourceIn, Source]{Kind: "find-source", Scope: plan.Cloud, ReadOnly: true}

// FindSourceIn names the set, where its snapshots are and where they are copied to.
type FindSourceIn struct {
	Set         string   `json:"set"`
	From        string   `json:"from"`   // a region
	Region      string   `json:"region"` // of the copies
	SnapshotIDs []string `json:"snapshot_ids"`
	Shared      bool     `json:"shared,omitempty"` // they are another account's, whose tags are not shown
}

// Source is what is copied.
type Source struct {
	From string           `json:"from"`
	Size map[string]int32 `json:"size_gib"` // of each snapshot's volume
}

// Facts are the snapshots: a clean-up keeps what is being copied.
func (s Source) Facts() (f plan.Facts) {
	for _, id := range sortedKeys(s.Size) {
		f.Each = append(f.Each, plan.Facts{SnapshotID: id, SizeGiB: s.Size[id]})
	}
	return f
}

func (w *Env) findSource() plan.Funcs[FindSourceIn, Source] {
	return plan.Funcs[FindSourceIn, Source]{
		Do: func(ctx context.Context, _ plan.Attempt, in FindSourceIn) (Source, error) {
			to, err := w.in(ctx, in.Region)
			if err == nil && !w.PreviewOnly {
				err = w.slotsOf(in.Region).turn(ctx, to, len(in.SnapshotIDs))
			}
			if err != nil {
				return Source{}, err
			}
			there, err := w.sourcesOf(ctx, in)
			if err != nil {
				return Source{}, errorAction(err)
			}
			out := Source{From: in.From, Size: map[string]int32{}}
			for _, id := range in.SnapshotIDs {
				s, exists := there[id]
				if why := in.unfit(s, exists); why != "" {
					return Source{}, plan.Terminal("the next `run copy` copies the sets that can still be copied", fmt.Errorf("cannot copy %s: %s", id, why))
				}
				out.Size[id] = s.VolumeSize
			}
			return out, nil
		},
		Preview: func(in FindSourceIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewRead, "%s of %s in %s", counted(len(in.SnapshotIDs), "snapshot"), in.Set, in.From)
		},
	}
}

// CopySources are the snapshots that a step looks for to have them copied; none for other steps.
func CopySources(s *plan.Step) []string {
	var in FindSourceIn
	if s.Kind != FindSource.Kind || json.Unmarshal(s.In, &in) != nil {
		return nil
	}
	return in.SnapshotIDs
}

func (w *Env) sourcesOf(ctx context.Context, in FindSourceIn) (map[string]ec2.Snapshot, error) {
	from, err := w.in(ctx, in.From)
	if err != nil {
		return nil, err
	}
	return from.SnapshotsByID(ctx, in.SnapshotIDs...)
}

// unfit says why a snapshot can no longer be copied; "" when it can.
func (in FindSourceIn) unfit(s ec2.Snapshot, exists bool) string {
	switch {
	case !exists:
		return "it does not exist in " + in.From + " any more"
	case !in.Shared && !snapset.OriginOf(s).Restorable():
		return "it is not labelled " + Consistent + " any more"
	case s.State != ebs.SnapshotCompleted || snapset.Dormant(s) != "":
		return "it is " + snapset.Unready(s)
	}
	return ""
}
