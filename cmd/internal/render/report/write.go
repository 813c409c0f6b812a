package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"snaptastic/cmd/internal/render"
)

// A lit is markup that is written as it is. Only constants of the source are ever one; TestOnlyConstantsAreMarkup holds that.
type lit string

// A writer makes a page. Whatever is not a lit is escaped, by one function. (html/template would keep all of EC2's SDK in the
// binary: it looks methods up by name.)
type writer struct{ strings.Builder }

// f writes markup with a value in the place of each {}: a string is escaped, a number written in decimals.
func (w *writer) f(markup lit, values ...any) {
	rest := string(markup)
	for _, v := range values {
		before, after, found := strings.Cut(rest, "{}")
		if !found {
			panic("internal error: too many values for " + string(markup))
		}
		w.WriteString(before)
		w.value(v)
		rest = after
	}
	if strings.Contains(rest, "{}") {
		panic("internal error: too few values for " + string(markup))
	}
	w.WriteString(rest)
}

func (w *writer) value(v any) {
	switch v := v.(type) {
	case string:
		w.text(v)
	case lit:
		w.WriteString(string(v))
	case int:
		w.WriteString(strconv.Itoa(v))
	case float64:
		w.WriteString(number(v))
	default:
		panic(fmt.Sprintf("internal error: cannot write a %T", v))
	}
}

// writeTo writes the page out at once.
func (w *writer) writeTo(out io.Writer) error {
	_, err := io.WriteString(out, w.String())
	return err
}

// text writes anything so that it is text and nothing else, between tags and inside of quoted attributes.
func (w *writer) text(s string) { w.WriteString(escape(s)) }

// escape is what stands between the world and the page. What a browser could take for markup comes as a reference; what
// cannot be seen (control characters, overrides of the direction of writing, tags, bytes that are not UTF-8) does not come at all.
func escape(s string) string {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || strings.IndexByte(`&<>"'`+"`", c) >= 0 {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '"':
			b.WriteString("&#34;")
		case r == '\'':
			b.WriteString("&#39;")
		case r == '`':
			b.WriteString("&#96;")
		case r == '\n':
			b.WriteByte('\n')
		case r == '\t':
			b.WriteByte(' ')
		case r == utf8.RuneError:
			b.WriteRune('\uFFFD')
		case render.Printable(r) == r:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// number is a decimal with as many digits as a position needs.
func number(f float64) string {
	s := strconv.FormatFloat(f, 'f', 3, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}
