package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

func statusCommand(a *app) *cobra.Command {
	follow := false
	c := &cobra.Command{Use: "status [RUN]", Short: "List live and unfinished runs, or show how one stands", Args: between(0, "RUN"),
		Long: `List the runs that are live or unfinished, and what the next resume does with each.
With RUN, show how far that one is: each volume with the step that it is in.

With --watch, follow all live runs, or RUN until it ends: steps, retries, throttling,
time-outs and freeze windows as they happen. On a terminal the screen is redrawn;
otherwise one line is printed for each event, with -o jsonl as JSON. Any number of
watchers may look on; they do not slow a run down. Ctrl-C ends the watch, not the run.`,
		RunE: func(c *cobra.Command, args []string) error {
			run := engine.RunID(strings.Join(args, ""))
			switch {
			case follow:
				return a.watchRuns(c.Context(), run)
			case run != "":
				return a.standing(run)
			}
			runs, err := a.Status(false)
			return a.listRuns(runs, err, "no live or unfinished runs")
		}}
	c.Flags().BoolVarP(&follow, "watch", "w", false, "follow live runs as things happen")
	return takesLines(c)
}

// standing prints how one run stands.
func (a *app) standing(run engine.RunID) error {
	live, details, err := a.Standing(run)
	switch {
	case err != nil:
		return err
	case live == nil || a.json():
		return a.show(details)
	}
	return render.Standing(a.stdout, *live, time.Now(), a.style(a.stdoutFile))
}

// watchRuns follows live runs until the end of the one that was asked for, or a signal.
func (a *app) watchRuns(ctx context.Context, run engine.RunID) error {
	if a.json() {
		return usageError("--watch prints events as they happen: use -o jsonl in place of -o json")
	}
	var w engine.Watch
	live := false
	switch _, onTerminal := render.Detect(a.stdoutFile, os.Getenv); {
	case a.output == "jsonl":
		w = render.NewWatchEvents(a.stdout)
	case onTerminal:
		live = true
		screen := render.NewWatch(a.stdout, run, a.style(a.stdoutFile))
		defer screen.Close()
		w = screen
	default:
		log, err := render.NewLogger(a.stdout, a.logLevel, a.logFormat == "json", false)
		if err != nil {
			return err
		}
		w = render.NewWatchLines(log, a.repeated)
	}
	was, err := a.WatchRuns(ctx, run, w)
	if err == nil && !was && !live { // there is nothing to follow: say how it ended
		return a.standing(run)
	}
	return err
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
