package report

import (
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/plan/units"
)

// An axis maps times to percents of its width. Each process has a stretch of it, in proportion to the time that it was at work;
// the time between two processes, which may be days, has a narrow one.
type axis struct{ stretches []stretch }

type stretch struct {
	from, to time.Time
	x0, x1   float64 // percent
}

const (
	gapWidth     = 2.5 // percent
	shortestPart = 3.0
)

func newAxis(parts []engine.Part) axis {
	gap := min(gapWidth, 20/float64(len(parts)))
	room := 100 - gap*float64(len(parts)-1)
	least := min(shortestPart, room/float64(2*len(parts)))
	var total time.Duration
	for _, p := range parts {
		total += max(p.To.Sub(p.From), 0)
	}
	var a axis
	x := 0.0
	for i, p := range parts {
		if i > 0 {
			x += gap
		}
		width := room / float64(len(parts))
		if total > 0 {
			width = least + (room-least*float64(len(parts)))*float64(max(p.To.Sub(p.From), 0))/float64(total)
		}
		a.stretches = append(a.stretches, stretch{p.From, p.To, x, x + width})
		x += width
	}
	return a
}

// at is a time's place on the stretch of a process. What a clock that was set back puts outside is at its edge.
func (a axis) at(part int, t time.Time) float64 {
	s := a.stretches[part]
	total := s.to.Sub(s.from)
	if total <= 0 {
		return s.x0
	}
	share := float64(t.Sub(s.from)) / float64(total)
	return s.x0 + (s.x1-s.x0)*min(max(share, 0), 1)
}

// partAt is the process at work at a time.
func (a axis) partAt(t time.Time) int {
	for i := len(a.stretches) - 1; i > 0; i-- {
		if !t.Before(a.stretches[i].from) {
			return i
		}
	}
	return 0
}

// span is where a bar begins, and how wide it is.
func (a axis) span(part int, from, to time.Time) (left, width float64) {
	left = a.at(part, from)
	return left, max(a.at(part, to)-left, 0)
}

// A tick is a mark on the axis.
type tick struct {
	x    float64
	text string
}

// ticks are round times since the beginning of each stretch, at least some eight percent apart.
func (a axis) ticks() (all []tick) {
	for _, s := range a.stretches {
		total := s.to.Sub(s.from)
		if total <= 0 || s.x1 <= s.x0 {
			continue
		}
		step := niceStep(time.Duration(float64(total) * 8 / (s.x1 - s.x0)))
		for t := time.Duration(0); t <= total; t += step {
			x := s.x0 + (s.x1-s.x0)*float64(t)/float64(total)
			if t > 0 && s.x1-x < 2 {
				break
			}
			all = append(all, tick{x, "+" + units.Took(t)})
		}
	}
	return all
}

var niceSteps = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour}

func niceStep(least time.Duration) time.Duration {
	for unit := time.Microsecond; unit < time.Second; unit *= 10 {
		for _, n := range []time.Duration{1, 2, 5} {
			if n*unit >= least {
				return n * unit
			}
		}
	}
	for _, s := range niceSteps {
		if s >= least {
			return s
		}
	}
	return (least/(24*time.Hour) + 1) * 24 * time.Hour
}

func ofSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
