package render

import (
	"fmt"
	"io"
)

// A Finding is what one look at the machine or the account came to.
type Finding struct {
	Level string `json:"level"` // ok, warn or fail
	Check string `json:"check"` // what was looked at
	Says  string `json:"says"`
	Mend  string `json:"mend,omitempty"` // what to do about it
}

// Findings prints one line each, with the mend at its end, and a line that
// counts them.
func Findings(w io.Writer, all []Finding, o Style) error {
	p := page{style: o}
	widest := 0
	for _, f := range all {
		widest = max(widest, width(clean(f.Check)))
	}
	count := map[string]int{}
	for _, f := range all {
		count[f.Level]++
		c := map[string]colour{"ok": green, "warn": yellow, "fail": red}[f.Level]
		line := []span{{pad(f.Level, 4) + "  ", c}, {text: pad(clean(f.Check), widest) + "  "}, {text: clean(f.Says)}}
		if f.Mend != "" {
			line = append(line, span{o.pick(" → ", " -> "), cyan}, span{text: o.Flags.Repeat(clean(f.Mend))})
		}
		p.full(line...)
	}
	p.full(span{text: fmt.Sprintf("%d ok, %d to look at, %d to mend", count["ok"], count["warn"], count["fail"])})
	return p.writeTo(w)
}

// FindingsJSON writes the same for programs.
func FindingsJSON(w io.Writer, all []Finding, flags Flags) error {
	all = append([]Finding{}, all...)
	for i := range all {
		all[i].Mend = flags.Repeat(all[i].Mend)
	}
	return JSON(w, all)
}
