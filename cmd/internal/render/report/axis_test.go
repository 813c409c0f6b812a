package report

import (
	"math"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
)

func TestEachProcessHasAStretchInProportion(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1000, 0).Add(time.Duration(s) * time.Second) }
	a := newAxis([]engine.Part{{From: at(0), To: at(10)}, {From: at(100000), To: at(100030)}})
	first, second := a.stretches[0], a.stretches[1]
	if first.x0 != 0 || math.Abs(second.x1-100) > 1e-9 || math.Abs(second.x0-first.x1-gapWidth) > 1e-9 {
		t.Errorf("the stretches are %+v", a.stretches)
	}
	if w1, w2 := first.x1-first.x0-shortestPart, second.x1-second.x0-shortestPart; math.Abs(w2-3*w1) > 1e-9 {
		t.Errorf("30 s are %v wide, 10 s are %v", w2, w1)
	}
	if x := a.at(1, at(100015)); math.Abs(x-(second.x0+second.x1)/2) > 1e-9 {
		t.Errorf("the middle of the second process is at %v of %+v", x, second)
	}
	if x := a.at(0, at(-5)); x != 0 {
		t.Errorf("a time before the run is at %v", x)
	}
	for i, tick := range a.ticks() {
		if tick.x < 0 || tick.x > 100 || i > 0 && tick.x < a.ticks()[i-1].x {
			t.Errorf("tick %d is %+v", i, tick)
		}
	}
}

func TestNoAxisHasNoTicksOrTooMany(t *testing.T) {
	for _, total := range []time.Duration{0, 1, time.Microsecond, 603 * time.Millisecond, 7 * time.Second, time.Hour, 100 * 24 * time.Hour} {
		a := newAxis([]engine.Part{{From: time.Unix(0, 0), To: time.Unix(0, 0).Add(total)}})
		if n := len(a.ticks()); n > 14 || total > time.Microsecond && n < 3 {
			t.Errorf("%d ticks for %s", n, total)
		}
	}
}
