package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

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
	// Shared is of a set that another account shares with this one; its tags are not shown. Nil: the set is this account's.
	Shared *SharedSource `json:"shared,omitempty"`
}

// SharedSource is what the manifest of another account's set says of its snapshots.
type SharedSource struct {
	Owner   string                  `json:"owner"` // an account
	Members map[string]SharedMember `json:"members"`
}

// SharedMember is one of them.
type SharedMember struct {
	Size    int32     `json:"size_gib"`
	Started time.Time `json:"started"` // when EC2 began it
}

// Source is what is copied.
type Source struct {
	From  string           `json:"from"`
	Owner string           `json:"owner,omitempty"` // another account; "" for this one
	Size  map[string]int32 `json:"size_gib"`        // of each snapshot's volume
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
			if in.Shared != nil {
				out.Owner = in.Shared.Owner
			}
			for _, id := range in.SnapshotIDs {
				s, exists := there[id]
				if why := in.unfit(s, exists); why != "" {
					return Source{}, plan.Terminal(in.hint(), fmt.Errorf("cannot copy %s: %s", id, why))
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
	owner := ""
	if in.Shared != nil {
		owner = in.Shared.Owner
	}
	return w.lookAtSources(ctx, in.From, owner, in.SnapshotIDs...)
}

// lookAtSources finds snapshots to copy in a region, of this account or of another one.
func (w *Env) lookAtSources(ctx context.Context, region, owner string, ids ...string) (map[string]ec2.Snapshot, error) {
	from, err := w.in(ctx, region)
	if err != nil {
		return nil, err
	}
	if owner != "" {
		return from.DescribeShared(ctx, ids...)
	}
	return from.SnapshotsByID(ctx, ids...)
}

func (in FindSourceIn) hint() string {
	if in.Shared != nil {
		// Not in backquotes: what runs there does not have the flags of this invocation.
		return "in account " + in.Shared.Owner + `, run "snaptastic run copy NAME" and then "snaptastic snapshots NAME --manifest FILE", and copy with that file`
	}
	return "the next `run copy` copies the sets that can still be copied"
}

// unfit says why a snapshot can not be copied, or no longer; "" when it can.
func (in FindSourceIn) unfit(s ec2.Snapshot, exists bool) string {
	switch {
	case !exists && in.Shared != nil:
		return fmt.Sprintf("account %s does not share it with this account in %s, or it does not exist any more", in.Shared.Owner, in.From)
	case !exists:
		return "it does not exist in " + in.From + " any more"
	case in.Shared == nil && !snapset.OriginOf(s).Restorable():
		return "it is not labelled " + Consistent + " any more"
	case s.State != ebs.SnapshotCompleted || snapset.Dormant(s) != "":
		return "it is " + snapset.Unready(s)
	case in.Shared != nil:
		return in.Shared.differs(s)
	}
	return ""
}

// differs says what about a snapshot is not as the manifest has it: it may have been written by hand, or changed on its way.
func (m SharedSource) differs(s ec2.Snapshot) string {
	want := m.Members[s.ID]
	switch {
	case s.OwnerID != m.Owner:
		return fmt.Sprintf("it belongs to account %s; the manifest says %s", s.OwnerID, m.Owner)
	case s.VolumeSize != want.Size:
		return fmt.Sprintf("its volume had %d GiB; the manifest says %d", s.VolumeSize, want.Size)
	case !s.Started.Equal(want.Started):
		return fmt.Sprintf("it was begun at %s; the manifest says %s, so it is of another set", s.Started.UTC().Format(time.RFC3339Nano), want.Started.UTC().Format(time.RFC3339Nano))
	}
	return ""
}
