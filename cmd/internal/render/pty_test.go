package render

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/runner"
)

// openPTY returns both ends of a new pseudo terminal (pty(7), ioctl_tty(2)).
func openPTY(t *testing.T, columns, rows uint16) (control, terminal *os.File) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() { control.Close() })
	fd := int(control.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("cannot unlock pseudo terminal: %v", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() { terminal.Close() })
	resize(t, terminal, columns, rows)
	return control, terminal
}

func resize(t *testing.T, f *os.File, columns, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

// A screen is a small terminal: it knows the sequences that Terminal writes,
// wraps long lines and scrolls.
type screen struct {
	columns, rows int
	lines         [][]rune // all that ever was, the last rows of it on the screen
	x, y          int      // y counts from the first line ever
	unknown       []string
}

func (s *screen) line() []rune {
	for len(s.lines) <= s.y {
		s.lines = append(s.lines, nil)
	}
	return s.lines[s.y]
}

func (s *screen) put(r rune) {
	if s.x == s.columns {
		s.x, s.y = 0, s.y+1
	}
	l := s.line()
	for len(l) <= s.x {
		l = append(l, ' ')
	}
	l[s.x] = r
	s.lines[s.y] = l
	s.x++
}

func (s *screen) feed(text string) {
	for len(text) > 0 {
		if args, ok := strings.CutPrefix(text, "\x1b["); ok {
			i := strings.IndexFunc(args, func(r rune) bool { return r >= 0x40 })
			s.control(args[:i], args[i])
			text = args[i+1:]
			continue
		}
		r := []rune(text[:min(4, len(text))])[0]
		text = text[len(string(r)):]
		switch r {
		case '\r':
			s.x = 0
		case '\n':
			s.y++
			s.line()
		default:
			s.put(r)
		}
	}
}

func (s *screen) control(args string, final byte) {
	switch final {
	case 'A':
		n, _ := strconv.Atoi(args)
		s.y = max(s.y-n, len(s.lines)-s.rows, 0)
	case 'K':
		if l := s.line(); len(l) > s.x {
			s.lines[s.y] = l[:s.x]
		}
	case 'J':
		if l := s.line(); len(l) > s.x {
			s.lines[s.y] = l[:s.x]
		}
		s.lines = s.lines[:s.y+1]
	case 'm':
	default:
		s.unknown = append(s.unknown, args+string(final))
	}
}

func (s *screen) text() string {
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(strings.TrimRight(string(l), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// watch feeds a screen from the control end until stop is called, and returns
// what is on it then.
func watch(control, terminal *os.File, s *screen) (stop func() string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var pending []byte
		buf := make([]byte, 4096)
		for {
			n, err := control.Read(buf)
			pending = append(pending, buf[:n]...)
			if err != nil { // EIO once the other end is closed
				s.feed(string(pending))
				return
			}
		}
	}()
	return func() string {
		terminal.Close()
		<-done
		return s.text()
	}
}

func TestTheLastStateStaysOnTheScreen(t *testing.T) {
	control, terminal := openPTY(t, 72, 10)
	o, live := Detect(terminal, func(name string) string {
		return map[string]string{"TERM": "xterm-256color", "LANG": "C.UTF-8"}[name]
	})
	if !live || !o.Color || o.Width != 72 || !o.Unicode {
		t.Fatalf("style of a terminal: %+v, live %v", o, live)
	}
	s := &screen{columns: 72, rows: 10}
	stop := watch(control, terminal, s)
	fmt.Fprintln(terminal, "$ snaptastic run mount solr")
	p := mountPlan(t)
	log := NewBuffer(terminal)
	term := NewTerminal(log, p, nil, o)
	y := &player{t, p, term, time.Now().Add(-time.Minute)}
	y.failingMount()
	term.redraw(false)
	fmt.Fprintln(log, "[WARN] a log line")
	term.redraw(false)
	log.Hold(true)
	term.Window(true)
	fmt.Fprint(log, "[INFO] held back")
	term.Window(false)
	log.Hold(false)
	y.rest()
	term.Close()
	fmt.Fprintln(log, "$")
	if log.w != terminal {
		t.Error("the log does not go to the terminal after Close")
	}
	got := stop()
	lines := strings.Split(strings.TrimSpace(got), "\n")
	want := []string{"$ snaptastic run mount solr", "[WARN] a log line", "[INFO] held back", "✗ mount solr  1 of 2 volumes failed", "✓ /srv        done", "✗ /srv/db     attach: the name is in use", "$"}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), got)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("line %d is %q, want %q", i, lines[i], want[i])
		}
	}
	if len(s.unknown) > 0 {
		t.Errorf("sequences nobody asked for: %q", s.unknown)
	}
}

func TestANarrowedTerminalHasBrokenTheLines(t *testing.T) {
	for _, c := range []struct{ columns, rows, want int }{
		{80, 24, 3}, {79, 24, 3}, {78, 24, 4}, {39, 24, 5}, {26, 24, 7}, {80, 3, 2}, {10, 4, 3}, {0, 0, 3},
	} {
		term := &Terminal{widths: []int{79, 10, 30}}
		if got := term.rowsOnScreen(c.columns, c.rows); got != c.want {
			t.Errorf("%d×%d: %d rows, want %d", c.columns, c.rows, got, c.want)
		}
	}
}

func TestTheBoardFollowsTheSizeOfTheTerminal(t *testing.T) {
	control, terminal := openPTY(t, 100, 3)
	s := &screen{columns: 120, rows: 24} // as wide as it ever is: it breaks no line
	stop := watch(control, terminal, s)
	p := mountPlan(t)
	term := NewTerminal(terminal, p, nil, Style{Unicode: true})
	y := &player{t, p, term, time.Now()}
	y.failingMount()
	for _, size := range [][2]uint16{{100, 3}, {100, 24}, {120, 24}, {60, 24}} {
		resize(t, terminal, size[0], size[1])
		term.redraw(false)
	}
	y.tell(runner.Finished, "create-volume:/srv")
	term.Close()
	got := stop()
	for line := range strings.Lines(got) {
		if w := width(strings.TrimSuffix(line, "\n")); w >= 60 {
			t.Errorf("a line of %d columns stays: %q", w, line)
		}
	}
	if n := strings.Count(got, "/srv/db"); n != 1 {
		t.Errorf("lane is on the screen %d times:\n%s", n, got)
	}
}
