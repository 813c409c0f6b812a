package steps

import (
	"context"
	"errors"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan"
)

// snapshotInterval is how long EC2 wants between two snapshots of one volume.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (SnapshotCreationPerVolumeRateExceeded)
const snapshotInterval = 15 * time.Second

// snapshotRetryTimeout is for how long a section is opened again, thawed in between, while EC2 has too many snapshots of its
// volumes under way.
const snapshotRetryTimeout = 15 * time.Minute

// errorAction turns what EC2 answered into what the runner is to do. Every call that goes through it is safe to repeat, as
// the step looks before it acts or carries a token.
func errorAction(err error) error {
	fault, ok := asFault(err)
	if !ok {
		return err
	}
	switch fault.Class {
	case ec2.Throttled, ec2.Transient, ec2.SettleLater, ec2.Ambiguous, ec2.RateExceeded:
		return plan.Retry(fault.RetryAfter, err)
	case ec2.Canceled:
		return err
	}
	return plan.Terminal("", err)
}

// eventualErrorAction is verdict for a call on something that EC2 made a moment ago and may not show everywhere yet.
func eventualErrorAction(err error) error {
	if fault, ok := asFault(err); ok && fault.Class == ec2.NotFound {
		if plan.HintOf(err) == "" {
			err = plan.WithHint("this happens to encrypted volumes if the KMS key cannot be used: check the key and the role's permissions on it", err)
		}
		return plan.Retry(fault.RetryAfter, err)
	}
	return errorAction(err)
}

// sectionErrorAction is verdict inside a freeze: nothing is repeated there, the whole section is.
func sectionErrorAction(err error) error {
	fault, ok := asFault(err)
	if !ok {
		return err
	}
	switch fault.Class {
	case ec2.RateExceeded:
		return &plan.ActionError{Action: plan.ActRestart, After: max(fault.RetryAfter, snapshotInterval), Within: snapshotRetryTimeout, Err: err}
	case ec2.Throttled, ec2.Transient, ec2.SettleLater:
		return plan.RestartSection(fault.RetryAfter, err)
	case ec2.Ambiguous:
		// Snapshots of it may exist, and count against the rate.
		return plan.RestartSection(snapshotInterval, err)
	case ec2.Canceled:
		return err
	}
	return plan.Terminal("", err)
}

// asFault finds EC2's fault in an error on which no verdict was passed yet.
func asFault(err error) (*ec2.Fault, bool) {
	if err == nil {
		return nil, false
	}
	if _, passed := errors.AsType[*plan.ActionError](err); passed {
		return nil, false
	}
	return errors.AsType[*ec2.Fault](err)
}

func notFound(err error) bool { return ec2.ClassOf(err) == ec2.NotFound }

// deadlinePassed says that the inner context reached its deadline while the outer one goes on.
func deadlinePassed(inner, outer context.Context) bool {
	return outer.Err() == nil && errors.Is(inner.Err(), context.DeadlineExceeded)
}
