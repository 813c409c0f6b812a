package render

import (
	"fmt"
	"strings"
	"time"

	"snaptastic/plan"
	"snaptastic/plan/units"
	"snaptastic/runner"
)

// begin is told that the step looks, acts or is undone.
func (s *boardStep) begin(e runner.Event) {
	s.undoing, s.retry = e.Kind == runner.Undoing, false
	if s.began.IsZero() {
		s.began = e.At
	}
	s.deadline = e.Deadline
}

func (s *boardStep) progress(e runner.Event) {
	p := e.Progress
	if p.Retry > 0 {
		s.tryAgain(e.At.Add(p.Retry), p.Throttled, clean(p.Text))
		return
	}
	s.retry = false
	s.text, s.percent = clean(p.Text), p.Percent
}

func (s *boardStep) tryAgain(at time.Time, throttled bool, why string) {
	s.retry, s.retryAt, s.throttled, s.retryWhy = true, at, throttled, why
}

// again says when the next try is, and why the last one failed.
func (s *boardStep) again(now time.Time) string {
	in := units.Age(s.retryAt.Sub(now))
	if s.throttled {
		return ": EC2 throttled, next try in " + in
	}
	return fmt.Sprintf(": again in %s: %s", in, s.retryWhy)
}

// minETA is the least progress from which the rest is estimated, in percent.
const minETA = 5

// eta estimates how long the step still takes, from how long it took so far.
func (s *boardStep) eta(now time.Time) (time.Duration, bool) {
	if s.percent < minETA || s.percent >= 100 || s.began.IsZero() || now.Sub(s.began) < time.Second {
		return 0, false
	}
	return now.Sub(s.began) * time.Duration(100-s.percent) / time.Duration(s.percent), true
}

// soon is how much time-out is left when every screen says so.
const soon = time.Minute

// newest is the step of the line that is shown.
func (l *boardLine) newest() *boardStep {
	if len(l.running) == 0 {
		return nil
	}
	return l.running[len(l.running)-1]
}

// left is the time-out that is left of the step that is shown.
func (l *boardLine) left(look lineStyle, now time.Time) (time.Duration, bool) {
	s := l.newest()
	if look != lineRunning || s == nil || s.deadline.IsZero() {
		return 0, false
	}
	return max(s.deadline.Sub(now), 0), true
}

// remark is what else is known of the time that the step takes.
func (l *boardLine) remark(now time.Time) string {
	s := l.newest()
	if s == nil {
		return ""
	}
	if left, ok := l.left(lineRunning, now); ok && left < soon {
		return ", time-out in " + units.Age(left)
	}
	if eta, ok := s.eta(now); ok && !s.retry {
		return ", about " + units.Age(eta) + " left"
	}
	return ""
}

// end is the end of the line's text that is told before its beginning: when the next try is, how long it still takes, and of a
// failure the code of EC2, which ends its message.
func (l *boardLine) end(look lineStyle, now time.Time) string {
	if look == lineFailed {
		if at := strings.LastIndex(l.failed, " ("); at >= 0 && strings.HasSuffix(l.failed, ")") {
			return l.failed[at:]
		}
		return ""
	}
	s := l.newest()
	if look != lineRunning || s == nil {
		return ""
	}
	if s.retry && s.throttled {
		return s.again(now) + l.remark(now)
	}
	return l.remark(now)
}

// ofLane is a step with its lane: "attach of /mnt/a".
func ofLane(s *plan.Step) string {
	if s.Lane == "" {
		return shortName(s)
	}
	return shortName(s) + " of " + clean(s.Lane)
}
