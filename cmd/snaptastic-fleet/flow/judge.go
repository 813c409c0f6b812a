package flow

import (
	"fmt"
	"time"
)

// Instant is the proof that all hosts stood still together: from From to Until, by every host's clock and whatever its error.
type Instant struct {
	From  time.Time `json:"from"`  // the latest freeze, plus that clock's error
	Until time.Time `json:"until"` // the earliest thaw, minus that clock's error
	// OverlapSeconds is Until minus From, and zero at most where a clock was found to be wrong by more than it says. At zero or less there is no proof.
	OverlapSeconds float64 `json:"overlap_seconds"`
	SkewSeconds    float64 `json:"skew_seconds"` // between the first and the last freeze, by the hosts' own clocks
	Last           string  `json:"last"`         // host that froze last
	First          string  `json:"first"`        // host that thawed first
}

// Judge finds the time in which all hosts were frozen. It is an error when there was none, when a host did not say when it froze, or
// when a clock is wrong by more than it says: then nothing is known of when that host froze.
func Judge(results []WindowResult, clocks apart) (Instant, error) {
	var in Instant
	var first, last time.Time // freezes
	for i, r := range results {
		if r.FrozenAt.IsZero() || r.ThawedAt.IsZero() {
			return in, fmt.Errorf("%s did not say when it froze", r.Host)
		}
		e := seconds(r.ClockErrorSeconds)
		if e < 0 {
			return in, fmt.Errorf("%s says that its clock's error is negative", r.Host)
		}
		if i == 0 || r.FrozenAt.Before(first) {
			first = r.FrozenAt
		}
		if i == 0 || r.FrozenAt.After(last) {
			last = r.FrozenAt
		}
		frozen, thawed := r.FrozenAt.Add(e), r.ThawedAt.Add(-e)
		if i == 0 || frozen.After(in.From) {
			in.From, in.Last = frozen, r.Host
		}
		if i == 0 || thawed.Before(in.Until) {
			in.Until, in.First = thawed, r.Host
		}
	}
	overlap := in.Until.Sub(in.From) - clocks.by
	if clocks.by > 0 && !clocks.bearable {
		overlap = min(overlap, 0)
	}
	in.OverlapSeconds, in.SkewSeconds = overlap.Seconds(), last.Sub(first).Seconds()
	if overlap <= 0 && clocks.by > 0 {
		return in, fmt.Errorf("there is no proof of an instant at which all hosts were frozen: %s", clocks)
	}
	if len(results) == 0 || overlap <= 0 {
		return in, fmt.Errorf("there was no instant at which all hosts were frozen: %s froze last, %s thawed first, and %.1f ms are missing", in.Last, in.First, -overlap.Seconds()*1000)
	}
	return in, nil
}
