package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/steps/recipe"
)

// A Phase is how a run is, in one word that a filter takes.
type Phase string

const (
	PhaseLive        Phase = "live"        // a process is at it
	PhaseInterrupted Phase = "interrupted" // cut off by a crash or a signal; resumable
	PhaseFailed      Phase = "failed"
	PhaseDone        Phase = "done"
	PhaseRolledBack  Phase = "rolled-back"
	PhaseAbandoned   Phase = "abandoned"
	PhaseAborted     Phase = "aborted" // it ended before it changed anything
	PhaseDamaged     Phase = "damaged" // its journal cannot be read
)

// Phases are all that a filter takes.
var Phases = []Phase{PhaseLive, PhaseInterrupted, PhaseFailed, PhaseDone, PhaseRolledBack, PhaseAbandoned, PhaseAborted, PhaseDamaged}

// PhaseOf is the phase of a run. A run without an outcome whose journal nobody holds was cut off.
func PhaseOf(s journal.Summary) Phase {
	switch {
	case s.Damaged:
		return PhaseDamaged
	case s.Live:
		return PhaseLive
	case s.Outcome == journal.Unfinished, s.RollingBack && !s.Outcome.Ended():
		return PhaseInterrupted
	}
	return Phase(s.Outcome)
}

// A RunFilter chooses runs of a list; a zero field takes all.
type RunFilter struct {
	Operation   string    // such as "mount" or "clean volumes"
	Snapshotter string    // its name in the settings
	State       Phase     // one of Phases
	Since       time.Time // not begun before
	Limit       int       // at most so many, the newest ones
}

func (f RunFilter) takes(r RunState) bool {
	return (f.Operation == "" || r.Operation == f.Operation) && (f.Snapshotter == "" || r.Snapshotter == f.Snapshotter) &&
		(f.State == "" || PhaseOf(r.Summary) == f.State) && !r.Created.Before(f.Since)
}

// Runs lists the runs that the filter takes, oldest first, and what `resume` will do with each. The error wraps
// journal.ErrNoState where there is no state folder.
func (e *Engine) Runs(f RunFilter) ([]RunState, error) {
	all, err := e.Status(true)
	if err != nil {
		return nil, err
	}
	runs := slices.DeleteFunc(all, func(r RunState) bool { return !f.takes(r) })
	if f.Limit > 0 && len(runs) > f.Limit {
		runs = runs[len(runs)-f.Limit:]
	}
	return runs, nil
}

// RunIDs lists the ids of all runs, oldest first, without reading their journals.
func (e *Engine) RunIDs() ([]plan.RunID, error) {
	store, err := e.readState()
	if err != nil {
		return nil, err
	}
	return store.IDs()
}

// MakesSets says whether a finished run of the operation has labelled snapshots, which a mount can take as a set.
func MakesSets(operation string) bool {
	op, _ := recipe.Named(operation)
	return op.LabelsSnapshots
}

// LastRun is what is typed for the newest run.
const LastRun = "last"

// shownMatches is how many of the runs that a prefix could mean are named.
const shownMatches = 5

// findRun returns the run that is meant by its id, by the beginning of its id, or by "last". A whole id is taken as it is:
// whoever opens its journal says whether there is one.
func findRun(store *journal.Store, word plan.RunID) (plan.RunID, error) {
	ids, err := store.IDs()
	if err != nil {
		return "", err
	}
	if word == LastRun {
		if len(ids) == 0 {
			return "", fmt.Errorf("there is no last run: no run has used %s yet", store.Dir())
		}
		return ids[len(ids)-1], nil
	}
	var found []plan.RunID
	for _, id := range ids {
		if id == word {
			return id, nil
		}
		if word != "" && strings.HasPrefix(string(id), string(word)) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return word, nil
	case 1:
		return found[0], nil
	}
	slices.Reverse(found)
	names := make([]string, 0, shownMatches)
	for _, id := range found[:min(len(found), shownMatches)] {
		names = append(names, string(id))
	}
	if more := len(found) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return "", &Error{Code: Usage, Err: plan.WithHint("type more of the id, or `last` for the newest run; `snaptastic runs` lists all",
		fmt.Errorf("run id %s is ambiguous: it may be %s", word, strings.Join(names, ", ")))}
}
