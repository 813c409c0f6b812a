package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/plan/units"
)

func runsCommand(a *app) *cobra.Command {
	var f engine.RunFilter
	var since, state, format string
	c := &cobra.Command{Use: "runs", Short: "List all runs, oldest first", Args: exactly(),
		RunE: func(*cobra.Command, []string) (err error) {
			if f.State, err = phase(state); err != nil {
				return err
			}
			if since != "" {
				if f.Since, err = units.ParsePast(since, time.Now()); err != nil {
					return usageError("--since: %w", err)
				}
			}
			if names := operationNames(); f.Operation != "" && !slices.Contains(names, f.Operation) {
				return usageError("--operation %q: must be one of %s", f.Operation, strings.Join(names, ", "))
			}
			if f.Limit < 0 {
				return usageError("--limit %d: must be 1 or more; leave it out to list all", f.Limit)
			}
			if format != "text" && format != "prometheus" {
				return usageError("--format %q: must be text or prometheus", format)
			}
			runs, err := a.Runs(f)
			if format == "prometheus" {
				return a.runMetrics(runs, err)
			}
			none := "no runs yet"
			if f != (engine.RunFilter{}) {
				none = "no such runs"
			}
			return a.listRuns(runs, err, none)
		}}
	set := c.Flags()
	set.StringVar(&f.Operation, "operation", "", "only runs of this `operation`, such as mount, snapshot or \"clean volumes\"")
	set.StringVar(&f.Snapshotter, "snapshotter", "", "only runs of the snapshotter with this `name`")
	set.StringVar(&state, "state", "", "only runs in this `state`: "+listOf(engine.Phases))
	set.StringVar(&since, "since", "", "only runs begun since this `time`: 36h, 7d, 2026-11-27 (UTC), or 2026-11-27T08:00:00Z")
	set.IntVar(&f.Limit, "limit", 0, "only the newest `n` of them")
	set.StringVar(&format, "format", "text", "`format`: text or prometheus (for the textfile collector)")
	return c
}

// runMetrics prints how the last runs ended, for node_exporter.
func (a *app) runMetrics(runs []engine.RunState, err error) error {
	switch {
	case a.json():
		return usageError("--format prometheus and --output json cannot be combined")
	case err != nil && !engine.NoState(err): // where nothing has run yet, there is nothing to tell
		return err
	}
	metrics, unfinished := a.MetricsOf(runs)
	return render.RunsPrometheus(a.stdout, metrics, unfinished)
}

// listOf joins words for a help text.
func listOf[T ~string](words []T) string {
	var out []string
	for _, w := range words {
		out = append(out, string(w))
	}
	return strings.Join(out, ", ")
}

func phase(word string) (engine.Phase, error) {
	if word != "" && !slices.Contains(engine.Phases, engine.Phase(word)) {
		return "", usageError("--state %q: must be one of %s", word, listOf(engine.Phases))
	}
	return engine.Phase(word), nil
}

// operationNames are those that a run can have.
func operationNames() (names []string) {
	for _, op := range slices.Concat(engine.Operations(), engine.CleanUps()) {
		names = append(names, op.Name)
	}
	return names
}

// listRuns prints the runs, or the word for none. That there is no state folder is not the same as that all is well; on a
// machine that has not run yet it is no failure.
func (a *app) listRuns(runs []engine.RunState, err error, none string) error {
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
