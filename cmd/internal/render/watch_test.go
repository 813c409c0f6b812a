package render

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

func until(d time.Duration) func(*runner.Event) {
	return func(e *runner.Event) { e.Deadline = e.At.Add(d) }
}

func throttled(e *runner.Event) { e.Throttled = true }

// A board says why a step waits, how long it may, what a stop finishes first, and what comes next.
func TestTheBoardShowsWhatARunWaitsFor(t *testing.T) {
	p := mountPlan(t)
	step := func(id plan.StepID) *plan.Step {
		for i := range p.Steps {
			if p.Steps[i].ID == id {
				return &p.Steps[i]
			}
		}
		t.Fatalf("no step %s", id)
		return nil
	}
	b := newBoard(p, nil)
	b.commands = commandsFor("R", p, journal.RunFailed, false, "--state-dir /srv/state")
	y := &player{t, p, boardPlayer{b}, t0}
	show := func(name string, style Style) {
		golden(t, name, func(w io.Writer) error {
			_, err := io.WriteString(w, drawn2text(b.draw(style, 0, 1, y.now, false)))
			return err
		})
	}
	wide, narrow, plain := Style{Unicode: true, Width: 120}, Style{Unicode: true, Width: 80}, Style{Width: 80, Color: true}
	y.tell(runner.Starting, "create-volume:/srv", until(10*time.Minute))
	y.tell(runner.Starting, "create-volume:/srv/db", until(45*time.Second))
	y.tell(runner.Progressing, "create-volume:/srv", func(e *runner.Event) {
		e.Progress = plan.Progress{Percent: -1, Text: "Rate exceeded", Retry: 4 * time.Second, Throttled: true}
	})
	show("waits-1-wide.txt", wide)
	show("waits-1-narrow.txt", narrow)
	y.now = y.now.Add(5 * time.Second) // it was sent again
	y.tell(runner.Progressing, "create-volume:/srv", percent(25, "vol-1 creating"))
	y.tell(runner.Retrying, "create-volume:/srv/db", because("Rate exceeded"), wait(9*time.Second), throttled)
	show("waits-2.txt", wide)
	y.tell(runner.Failing, "create-volume:/srv/db", because("the quota is exhausted"))
	b.apply(runner.Event{At: y.now, Step: step("create-volume:/srv"), Kind: runner.WindowOpening})
	show("waits-3-failed.txt", narrow)
	b.apply(runner.Event{At: y.now, Step: step("create-volume:/srv"), Kind: runner.WindowClosed, Wait: 57 * time.Millisecond})
	b.apply(runner.Event{At: y.now, Step: &plan.Step{}, Kind: runner.Stopping, Wait: 10 * time.Second,
		Finishing: []*plan.Step{step("create-volume:/srv"), step("create-volume:/srv/db"), step("mount:/srv"), step("mount:/srv/db")}})
	show("waits-4-stopping.txt", plain)
}

func TestAStopIsSaidInOneLine(t *testing.T) {
	e := runner.Event{Kind: runner.Stopping, Wait: 10 * time.Second, Step: &plan.Step{}}
	if got := stoppingLine(e); got != "stopping" {
		t.Errorf("with nothing under way: %q", got)
	}
	e.Finishing = []*plan.Step{{ID: "attach:/mnt/a", Lane: "/mnt/a"}}
	if got := stoppingLine(e); got != "stopping: finishing attach of /mnt/a (up to 10 s)" {
		t.Errorf("%q", got)
	}
}

// A watcher that joins late shows the same as one that was there from the start.
func TestAWatcherThatJoinsLateShowsTheSame(t *testing.T) {
	p := mountPlan(t)
	b := newBoard(p, nil)
	y := &player{t, p, boardPlayer{b}, t0}
	records, running := map[plan.StepID]journal.Record{}, []runner.Event{}
	note := func(e runner.Event) {
		switch e.Kind {
		case runner.Starting:
			records[e.Step.ID] = journal.Record{State: journal.Started, StartedAt: e.At}
		case runner.Finished:
			r := records[e.Step.ID]
			r.State, r.EndedAt = journal.Done, e.At
			records[e.Step.ID] = r
		}
		if e.Step.ID == "create-volume:/srv" || e.Step.ID == "attach:/srv/db" {
			running = append(running, e)
		}
	}
	y.to = teller{func(e runner.Event) { b.apply(e); note(e) }}
	y.failingMount()
	late := watchLive(engine.LiveRun{RunDetails: engine.RunDetails{Plan: p, Records: records}, Since: t0, Running: running}, "")
	style := Style{Unicode: true, Width: 100}
	want, got := drawn2text(b.draw(style, 0, 1, y.now, false)), drawn2text(late.board.draw(style, 0, 1, y.now, false))
	if got != want {
		t.Errorf("it shows\n%swant\n%s", got, want)
	}
}

