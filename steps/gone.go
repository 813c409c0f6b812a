package steps

import (
	"context"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan"
)

// EC2 may say NotFound of a thing that it showed a moment ago, and the other way round: one answer of each kind is no
// proof that a thing is gone. It is gone once EC2 has not shown it for the settle window.
// https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html

// volumeGone judges a NotFound about a volume: nil when the volume is gone, Retry while EC2 shows it.
func (w *Env) volumeGone(ctx context.Context, id string, err error) error {
	_, seen := w.Cloud.WaitVolume(ctx, id, func(v ec2.Volume) (bool, error) { return true, nil }, nil)
	return confirmGone(err, seen)
}

// snapshotGone is volumeGone for a snapshot.
func (w *Env) snapshotGone(ctx context.Context, id string, err error) error {
	_, seen := w.Cloud.WaitSnapshot(ctx, id, func(ec2.Snapshot) (bool, error) { return true, nil }, nil)
	return confirmGone(err, seen)
}

func confirmGone(err, seen error) error {
	switch {
	case notFound(seen):
		return nil
	case seen != nil && ec2.ClassOf(seen) == ec2.Canceled:
		return seen
	}
	return plan.Retry(time.Second, err) // it is there, if only in the state error
}
