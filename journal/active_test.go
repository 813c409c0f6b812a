package journal

import (
	"slices"
	"testing"
	"time"
)

func TestActiveTimeLeavesOutWhatLiesBetween(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	step := func(from, to int) Record { return Record{StartedAt: at(from), EndedAt: at(to)} }
	for name, c := range map[string]struct {
		records []Record
		until   time.Time
		want    int
	}{
		"none":                             {nil, at(9), 0},
		"one":                              {[]Record{step(1, 4)}, time.Time{}, 3},
		"side by side":                     {[]Record{step(1, 4), step(2, 6), step(2, 3)}, time.Time{}, 5},
		"an hour apart":                    {[]Record{step(1, 4), step(3600, 3602)}, time.Time{}, 5},
		"one inside another, out of order": {[]Record{step(5, 6), step(1, 9)}, time.Time{}, 8},
		"never started":                    {[]Record{{}, step(0, 2)}, at(9), 2},
		"under way":                        {[]Record{step(1, 4), {StartedAt: at(3)}}, at(10), 9},
		"cut off, nobody knows when":       {[]Record{step(1, 4), {StartedAt: at(3)}}, time.Time{}, 3},
		"a clock that was set back":        {[]Record{step(9, 2), step(1, 2)}, time.Time{}, 1},
	} {
		if got := Active(slices.Values(c.records), c.until); got != time.Duration(c.want)*time.Second {
			t.Errorf("%s: %s, want %d s", name, got, c.want)
		}
	}
}
