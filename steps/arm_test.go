package steps

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snaptastic/ec2"
	"snaptastic/linux"
	"snaptastic/plan"
)

type armHost struct {
	Host
	clock linux.Clock
	step  time.Duration // how late the timer wakes
}

func (h armHost) Clock() (linux.Clock, error)                         { return h.clock, nil }
func (armHost) Hasten() (func(), error)                               { return func() {}, nil }
func (armHost) SyncFS(context.Context, string) (time.Duration, error) { return 0, nil }
func (h armHost) AwaitInstant(ctx context.Context, at time.Time) (int, error) {
	select {
	case <-time.After(time.Until(at) + h.step):
		return 0, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func TestArmWaitsAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Env{Host: armHost{clock: linux.Clock{Synchronized: true}}}
		at, said := time.Now().Add(time.Minute), 0
		a := attempt("arm")
		a.Report = func(plan.Progress) { said++ }
		if _, err := w.arm().Do(t.Context(), a, ArmIn{At: at}); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(at); left != ArmLead || said < 10 {
			t.Errorf("it went on %s before, and said so %d times", left, said)
		}
		if _, err := w.arm().Do(t.Context(), a, ArmIn{At: time.Now().Add(-MaxLate)}); err != nil {
			t.Errorf("just in time: %v", err)
		}
		if _, err := w.arm().Do(t.Context(), a, ArmIn{At: time.Now().Add(-MaxLate - 1)}); err == nil || plan.ActionOf(err).Action != plan.ActTerminal {
			t.Errorf("too late: %v", err)
		}
		w.Host = armHost{}
		if _, err := w.arm().Do(t.Context(), a, ArmIn{At: at}); !errors.Is(err, ErrClock) || plan.ActionOf(err).Action != plan.ActTerminal {
			t.Errorf("an unsynchronized clock: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := w.arm().Do(ctx, a, ArmIn{At: time.Now().Add(time.Hour), TrustClock: true}); !errors.Is(err, context.Canceled) {
			t.Errorf("stopped: %v", err)
		}
	})
}

// docs/json.md and docs/fleet.md say 250 ms, and neither the wait nor the guard, which has the last word, goes by another limit.
func TestAFreezeThatIsMoreThanAQuarterOfASecondLateIsRefused(t *testing.T) {
	for _, tt := range []struct {
		late  time.Duration
		goes  bool
		stage string // where it shows
	}{
		{late: 249 * time.Millisecond, goes: true},
		{late: 250 * time.Millisecond, goes: true},
		{late: 251 * time.Millisecond},
		{late: 249 * time.Millisecond, goes: true, stage: "at the beginning of the section"},
		{late: 251 * time.Millisecond, stage: "at the beginning of the section"},
	} {
		t.Run(tt.late.String()+" "+tt.stage, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSectionRig("vol-a")
				at := time.Now().Add(2 * time.Second)
				s.Env.Host = armHost{clock: linux.Clock{Synchronized: true}, step: tt.late}
				if tt.stage != "" {
					s.Env.Host = armHost{clock: linux.Clock{Synchronized: true}}
					at = time.Now().Add(-tt.late)
				}
				_, err := s.freeze().Do(t.Context(), s.a, FreezeIn{Mounts: s.members, At: at, HoldUntil: at.Add(3 * time.Second)})
				if (err == nil) != tt.goes || err != nil && !strings.Contains(err.Error(), "too late to freeze") {
					t.Error(err)
				}
				if strings.Contains(s.freezer.soFar(), "freeze") != tt.goes {
					t.Errorf("the guard was told %s", s.freezer.soFar())
				}
				if limit := s.freezer.how.NotAfter; tt.stage == "" && !limit.Equal(at.Add(250*time.Millisecond)) {
					t.Errorf("the guard freezes until %s after the instant", limit.Sub(at))
				}
			})
		})
	}
}

