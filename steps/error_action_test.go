package steps

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan"
)

func TestWhatEC2AnswersDecidesWhatTheRunnerDoes(t *testing.T) {
	cases := []struct {
		class                    ec2.Class
		anywhere, fresh, section plan.Action
	}{
		{ec2.Throttled, plan.ActRetry, plan.ActRetry, plan.ActRestart},
		{ec2.Transient, plan.ActRetry, plan.ActRetry, plan.ActRestart},
		{ec2.SettleLater, plan.ActRetry, plan.ActRetry, plan.ActRestart},
		{ec2.Ambiguous, plan.ActRetry, plan.ActRetry, plan.ActRestart},
		{ec2.RateExceeded, plan.ActRetry, plan.ActRetry, plan.ActRestart},
		{ec2.NotFound, plan.ActTerminal, plan.ActRetry, plan.ActTerminal},
		{ec2.InUse, plan.ActTerminal, plan.ActTerminal, plan.ActTerminal},
		{ec2.Limit, plan.ActTerminal, plan.ActTerminal, plan.ActTerminal},
		{ec2.Denied, plan.ActTerminal, plan.ActTerminal, plan.ActTerminal},
		{ec2.Invalid, plan.ActTerminal, plan.ActTerminal, plan.ActTerminal},
	}
	for _, c := range cases {
		fault := fmt.Errorf("wrapped: %w", plan.WithHint("do this", &ec2.Fault{Class: c.class, RetryAfter: 3 * time.Second}))
		for name, got := range map[string]*plan.ActionError{"verdict": plan.ActionOf(errorAction(fault)), "settling": plan.ActionOf(eventualErrorAction(fault)), "section": plan.ActionOf(sectionErrorAction(fault))} {
			want := map[string]plan.Action{"verdict": c.anywhere, "settling": c.fresh, "section": c.section}[name]
			if got.Action != want || plan.HintOf(got) != "do this" || !errors.Is(got, errors.Unwrap(fault)) {
				t.Errorf("%s of %s: %s, hint %q; want %s", name, c.class, got.Action, plan.HintOf(got), want)
			}
			if pauses := got.Action == plan.ActRetry || got.Action == plan.ActRestart; pauses && got.After < 3*time.Second {
				t.Errorf("%s of %s waits %s only", name, c.class, got.After)
			}
		}
	}
	if v := plan.ActionOf(sectionErrorAction(&ec2.Fault{Class: ec2.RateExceeded})); v.After < snapshotInterval {
		t.Errorf("two snapshots of a volume follow each other within %s", v.After)
	}
	for _, code := range []string{"SnapshotCreationPerVolumeRateExceeded", "PendingSnapshotLimitExceeded", "ConcurrentSnapshotLimitExceeded", "ResourceLimitExceeded"} {
		b := newBench(t, false, once("CreateSnapshot", code))
		_, err := b.cloud.CreateSnapshot(t.Context(), ec2.CreateSnapshotRequest{VolumeID: "vol-0123456789abcdef0"})
		if v := plan.ActionOf(sectionErrorAction(err)); v.Action != plan.ActRestart || v.After < snapshotInterval || v.Within < 5*time.Minute {
			t.Errorf("%s: %s after %s, for %s; want to wait thawed for minutes", code, v.Action, v.After, v.Within)
		}
	}
	for _, plain := range []error{nil, errors.New("no fault"), plan.Skip(&ec2.Fault{Class: ec2.Throttled})} {
		if got := errorAction(plain); got != plain {
			t.Errorf("%v became %v", plain, got)
		}
	}
}
