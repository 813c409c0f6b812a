package render

import (
	"io"
	"strings"

	"snaptastic/plan"
)

// Error prints "error: cannot …: cause" and what to do about it. Neither is cut.
func Error(w io.Writer, err error, o Style) error {
	p := page{style: o}
	p.lines("", o.paint(red, "error:")+" "+o.Flags.Repeat(cleanLines(err.Error())))
	if hint := plan.HintOf(err); !strings.Contains(err.Error(), hint) {
		p.hint("  ", hint)
	}
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
