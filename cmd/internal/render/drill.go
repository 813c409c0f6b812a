package render

import (
	"fmt"
	"strings"
	"time"

	"snaptastic/plan"
	"snaptastic/plan/units"
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
		phases = append(phases, fmt.Sprintf("%s %s", f.Name, units.Took(duration(f.Seconds))))
	}
	took := "restore time (RTO):"
	if !d.OK {
		took = "until it failed:"
	}
	if len(phases) > 0 { // a set that lacks a member is not even restored
		p.lines("  ", fmt.Sprintf("%s %s (%s)", took, units.Took(duration(d.RestoreSeconds)), strings.Join(phases, ", ")))
	}
	if d.DataTime != nil {
		age := duration(d.DataAgeSeconds)
		p.lines("  ", fmt.Sprintf("age of the data (RPO): %s (of %s)", units.Age(age), d.DataTime.UTC().Format(time.RFC3339)))
	}
}
