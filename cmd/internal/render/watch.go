package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
	"snaptastic/runner"
)

// calm is how often a watch is redrawn while a freeze window has been open for a while.
const calm = time.Second

// A Watch shows all live runs on a terminal, a board each, and what waits for an operator. A run that has ended stays on the
// screen above the others.
type Watch struct {
	term  *Terminal
	runs  []*watchedRun
	rest  []engine.RunState
	known bool // rest was told
	asked engine.RunID
	drew  time.Time
}

// A watchedRun is one run of a watch.
type watchedRun struct {
	engine.LiveRun
	board *board
	ended *engine.Event
}

// NewWatch shows live runs on a terminal. run is the one that was asked for; "" for all.
func NewWatch(out io.Writer, run engine.RunID, o Style) *Watch {
	w := &Watch{asked: run}
	w.term = newTerminal(out, w, nil, o)
	return w
}

// Close leaves the last state on the screen.
func (w *Watch) Close() { w.term.Close() }

func (w *Watch) Joined(l engine.LiveRun) {
	w.term.mu.Lock()
	defer w.term.mu.Unlock()
	now := watchLive(l, w.term.style.Flags)
	for i, r := range w.runs {
		if r.Run == l.Run {
			w.runs[i] = now
			return
		}
	}
	w.runs = append(w.runs, now)
}

// watchLive makes the board of a run that goes on already.
func watchLive(l engine.LiveRun, flags Flags) *watchedRun {
	b := newBoard(l.Plan, l.Records)
	for i := range l.Plan.Steps {
		s := &l.Plan.Steps[i]
		b.catchUp(s, l.Records[s.ID], l.Since)
	}
	for _, e := range l.Running {
		b.apply(e)
	}
	if l.Stopping != nil {
		b.apply(*l.Stopping)
	}
	b.commands = commandsFor(l.Run, l.Plan, journal.RunFailed, l.Rollback, flags)
	return &watchedRun{LiveRun: l, board: b}
}

// catchUp takes what a step came to since the process began with the run.
func (b *board) catchUp(s *plan.Step, r journal.Record, since time.Time) {
	if r.StartedAt.Before(since) || r.State == journal.Started && r.Undo == "" {
		return
	}
	e := runner.Event{At: r.StartedAt, Step: s, Kind: runner.Starting, Record: r}
	b.apply(e)
	e.At = r.EndedAt
	if e.At.IsZero() {
		e.At = r.StartedAt
	}
	if r.Error != "" {
		e.Err = fmt.Errorf("%s", r.Error)
	}
	switch {
	case r.Undo == journal.Undone, r.Undo == journal.Kept:
		e.Kind = runner.Undone
	case r.State == journal.Failed, r.State == journal.Uncertain:
		e.Kind = runner.Failing
	case r.State == journal.Skipped:
		e.Kind = runner.Skipping
	default:
		e.Kind = runner.Finished
	}
	b.apply(e)
}

func (w *Watch) Event(run plan.RunID, e runner.Event) {
	w.term.mu.Lock()
	defer w.term.mu.Unlock()
	if r := w.run(run); r != nil {
		r.board.apply(e)
	}
}

func (w *Watch) run(id plan.RunID) *watchedRun {
	for _, r := range w.runs {
		if r.Run == id {
			return r
		}
	}
	return nil
}

func (w *Watch) Told(e engine.Event) {
	w.term.mu.Lock()
	defer w.term.mu.Unlock()
	if r := w.run(e.Run); r != nil && e.Event == engine.RunEnded {
		r.ended = &e
	}
}

func (w *Watch) Left(id plan.RunID, s *engine.RunState) {
	w.term.mu.Lock()
	defer w.term.mu.Unlock()
	for i, r := range w.runs {
		if r.Run != id {
			continue
		}
		o := w.term.style
		o.Width, _ = w.term.size()
		for _, l := range append(r.draw(o, 0, 0, time.Now(), true), r.end(o, s)...) {
			fmt.Fprintln(&w.term.above, l.text)
		}
		w.term.above.WriteByte('\n')
		w.runs = append(w.runs[:i], w.runs[i+1:]...)
		return
	}
}

func (w *Watch) Unfinished(rest []engine.RunState) {
	w.term.mu.Lock()
	defer w.term.mu.Unlock()
	w.rest, w.known = rest, true
}

// hold reports whether the screen is left as it is: a redraw would take time from a freeze window.
func (w *Watch) hold(now time.Time) bool {
	for _, r := range w.runs {
		for _, since := range r.board.windows {
			if w.drew.After(since) && now.Sub(w.drew) < calm {
				return true
			}
		}
	}
	w.drew = now
	return false
}

