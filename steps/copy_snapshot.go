package steps

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// CopySnapshot copies one snapshot of a set to a region. The copy has all its tags from the beginning, but for the label.
var CopySnapshot = plan.Def[CopySnapshotIn, Copied]{Kind: "copy-snapshot", ObserveBy: plan.ByToken, Scope: plan.Cloud}

// CopySnapshotIn describes the copy.
type CopySnapshotIn struct {
	Source      plan.Value[Source] `json:"source"`
	SnapshotID  string             `json:"snapshot_id"` // to copy
	MountPoint  string             `json:"mount_point"`
	Region      string             `json:"region"`               // of the copy
	KMSKeyID    string             `json:"kms_key_id,omitempty"` // of that region
	Description string             `json:"description"`
	Tags        map[string]string  `json:"tags"`
}

// Copied is a copy.
type Copied struct {
	SnapshotID string `json:"snapshot_id"`
	Source     string `json:"source"`
	From       string `json:"from"`
	Owner      string `json:"owner,omitempty"` // of the source, where it is another account
	Region     string `json:"region"`
	MountPoint string `json:"mount_point"`
	Size       int32  `json:"size_gib,omitempty"`
	KMSKeyID   string `json:"kms_key_id,omitempty"`
}

// String names it.
func (c Copied) String() string { return c.SnapshotID + " in " + c.Region }

// Facts are those of the copy, which is one of several in its lane.
func (c Copied) Facts() plan.Facts {
	return plan.Facts{Each: []plan.Facts{{SnapshotID: c.SnapshotID, MountPoint: c.MountPoint, SizeGiB: c.Size}}}
}

func (in CopySnapshotIn) copied(id string) Copied {
	source, _ := in.Source.Get()
	return Copied{SnapshotID: id, Source: in.SnapshotID, From: source.From, Owner: source.Owner, Region: in.Region, MountPoint: in.MountPoint, Size: source.Size[in.SnapshotID], KMSKeyID: in.KMSKeyID}
}

func (w *Env) copySnapshot() plan.Funcs[CopySnapshotIn, Copied] {
	return plan.Funcs[CopySnapshotIn, Copied]{
		Observe: func(ctx context.Context, a plan.Attempt, in CopySnapshotIn) (plan.Observed[Copied], error) {
			there, err := w.copiesOf(ctx, a, in)
			if err != nil {
				return plan.Observed[Copied]{}, errorAction(err)
			}
			if len(there) == 0 {
				return plan.Observed[Copied]{State: plan.Absent}, nil
			}
			return plan.Observed[Copied]{State: plan.Ours, Out: in.copied(there[len(there)-1].ID)}, nil
		},
		Do:   w.copyOne,
		Undo: w.deleteCopy,
		Preview: func(in CopySnapshotIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewCreate, "copy %s to %s", in.SnapshotID, in.Region)
		},
	}
}

// copiesOf finds what an attempt made.
func (w *Env) copiesOf(ctx context.Context, a plan.Attempt, in CopySnapshotIn) ([]ec2.Snapshot, error) {
	to, err := w.in(ctx, in.Region)
	if err != nil {
		return nil, err
	}
	return to.Snapshots(ctx, ec2.SnapshotQuery{Tags: map[string][]string{TagToken: {a.Token}}})
}

// copyOne takes a slot and sends the call. While EC2 refuses it for now it is sent again here: such a try has made nothing.
func (w *Env) copyOne(ctx context.Context, a plan.Attempt, in CopySnapshotIn) (Copied, error) {
	to, err := w.in(ctx, in.Region)
	if err != nil {
		return Copied{}, err
	}
	slots := w.slotsOf(in.Region)
	for {
		if err := slots.take(ctx, to); err != nil {
			return Copied{}, err
		}
		id, err := to.CopySnapshot(ctx, ec2.CopySnapshotRequest{SourceRegion: in.Source.Must().From, SourceID: in.SnapshotID, KMSKeyID: in.KMSKeyID,
			Description: in.Description, Tags: in.tags(a, to.Now())})
		slots.began(id)
		if err == nil {
			return in.copied(id), nil
		}
		fault, is := asFault(err)
		if !is || fault.Class != ec2.RateExceeded && fault.Class != ec2.Throttled {
			return Copied{}, copyErrorAction(err, in)
		}
		wait := cmp.Or(fault.RetryAfter, time.Second)
		a.Report(plan.Progress{Percent: -1, Text: "EC2 makes no more copies at the moment: " + fault.Message, Retry: wait, Throttled: fault.Class == ec2.Throttled})
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return Copied{}, ctx.Err()
		case <-timer.C:
		}
	}
}

// copyErrorAction says more of what EC2 refuses.
func copyErrorAction(err error, in CopySnapshotIn) error {
	switch ec2.ClassOf(err) {
	case ec2.NotFound:
		return plan.Terminal("the next `run copy` copies the sets that can still be copied", fmt.Errorf("%s was deleted before it was copied: %w", in.SnapshotID, err))
	case ec2.Denied:
		if in.KMSKeyID != "" && plan.HintOf(err) == "" {
			err = plan.WithHint(keyHint(in.KMSKeyID, in.Region), err)
		}
	}
	return errorAction(err)
}

func keyHint(key, region string) string {
	return fmt.Sprintf("check that the KMS key %s is enabled in %s, and that the role may use it (kms:CreateGrant, kms:Decrypt, kms:DescribeKey, kms:GenerateDataKeyWithoutPlaintext)", cmp.Or(key, "for EBS"), region)
}

// tags are those of the copy from its creation on. They say of which set it is; whoever sees it without the label leaves it alone.
func (in CopySnapshotIn) tags(a plan.Attempt, now time.Time) map[string]string {
	tags := maps.Clone(in.Tags)
	tags[TagToken], tags[TagRun], tags[TagState] = a.Token, string(a.Run), Unverified
	tags[snapset.TagCopy] = snapset.CopyMark(now, in.Source.Must().From, in.SnapshotID)
	return tags
}

// deleteCopy undoes a copy that was not labelled, whether or not it is completed.
func (w *Env) deleteCopy(ctx context.Context, a plan.Attempt, in CopySnapshotIn, out Copied) error {
	if a.Keep {
		return keptSnapshots([]string{out.SnapshotID})
	}
	to, err := w.in(ctx, in.Region)
	if err != nil {
		return err
	}
	there, err := w.copiesOf(ctx, a, in)
	if err != nil {
		return errorAction(err)
	}
	var kept []string
	for _, s := range there {
		if snapset.Labelled(s) {
			kept = append(kept, s.ID)
			continue
		}
		if err := to.DeleteSnapshot(ctx, s.ID); notFound(err) {
			return plan.Retry(time.Second, err) // a look has just shown it: look again
		} else if err != nil {
			return errorAction(err)
		}
		w.slotsOf(in.Region).seen(s.ID, false)
	}
	if len(kept) > 0 {
		return keptSnapshots(kept)
	}
	return nil
}

func sortedKeys[V any](of map[string]V) []string { return slices.Sorted(maps.Keys(of)) }