// A call that EC2 refuses for its rate is repeated while the hold lasts, in the same freeze. What has failed otherwise, or is not in a hold,
// is not.
func TestAThrottledCallIsRepeatedInTheHold(t *testing.T) {
	for _, tt := range []struct {
		name    string
		hold    time.Duration
		refused int // so often
		class   ec2.Class
		goes    bool
		calls   int // at least
	}{
		{name: "twice", hold: 2 * time.Second, refused: 2, class: ec2.Throttled, goes: true, calls: 3},
		{name: "throughout", hold: 2 * time.Second, refused: 1000, class: ec2.Throttled, calls: 9},
		{name: "without a hold", refused: 1, class: ec2.Throttled, calls: 1},
		{name: "no answer", hold: 2 * time.Second, refused: 1, class: ec2.Ambiguous, calls: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSectionRig("vol-a")
				s.Env.Host = armHost{clock: linux.Clock{Synchronized: true}}
				create, calls := s.cloud.create, 0
				s.cloud.create = func(ctx context.Context, volumes []string) ([]ec2.Snapshot, error) {
					if calls++; calls <= tt.refused {
						return nil, &ec2.Fault{Op: "CreateSnapshot", Class: tt.class}
					}
					return create(ctx, volumes)
				}
				in := FreezeIn{Mounts: s.members}
				if tt.hold > 0 {
					in.At = time.Now().Add(time.Second)
					in.HoldUntil = in.At.Add(tt.hold)
				}
				if _, err := s.freeze().Do(t.Context(), s.a, in); err != nil {
					t.Fatal(err)
				}
				_, err := s.snapshot().Do(t.Context(), s.a, SnapshotIn{Members: s.members})
				if (err == nil) != tt.goes || tt.hold > 0 && err != nil && plan.ActionOf(err).Action != plan.ActTerminal {
					t.Errorf("%v", err)
				}
				if calls < tt.calls || tt.calls < 9 && calls != tt.calls {
					t.Errorf("%d calls, want %d", calls, tt.calls)
				}
				if tt.hold > 0 && time.Now().After(in.HoldUntil) {
					t.Errorf("it asked on %s after the hold", time.Since(in.HoldUntil))
				}
				if _, err := s.thaw().Do(t.Context(), s.a, ThawIn{}); err != nil {
					t.Error(err)
				}
				if got := strings.Count(s.freezer.soFar(), "freeze"); got != 1 {
					t.Errorf("%d freezes", got)
				}
			})
		})
	}
}

// The hold lasts to its end although the snapshots are taken at once, and ends early where it broke.
func TestAnArmedSection(t *testing.T) {
	for _, tt := range []struct {
		name          string
		late, stopped bool
		broken        bool
		held          time.Duration
		err           string
	}{
		{name: "in time", held: 3 * time.Second},
		{name: "late", late: true, err: "too late"},
		{name: "stopped", stopped: true, err: "stopped"},
		{name: "broken", broken: true, held: time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSectionRig("vol-a")
				host := armHost{clock: linux.Clock{Synchronized: true}}
				if tt.late {
					host.step = 300 * time.Millisecond
				}
				s.Env.Host = host
				stop := make(chan struct{})
				s.a.Stopping = stop
				at := time.Now().Add(2 * time.Second)
				if tt.stopped {
					time.AfterFunc(time.Second, func() { close(stop) })
				}
				_, err := s.freeze().Do(t.Context(), s.a, FreezeIn{Mounts: s.members, At: at, HoldUntil: at.Add(3 * time.Second)})
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) || errors.Is(err, plan.ErrStopping) != tt.stopped {
						t.Errorf("%v, want %q", err, tt.err)
					}
				} else if err != nil {
					t.Fatal(err)
				}
				if err == nil {
					if !time.Now().Equal(at) {
						t.Errorf("frozen %s after the instant", time.Since(at))
					}
					if _, err := s.snapshot().Do(t.Context(), s.a, SnapshotIn{Members: s.members}); err != nil {
						t.Fatal(err)
					}
				}
				if tt.broken {
					time.AfterFunc(time.Second, func() { close(s.freezer.broken) })
				}
				if _, err := s.thaw().Do(t.Context(), s.a, ThawIn{}); err != nil {
					t.Error(err)
				}
				if held := time.Since(at); tt.err == "" && held != tt.held {
					t.Errorf("held for %s, want %s", held, tt.held)
				}
				if strings.Contains(s.freezer.soFar(), "freeze") != (tt.err == "") {
					t.Errorf("the guard was told %s", s.freezer.soFar())
				}
			})
		})
	}
}
