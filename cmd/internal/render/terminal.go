package render

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

// redrawEvery is how often the lines are redrawn: often enough for a spinner.
const redrawEvery = 120 * time.Millisecond

// windowWait bounds how long an opening atomic section waits for a write that
// is under way: a terminal that was stopped (Ctrl-S) must not stop the run.
const windowWait = time.Second

// A picture is what a Terminal shows. over asks for its last state.
type picture interface {
	draw(o Style, height, frame int, now time.Time, over bool) []drawn
}

// A Terminal redraws one line per lane in place. Its last state stays on the
// screen. What is written to it (a log) appears above the lines.
//
// Progress bar libraries redraw by their own clock and cannot be told to be
// silent at an instant, as a freeze demands; hence this small one. One
// goroutine writes; the run hands it state and never waits for the terminal.
type Terminal struct {
	out    io.Writer
	buffer *Buffer // writes above the lines while they are live; may be nil
	style  Style
	size   func() (columns, rows int)

	mu     sync.Mutex
	shown  picture
	board  *board       // shown, for one run
	above  bytes.Buffer // log lines to print above
	silent bool         // an atomic section is open
	broken bool         // the output failed: say no more

	writeSem chan struct{} // whoever holds it may write
	stop     chan struct{}
	done     chan struct{}
	once     sync.Once

	// Whoever holds the pen has these:
	widths []int // of the lines on the screen
	frame  int
}

// NewTerminal shows a run of p that begins, or goes on, from records. Where out
// is a Buffer, what others write to it appears above the lines until Close.
func NewTerminal(out io.Writer, p *plan.Plan, records map[plan.StepID]journal.Record, o Style) *Terminal {
	b := newBoard(p, records)
	return newTerminal(out, b, b, o)
}

func newTerminal(out io.Writer, shown picture, b *board, o Style) *Terminal {
	t := &Terminal{out: out, style: o, shown: shown, board: b,
		writeSem: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if hold, ok := out.(*Buffer); ok {
		t.buffer, t.out = hold, hold.redirect(t, func() {})
	}
	t.size = func() (int, int) { return o.Width, 0 }
	if f, ok := t.out.(*os.File); ok {
		t.size = func() (int, int) {
			ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
			if err != nil || ws.Col == 0 {
				return o.Width, 0
			}
			return int(ws.Col), int(ws.Row)
		}
	}
	go t.run()
	return t
}

// About says which run it is, for the commands that go on with it.
func (t *Terminal) About(run plan.RunID, p *plan.Plan, rollingBack bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.board.commands = commandsFor(run, p, journal.RunFailed, rollingBack, t.style.Flags)
}

func (t *Terminal) Event(e runner.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.board.apply(e)
}

// Write takes whole log lines, to be printed above the board. It never waits
// for the terminal.
func (t *Terminal) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.broken {
		t.above.Write(b)
	}
	return len(b), nil
}

// Window draws once more before it keeps silent, so that the open window is on the screen.
func (t *Terminal) Window(open bool) {
	if !open {
		t.mu.Lock()
		t.silent = false
		t.mu.Unlock()
		return
	}
	drawn, late := make(chan struct{}), false // late: nobody waits for the frame any more
	go func() {
		defer close(drawn)
		t.writeSem <- struct{}{} // a write that had begun
		defer func() { <-t.writeSem }()
		frame := t.compose(false)
		t.mu.Lock()
		if late {
			frame = nil
		} else {
			t.silent = true
		}
		t.mu.Unlock()
		t.write(frame)
	}()
	over := time.NewTimer(windowWait)
	defer over.Stop()
	select {
	case <-drawn:
	case <-over.C:
		t.mu.Lock()
		late, t.silent = true, true
		t.mu.Unlock()
	}
}

func (t *Terminal) Close() {
	t.once.Do(func() {
		close(t.stop)
		<-t.done
		if t.buffer == nil {
			t.flush()
			return
		}
		t.buffer.redirect(t.out, t.flush)
	})
}

// flush writes the log lines that came after the last frame.
func (t *Terminal) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.broken {
		_, _ = t.above.WriteTo(t.out)
	}
}

func (t *Terminal) run() {
	defer close(t.done)
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	t.redraw(false)
	for {
		select {
		case <-tick.C:
			t.redraw(false)
		case <-t.stop:
			t.redraw(true)
			return
		}
	}
}

// redraw writes one frame in one write.
func (t *Terminal) redraw(over bool) {
	t.writeSem <- struct{}{}
	defer func() { <-t.writeSem }()
	t.write(t.compose(over))
}

func (t *Terminal) write(frame []byte) {
	if len(frame) == 0 {
		return
	}
	if _, err := t.out.Write(frame); err != nil {
		t.mu.Lock()
		t.broken = true
		t.above.Reset()
		t.mu.Unlock()
	}
}

// compose makes the next frame: up to where the last one began, the log lines
// that came meanwhile, the board.
func (t *Terminal) compose(over bool) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken || t.silent {
		return nil
	}
	if h, ok := t.shown.(interface{ hold(time.Time) bool }); ok && !over && t.above.Len() == 0 && h.hold(time.Now()) {
		return nil
	}
	o := t.style
	var rows int
	o.Width, rows = t.size()
	height := max(rows-1, 0) // the cursor stands below the last line
	if over {
		height = 0 // nothing will be redrawn: all lines may scroll
	}
	t.frame++
	lines := t.shown.draw(o, height, t.frame, time.Now(), over)

	var b bytes.Buffer
	b.WriteByte('\r')
	if n := t.rowsOnScreen(o.Width, rows); n > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", n) // CUU, ECMA-48 8.3.22
	}
	if t.above.Len() > 0 {
		b.WriteString("\x1b[J") // ED: to the end of the screen
		b.WriteString(cleanLog(t.above.Bytes()))
		t.above.Reset()
	}
	t.widths = t.widths[:0]
	for _, l := range lines {
		b.WriteString(l.text)
		b.WriteString("\x1b[K\n") // EL: to the end of the line
		t.widths = append(t.widths, l.width)
	}
	b.WriteString("\x1b[J")
	return b.Bytes()
}

// rowsOnScreen is how many rows the last frame takes now. A terminal that was
// made narrower has broken its lines in two.
func (t *Terminal) rowsOnScreen(columns, rows int) int {
	n := 0
	for _, w := range t.widths {
		n++
		if columns > 0 && w > columns {
			n += (w - 1) / columns
		}
	}
	if rows > 0 {
		n = min(n, rows-1)
	}
	return n
}

// cleanLog ends the last line, so that the board begins in the first column.
func cleanLog(b []byte) string {
	if len(b) > 0 && b[len(b)-1] != '\n' {
		return string(b) + "\n"
	}
	return string(b)
}
