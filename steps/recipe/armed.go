package recipe

import (
	"cmp"
	"errors"
	"fmt"
	"snaptastic/plan/units"
	"time"
)

// The flags of an armed snapshot: all is made ready, and the freeze begins at an instant and ends at another one.
var (
	At         = Flag{"at", "", "freeze at this `time`, such as 2026-11-28T12:00:00.5Z, or not at all; all else is done before"}
	HoldUntil  = Flag{"hold-until", "", "with --at: stay frozen until this `time`, at most max_hold later"}
	TrustClock = Flag{"trust-clock", false, "with --at: use the machine's clock even if the kernel does not say that it is synchronized"}
)

// instants are the times of an armed snapshot, which checkArmed has seen.
func instants(o Options) (at, until time.Time, armed bool) {
	at, err := time.Parse(time.RFC3339Nano, o.Text(At))
	until, err2 := time.Parse(time.RFC3339Nano, o.Text(HoldUntil))
	return at.UTC(), until.UTC(), err == nil && err2 == nil
}

// checkArmed refuses times that do not fit together, or not the settings.
func checkArmed(s Spec, o Options) error {
	if o.Text(At) == "" && o.Text(HoldUntil) == "" {
		if o.Bool(TrustClock) {
			return errors.New("--trust-clock needs --at")
		}
		return nil
	}
	for _, f := range []Flag{At, HoldUntil} {
		if o.Text(f) == "" {
			return errors.New("--at and --hold-until are used together")
		}
		if _, err := time.Parse(time.RFC3339Nano, o.Text(f)); err != nil {
			return fmt.Errorf("--%s %q: expected a time with a zone, such as 2026-11-28T12:00:00.5Z", f.Name, o.Text(f))
		}
	}
	at, until, _ := instants(o)
	hold := cmp.Or(s.MaxHold, maxHold)
	switch d := until.Sub(at); {
	case d <= 0:
		return errors.New("--hold-until is not after --at")
	case d > hold:
		return fmt.Errorf("--hold-until is %s after --at, and max_hold is %s", units.Took(d), units.Limit(hold))
	case !s.Together() && len(s.Volumes) > 1:
		return errors.New(`--at freezes all volumes at one instant: set consistency = "group"`)
	}
	return nil
}
