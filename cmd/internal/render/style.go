// Package render shows plans, runs and tables: to people as aligned text and
// live progress, to programs as JSON with stable names.
//
// It imports plan, journal and runner for their data alone and knows no step
// kind: ids in summaries come from well-known field names in the steps' inputs
// and outputs. It decides nothing, executes nothing and never ends the program.
// Output that cannot be written ends the rendering, not the run.
package render

import (
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
	"golang.org/x/sys/unix"
)

// A Style is what the reader's terminal can show. The zero Style is plain
// ASCII of any width, fit for a pipe.
type Style struct {
	Color   bool
	Width   int // columns; longer lines are cut, never wrapped; 0 for no limit
	Unicode bool
	Flags   Flags // to be repeated in commands that an operator is told to type
}

// Detect finds the style for a file from what it is and from the environment
// (NO_COLOR, see https://no-color.org; TERM; the locale). live says whether
// it is a terminal on which lines can be redrawn.
func Detect(f *os.File, getenv func(string) string) (o Style, live bool) {
	o.Unicode = utf8Locale(getenv)
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return o, false
	}
	o.Width = int(ws.Col)
	live = getenv("TERM") != "dumb" && getenv("TERM") != ""
	o.Color = live && getenv("NO_COLOR") == ""
	return o, live
}

// utf8Locale says whether box drawing characters will come out one column
// wide. East Asian locales draw them two columns wide, which breaks both
// alignment and cursor movement, so they get ASCII.
func utf8Locale(getenv func(string) string) bool {
	locale := ""
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale = getenv(name); locale != "" {
			break
		}
	}
	locale = strings.ToLower(locale)
	for _, wide := range []string{"zh", "ja", "ko"} {
		if strings.HasPrefix(locale, wide) {
			return false
		}
	}
	return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
}

// A colour is an SGR parameter (ECMA-48, 8.3.117).
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	dim    colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	blue   colour = "34"
	cyan   colour = "36"
)

func (o Style) paint(c colour, s string) string {
	if !o.Color || c == plain || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// pick returns the Unicode or the ASCII form.
func (o Style) pick(unicode, ascii string) string {
	if o.Unicode {
		return unicode
	}
	return ascii
}

// columns measures text without looking at this process's environment, so
// that the same plan prints the same everywhere.
var columns = &runewidth.Condition{StrictEmojiNeutral: true}

func width(s string) int { return columns.StringWidth(s) }

func pad(s string, to int) string {
	if n := to - width(s); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}

// cut shortens s to at most that many columns, with a mark where it was cut.
func (o Style) cut(s string, to int) string {
	if width(s) <= to {
		return s
	}
	if to <= 0 {
		return ""
	}
	mark := o.pick("…", "~")
	return columns.Truncate(s, to, mark)
}

// Clean makes foreign text (a tag, an error of EC2, a word of a hook) fit for one
// line of any format but JSON, which escapes by itself: nothing in it moves a
// cursor, turns the direction of what follows, hides, or begins a line.
func Clean(s string) string { return clean(s) }

func clean(s string) string {
	return strings.Join(strings.Fields(strings.Map(printable, s)), " ")
}

// cleanLines does the same and keeps the lines: a settings mistake is shown
// with its source.
func cleanLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(strings.Map(printable, strings.ReplaceAll(l, "\t", "    ")), " ")
	}
	return strings.Join(lines, "\n")
}

// printable drops what is not, and gives a blank for what would end a line. Bytes
// that are not UTF-8 come as U+FFFD.
func printable(r rune) rune {
	switch {
	case r == '\n' || r == '\t' || r == '\r' || r == 0x85 || unicode.In(r, unicode.Zl, unicode.Zp):
		return ' '
	case r < ' ' || (r >= 0x7f && r < 0xa0): // C0, DEL, C1
		return -1
	case r != 0x200c && r != 0x200d && unicode.Is(unicode.Cf, r): // bidi controls, tags; the two joiners are part of words
		return -1
	}
	return r
}

// Cleaned passes on to w what is written of a log, whose lines are its own and
// whose values are not.
func Cleaned(w io.Writer) io.Writer { return cleaned{w} }

type cleaned struct{ w io.Writer }

func (c cleaned) Write(b []byte) (int, error) {
	text := strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return printable(r)
	}, string(b))
	if _, err := io.WriteString(c.w, text); err != nil {
		return 0, err
	}
	return len(b), nil
}

// A span is text in one colour; a line is cut as text and painted afterwards,
// so that escape sequences count for nothing.
type span struct {
	text string
	c    colour
}

// page collects whole output, so that it is written at once or not at all.
type page struct {
	strings.Builder
	style Style
}

// line adds one line of spans, cut to the style's width.
func (p *page) line(spans ...span) {
	p.WriteString(p.style.compose(p.style.Width, spans...))
	p.WriteByte('\n')
}

// full adds one line that is not cut: a command is copied, a verdict read.
func (p *page) full(spans ...span) {
	p.WriteString(p.style.compose(0, spans...))
	p.WriteByte('\n')
}

func (p *page) text(s string) { p.line(span{text: s}) }

// lines adds text that is not cut: an error and its hint are read in full.
func (p *page) lines(indent, s string) {
	for l := range strings.SplitSeq(s, "\n") {
		p.WriteString(strings.TrimRight(indent+l, " "))
		p.WriteByte('\n')
	}
}

func (p *page) writeTo(w io.Writer) error {
	_, err := io.WriteString(w, p.String())
	return err
}

// compose paints spans into one line of at most limit columns (0: no limit),
// without blanks at its end.
func (o Style) compose(limit int, spans ...span) string {
	var b strings.Builder
	for _, s := range o.fit(limit, spans) {
		b.WriteString(o.paint(s.c, s.text))
	}
	return b.String()
}

// fit trims the blanks at the end of a line and cuts it to limit columns.
func (o Style) fit(limit int, spans []span) []span {
	spans = trim(spans)
	if limit <= 0 || spanWidth(spans) <= limit {
		return spans
	}
	var out []span
	left := limit
	for _, s := range spans {
		if w := width(s.text); w < left {
			left -= w
			out = append(out, s)
			continue
		}
		// The mark stands where the line ends, also between two spans.
		return trim(append(out, span{o.cut(s.text+"  ", left), s.c}))
	}
	return out
}

func trim(spans []span) []span {
	for n := len(spans); n > 0; n-- {
		last := spans[n-1]
		if last.text = strings.TrimRight(last.text, " "); last.text != "" {
			return append(append([]span{}, spans[:n-1]...), last)
		}
		spans = spans[:n-1]
	}
	return nil
}

func spanWidth(spans []span) int {
	n := 0
	for _, s := range spans {
		n += width(s.text)
	}
	return n
}
