package main

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

// jsonlAnnotation marks commands that print events with -o jsonl.
const jsonlAnnotation = "jsonl"

// takesLines lets the command print events as they happen with -o jsonl.
func takesLines(c *cobra.Command) *cobra.Command {
	c.Annotations = map[string]string{jsonlAnnotation: "yes"}
	return c
}

// eventsFlag is for every command that executes a run.
func eventsFlag(c *cobra.Command, a *app) {
	c.Flags().StringVar(&a.eventFile, "events", "", "add events as they happen to this `FILE`, one JSON document a line; - for stdout, as -o jsonl (docs/json.md)")
	takesLines(c)
}

// openEvents opens what --events names, before anything is done.
func (a *app) openEvents() error {
	warn := func(err error) { a.log.Warn("events are lost; the run goes on", "error", err) }
	switch {
	case a.eventFile == "-" && a.output == "json":
		return usageError("--events - and -o json would both write to stdout: use --events FILE, or -o jsonl alone")
	case a.eventFile == "-" || a.output == "jsonl" && a.eventFile == "":
		a.output = "jsonl"
		a.events = render.NewEventFile(a.stdoutFile, warn)
	case a.eventFile != "":
		if a.output == "jsonl" {
			return usageError("-o jsonl writes the events to stdout: leave out --events, or -o jsonl")
		}
		path, err := filepath.Abs(a.eventFile)
		if err == nil {
			a.events, err = render.OpenEventFile(path, warn)
		}
		if err != nil {
			return &engine.Error{Code: engine.Usage, Err: engine.WithHint("name a file in a directory that exists, or a pipe", err)}
		}
		a.eventFile = path
	}
	return nil
}