// draw is the whole screen. The terminal has it locked.
func (w *Watch) draw(o Style, height, frame int, now time.Time, over bool) (lines []drawn) {
	if over && len(w.runs) == 0 {
		return nil
	}
	each := 0
	if height > 0 && len(w.runs) > 0 {
		each = max((height-len(w.restLines(o)))/len(w.runs)-1, 2)
	}
	for i, r := range w.runs {
		if i > 0 {
			lines = append(lines, drawn{})
		}
		lines = append(lines, r.draw(o, each, frame, now, over)...)
	}
	if over {
		return lines
	}
	lines = append(lines, w.restLines(o)...)
	if height > 0 && len(lines) > height {
		lines = lines[:height]
	}
	return lines
}

// restLines are about what is not live.
func (w *Watch) restLines(o Style) (lines []drawn) {
	if w.asked != "" || !w.known {
		return nil
	}
	add := func(spans ...span) {
		lines = append(lines, o.drawNews([]newsLine{{spans: spans}}, max(o.Width-1, 0))...)
	}
	switch {
	case len(w.runs) == 0:
		add(span{"no live runs; waiting for one (Ctrl-C ends the watch)", dim})
	case len(w.rest) > 0:
		add()
	}
	for _, r := range w.rest {
		state := runState(r.Summary)
		text := " " + strings.TrimSpace(clean(r.Operation+" "+r.Snapshotter)) + " is "
		line := newsLine{spans: []span{{clean(string(r.Run)), bold}, {text: text}, state, {text: nextWords(r)}}, whole: true}
		command := newsLine{spans: []span{{text: "  "}, {o.Flags.After("snaptastic show " + clean(string(r.Run))), cyan}}, whole: true}
		lines = append(lines, o.drawNews([]newsLine{line, command}, max(o.Width-1, 0))...)
	}
	return lines
}

// nextWords says what the next resume does with an unfinished run.
func nextWords(r engine.RunState) string {
	if next := nextByResume[r.Action]; r.Action != engine.Wait && next != "" {
		return "; next resume: " + next
	}
	return "; it waits for an operator"
}

// head is the line above a run's board.
func (r *watchedRun) head(o Style, now time.Time) drawn {
	text := fmt.Sprintf("  process %d, for %s", r.PID, units.Age(now.Sub(r.Since)))
	if r.Rollback {
		text = "  rolling back," + strings.TrimPrefix(text, " ")
	}
	return o.drawNews([]newsLine{{spans: []span{{"run " + clean(string(r.Run)), bold}, {text, dim}}}}, max(o.Width-1, 0))[0]
}

func (r *watchedRun) draw(o Style, height, frame int, now time.Time, over bool) []drawn {
	if height > 0 {
		height = max(height-1, 1)
	}
	return append([]drawn{r.head(o, now)}, r.board.draw(o, height, frame, now, over)...)
}

// end says how a run ended that was watched, and what can be done about it. s is how it stands where it did not say so.
func (r *watchedRun) end(o Style, s *engine.RunState) []drawn {
	var spans []span
	outcome := journal.Interrupted
	switch e := r.ended; {
	case e != nil && e.UndoFollows:
		return o.drawNews([]newsLine{{spans: []span{{"failed; it is rolled back now", red}}}}, 0)
	case e != nil:
		outcome = e.Outcome
		state := runState(journal.Summary{Meta: journal.Meta{Outcome: e.Outcome, RollingBack: e.Rollback}})
		spans = []span{{text: "ended: "}, state, {", took " + units.Took(duration(e.Seconds)), dim}}
		if e.Error != "" {
			spans = append(spans, span{": " + clean(e.Error), red})
		}
	case s != nil && s.Outcome.Ended():
		outcome, spans = s.Outcome, []span{{text: "ended: "}, runState(s.Summary)}
	case s != nil:
		spans = []span{{fmt.Sprintf("its process %d is gone: the run is ", r.PID), yellow}, runState(s.Summary), {text: nextWords(*s)}}
	}
	lines := []newsLine{{spans: spans, whole: true}}
	for _, c := range commandsFor(r.Run, r.Plan, outcome, r.Rollback, o.Flags) {
		lines = append(lines, newsLine{spans: []span{{text: pad("  "+c.What+":", 14)}, {c.Command, cyan}}, whole: true})
	}
	return o.drawNews(lines, max(o.Width-1, 0))
}

// Standing prints once how a live run stands.
func Standing(w io.Writer, l engine.LiveRun, now time.Time, o Style) error {
	var text strings.Builder
	for _, line := range watchLive(l, o.Flags).draw(o, 0, 1, now, false) {
		text.WriteString(strings.TrimRight(line.text, " ") + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}
