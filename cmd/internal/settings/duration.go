package settings

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
		unit, known := units[rest[digits]]
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

var units = map[byte]time.Duration{
	's': time.Second,
	'm': time.Minute,
	'h': time.Hour,
	'd': 24 * time.Hour,
	'w': 7 * 24 * time.Hour,
}
