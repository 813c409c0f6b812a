package engine

import (
	"context"
	"errors"
	"fmt"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// A PlanRequest asks what an operation would do.
type PlanRequest struct {
	Operation, Name string
	Options         recipe.Options
	SkipPreview     bool // compile it only; look at nothing
}

// A PlanResult is a plan with what each of its steps would do as things are now.
type PlanResult struct {
	Plan       *plan.Plan
	Previews   map[plan.StepID]runner.Preview
	Unfinished []RunState // runs that `run` would come upon
	Notes      []string   // what was left out of the plan, and why
}

// Plan compiles an operation and looks at what each step would do. It changes nothing, and makes no state folder. A step
// that would fail is an error that comes with the forecast.
func (e *Engine) Plan(ctx context.Context, r PlanRequest) (PlanResult, error) {
	op, err := operation(r.Operation)
	if err != nil {
		return PlanResult{}, err
	}
	p, req, err := e.compile(ctx, op, r.Name, r.Options)
	if err != nil || r.SkipPreview {
		return PlanResult{Plan: p}, err
	}
	if len(p.Steps) == 0 {
		return PlanResult{Plan: p, Unfinished: e.unfinished(p), Notes: req.Notes}, nil
	}
	if err := e.retry(ctx, e.client.Ready); err != nil {
		return PlanResult{}, err
	}
	h, err := e.handlers(ctx, nil, p, "", nil, nil)
	if err != nil {
		return PlanResult{}, err
	}
	if err := e.requireSharedMounts(p); err != nil {
		e.log.Warn("`run` would be refused", "because", err)
	}
	seen, err := runner.PreviewPlan(ctx, p, h)
	if err == nil {
		err = context.Cause(ctx) // what was seen may be half of it
	}
	if err != nil {
		return PlanResult{}, err
	}
	if err := nothingToRestore(p, seen); err != nil {
		return PlanResult{}, fmt.Errorf("cannot %s %s: %w", op.Name, r.Name, err)
	}
	out := PlanResult{Plan: p, Previews: seen, Unfinished: e.unfinished(p), Notes: req.Notes}
	if err = wouldFail(p, seen); err == nil && req.Options.Text(recipe.At) != "" {
		err = e.wouldBegin(ctx, op, out, req)
	}
	return out, err
}

// wouldBegin is why `run` would not begin what is to happen at an instant. Of many hosts all are asked before one of them freezes; a plan
// without an instant tells what an operation does, whenever that will be.
func (e *Engine) wouldBegin(ctx context.Context, op *recipe.Operation, f PlanResult, r recipe.Request) error {
	if err := e.checkClock(r.Options); err != nil {
		return err
	}
	store, err := e.readState()
	none := errors.Is(err, journal.ErrNoState)
	if err != nil && !none {
		return err
	}
	if err := e.preflight(ctx, store, op, r, false); err != nil || none {
		return err
	}
	var undone []plan.RunID // by `run`, first
	for _, u := range f.Unfinished {
		if u.Action != Wait {
			undone = append(undone, u.Run)
		}
	}
	return store.InTheWay(f.Plan, undone...)
}

// Changes says whether the operation would change something, or first go on with an unfinished run. A step that depends on
// another one's output counts as a change.
func (r PlanResult) Changes() bool {
	for _, p := range r.Previews {
		switch p.Action {
		case plan.PreviewCreate, plan.PreviewChange, plan.PreviewDelete, plan.PreviewRun, plan.PreviewUnknown:
			return true
		}
	}
	return len(r.Unfinished) > 0
}

// nothingToRestore is why no snapshot at all can be chosen. The rest of such a plan says nothing: each of its steps would be skipped.
func nothingToRestore(p *plan.Plan, seen map[plan.StepID]runner.Preview) error {
	for i := range p.Steps {
		if s := &p.Steps[i]; s.Kind == steps.FindSnapshot.Kind && s.Lane == "" && seen[s.ID].Err != nil {
			return seen[s.ID].Err
		}
	}
	return nil
}

// wouldFail is the error of a plan of which a step would fail as things are now.
func wouldFail(p *plan.Plan, seen map[plan.StepID]runner.Preview) error {
	for i := range p.Steps {
		if v := seen[p.Steps[i].ID]; v.Err != nil && !p.Steps[i].Tolerated {
			return &Error{Code: SomeLanes, Err: v.Err, InResult: true}
		}
	}
	return nil
}

// unfinished lists the runs because of which `run` would not start a new one. It only reads, and makes
// no state folder.
func (e *Engine) unfinished(p *plan.Plan) []RunState {
	store, err := e.readState()
	if err != nil {
		return nil // `run` will say it
	}
	runs, _ := met(store, p, false) // likewise
	return runs
}

func detailsOf(m journal.Meta, p *plan.Plan, records map[plan.StepID]journal.Record) RunDetails {
	return RunDetails{Summary: journal.Summary{Meta: m, Operation: p.Operation, Snapshotter: p.Snapshotter}, Plan: p, Records: records}
}
