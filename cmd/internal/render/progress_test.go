package render

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

// A player tells a progress what happened, a second apart.
type player struct {
	t    *testing.T
	plan *plan.Plan
	to   Progress
	now  time.Time
}

func (y *player) tell(what runner.EventKind, id plan.StepID, more ...func(*runner.Event)) {
	y.t.Helper()
	for i := range y.plan.Steps {
		if y.plan.Steps[i].ID == id {
			e := runner.Event{At: y.now, Step: &y.plan.Steps[i], Kind: what}
			for _, f := range more {
				f(&e)
			}
			y.to.Event(e)
			y.now = y.now.Add(time.Second)
			return
		}
	}
	y.t.Fatalf("no step %s", id)
}

func percent(n int, text string) func(*runner.Event) {
	return func(e *runner.Event) { e.Progress = plan.Progress{Percent: n, Text: text} }
}
func because(s string) func(*runner.Event) { return func(e *runner.Event) { e.Err = errors.New(s) } }
func wait(d time.Duration) func(*runner.Event) {
	return func(e *runner.Event) { e.Wait = d }
}
func record(r journal.Record) func(*runner.Event) { return func(e *runner.Event) { e.Record = r } }

// failingMount plays the run of failedMount.
func (y *player) failingMount() {
	y.tell(runner.Starting, "hook:pre_mounts")
	y.tell(runner.Finished, "hook:pre_mounts")
	for _, id := range []plan.StepID{"find-volume:/srv", "find-volume:/srv/db", "find-snapshot"} {
		y.tell(runner.Starting, id)
		y.tell(runner.Finished, id)
	}
	y.tell(runner.Starting, "create-volume:/srv")
	y.tell(runner.Starting, "create-volume:/srv/db")
	y.tell(runner.Finished, "create-volume:/srv/db")
	y.tell(runner.Progressing, "create-volume:/srv", percent(42, "creating"))
	y.tell(runner.Observing, "attach:/srv/db")
	y.tell(runner.Retrying, "attach:/srv/db", because("RequestLimitExceeded\n\x1b[2J"), wait(4*time.Second))
}

func (y *player) rest() {
	y.tell(runner.Finished, "create-volume:/srv", record(done(3, 8, "", `{"volume_id":"vol-0aaa","snapshot_id":"snap-0abc"}`)))
	for _, id := range []plan.StepID{"attach:/srv", "mount:/srv"} {
		y.tell(runner.Observing, id)
		y.tell(runner.Starting, id)
		y.tell(runner.Finished, id, record(journal.Record{Seen: plan.Satisfied, Note: "is there"}))
	}
	y.tell(runner.Failing, "attach:/srv/db", because("the name is in use"), record(journal.Record{Hint: "detach it", Attempts: 3}))
	y.tell(runner.Skipping, "mount:/srv/db", record(journal.Record{Note: "attach:/srv/db did not succeed"}))
	y.tell(runner.Failing, "hook:post_mounts", because("exit status 3"))
}

func drawn2text(lines []drawn) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

// boardPlayer applies events to a board itself.
type boardPlayer struct{ *board }

func (b boardPlayer) Event(e runner.Event) { b.apply(e) }
func (boardPlayer) Window(bool)            {}
func (boardPlayer) Close()                 {}

func TestTheBoardShowsWhatEachLaneIsDoing(t *testing.T) {
	p := mountPlan(t)
	b := newBoard(p, nil)
	y := &player{t, p, boardPlayer{b}, t0}
	show := func(name string, over bool, style Style, height int) {
		golden(t, name, func(w io.Writer) error {
			_, err := io.WriteString(w, drawn2text(b.draw(style, height, 1, y.now, over)))
			return err
		})
	}
	style := Style{Unicode: true, Width: 90}
	show("board-0-begin.txt", false, style, 0)
	y.failingMount()
	show("board-1-running.txt", false, style, 0)
	show("board-1-narrow.txt", false, Style{Width: 40}, 0)
	show("board-1-low.txt", false, style, 2)
	show("board-1-interrupted.txt", true, style, 0)
	y.rest()
	show("board-2-failed.txt", true, style, 0)

	b = newBoard(p, failedMount())
	y = &player{t, p, boardPlayer{b}, t0}
	y.tell(runner.Undoing, "create-volume:/srv/db")
	show("board-3-undoing.txt", false, style, 0)
	y.tell(runner.Undone, "create-volume:/srv/db")
	y.tell(runner.Undone, "create-volume:/srv", record(journal.Record{Undo: journal.Kept, Note: "vol-0aaa held data and is kept"}))
	show("board-3-undone.txt", true, style, 0)
}

func TestNoLineOfTheBoardReachesTheLastColumn(t *testing.T) {
	p := mountPlan(t)
	b := newBoard(p, nil)
	y := &player{t, p, boardPlayer{b}, t0}
	y.failingMount()
	for columns := 2; columns < 130; columns++ {
		for _, over := range []bool{false, true} {
			for _, l := range b.draw(Style{Unicode: true, Color: true, Width: columns}, 0, 1, y.now, over) {
				if w := width(unpainted(l.text)); w >= columns || w != l.width {
					t.Fatalf("%d columns: width %d (said %d): %q", columns, w, l.width, l.text)
				}
			}
		}
	}
}

func TestAShortTerminalShowsTheActiveLanes(t *testing.T) {
	for height := 1; height <= 6; height++ {
		rows := []rowView{{style: lineRunning}, {style: lineDone}, {style: lineWaiting}, {style: lineFailed}, {style: lineRunning}, {style: lineDone}, {style: lineRunning}}
		shown, hidden := choose(rows, height)
		lines := len(shown)
		if hidden != "" {
			lines++
		}
		if lines > height {
			t.Errorf("height %d: %d lines", height, lines)
		}
		if height == 4 && (hidden != "and 4 more, 2 of them done" || shown[1].style != lineRunning || shown[2].style != lineRunning) {
			t.Errorf("height 4: %v, %q", shown, hidden)
		}
	}
}