type teller struct{ tell func(runner.Event) }

func (l teller) Event(e runner.Event) { l.tell(e) }
func (teller) Window(bool)            {}
func (teller) Close()                 {}

// A watch on a terminal: two runs at once, one of which ends, one whose process is killed; names that an attacker chose.
func TestAWatchOnATerminal(t *testing.T) {
	control, terminal := openPTY(t, 100, 30)
	s := &screen{columns: 100, rows: 30}
	stop := watch(control, terminal, s)
	w := NewWatch(terminal, "", Style{Unicode: true, Width: 100, Flags: "--state-dir /srv/state"})
	w.Unfinished([]engine.RunState{{Summary: journal.Summary{Meta: journal.Meta{Run: "R0", Outcome: journal.RunFailed}, Operation: "mount", Snapshotter: "x\u202e\x1b[2Jy"}, Decision: engine.Decision{Action: engine.Wait}}})
	w.term.redraw(false)
	p := mountPlan(t)
	for _, id := range []plan.RunID{"R1", "R2"} {
		w.Joined(engine.LiveRun{RunDetails: engine.RunDetails{Summary: journal.Summary{Meta: journal.Meta{Run: id}}, Plan: p}, PID: 42, Since: time.Now()})
	}
	find := func(id plan.StepID) *plan.Step {
		for i := range p.Steps {
			if p.Steps[i].ID == id {
				return &p.Steps[i]
			}
		}
		return nil
	}
	w.Event("R1", runner.Event{At: time.Now(), Step: find("attach:/srv"), Kind: runner.Failing, Err: io.ErrUnexpectedEOF})
	w.Event("R3", runner.Event{At: time.Now(), Step: find("attach:/srv"), Kind: runner.Failing})
	w.term.redraw(false)
	w.Told(engine.Event{Event: engine.RunEnded, Run: "R1", Outcome: journal.RunFailed, Seconds: 3, Error: "unexpected EOF"})
	w.Left("R1", nil)
	w.term.redraw(false)
	w.Left("R2", &engine.RunState{Summary: journal.Summary{Meta: journal.Meta{Run: "R2"}}, Decision: engine.Decision{Action: engine.Continue}})
	w.term.redraw(false)
	w.Close()
	got := stop()
	for _, want := range []string{"run R1  process 42, for ", "✗ /srv        attach: unexpected EOF", "ended: failed, took 3 s: unexpected EOF",
		"  finish it:  snaptastic resume R1 --state-dir /srv/state", "its process 42 is gone: the run is interrupted; next resume: continue",
		"  undo it:    snaptastic rollback R2 --state-dir /srv/state"} {
		if n := strings.Count(got, want); n != 1 {
			t.Errorf("%q is on the screen %d times:\n%s", want, n, got)
		}
	}
	if strings.ContainsAny(got, "\u202e\x1b") || len(s.unknown) > 0 {
		t.Errorf("control characters: %q, %q", got, s.unknown)
	}
}

// While a freeze window is open in a run, a watch draws once, and then seldom.
func TestAWatchIsCalmInAFreezeWindow(t *testing.T) {
	w := &Watch{runs: []*watchedRun{{board: newBoard(mountPlan(t), nil)}}}
	if w.hold(t0) || w.hold(t0.Add(time.Millisecond)) {
		t.Error("it holds without a window")
	}
	w.runs[0].board.windows = map[string]time.Time{"freeze": t0.Add(2 * time.Millisecond)}
	for i, want := range []bool{false, true, true, false, true} {
		if got := w.hold(t0.Add([]time.Duration{3, 4, 1002, 1004, 1100}[i] * time.Millisecond)); got != want {
			t.Errorf("draw %d is held: %v", i, got)
		}
	}
}

