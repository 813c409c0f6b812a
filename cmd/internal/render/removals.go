package render

import (
	"strings"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
	"snaptastic/plan/units"
)

// removals says what a clean-up came to. It is counted, not listed: there may be thousands, and the plan that was shown
// before named each.
func (p *page) removals(e RunResult) {
	var deleted, gone, refused, open int
	left := [][]string{}
	for i := range e.Plan.Steps {
		s := &e.Plan.Steps[i]
		if !engine.Deletes(s) {
			continue
		}
		switch r := e.records()[s.ID]; {
		case r.State == journal.Done && r.Adopted():
			gone++
		case r.State == journal.Done:
			deleted++
		case r.State == journal.Failed:
			refused++
		case r.State == journal.Skipped:
			left = append(left, []string{clean(string(s.ID)), clean(r.Note)})
		default:
			open++
		}
	}
	var words []string
	for _, n := range []struct {
		count int
		what  string
	}{{deleted, "deleted"}, {gone, "already deleted"}, {len(left), "skipped"}, {refused, "refused"}, {open, "not reached"}} {
		if n.count > 0 {
			words = append(words, units.Count(n.count, n.what, n.what))
		}
	}
	p.text(strings.Join(words, ", "))
	if len(left) > 0 {
		p.text("")
		p.table("", []string{"LEFT", "BECAUSE"}, left, nil)
	}
}
