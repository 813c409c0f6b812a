package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

func statusCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "List live and unfinished runs", Args: exactly(),
		RunE: func(*cobra.Command, []string) error { return a.listRuns(false, "no live or unfinished runs") }}
}

func runsCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "runs", Short: "List all runs, oldest first", Args: exactly(),
		RunE: func(*cobra.Command, []string) error { return a.listRuns(true, "no runs yet") }}
}

// listRuns prints the unfinished runs, or all, or the word for none. That there is no state folder is not the same as that
// all is well; on a machine that has not run yet it is no failure.
func (a *app) listRuns(all bool, none string) error {
	runs, err := a.Status(all)
	switch {
	case engine.NoState(err) && a.json():
		fmt.Fprintf(a.stderr, "%s\n", render.Clean(err.Error()))
	case engine.NoState(err):
		none = render.Clean(err.Error())
	case err != nil:
		return err
	}
	if a.json() {
		return render.RunsJSON(a.stdout, runs)
	}
	if len(runs) == 0 {
		_, err := fmt.Fprintln(a.stdout, none)
		return err
	}
	return render.Runs(a.stdout, runs, time.Now(), a.style(a.stdoutFile))
}

func showCommand(a *app) *cobra.Command {
	history := false
	c := &cobra.Command{Use: "show RUN", Short: "Show one run: steps, states, attempts, durations, errors and ids", Args: exactly("RUN"),
		RunE: func(_ *cobra.Command, args []string) error {
			if history {
				return a.showHistory(engine.RunID(args[0]))
			}
			s, err := a.Show(engine.RunID(args[0]))
			if err != nil {
				return err
			}
			return a.show(s)
		}}
	c.Flags().BoolVar(&history, "history", false, "print every record of the journal in order, with times")
	return c
}

func (a *app) showHistory(run engine.RunID) error {
	records, err := a.History(run)
	if err != nil {
		return err
	}
	if a.json() {
		return render.JSON(a.stdout, records)
	}
	return render.History(a.stdout, records, a.style(a.stdoutFile))
}
