package steps

import (
	"context"
	"errors"
	"fmt"

	"snaptastic/ec2"
	"snaptastic/plan"
)

// WaitSnapshot waits until a lane's snapshot is completed: the one chosen to restore from, or the one just taken.
var WaitSnapshot = plan.Def[WaitSnapshotIn, Choice]{Kind: "wait-snapshot", Scope: plan.Cloud, ReadOnly: true}

// WaitSnapshotIn has Choices when a volume is to be restored, and Taken when a snapshot was made.
type WaitSnapshotIn struct {
	MountPoint string                  `json:"mount_point"`
	Found      plan.Value[FoundVolume] `json:"found"`
	Choices    plan.Value[Choices]     `json:"choices"`
	Taken      plan.Value[SnapshotSet] `json:"taken"`
}

func (w *World) waitSnapshot() plan.Funcs[WaitSnapshotIn, Choice] {
	return plan.Funcs[WaitSnapshotIn, Choice]{
		Do: func(ctx context.Context, a plan.Attempt, in WaitSnapshotIn) (Choice, error) {
			c, wait, err := in.choice()
			if err != nil || !wait || w.LookOnly {
				return c, err
			}
			s, err := w.Cloud.WaitSnapshot(ctx, c.SnapshotID,
				func(s ec2.Snapshot) (bool, error) { return s.State == "completed", nil },
				func(s ec2.Snapshot) {
					a.Report(plan.Progress{Percent: s.Progress, Text: s.ID + " " + s.State})
				})
			if err != nil {
				return Choice{}, verdict(err)
			}
			c.Pending, c.Size = false, s.VolumeSize
			return c, nil
		},
		Foresee: func(in WaitSnapshotIn) string {
			if _, known := in.Choices.Get(); !known {
				return "" // the snapshots to wait for are not taken yet
			}
			c, _, err := in.choice()
			if err != nil {
				return err.Error()
			}
			return c.String()
		},
	}
}

// choice is this lane's, and whether there is something to wait for. A lane's problem is raised here, so that it fails
// this lane alone.
func (in WaitSnapshotIn) choice() (c Choice, wait bool, err error) {
	if taken, known := in.Taken.Get(); known {
		s, ok := taken.of(in.MountPoint)
		if !ok {
			return c, false, fmt.Errorf("internal error: no snapshot of %s was taken", in.MountPoint)
		}
		return Choice{MountPoint: in.MountPoint, SnapshotID: s.SnapshotID, Run: taken.Run, Created: s.Started, Pending: true}, true, nil
	}
	if found, known := in.Found.Get(); known && found.Found {
		return Choice{MountPoint: in.MountPoint}, false, nil
	}
	choices, known := in.Choices.Get()
	if !known {
		return c, false, plan.Skip(errors.New("the snapshots could not be looked at"))
	}
	c, ok := choiceOf(choices, in.MountPoint)
	switch {
	case !ok:
		return c, false, fmt.Errorf("internal error: nothing was chosen for %s", in.MountPoint)
	case c.Problem != "":
		return c, false, plan.Terminal(c.Hint, fmt.Errorf("cannot restore %s: %s", in.MountPoint, c.Problem))
	}
	return c, c.Pending, nil
}
