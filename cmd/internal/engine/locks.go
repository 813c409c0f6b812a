package engine

import (
	"slices"
	"strings"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/steps"
)

// LocksOf says how the sets are locked that a run made.
func LocksOf(p *plan.Plan, records map[plan.StepID]journal.Record) (locks []string) {
	for i := range p.Steps {
		s := &p.Steps[i]
		if r := records[s.ID]; s.Kind == steps.LockSnapshots.Kind && r.State == journal.Done && r.Facts != nil {
			text := strings.Join(append(slices.Clone(r.Facts.Remarks), r.Facts.Warnings...), "; ")
			if s.Lane != "" {
				text = s.Lane + ": " + text
			}
			locks = append(locks, text)
		}
	}
	return locks
}