// On a terminal of 80 columns and with mount points as they are, a board keeps what is read first: when the next try is, how long a step
// still takes, EC2's code of a failure, and for how long a stop waits.
func TestANarrowBoardKeepsTheEndOfWhatItSays(t *testing.T) {
	long := func(mount string) *plan.Step {
		return &plan.Step{ID: plan.StepID("create-volume:" + mount), Kind: "create-volume", Lane: mount, Title: "create the volume of " + mount}
	}
	a, b2, c := long("/var/lib/postgresql/17/main"), long("/var/lib/postgresql/17/main_wal"), long("/srv")
	p := &plan.Plan{Operation: "mount", Snapshotter: "db"}
	for _, s := range []*plan.Step{a, b2, c} {
		p.Steps, p.Lanes = append(p.Steps, *s), append(p.Lanes, plan.Lane{ID: s.Lane})
	}
	b := newBoard(p, nil)
	b.apply(runner.Event{At: t0, Step: a, Kind: runner.Starting, Deadline: t0.Add(10 * time.Minute)})
	b.apply(runner.Event{At: t0, Step: a, Kind: runner.Progressing, Progress: plan.Progress{Percent: -1, Retry: 14 * time.Second, Throttled: true}})
	b.apply(runner.Event{At: t0, Step: b2, Kind: runner.Starting, Deadline: t0.Add(10 * time.Minute)})
	b.apply(runner.Event{At: t0, Step: b2, Kind: runner.Progressing, Progress: plan.Progress{Percent: 25, Text: "vol-0a1b2c3d4e5f67890 creating"}})
	b.apply(runner.Event{At: t0, Step: c, Kind: runner.Failing,
		Err: errors.New("cannot create the volume of /srv: you have exceeded the number of volumes of this account in this region (VolumeLimitExceeded)")})
	b.apply(runner.Event{At: t0, Step: &plan.Step{}, Kind: runner.Stopping, Wait: 30 * time.Second, Finishing: []*plan.Step{a, b2}})
	for _, style := range []Style{{Unicode: true, Width: 80}, {Width: 80}, {Unicode: true, Width: 72}} {
		text := drawn2text(b.draw(style, 0, 1, t0.Add(10*time.Second), false))
		for _, want := range []string{"EC2 throttled, next try in 4 s", "about 30 s left", "(VolumeLimitExceeded)", "(up to 20 s)", "/17/main ", "_wal "} {
			if !strings.Contains(text, want) {
				t.Errorf("%d columns do not show %q:\n%s", style.Width, want, text)
			}
		}
		for line := range strings.Lines(text) {
			if width(strings.TrimRight(line, "\n")) >= style.Width {
				t.Errorf("a line of %d columns or more: %s", style.Width, line)
			}
		}
	}
}

// Where there is no terminal, nothing is cut, the columns are aligned, and the time-out that is left is told.
func TestABoardOfNoWidthIsATable(t *testing.T) {
	p := mountPlan(t)
	b := newBoard(p, nil)
	for i := range p.Steps {
		if s := &p.Steps[i]; s.Kind == "create-volume" {
			b.apply(runner.Event{At: t0, Step: s, Kind: runner.Starting, Deadline: t0.Add(10 * time.Minute)})
			if s.Lane == "/srv" {
				b.apply(runner.Event{At: t0, Step: s, Kind: runner.Progressing, Progress: plan.Progress{Percent: -1, Text: "vol-0a1b2c3d4e5f67890 creating, as long as it takes"}})
			}
		}
	}
	lines := strings.Split(strings.TrimSpace(drawn2text(b.draw(Style{}, 0, 1, t0.Add(3*time.Second), false))), "\n")
	for _, l := range lines[1:] {
		if !strings.HasSuffix(l, "3 s   10 min left") || width(l) != width(lines[1]) {
			t.Errorf("the columns are not aligned, or the time-out is not there:\n%s", strings.Join(lines, "\n"))
		}
	}
}
