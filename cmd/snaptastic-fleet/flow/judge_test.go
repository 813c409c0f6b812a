package flow

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// What is proven is true: one moment lies inside every host's freeze. What can be proven is: a clock that may be wrong by some time
// tells a freeze by up to twice of that later and a thaw as much earlier than they were for certain.
func TestJudgeAgreesWithTrueTime(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	t0 := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	proven, provable := 0, 0
	for range 2000 {
		var all []WindowResult
		var from, until, surelyFrom, surelyUntil time.Time // in true time
		for h := range 1 + r.IntN(6) {
			bound := r.IntN(60)
			off := r.IntN(2*bound+1) - bound // the clock's true error, within its bound
			frozen := t0.Add(ms(r.IntN(150)))
			thawed := frozen.Add(ms(r.IntN(400)))
			if h == 0 || frozen.After(from) {
				from = frozen
			}
			if h == 0 || thawed.Before(until) {
				until = thawed
			}
			if surely := frozen.Add(2 * ms(bound)); h == 0 || surely.After(surelyFrom) {
				surelyFrom = surely
			}
			if surely := thawed.Add(-2 * ms(bound)); h == 0 || surely.Before(surelyUntil) {
				surelyUntil = surely
			}
			all = append(all, WindowResult{
				Host: fmt.Sprint(h), FrozenAt: frozen.Add(ms(off)), ThawedAt: thawed.Add(ms(off)), ClockErrorSeconds: float64(bound) / 1000,
			})
		}
		in, err := Judge(all, apart{})
		if err == nil && !until.After(from) {
			t.Fatalf("proven, and there was no such instant: %+v %+v", in, all)
		}
		if surelyUntil.After(surelyFrom) {
			if provable++; err != nil {
				t.Fatalf("not proven, and from %s to %s all stood still, whatever the clocks: %v %+v", surelyFrom, surelyUntil, err, all)
			}
		}
		if err == nil {
			proven++
		}
	}
	if provable < 100 || proven <= provable {
		t.Errorf("%d cases were proven, of %d that can be for certain: this test proves nothing", proven, provable)
	}
}
