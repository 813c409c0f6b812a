package engine

import (
	"errors"

	"snaptastic/journal"
	"snaptastic/plan"
)

// Status lists the live and unfinished runs, or all of them, oldest first, and what `resume` will do with each. The error wraps journal.ErrNoState where there is
// no state folder.
func (e *Engine) Status(all bool) ([]RunState, error) {
	store, err := e.readState()
	if err != nil {
		return nil, err
	}
	list := store.Unfinished
	if all {
		list = store.List
	}
	found, err := list()
	if err != nil {
		return nil, err
	}
	boot, _ := e.bootID()
	runs := []RunState{}
	for _, r := range found {
		if all || !r.Outcome.Ended() || r.Problem != "" {
			r = fill(store, r)
			runs = append(runs, RunState{r, Decide(ToResume, r, Situation{Boot: boot})})
		}
	}
	return runs, nil
}

// fill asks a live run for what its locked journal cannot tell.
func fill(store *journal.Store, r journal.Summary) journal.Summary {
	if !r.Live {
		return r
	}
	if l, err := askStatus(store.Socket(r.Run)); err == nil {
		r.Meta, r.Operation, r.Snapshotter, r.Problem = l.Meta, l.Plan.Operation, l.Plan.Snapshotter, ""
	}
	return r
}

// Standing asks a live run how it stands; nil for one that is not live, whose details are returned.
func (e *Engine) Standing(word plan.RunID) (*LiveRun, RunDetails, error) {
	store, id, err := e.stateOf(word)
	if err != nil {
		return nil, RunDetails{}, err
	}
	s, err := askStatus(store.Socket(id))
	if err != nil { // not live, or so says its journal
		details, err := e.Show(id)
		return nil, details, err
	}
	steps := stepsOf(s.Plan)
	live := liveRun(s, func(id plan.StepID) *plan.Step { return steps[id] })
	return &live, live.RunDetails, nil
}

// Show reads a run from its journal, or asks the process that is at it.
func (e *Engine) Show(word plan.RunID) (RunDetails, error) {
	store, id, err := e.stateOf(word)
	if err != nil {
		return RunDetails{}, err
	}
	j, err := store.Read(id)
	if errors.Is(err, journal.ErrLive) {
		s, err := askStatus(store.Socket(id))
		if err != nil {
			return RunDetails{}, hinted("try again", "run %s is live and does not answer yet: %w", id, err)
		}
		story := detailsOf(s.Meta, s.Plan, s.Records)
		story.Live = true
		return story, nil
	}
	if err != nil {
		return RunDetails{}, err
	}
	defer j.Close()
	return detailsOf(j.Meta(), j.Plan(), j.Records()), nil
}
