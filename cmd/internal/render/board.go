package render

import (
	"fmt"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
	"snaptastic/runner"
)

// A board is what a live run shows: a line for the steps of the whole plan and
// one for each lane. It is plain state; whoever owns it draws it.
type board struct {
	whole *boardLine   // the steps of the whole plan
	lines []*boardLine // one per lane
	lanes map[string]*boardLine
	boardNews
}

type boardLine struct {
	label   string
	states  map[plan.StepID]journal.State
	total   int
	settled int
	undone  int
	running []*boardStep // in the order they began; the newest is shown
	failed  string       // why
	skipped string       // why
	kept    string       // what
	begun   time.Time
	ended   time.Time
}

type boardStep struct {
	step     *plan.Step
	text     string
	percent  int // -1 where nobody knows
	retry    bool
	undoing  bool
	retryAt  time.Time
	retryWhy string

	began     time.Time // by this process
	deadline  time.Time // when its time-out is over; zero where that is not known
	throttled bool      // retry: EC2 asked for fewer requests
}

// newBoard starts from what an earlier process did.
func newBoard(p *plan.Plan, records map[plan.StepID]journal.Record) *board {
	whole := &boardLine{label: clean(p.Operation + " " + p.Snapshotter), states: map[plan.StepID]journal.State{}}
	b := &board{whole: whole, lanes: map[string]*boardLine{"": whole}}
	for _, lane := range p.Lanes {
		l := &boardLine{label: clean(lane.ID), states: map[plan.StepID]journal.State{}}
		b.lanes[lane.ID] = l
		b.lines = append(b.lines, l)
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		if l := b.lanes[s.Lane]; l != nil {
			l.total++
			if records[s.ID].State == journal.Done {
				l.set(s.ID, journal.Done)
			}
		}
	}
	return b
}

func (l *boardLine) set(id plan.StepID, s journal.State) {
	ended := func(s journal.State) bool {
		return s == journal.Done || s == journal.Failed || s == journal.Skipped || s == journal.Uncertain
	}
	if ended(l.states[id]) {
		l.settled--
	}
	if ended(s) {
		l.settled++
	}
	l.states[id] = s
}

// apply takes one event.
func (b *board) apply(e runner.Event) {
	b.boardNews.apply(e)
	if e.Step.ID == "" {
		return
	}
	l := b.lanes[e.Step.Lane]
	if l == nil {
		return
	}
	if l.begun.IsZero() {
		l.begun = e.At
	}
	l.ended = e.At
	switch e.Kind {
	case runner.Observing, runner.Starting, runner.Undoing:
		s := l.run(e.Step)
		s.begin(e)
		if !s.undoing {
			l.set(e.Step.ID, journal.Started)
		}
	case runner.Progressing:
		s := l.run(e.Step)
		s.progress(e)
	case runner.Retrying:
		s := l.run(e.Step)
		s.tryAgain(e.At.Add(e.Wait), e.Throttled, "")
		if e.Err != nil {
			s.retryWhy = clean(e.Err.Error())
		}
	case runner.WindowOpening, runner.WindowClosed: // news of the run
	default:
		l.settle(e)
	}
}

// settle takes the event that ends a step.
func (l *boardLine) settle(e runner.Event) {
	l.stop(e.Step)
	switch e.Kind {
	case runner.Finished:
		l.set(e.Step.ID, journal.Done)
	case runner.Failing:
		l.set(e.Step.ID, journal.Failed)
		if !e.Step.Tolerated && l.failed == "" {
			l.failed = shortName(e.Step)
			if e.Err != nil {
				l.failed += ": " + clean(e.Err.Error())
			}
		}
	case runner.Skipping:
		l.set(e.Step.ID, journal.Skipped)
		if l.skipped == "" {
			l.skipped = clean(e.Record.Note)
		}
	case runner.Undone:
		l.undone++
		if e.Record.Undo == journal.Kept {
			l.kept = clean(e.Record.Note)
		}
	}
}

