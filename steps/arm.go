package steps

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"snaptastic/linux/guard"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// Arm waits until shortly before the instant at which a freeze is to begin. It waits outside of the freeze's section, so that it
// can be watched and stopped.
var Arm = plan.Def[ArmIn, Armed]{Kind: "arm", Scope: plan.Boot, ReadOnly: true}

// ArmIn says when.
type ArmIn struct {
	At         time.Time `json:"at"`
	TrustClock bool      `json:"trust_clock,omitempty"` // even if the kernel does not say that it is right
}

// Armed says by how much the clock may be wrong.
type Armed struct {
	ClockError plan.Duration `json:"clock_error"` // the kernel's bound
}

const (
	// ArmLead is how long before the instant the section begins: held hooks, the guard, a last sync. Nothing is written, and a
	// freeze may have to write out what was changed from then on.
	ArmLead = 5 * time.Second
	// MaxLate is how much later than it was asked for a freeze may begin.
	MaxLate = 250 * time.Millisecond
	// armReport is how often it says that it waits, and looks at the clock.
	armReport = 5 * time.Second
	// lastSync is how long before the instant the last sync begins at the latest.
	lastSync = 150 * time.Millisecond
)

// MaxArm is how far ahead the instant may be: whoever waits longer holds the claims of the volumes for nothing.
const MaxArm = time.Hour

// ErrClock says that the clock is not known to be right.
var ErrClock = errors.New("the clock of this machine is not synchronized, says its kernel")

// ClockHint says what to do about ErrClock.
const ClockHint = "start chronyd or systemd-timesyncd and wait until `timedatectl` says that the clock is synchronized; --trust-clock uses it as it is"

func (w *Env) arm() plan.Funcs[ArmIn, Armed] {
	return plan.Funcs[ArmIn, Armed]{
		Do: func(ctx context.Context, a plan.Attempt, in ArmIn) (Armed, error) {
			clock, err := w.Host.Clock()
			if err != nil {
				return Armed{}, err
			}
			out := Armed{plan.Duration(clock.MaxError)}
			if w.PreviewOnly {
				return out, nil
			}
			if !clock.Synchronized && !in.TrustClock {
				return out, plan.Terminal(ClockHint, ErrClock)
			}
			for {
				now := time.Now()
				if err := tooLate(in.At, now); err != nil {
					return out, err
				}
				left := in.At.Sub(now) - ArmLead
				if left <= 0 {
					return out, nil
				}
				a.Report(plan.Progress{Percent: -1, Text: fmt.Sprintf("freezes at %s, in %s", instant(in.At), units.Took((left + ArmLead).Round(time.Second)))})
				t := time.NewTimer(min(left, armReport))
				select {
				case <-t.C:
				case <-ctx.Done():
					t.Stop()
					return out, context.Cause(ctx)
				}
			}
		},
		Preview: func(in ArmIn) plan.Preview { return plan.PreviewOf(plan.PreviewRead, "wait until %s", instant(in.At)) },
	}
}

func instant(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// tooLate is the error of a freeze that would begin too late.
func tooLate(at, now time.Time) error {
	late := now.Round(0).Sub(at)
	if late <= MaxLate {
		return nil
	}
	// Not that nothing was frozen: the process may have been killed in its window, and this one finishes the run.
	return plan.Terminal("no freeze begins so late. Begin earlier before the instant, and find out what held this machine or this process up, or set its clock",
		fmt.Errorf("too late to freeze at %s: it was %s late, and %s are allowed", instant(at), units.Took(late), units.Took(MaxLate)))
}

// errStopped reports that the run was asked to stop before the instant.
var errStopped = fmt.Errorf("stopped before the freeze: %w", plan.ErrStopping)

// awaitInstant waits, inside the section, until it is time to freeze. What was written meanwhile is written out once more if
// there is time for it.
func (w *Env) awaitInstant(ctx context.Context, a plan.Attempt, at time.Time, mounts []guard.Mount) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if a.Stopping != nil {
		go func() {
			select {
			case <-a.Stopping:
				cancel(errStopped)
			case <-ctx.Done():
			}
		}()
	}
	lead := lastSync
	for _, until := range []bool{false, true} {
		when := at
		if !until {
			if time.Until(at) < 2*lead {
				continue
			}
			when = at.Add(-lead)
		}
		stepped, err := w.Host.AwaitInstant(ctx, when)
		if stepped > 0 {
			w.log().Warn("the clock was set while the freeze was armed", "step", a.Step, "times", stepped)
		}
		if err != nil {
			return err
		}
		if !until && time.Until(at) > lead/2 {
			if _, err := w.syncOnce(ctx, mounts); err != nil {
				return err
			}
		}
	}
	return tooLate(at, time.Now())
}

// freezeError adds to a failed freeze what can be done about it.
func freezeError(in FreezeIn, err error) error {
	switch {
	case errors.Is(err, syscall.ETIME):
		if late := tooLate(in.At, time.Now()); late != nil {
			return late
		}
	case errors.Is(err, syscall.EBUSY):
		return plan.Terminal("another program has frozen it. Wait until it is thawed, or run `snaptastic thaw MOUNT` (or `fsfreeze -u MOUNT`)", err)
	}
	return plan.Terminal("", err)
}
