package host

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestTwoMachinesWithOneNameAreFound(t *testing.T) {
	now := time.Now()
	mine, other := Poller{Identity("h1"), now}, "host h1 on elsewhere/01020304"
	for name, c := range map[string]struct {
		list []Poller
		err  error
		bad  bool
	}{
		"this one alone":                        {list: []Poller{mine}},
		"another machine waits for orders":      {list: []Poller{mine, {other, now.Add(-time.Minute)}}, bad: true},
		"it was seen later than this one":       {list: []Poller{{Identity("h1"), now.Add(-time.Minute)}, {other, now}}, bad: true},
		"it was stopped":                        {list: []Poller{mine, {other, now.Add(-2 * time.Minute)}}},
		"this machine, twice":                   {list: []Poller{mine, mine}},
		"a worker of a build without a machine": {list: []Poller{mine, {"host h1", now}}},
		"the server does not say":               {err: errors.New("denied")},
	} {
		w := &Worker{Name: "h1", Pollers: func(context.Context, string) ([]Poller, error) { return c.list, c.err }}
		if err := w.namesake(context.Background()); (err != nil) != c.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := Named(mine.Identity) + " " + Named("host h2"); got != "h1 h2" {
		t.Errorf("names in identities: %s", got)
	}
}
