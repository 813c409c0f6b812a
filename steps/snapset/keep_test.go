package snapset

import (
	"snaptastic/plan/units"
	"strings"
	"testing"
	"time"
)

func TestReasonsAreThoseOfRestic(t *testing.T) {
	times := func(lines ...string) (all []time.Time) {
		for _, l := range lines {
			at, _, ok := units.ParseTime(l)
			if !ok {
				t.Fatal(l)
			}
			all = append(all, at)
		}
		return all
	}
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		keep  Keep
		times []time.Time
		want  string // one line for each
	}{
		"last": {Keep{Last: 2}, times("2026-11-27 03:00:00", "2026-11-26 03:00:00", "2026-11-25 03:00:00"), "last|last|"},
		"the newest of each day": {Keep{Daily: 2}, times("2026-11-27 23:00:00", "2026-11-27 03:00:00", "2026-11-25 03:00:00", "2026-11-24 03:00:00"),
			"daily 2026-11-27||daily 2026-11-25|"},
		"the oldest while a count is left": {Keep{Daily: 5}, times("2026-11-27 23:00:00", "2026-11-26 04:00:00", "2026-11-26 03:00:00"),
			"daily 2026-11-27|daily 2026-11-26|oldest daily 2026-11-26"},
		"not when none is left": {Keep{Daily: 2}, times("2026-11-27 23:00:00", "2026-11-26 04:00:00", "2026-11-26 03:00:00"), "daily 2026-11-27|daily 2026-11-26|"},
		"all of them":           {Keep{Monthly: Unlimited}, times("2026-11-27 23:00:00", "2026-11-26 04:00:00", "2020-10-26 03:00:00"), "monthly 2026-11||monthly 2020-10"},
		"several rules": {Keep{Hourly: 1, Weekly: 1, Yearly: 2, Within: Span{Days: 1}}, times("2027-01-01 01:30:00", "2026-11-27 03:00:00", "2026-01-01 03:00:00"),
			"within 1d, hourly 2027-01-01T01, weekly 2026-W53, yearly 2027|within 1d, yearly 2026|"},
		"within the newest, not now":  {Keep{Within: Span{Months: 1}}, times("2024-03-31 03:00:00", "2024-03-02 03:00:01", "2024-03-02 03:00:00"), "within 1m|within 1m|"},
		"in the calendar of the zone": {Keep{Daily: 9, Timezone: "Asia/Kathmandu"}, times("2026-11-27 18:14:00", "2026-11-26 18:15:00", "2026-11-26 18:14:00"), "daily 2026-11-27||daily 2026-11-26"},
		"an hour that is there twice": {Keep{Hourly: 9, Timezone: "Europe/Berlin"}, times("2026-10-25 01:30:00", "2026-10-25 00:30:00", "2026-10-24 23:30:00"),
			"hourly 2026-10-25T02||hourly 2026-10-25T01"},
		"nothing": {Keep{Daily: 9}, nil, ""},
	} {
		zone, err := c.keep.Location()
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, reasons := range c.keep.Reasons(c.times, zone, now) {
			var words []string
			for _, r := range reasons {
				words = append(words, r.String())
			}
			lines = append(lines, strings.Join(words, ", "))
		}
		if got := strings.Join(lines, "|"); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestSpansAreReadAsResticReadsThem(t *testing.T) {
	for text, want := range map[string]string{
		"2y5m7d3h": "2y5m7d3h", "3h7d": "7d3h", " 14d ": "14d", "0d": "0h", "36h": "36h",
		"": "it is empty", "7": `there is no unit after "7"`, "d": `there is no number before "d"`, "-3d": `there is no number before "-3d"`,
		"3w": `the unit after "3" must be y, m (months), d or h`, "1d2d": "the unit d is given twice", "999999999999999999999y": "999999999999999999999 is more than 100000",
		"1y 2m": `there is no number before " 2m"`,
	} {
		s, err := ParseSpan(text)
		got := s.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestATimeZoneIsNamed(t *testing.T) {
	for zone, want := range map[string]string{"": "", "Europe/Berlin": "", "Local": "use a name", "Mars/Olympus": "install tzdata", "../etc/passwd": "IANA name"} {
		_, err := Keep{Timezone: zone}.Location()
		if got := err != nil; got != (want != "") || got && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", zone, err)
		}
	}
}
