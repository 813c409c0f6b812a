package settings

import (
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
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

func TestSplitWords(t *testing.T) {
	for line, want := range map[string]string{
		"":                    "",
		"  ":                  "",
		"-m reflink=1":        "-m|reflink=1",
		" -a\t-b \n":          "-a|-b",
		`-L 'my data'`:        "-L|my data",
		`-L "my \"data\""`:    `-L|my "data"`,
		`-L my\ data`:         "-L|my data",
		`-L ''`:               "-L|",
		`a'b'"c"d`:            "abcd",
		`'single \ is plain'`: `single \ is plain`,
	} {
		got, err := splitWords(line)
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%q is %q, %v; want %q", line, got, err, want)
		}
	}
	for _, line := range []string{`'`, `"a`, `a\`, `"a\"`} {
		if got, err := splitWords(line); err == nil {
			t.Errorf("%q is %q; want an error", line, got)
		}
	}
}
