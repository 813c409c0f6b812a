package units

import (
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "30s": 30 * time.Second, "15m": 15 * time.Minute, "26h": 26 * time.Hour, "7d": 7 * day, "2w": 14 * day,
		"1d12h": 36 * time.Hour, "90m": 90 * time.Minute, "007d": 7 * day, "106751d": 106751 * day,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "whole number", "7": "whole number", "d": "whole number", "7 d": "whole number", " 7d": "whole number",
		"-7d": "whole number", "+7d": "whole number", "1.5h": "whole number", "7D": "whole number", "7y": "whole number",
		"7dd": "whole number", "٧d": "whole number", "106752d": "292 years", "9223372036854775807s": "292 years",
		"99999999999999999999s": "292 years", "106751d24h": "292 years",
	} {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %v, %v; want an error with %q", text, got, err, want)
		}
	}
}

var noon = time.Date(2026, 11, 28, 12, 0, 0, 5e8, time.UTC)

func TestParsePast(t *testing.T) {
	for text, want := range map[string]string{
		"3d": "2026-11-25T12:00:00Z", "90m": "2026-11-28T10:30:00Z", "0s": "2026-11-28T12:00:00Z",
		"2026-11-20": "2026-11-20T00:00:00Z", "2026-11-20 04:05:06": "2026-11-20T04:05:06Z", "2026-11-20T04:05:06": "2026-11-20T04:05:06Z",
		"2026-11-20T04:00:00+02:00": "2026-11-20T02:00:00Z",
		"2026-11-29":                "is in the future; give a time that has passed, or leave the option out",
		"2026-11-28T12:00:01Z":      "is in the future",
		"2026-11-28T13:00:00+01:00": "2026-11-28T12:00:00Z",
		"yesterday":                 `invalid time "yesterday"; expected a time such as 2026-11-20T04:00:00Z, a date such as 2026-11-20 (UTC), or an age such as 3d, 12h or 90m`,
		"":                          `invalid time ""`, "-3d": "invalid time", "2026-13-01": "invalid time", "999999999d": "longer than 292 years",
	} {
		at, err := ParsePast(text, noon)
		if got := said(at, err); !strings.HasSuffix(got, want) && !strings.Contains(got, want) {
			t.Errorf("%q is %s; want %s", text, got, want)
		}
	}
}

func TestParseFuture(t *testing.T) {
	for text, want := range map[string]string{
		"30d": "2026-12-28T12:00:00Z", "0s": "2026-11-28T12:00:00Z", "2027-01-31": "2027-01-31T00:00:00Z",
		"2026-11-28T12:00:00Z": "2026-11-28T12:00:00Z",
		"2026-11-28T11:59:59Z": "has passed; give a time to come, or leave the option out",
		"tomorrow":             "or a duration from now such as 90m, 12h or 30d",
	} {
		at, err := ParseFuture(text, noon)
		if got := said(at, err); !strings.Contains(got, want) {
			t.Errorf("%q is %s; want %s", text, got, want)
		}
	}
}

func said(at time.Time, err error) string {
	if err != nil {
		return err.Error()
	}
	return at.UTC().Format(time.RFC3339)
}
