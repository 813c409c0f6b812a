package main

import (
	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

func statusCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "List live and unfinished runs", Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			runs, err := a.Status(false)
			return a.listRuns(runs, err, "no live or unfinished runs")
		}}
}

func showCommand(a *app) *cobra.Command {
	history, page := false, ""
	c := &cobra.Command{Use: "show RUN", Short: "Show one run: steps, states, attempts, durations, errors and ids", Args: exactly("RUN"),
		RunE: func(_ *cobra.Command, args []string) error {
			if history {
				return a.showHistory(engine.RunID(args[0]))
			}
			if page != "" {
				return a.report(engine.RunID(args[0]), page)
			}
			s, err := a.Show(engine.RunID(args[0]))
			if err != nil {
				return err
			}
			return a.show(s)
		}}
	c.Flags().BoolVar(&history, "history", false, "print every record of the journal in order, with times")
	c.Flags().StringVar(&page, "html", "", "write a report of the run as an HTML page to `FILE`; - is stdout")
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
