package render

import (
	"io"
	"strings"

	"snaptastic/plan"
)

// Error prints "error: cannot …: cause" and what to do about it. Without a
// hint the one that err carries is used. Neither is cut.
func Error(w io.Writer, err error, hint string, o Style) error {
	p := page{style: o}
	if hint == "" {
		hint = plan.ActionOf(err).Hint
	}
	p.lines("", o.paint(red, "error:")+" "+o.Flags.Repeat(cleanLines(err.Error())))
	p.hint("  ", hint)
	return p.writeTo(w)
}

// hint adds what the operator can do, its later lines under its first.
func (p *page) hint(indent, hint string) {
	if hint = p.style.Flags.Repeat(cleanLines(hint)); hint == "" {
		return
	}
	hint = strings.ReplaceAll(hint, "\n", "\n      ")
	p.lines(indent, p.style.paint(cyan, "hint:")+" "+hint)
}
