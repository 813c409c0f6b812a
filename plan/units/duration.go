// Package units writes durations, ages and counts as people read them, and reads the durations and times that people give. It
// is the only place that does, so that one thing looks the same in a plan, an error, a table and the report. It imports
// nothing of ours, so every room may use it, and it never asks the clock: now is an argument. For programs, durations are
// numbers of seconds in JSON.
package units

import (
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Took is how long something took, or a time-out, to about three digits: "0.25 ms", "57 ms", "2.35 s", "12.3 s", "1 min 05 s",
// "2 h 03 min", "3 days". A negative duration, which a clock that was set back gives, is "0 s".
func Took(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 s"
	case d < time.Millisecond:
		return decimal(d, time.Microsecond, time.Millisecond) + " ms"
	case d < 10*time.Millisecond:
		return decimal(d, 100*time.Microsecond, time.Millisecond) + " ms"
	case d < time.Second-time.Millisecond/2:
		return decimal(d, time.Millisecond, time.Millisecond) + " ms"
	case d < 10*time.Second:
		return decimal(d, 10*time.Millisecond, time.Second) + " s"
	case d < time.Minute-50*time.Millisecond:
		return decimal(d, 100*time.Millisecond, time.Second) + " s"
	case d < time.Hour-time.Second/2:
		return both(d, time.Second, time.Minute, " min", " s")
	case d < 2*day-time.Minute/2:
		return both(d, time.Minute, time.Hour, " h", " min")
	}
	return days(d.Round(time.Minute))
}

// Age is how old something is, or how far ahead, in one unit, rounded: "90 s", "90 min", "36 h", "3 days". A negative
// age is "0 s".
func Age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return whole(d.Round(time.Second), time.Second) + " s"
	case d < 2*time.Hour:
		return whole(d.Round(time.Minute), time.Minute) + " min"
	case d < 2*day:
		return whole(d.Round(time.Hour), time.Hour) + " h"
	}
	return days(d.Round(day))
}

// Limit is a duration as flags and settings take it, rounded up to the second, so that what is over a limit also reads so:
// "90s", "90m", "26h", "26h1s", "7d". ParseDuration reads it.
func Limit(d time.Duration) string {
	if rest := d % time.Second; rest > 0 {
		d += time.Second - rest
	}
	if d < time.Second {
		return "0s"
	}
	for _, u := range []struct {
		long, below time.Duration
		name        string
	}{{day, math.MaxInt64, "d"}, {time.Hour, 2 * day, "h"}, {time.Minute, 2 * time.Hour, "m"}, {time.Second, 2 * time.Minute, "s"}} {
		if d%u.long == 0 && d < u.below {
			return whole(d, u.long) + u.name
		}
	}
	text := whole(d, time.Hour) + "h"
	if m := d % time.Hour / time.Minute; m > 0 {
		text += whole(m*time.Minute, time.Minute) + "m"
	}
	if s := d % time.Minute; s > 0 {
		text += whole(s, time.Second) + "s"
	}
	return strings.TrimPrefix(text, "0h")
}

// Logged is a duration in a log line, to the millisecond and without a space: "57ms", "2.345s", "1m5s".
func Logged(d time.Duration) string { return d.Round(time.Millisecond).String() }

// decimal is d in units, rounded to the step.
func decimal(d, step, unit time.Duration) string {
	s := strconv.FormatFloat(float64(d.Round(step))/float64(unit), 'f', 3, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// both is d in a large and a small unit; the small one has two digits, and is left out where it is zero.
func both(d, small, large time.Duration, largeName, smallName string) string {
	d = d.Round(small)
	text := whole(d, large) + largeName
	if rest := d % large / small; rest > 0 {
		text += " " + strconv.FormatInt(int64(rest+100), 10)[1:] + smallName
	}
	return text
}

func whole(d, unit time.Duration) string { return strconv.FormatInt(int64(d/unit), 10) }

func days(d time.Duration) string { return whole(d, day) + " days" }

// Count is a number of things: "1 volume", "3 volumes".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
