package render

import (
	"fmt"
	"io"

	"snaptastic/cmd/internal/engine"
)

// Findings prints one line each, with the fix at its end, and a line that
// counts them.
func Findings(w io.Writer, all []engine.Finding, o Style) error {
	p := page{style: o}
	widest := 0
	for _, f := range all {
		widest = max(widest, width(clean(f.Check)))
	}
	count := map[engine.Level]int{}
	for _, f := range all {
		count[f.Level]++
		c := map[engine.Level]colour{engine.OK: green, engine.Warn: yellow, engine.Fail: red}[f.Level]
		line := []span{{pad(string(f.Level), 4) + "  ", c}, {text: pad(clean(f.Check), widest) + "  "}, {text: clean(f.Message)}}
		if f.Fix != "" {
			line = append(line, span{o.pick(" → ", " -> "), cyan}, span{text: o.Flags.Repeat(clean(f.Fix))})
		}
		p.full(line...)
	}
	p.full(span{text: fmt.Sprintf("%d ok, %d warnings, %d errors", count[engine.OK], count[engine.Warn], count[engine.Fail])})
	return p.writeTo(w)
}

// FindingsJSON writes the same for programs.
func FindingsJSON(w io.Writer, all []engine.Finding, flags Flags) error {
	all = append([]engine.Finding{}, all...)
	for i := range all {
		all[i].Fix = flags.Repeat(all[i].Fix)
	}
	return JSON(w, all)
}
