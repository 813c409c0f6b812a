package render

import (
	"fmt"
	"strings"
	"time"

	"snaptastic/plan"
)

// drill prints what a drill came to: the result, how long the restore took (RTO), and how old the data was then (RPO).
func (p *page) drill(d *plan.Drill) {
	if d == nil {
		return
	}
	p.text("")
	if d.OK {
		p.lines("", p.style.paint(green, "verified")+"  set "+clean(d.Set))
	} else {
		p.lines("", p.style.paint(red, "FAILED")+"  set "+clean(d.Set))
		p.lines("  ", cleanLines(d.Reason))
	}
	var phases []string
	for _, f := range d.Phases {
		phases = append(phases, fmt.Sprintf("%s %s", f.Name, tenths(f.Seconds)))
	}
	took := "restore time (RTO):"
	if !d.OK {
		took = "until it failed:"
	}
	if len(phases) > 0 { // a set that lacks a member is not even restored
		p.lines("  ", fmt.Sprintf("%s %s (%s)", took, tenths(d.RestoreSeconds), strings.Join(phases, ", ")))
	}
	if d.DataTime != nil {
		age := time.Duration(d.DataAgeSeconds * float64(time.Second))
		p.lines("  ", fmt.Sprintf("age of the data (RPO): %s (of %s)", Age(max(0, age)), d.DataTime.UTC().Format(time.RFC3339)))
	}
}

func tenths(s float64) string { return fmt.Sprintf("%.1f s", s) }
