package units

import (
	"errors"
	"fmt"
	"math"
	"time"
)

var errDuration = errors.New("expected a whole number and a unit of s, m, h, d or w, such as 30s, 90m, 36h, 7d or 2w")

// ParseDuration reads a span such as 30s, 90m, 36h, 7d, 2w or 1d12h: whole
// numbers with the units s, m, h, d (24 hours) and w (7 days), nothing
// between them. It refuses what a time.Duration cannot hold (some 292 years).
func ParseDuration(text string) (time.Duration, error) {
	var total time.Duration
	if text == "" {
		return 0, errDuration
	}
	for rest := text; rest != ""; {
		digits := 0
		var number int64
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			if number > (math.MaxInt64-9)/10 {
				return 0, fmt.Errorf("%s is longer than 292 years", text)
			}
			number = number*10 + int64(rest[digits]-'0')
			digits++
		}
		if digits == 0 || digits == len(rest) {
			return 0, errDuration
		}
		unit, known := suffixes[rest[digits]]
		if !known {
			return 0, errDuration
		}
		if number > int64((math.MaxInt64-total)/unit) {
			return 0, fmt.Errorf("%s is longer than 292 years", text)
		}
		total += time.Duration(number) * unit
		rest = rest[digits+1:]
	}
	return total, nil
}

var suffixes = map[byte]time.Duration{
	's': time.Second,
	'm': time.Minute,
	'h': time.Hour,
	'd': day,
	'w': 7 * day,
}

// Layouts of times without a zone. Fractions of a second are read, too.
var naiveLayouts = []string{time.DateTime, "2006-01-02T15:04:05", time.DateOnly}

// ParseTime reads a time: RFC 3339, or a date, or a date and a time, without a zone. Those are read as UTC and said to be naive.
func ParseTime(text string) (t time.Time, naive, ok bool) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, false, true
	}
	for _, layout := range naiveLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true, true
		}
	}
	return time.Time{}, false, false
}

// ParsePast reads a time that has passed, as ParseTime does, or an age, which is counted back from now to a whole second. It
// refuses a time after now.
func ParsePast(text string, now time.Time) (time.Time, error) {
	at, err := parse(text, now, -1, "an age such as 3d, 12h or 90m")
	if err == nil && at.After(now) {
		return time.Time{}, fmt.Errorf("%s is in the future; give a time that has passed, or leave the option out", text)
	}
	return at, err
}

// ParseFuture reads a time to come, as ParseTime does, or a duration, which is counted from now to a whole second. It refuses
// a time before now.
func ParseFuture(text string, now time.Time) (time.Time, error) {
	at, err := parse(text, now, 1, "a duration from now such as 90m, 12h or 30d")
	if err == nil && at.Before(now.Truncate(time.Second)) {
		return time.Time{}, fmt.Errorf("%s has passed; give a time to come, or leave the option out", text)
	}
	return at, err
}

func parse(text string, now time.Time, sign time.Duration, span string) (time.Time, error) {
	if at, _, ok := ParseTime(text); ok {
		return at, nil
	}
	d, err := ParseDuration(text)
	if err == nil {
		return now.Add(sign * d).Truncate(time.Second), nil
	}
	if !errors.Is(err, errDuration) {
		return time.Time{}, err
	}
	return time.Time{}, fmt.Errorf("invalid time %q; expected a time such as 2026-11-20T04:00:00Z, a date such as 2026-11-20 (UTC), or %s", text, span)
}