// run finds the step among those under way, or puts it there.
func (l *boardLine) run(s *plan.Step) *boardStep {
	for _, r := range l.running {
		if r.step.ID == s.ID {
			return r
		}
	}
	r := &boardStep{step: s, percent: -1}
	l.running = append(l.running, r)
	return r
}

func (l *boardLine) stop(s *plan.Step) {
	for i, r := range l.running {
		if r.step.ID == s.ID {
			l.running = append(l.running[:i], l.running[i+1:]...)
			return
		}
	}
}

// looks of a line, in the order in which a terminal too low for all shows them.
type lineStyle int

const (
	lineRunning lineStyle = iota
	lineFailed
	lineSkipped
	lineKept
	lineStopped // the run came to rest before it did
	lineDone
	lineUndone
	lineWaiting
)

func (l *boardLine) style(now time.Time, over bool) lineStyle {
	switch {
	case len(l.running) > 0 && !over:
		return lineRunning
	case l.failed != "":
		return lineFailed
	case l.kept != "":
		return lineKept
	case l.undone > 0:
		return lineUndone
	case l.settled == l.total && l.skipped != "":
		return lineSkipped
	case l.settled == l.total:
		return lineDone
	case over && l.settled > 0:
		return lineStopped
	case !over && !l.begun.IsZero() && now.Sub(l.ended) < time.Second:
		return lineRunning // between two steps
	}
	return lineWaiting
}

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}
var spinnerASCII = []string{"|", "/", "-", "\\"}

func (o Style) sign(l lineStyle, frame int) span {
	frames := spinnerASCII
	if o.Unicode {
		frames = spinner
	}
	switch l {
	case lineRunning:
		return span{frames[frame%len(frames)], cyan}
	case lineFailed:
		return span{o.pick("✗", "!"), red}
	case lineSkipped, lineStopped:
		return span{"-", yellow}
	case lineKept:
		return span{o.pick("•", "*"), yellow}
	case lineDone:
		return span{o.pick("✓", "+"), green}
	case lineUndone:
		return span{o.pick("↶", "<"), green}
	}
	return span{o.pick("·", "."), dim}
}

// text is what a line says.
func (l *boardLine) text(look lineStyle, now time.Time) string {
	switch look {
	case lineRunning:
		if len(l.running) == 0 {
			return fmt.Sprintf("%d of %s", l.settled, units.Count(l.total, "step", "steps"))
		}
		return progress(l.settled, l.total) + l.doing(now) + l.remark(now)
	case lineFailed:
		return l.failed
	case lineSkipped:
		return "skipped: " + l.skipped
	case lineKept:
		return l.kept
	case lineStopped:
		return fmt.Sprintf("stopped, %d of %s ended", l.settled, units.Count(l.total, "step", "steps"))
	case lineDone:
		return "done"
	case lineUndone:
		return "undone"
	}
	return "waiting"
}

func progress(settled, total int) string {
	return fmt.Sprintf("%*d/%d  ", len(fmt.Sprint(total)), settled, total)
}

func (l *boardLine) doing(now time.Time) string {
	s := l.running[len(l.running)-1]
	text := shortName(s.step)
	if s.step.Title != "" {
		text = clean(s.step.Title)
	}
	if s.undoing {
		text = "undo " + shortName(s.step)
	}
	switch {
	case s.retry && (now.Before(s.retryAt) || s.text == ""): // its title would leave no room for it
		if !s.undoing {
			text = shortName(s.step)
		}
		text += s.again(now)
	case s.text != "":
		text += ": " + s.text
	}
	return text
}

func (l *boardLine) percent(look lineStyle) string {
	if n := len(l.running); look == lineRunning && n > 0 && l.running[n-1].percent >= 0 {
		return fmt.Sprintf("%d %%", min(l.running[n-1].percent, 100))
	}
	return ""
}

func (l *boardLine) elapsed(look lineStyle, now time.Time) string {
	switch {
	case l.begun.IsZero() || look == lineWaiting:
		return ""
	case look == lineRunning:
		return units.Took(now.Sub(l.begun).Truncate(time.Second)) // a clock that counts
	}
	return units.Took(l.ended.Sub(l.begun))
}
