package steps

import (
	"context"
	"fmt"
	"strings"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan"
)

// WaitCopied waits until a copy is completed. That takes hours where much is copied: only a failure ends it early.
var WaitCopied = plan.Def[WaitCopiedIn, Copied]{Kind: "wait-copied", Scope: plan.Cloud, ReadOnly: true}

// WaitCopiedIn names the copy.
type WaitCopiedIn struct {
	Copied plan.Value[Copied] `json:"copied"`
}

func (w *Env) waitCopied() plan.Funcs[WaitCopiedIn, Copied] {
	return plan.Funcs[WaitCopiedIn, Copied]{
		Do: func(ctx context.Context, a plan.Attempt, in WaitCopiedIn) (Copied, error) {
			c := in.Copied.Must()
			to, err := w.in(ctx, c.Region)
			if err != nil || w.PreviewOnly {
				return c, err
			}
			slots := w.slotsOf(c.Region)
			slots.seen(c.SnapshotID, true)
			s, err := to.WaitSnapshot(ctx, c.SnapshotID,
				func(s ec2.Snapshot) (bool, error) { return s.State == ebs.SnapshotCompleted, nil },
				func(s ec2.Snapshot) {
					a.Report(plan.Progress{Percent: s.Progress, Text: s.ID + " " + string(s.State)})
				})
			if ctx.Err() == nil {
				slots.seen(c.SnapshotID, false)
			}
			if err != nil {
				return Copied{}, w.copyFailed(ctx, c, err)
			}
			c.Size = s.VolumeSize
			return c, nil
		},
	}
}

// copyFailed says why a copy came to nothing, as far as that can be found out: EC2 says little.
func (w *Env) copyFailed(ctx context.Context, c Copied, err error) error {
	fault, is := asFault(err)
	if !is || fault.Class != ec2.Invalid && fault.Class != ec2.NotFound {
		return errorAction(err)
	}
	if there, look := w.lookAtSources(ctx, c.From, c.Owner, c.Source); look == nil && len(there) == 0 {
		gone := "deleted"
		if c.Owner != "" {
			gone = "deleted, or not shared any more by account " + c.Owner + ","
		}
		return plan.Terminal("keep a set until it is copied; the next `run copy` copies the sets that can still be copied",
			fmt.Errorf("cannot copy %s to %s: it was %s in %s while it was copied (%w)", c.Source, c.Region, gone, c.From, err))
	}
	hint := "run `run copy` again; if it fails again, copy a single snapshot with the AWS CLI to see what EC2 says"
	if c.KMSKeyID != "" || strings.Contains(strings.ToLower(fault.Message), "key") {
		hint = keyHint(c.KMSKeyID, c.Region)
	}
	where := c.Region
	if c.KMSKeyID != "" {
		where += " with the KMS key " + c.KMSKeyID
	}
	return plan.Terminal(hint, fmt.Errorf("cannot copy %s to %s: %w", c.Source, where, err))
}
