package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// Rollback undoes what an unfinished run did. deleteVolumes asks for each volume that the run made and that was in use,
// whether to delete it.
func (e *Engine) Rollback(ctx context.Context, word plan.RunID, deleteVolumes bool) (RunResult, error) {
	if err := needRoot("roll back"); err != nil {
		return RunResult{}, err
	}
	store, id, err := e.stateOf(word)
	if err != nil {
		return RunResult{}, err
	}
	e.thawOwned(ctx, store)
	if m, p, back, is, err := finishedRestore(store, id); is || err != nil {
		if err == nil && deleteVolumes {
			err = usageError("--delete-volumes is for unfinished runs: the restored volumes were in use and are kept")
		}
		if err != nil {
			return RunResult{}, err
		}
		return e.goBack(ctx, store, m, p, back)
	}
	run, err := e.openRun(ctx, store, id)
	if err != nil {
		return RunResult{}, err
	}
	if run.Plan().Irreversible {
		_ = run.Close()
		return RunResult{}, hinted(fmt.Sprintf("run `snaptastic resume %s` to finish it or `snaptastic abandon %s` to end it", id, id),
			"cannot roll back run %s: deleted resources cannot be recovered", id)
	}
	act := action{rollback: true}
	if deleteVolumes {
		if act.deleteKept, err = e.mayDelete(ctx, run); err != nil {
			_ = run.Close()
			return RunResult{}, err
		}
	}
	return e.execute(ctx, store, run, act)
}

// mayDelete asks for each volume that the run made and that a rollback would
// otherwise keep, since somebody may have written to it.
func (e *Engine) mayDelete(ctx context.Context, run *journal.Run) (map[string]bool, error) {
	records, out := run.Records(), map[string]bool{}
	for _, s := range run.Plan().Steps {
		r := records[s.ID]
		if s.KeptBy == "" || !r.Began() || !records[s.KeptBy].EverDone {
			continue
		}
		if r.Facts == nil || r.Facts.VolumeID == "" {
			continue
		}
		id := r.Facts.VolumeID
		switch err := e.confirm(ctx, "delete "+id, fmt.Sprintf("Delete %s, which was mounted on %s, with all its data?", id, s.Lane)); {
		case err == nil:
			out[id] = true
		case !errors.Is(err, errDeclined):
			return nil, err
		}
	}
	return out, nil
}

// notInUse are the unfinished lanes whose volume was never mounted. What was
// mounted once stays: the new plan adopts it, while taking it off would bring
// back an older state of it, or none, over what somebody wrote since.
func notInUse(run *journal.Run) []string {
	records, lanes := run.Records(), run.UnfinishedLanes()
	for _, s := range run.Plan().Steps {
		if s.KeptBy != "" && records[s.KeptBy].EverDone {
			lanes = slices.DeleteFunc(lanes, func(lane string) bool { return lane == s.Lane })
		}
	}
	if len(lanes) == 0 {
		return []string{"-"} // no lane; none at all would mean every lane
	}
	return lanes
}

// Abandon ends an unfinished run as it is, and returns what it leaves behind.
func (e *Engine) Abandon(ctx context.Context, word plan.RunID) (RunDetails, error) {
	store, id, err := e.stateOf(word)
	if err != nil {
		return RunDetails{}, err
	}
	e.thawOwned(ctx, store)
	run, err := store.Resume(id)
	if err != nil {
		return RunDetails{}, liveIsBusy(id, err)
	}
	defer run.Close()
	if m := run.Meta(); m.Outcome.Ended() {
		return RunDetails{}, hinted("", "run %s has already ended (%s)", id, m.Outcome)
	}
	if err := e.confirm(ctx, "abandon run "+string(id), fmt.Sprintf("End run %s without undoing it? It cannot be resumed or rolled back afterwards.", id)); err != nil {
		return RunDetails{}, err
	}
	if err := e.endHooks(ctx, store, id); err != nil {
		return RunDetails{}, err
	}
	err = endAs(run.Journal, journal.Abandoned)
	return detailsOf(run.Meta(), run.Plan(), run.Records()), err
}

// endAs ends a run without going on with it.
func endAs(j *journal.Journal, outcome journal.Outcome) error {
	m := j.Meta()
	m.Outcome, m.Ended = outcome, time.Now()
	return j.SetMeta(m)
}