// An output that can be made to block and counts its bytes.
type blockingWriter struct {
	mu      sync.Mutex
	n       int
	closed  chan struct{} // while not nil, writes wait for it
	failing bool
}

func (v *blockingWriter) Write(b []byte) (int, error) {
	v.mu.Lock()
	closed := v.closed
	v.n += len(b)
	failing := v.failing
	v.mu.Unlock()
	if closed != nil {
		<-closed
	}
	if failing {
		return 0, errors.New("broken pipe")
	}
	return len(b), nil
}

func (v *blockingWriter) written() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.n
}

func TestNothingIsWrittenWhileAnAtomicSectionIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &blockingWriter{}
		p := snapshotPlan(t)
		term := NewTerminal(out, p, nil, pretty)
		y := &player{t, p, term, time.Now()}
		y.tell(runner.Starting, "find-volume:/a")
		time.Sleep(time.Second)
		if out.written() == 0 {
			t.Fatal("nothing is drawn before")
		}
		term.Window(true)
		before := out.written()
		_, _ = term.Write([]byte("a log line\n"))
		time.Sleep(time.Minute)
		if n := out.written(); n != before {
			t.Errorf("%d bytes in the window", n-before)
		}
		term.Window(false)
		time.Sleep(time.Second)
		if out.written() == before {
			t.Error("nothing is drawn afterwards")
		}
		term.Close()
		closed := out.written()
		time.Sleep(time.Minute)
		if n := out.written(); n != closed {
			t.Errorf("%d bytes after Close", n-closed)
		}
	})
}

func TestAStoppedTerminalDoesNotStopTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &blockingWriter{closed: make(chan struct{})}
		p := snapshotPlan(t)
		term := NewTerminal(out, p, nil, pretty)
		synctest.Wait() // the first frame is stuck
		began := time.Now()
		y := &player{t, p, term, began}
		for range 1000 {
			y.tell(runner.Starting, "find-volume:/a")
			y.tell(runner.Finished, "find-volume:/a")
			_, _ = term.Write([]byte("log\n"))
		}
		term.Window(true)
		if d := time.Since(began); d > windowWait {
			t.Errorf("the run waited %s for the terminal", d)
		}
		close(out.closed)
		term.Window(false)
		term.Close()
	})
}

func TestAClosedOutputEndsTheDrawing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &blockingWriter{failing: true}
		p := mountPlan(t)
		term := NewTerminal(out, p, nil, pretty)
		y := &player{t, p, term, time.Now()}
		y.failingMount()
		time.Sleep(time.Second)
		n := out.written()
		if n == 0 {
			t.Fatal("nothing was tried")
		}
		y.rest()
		if _, err := term.Write([]byte("log\n")); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		term.Window(true)
		term.Window(false)
		term.Close()
		term.Close()
		if out.written() != n {
			t.Error("it went on writing")
		}
	})
}

func TestABufferKeepsLinesUntilTheSectionClosed(t *testing.T) {
	var out bytes.Buffer
	h := NewBuffer(&out)
	write := func(s string) {
		if _, err := io.WriteString(h, s); err != nil {
			t.Error(err)
		}
	}
	write("1")
	h.Hold(true)
	write("2")
	write("3")
	if out.String() != "1" {
		t.Errorf("written while open: %q", out.String())
	}
	h.Hold(false)
	write("4")
	if out.String() != "1234" {
		t.Errorf("%q, want 1234", out.String())
	}
	h = NewBuffer(&failingWriter{})
	h.Hold(true)
	write("x")
	h.Hold(false)
	if _, err := h.Write([]byte("y")); err == nil {
		t.Error("a failing output goes unnoticed")
	}
}

func TestLogHasALinePerEventWorthOne(t *testing.T) {
	for name, level := range map[string]string{"log-info.txt": "info", "log-debug.txt": "debug"} {
		golden(t, name, func(w io.Writer) error {
			p := mountPlan(t)
			log := NewLog(newLogger(t, w, level, true), "R")
			y := &player{t, p, log, t0}
			y.failingMount()
			y.rest()
			y.tell(runner.Undoing, "create-volume:/srv/db")
			y.tell(runner.Undone, "create-volume:/srv/db")
			y.tell(runner.Undone, "create-volume:/srv", record(journal.Record{Undo: journal.Kept, Note: "vol-0aaa held data and is kept"}))
			log.Close()
			return nil
		})
	}
}

func TestALogThatFailsDoesNotPanic(t *testing.T) {
	p := mountPlan(t)
	log := NewLog(newLogger(t, &failingWriter{}, "info", true), "R")
	y := &player{t, p, log, t0}
	y.failingMount()
	y.rest()
	log.Window(true)
	log.Close()
}

func TestDetectOnAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	o, live := Detect(w, func(string) string { return "xterm" })
	if live || o.Color || o.Width != 0 {
		t.Errorf("a pipe is taken for a terminal: %+v", o)
	}
}

func TestNoLogLineIsLostWhileTheTerminalCloses(t *testing.T) {
	for range 50 {
		var out bytes.Buffer
		hold := NewBuffer(&out)
		term := NewTerminal(hold, snapshotPlan(t), nil, Style{})
		var wrote sync.WaitGroup
		wrote.Go(func() {
			for range 100 {
				_, _ = io.WriteString(hold, "line\n")
			}
		})
		term.Close()
		wrote.Wait()
		if n := strings.Count(out.String(), "line\n"); n != 100 {
			t.Fatalf("%d of 100 lines", n)
		}
	}
}
