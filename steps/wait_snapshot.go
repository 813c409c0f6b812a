package steps

import (
	"context"
	"errors"
	"fmt"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// WaitSnapshot waits until a lane's snapshot is completed: the one chosen to restore from, or the one just taken.
var WaitSnapshot = plan.Def[WaitSnapshotIn, Choice]{Kind: "wait-snapshot", Scope: plan.Cloud, ReadOnly: true}

// WaitSnapshotIn has Choices when a volume is to be restored, and Taken when a snapshot was made.
type WaitSnapshotIn struct {
	MountPoint string                  `json:"mount_point"`
	Search     Search                  `json:"search"`
	Found      plan.Value[FoundVolume] `json:"found"`
	Choices    plan.Value[Choices]     `json:"choices"`
	Taken      plan.Value[SnapshotSet] `json:"taken"`
}

func (w *Env) waitSnapshot() plan.Funcs[WaitSnapshotIn, Choice] {
	return plan.Funcs[WaitSnapshotIn, Choice]{
		Facts: choiceFacts,
		Do: func(ctx context.Context, a plan.Attempt, in WaitSnapshotIn) (Choice, error) {
			c, wait, err := in.choice()
			if c.Problem != "" && c.Broken == nil { // that a set is broken is the answer of a drill, and is told on it
				c, wait, err = w.rechoose(ctx, in, c, err)
			}
			if err != nil || !wait || w.PreviewOnly {
				return c, err
			}
			s, err := w.Cloud.WaitSnapshot(ctx, c.SnapshotID,
				func(s ec2.Snapshot) (bool, error) { return s.State == ebs.SnapshotCompleted, nil },
				func(s ec2.Snapshot) {
					a.Report(plan.Progress{Percent: s.Progress, Text: s.ID + " " + string(s.State)})
				})
			if _, taken := in.Taken.Get(); err != nil && !taken {
				return Choice{}, withStartOverHint(errorAction(err))
			} else if err != nil {
				return Choice{}, errorAction(err)
			}
			c.Pending, c.Size = false, s.VolumeSize
			return c, nil
		},
		Preview: func(in WaitSnapshotIn) plan.Preview {
			if _, known := in.Choices.Get(); !known {
				return plan.Preview{} // the snapshots to wait for are not taken yet
			}
			c, _, err := in.choice()
			if err != nil {
				return plan.PreviewOf(plan.PreviewRead, "%v", err)
			}
			return plan.PreviewOf(plan.PreviewRead, "%s", c)
		},
	}
}

// rechoose looks once more where a lane had a problem when all were chosen: somebody may have fixed it since, and the
// run was resumed. What the other lanes were given still stands, so it must come out as before.
func (w *Env) rechoose(ctx context.Context, in WaitSnapshotIn, was Choice, problem error) (Choice, bool, error) {
	before := in.Choices.Must()
	var mountPoints []string
	attached := map[string]snapset.Attached{}
	for _, c := range before {
		mountPoints = append(mountPoints, c.MountPoint)
		if c.Attached != nil {
			attached[c.MountPoint] = *c.Attached
		}
	}
	snapshots, err := w.candidates(ctx, in.Search)
	if err != nil {
		return was, false, err
	}
	now := snapshots.Choose(in.Search.request(mountPoints, attached))
	w.explainNoSuch(ctx, in.Search, now)
	for i, c := range now {
		if before[i].Problem == "" && (c.SnapshotID != before[i].SnapshotID || c.Create != before[i].Create) {
			return was, false, withStartOverHint(problem)
		}
	}
	in.Choices = plan.Literal(Choices(now))
	return in.choice()
}

// withStartOverHint adds to an error's hint what helps when resuming cannot: its lanes keep to what was chosen for all.
func withStartOverHint(err error) error {
	if plan.ActionOf(err).Action != plan.ActTerminal {
		return err
	}
	const again = "run `snaptastic abandon` on this run, then run mount again: it adopts mounted volumes (a rollback would unmount them)"
	if hint := plan.HintOf(err); hint != "" {
		return plan.Terminal(hint+"; "+again, err)
	}
	return plan.Terminal(again, err)
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
	choices, known := in.Choices.Get()
	if found, looked := in.Found.Get(); looked && found.Found {
		if mine, _ := choices.Of(in.MountPoint); !in.Search.explicit() || mine.Problem == "" {
			return Choice{MountPoint: in.MountPoint}, false, nil
		}
	}
	if !known {
		return c, false, plan.Skip(errors.New("the snapshots could not be described"))
	}
	c, ok := choices.Of(in.MountPoint)
	switch {
	case !ok:
		return c, false, fmt.Errorf("internal error: nothing was chosen for %s", in.MountPoint)
	case c.Problem != "":
		return c, false, plan.Terminal(c.Hint, fmt.Errorf("cannot restore %s: %s", in.MountPoint, c.Problem))
	}
	return c, c.Pending, nil
}
