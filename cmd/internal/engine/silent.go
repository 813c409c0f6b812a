package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps"
)

// metAnswering is met without the runs that have nothing to do but in regions that do not answer: no other region's copies wait for them. They
// stay as they are until a `run copy` finds that one of these regions answers. left: there are some.
func (e *Engine) metAnswering(ctx context.Context, store *journal.Store, p *plan.Plan) (runs []RunState, left bool, err error) {
	e.noAnswer = map[string]bool{}
	var not []plan.RunID
	for asked := map[plan.RunID]bool{}; ; {
		runs, err = met(store, p, e.keyed != nil, not...)
		if err != nil || p.ResumePolicy != plan.ResumeFirst {
			return runs, false, err
		}
		before := len(not)
		for _, r := range runs {
			if (r.Action == Continue || r.Action == Undo) && !asked[r.Run] && e.awaitsRegion(ctx, store, r.Run) {
				not = append(not, r.Run)
			}
			asked[r.Run] = true
		}
		if len(not) == before {
			return runs, len(not) > 0, nil
		}
	}
}

// awaitsRegion asks the regions in which a run has something left, and says whether none of them answers.
func (e *Engine) awaitsRegion(ctx context.Context, store *journal.Store, id plan.RunID) bool {
	j, err := store.Read(id)
	if err != nil {
		return false // whoever goes on with it says so
	}
	defer j.Close()
	regions, others := copyRegions(j.Plan(), j.Records(), j.Meta())
	looks := e.lookAt(ctx, regions, map[string]string{steps.TagRun: string(id)}, time.Now().Add(lookTime))
	var silent error
	for _, region := range regions {
		switch look := looks[region]; {
		case !temporary(look.err): // it answers, or says for good why not; or it is the own one
			others = true
		default:
			e.noAnswer[region], silent = true, fmt.Errorf("EC2 in %s does not answer: %w", region, look.err)
		}
	}
	if others || silent == nil {
		return false
	}
	e.leftUntilItAnswers(id, silent)
	return true
}

func (e *Engine) leftUntilItAnswers(id plan.RunID, why error) {
	e.log.Warn("an older copy is left as it is; a `run copy` goes on with it once the region answers; abandon it if the region is gone for good", "run", id, "because", why,
		"abandon", e.Command("snaptastic abandon "+string(id)))
}

// copyRegions are those in which a copy still has to make copies, or to delete them where it is being undone. others: it has something else to do.
func copyRegions(p *plan.Plan, records map[plan.StepID]journal.Record, m journal.Meta) (regions []string, others bool) {
	undoing, labelled := m.RollingBack || m.Outcome == journal.RunFailed, labelledLanes(p, records)
	for i := range p.Steps {
		s := &p.Steps[i]
		switch {
		case s.Kind == steps.ShareSet.Kind:
			others = others || !undoing && records[s.ID].State != journal.Done
		case s.Kind == steps.CopySnapshot.Kind && !labelled[s.Lane] && (!undoing || stands(records[s.ID])):
			if region := regionOfLane(s.Lane); !slices.Contains(regions, region) {
				regions = append(regions, region)
			}
		}
	}
	return regions, others || len(regions) == 0
}

// regionOfLane is where the lane of a copy makes it.
func regionOfLane(lane string) string {
	region, _, _ := strings.Cut(lane, ":")
	return region
}

// silentTime says for how long regions may answer nothing. What older copies left in one that does not answer now holds up the new ones for no
// longer than a command is patient.
func (e *Engine) silentTime() func(string) time.Duration {
	usual := cmp.Or(e.SilentTime, steps.SilentTime)
	short := min(usual, max(time.Until(e.patientUntil()), 0))
	none := e.noAnswer
	return func(region string) time.Duration {
		if none[region] {
			return short
		}
		return usual
	}
}

// wentSilent: lanes failed, or were not undone, as their region answered nothing.
func wentSilent(end RunResult) bool {
	return end.failed() && slices.ContainsFunc(end.Result.Failures, func(f runner.Failure) bool {
		_, is := errors.AsType[*steps.SilentError](f.Err)
		return is
	})
}
