package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
	"snaptastic/journal"
	"snaptastic/plan"
)

func statusCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Live and unfinished runs", Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			open := func(r journal.Summary) bool { return !r.Outcome.Ended() || r.Problem != "" }
			return a.listRuns(open, "no run is live or unfinished")
		}}
}

func runsCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "runs", Short: "All runs, oldest first", Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			return a.listRuns(func(journal.Summary) bool { return true }, "no runs yet")
		}}
}

// listRuns prints the runs that are wanted, or the word for none.
func (a *app) listRuns(wanted func(journal.Summary) bool, none string) error {
	store, err := a.stateForLooking()
	if errors.Is(err, journal.ErrNoState) {
		return a.noState(err)
	}
	if err != nil {
		return err
	}
	all, err := store.List()
	if err != nil {
		return err
	}
	var runs []journal.Summary
	for _, r := range all {
		if wanted(r) {
			runs = append(runs, fill(store, r))
		}
	}
	if a.json() {
		return render.RunsJSON(a.stdout, runs)
	}
	if len(runs) == 0 {
		fmt.Fprintln(a.stdout, none)
		return nil
	}
	return render.Runs(a.stdout, runs, time.Now(), a.style(a.stdoutFile))
}

// noState says that there is none, which is not the same as that all is well. On
// a machine that has not run yet it is no failure.
func (a *app) noState(err error) error {
	if !a.json() {
		_, err := fmt.Fprintf(a.stdout, "%s\n", render.Clean(err.Error()))
		return err
	}
	fmt.Fprintf(a.stderr, "%s\n", render.Clean(err.Error()))
	return render.JSON(a.stdout, []int{})
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

func showCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "show RUN", Short: "One run: its steps, states, attempts, durations, errors and ids", Args: exactly("RUN"),
		RunE: func(_ *cobra.Command, args []string) error {
			store, err := a.stateOf(plan.RunID(args[0]))
			if err != nil {
				return err
			}
			v, err := a.view(store, plan.RunID(args[0]))
			if err != nil {
				return err
			}
			if a.json() {
				return render.ShowJSON(a.stdout, v, time.Now())
			}
			return render.Show(a.stdout, v, time.Now(), a.style(a.stdoutFile))
		}}
}

// view reads a run from its journal, or asks the process that holds it.
func (a *app) view(store *journal.Store, id plan.RunID) (render.Story, error) {
	j, err := store.Read(id)
	if errors.Is(err, journal.ErrLive) {
		s, err := askStatus(store.Socket(id))
		if err != nil {
			return render.Story{}, hinted("try again", "run %s is live and does not answer yet: %w", id, err)
		}
		story := a.storyOf(s.Meta, s.Plan, s.Records)
		story.Live = true
		return story, nil
	}
	if err != nil {
		return render.Story{}, err
	}
	defer j.Close()
	return a.storyOf(j.Meta(), j.Plan(), j.Records()), nil
}

func (a *app) storyOf(m journal.Meta, p *plan.Plan, records map[plan.StepID]journal.Record) render.Story {
	return render.Story{Summary: journal.Summary{Meta: m, Operation: p.Operation, Snapshotter: p.Snapshotter}, Plan: p, Records: records, Flags: a.repeated}
}
