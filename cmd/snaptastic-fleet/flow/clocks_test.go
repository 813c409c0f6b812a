package flow

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// What two clocks are found to differ by is never more than they do, whatever messages take, and hardly less where these are quick.
func TestClocksAreComparedThroughSlowMessages(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	upTo := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }
	t0 := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	found := 0
	for range 2000 {
		slow := upTo(3 * time.Second)
		server := upTo(time.Hour) // however wrong the server's own clock is
		var all []reading
		low, high := time.Hour, -time.Hour
		for h := range 2 + r.IntN(5) {
			off, bound := upTo(2*time.Second), upTo(50*time.Millisecond)
			low, high = min(low, off+bound), max(high, off-bound)
			began := t0.Add(upTo(slow + 1))
			ended := began.Add(upTo(time.Second))
			all = append(all, reading{fmt.Sprint("h", h), t0.Add(server), ended.Add(upTo(slow + 1)).Add(server), began.Add(off), ended.Add(off), bound})
		}
		a := compare(all)
		if truly := max(0, high-low); a.by > truly {
			t.Fatalf("found %s of %s: %+v", a.by, truly, all)
		} else if slow < 100*time.Millisecond && a.by < truly-300*time.Millisecond {
			t.Fatalf("found only %s of %s: %+v", a.by, truly, all)
		}
		if a.by > 0 {
			found++
		}
	}
	if found < 300 {
		t.Errorf("only %d differ: this test proves nothing", found)
	}
	if a := compare([]reading{{host: "old"}, {host: "older"}}); a.by != 0 {
		t.Errorf("workers that do not say their time: %+v", a)
	}
}

// A clock that is wrong by more than it says is found before anything is frozen, or, where it was set meanwhile, afterwards.
func TestAWrongClockProvesNothing(t *testing.T) {
	const off = 2500 * time.Millisecond
	for name, c := range map[string]struct {
		before, after time.Duration // of h2
		bound         float64
		armed         bool
		want          string
	}{
		"right":                     {armed: true},
		"a little wrong":            {before: 80 * time.Millisecond, after: 80 * time.Millisecond, armed: true},
		"ahead":                     {before: off, after: off, want: "nothing was frozen: the clock of h2 is at least 2.4s ahead of that of h"},
		"behind":                    {before: -off, after: -off, want: "ahead of that of h2"},
		"by little more than hold":  {before: 2050 * time.Millisecond, after: 2050 * time.Millisecond, want: "nothing was frozen: the clock of h2 is at least 1.95s ahead of that of h"},
		"behind by hold":            {before: -2 * time.Second, after: -2 * time.Second, want: "ahead of that of h2"},
		"by less than hold":         {before: 300 * time.Millisecond, after: 300 * time.Millisecond, want: "nothing was frozen: the clock of h2"},
		"set while armed, a little": {after: 2050 * time.Millisecond, armed: true, want: "there is no proof of an instant at which all hosts were frozen: the clock of h2 is at least 1.93s ahead"},
		"set while armed":           {after: off, armed: true, want: "there is no proof of an instant at which all hosts were frozen: the clock of h2 is at least 2.38s ahead"},
		"as wrong as it says":       {before: off, after: off, bound: 2.5, want: "nothing was frozen: the clock of h2 may be wrong by 2.5s"},
		"right, and it knows not":   {bound: 2.5, want: "or raise hold"},
		"wrong and less than known": {before: off, after: off, bound: 1, want: "ahead of that of h"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			w.prepare = func(h string) (Ready, error) {
				r := Ready{Members: 2, Begun: w.now(), Ended: w.now()}
				if h == "h2" {
					r.Begun, r.Ended, r.ClockErrorSeconds = r.Begun.Add(c.before), r.Ended.Add(c.before), c.bound
				}
				return r, nil
			}
			w.window = func(h string, r WindowRequest) (WindowResult, error) {
				g := w.good(h, r)
				g.Begun, g.Ended = w.now(), w.now()
				if h == "h2" {
					g.Begun, g.Ended = g.Begun.Add(c.after), g.Ended.Add(c.after)
				}
				return g, nil
			}
			e := w.env(t)
			e.ExecuteWorkflow(Snapshot, request(3))
			_, err := snapshotResult(t, e)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if (w.armed > 0) != c.armed || (len(w.labelled) == 1) != (c.want == "") || (len(w.undone) == 1) != (c.armed && c.want != "") {
				t.Errorf("%d armed, labelled %v, undone %v", w.armed, w.labelled, w.undone)
			}
		})
	}
}

// An honest clock that says its error at the beginning may be wrong by more at the end, minutes later.
func TestAnHonestClockMayDrift(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	const err, long = 10 * time.Millisecond, 5 * time.Minute
	const drifted = err + long/drift
	end := t0.Add(long)
	all := []reading{{"h1", t0, end, t0.Add(err), end.Add(drifted), err}, {"h2", t0, end, t0.Add(-drifted), end.Add(-err), err}}
	if e := checkClocks(all, 2*time.Second, false); e != nil {
		t.Error(e)
	}
	all[0].ended = end.Add(drifted + 300*time.Millisecond)
	if e := checkClocks(all, 2*time.Second, false); e == nil {
		t.Error("a clock that is wrong by more is believed")
	}
}

// What a snapshot that an earlier build began has passed, it passes when it goes on under this one.
func TestASnapshotOfAnEarlierBuildKeepsItsVerdict(t *testing.T) {
	differ := apart{by: 500 * time.Millisecond, ahead: "h2", behind: "h1"}
	t0 := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	windows := []WindowResult{{Host: "h1", FrozenAt: t0, ThawedAt: t0.Add(2 * time.Second)}, {Host: "h2", FrozenAt: t0, ThawedAt: t0.Add(2 * time.Second)}}
	if in, err := Judge(windows, differ); err == nil || in.OverlapSeconds > 0 {
		t.Errorf("%v %+v", err, in)
	}
	differ.bearable = true
	if in, err := Judge(windows, differ); err != nil || in.OverlapSeconds != 1.5 {
		t.Errorf("%v %+v", err, in)
	}
	off := []reading{{"h1", t0, t0, t0, t0, 0}, {"h2", t0, t0, t0.Add(600 * time.Millisecond), t0.Add(600 * time.Millisecond), 0}}
	if err := checkClocks(off, 2*time.Second, true); err != nil {
		t.Error(err)
	}
	if err := checkClocks(off, 2*time.Second, false); err == nil {
		t.Error("believed")
	}
}
