package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snaptastic/cmd/internal/engine"
)

// completions completes the arguments of all commands by their names in the usage line: RUN and NAME. Nothing is said of what
// cannot be read: a shell asks while somebody types.
func completions(a *app, c *cobra.Command) {
	words := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(c.Use))
	if c.ValidArgsFunction == nil && len(words) > 1 {
		switch words[len(words)-1] {
		case "RUN":
			c.ValidArgsFunction = first(a.runWords)
		case "NAME":
			c.ValidArgsFunction = first(a.snapshotterNames)
		}
	}
	completeFlags(a, c)
	for _, sub := range c.Commands() {
		completions(a, sub)
	}
}

// flagWords are the values that a flag can have, by its name.
var flagWords = map[string][]string{
	"output": {"text", "json", "jsonl"}, "log-format": {"text", "json"}, "log-level": {"trace", "debug", "info", "warn", "error", "off"},
	"on-failure": {"stop", "rollback"},
}

// formatWords are those of --format, which differ, by the word in its help that tells the commands apart.
var formatWords = [][]string{{"tree", "dot", "mermaid"}, {"text", "nagios", "prometheus"}, {"text", "prometheus"}}

func completeFlags(a *app, c *cobra.Command) {
	complete := func(f *pflag.Flag, words func(args []string) []string) {
		_ = c.RegisterFlagCompletionFunc(f.Name, func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return words(args), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		})
	}
	each := func(f *pflag.Flag) {
		words := flagWords[f.Name]
		switch f.Name {
		case "format":
			for _, all := range formatWords {
				if words == nil && strings.Contains(f.Usage, all[0]) && strings.Contains(f.Usage, all[1]) {
					words = all
				}
			}
		case "state":
			for _, p := range engine.Phases {
				words = append(words, string(p))
			}
		case "operation":
			words = operationNames()
		case "snapshotter":
			complete(f, func([]string) []string { return a.snapshotterNames() })
		case "set":
			complete(f, a.setWords)
		}
		if words != nil {
			complete(f, func([]string) []string { return words })
		}
	}
	c.LocalFlags().VisitAll(each)
}

// setWords are the sets that --set takes: the runs on this machine that made snapshots of the snapshotter, the newest first.
func (a *app) setWords(args []string) (words []string) {
	f := engine.RunFilter{State: engine.PhaseDone}
	if len(args) > 0 {
		f.Snapshotter = args[0]
	}
	runs, err := engine.New(a.config()).Runs(f)
	if err != nil {
		return nil
	}
	for _, r := range slices.Backward(runs) {
		if engine.MakesSets(r.Operation) {
			words = append(words, string(r.Run))
		}
	}
	return words
}

// first completes the first argument.
func first(words func() []string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words(), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// runWords are the words for a run: the newest first.
func (a *app) runWords() []string {
	ids, err := engine.New(a.config()).RunIDs()
	if err != nil {
		return nil
	}
	words := []string{engine.LastRun}
	for _, id := range slices.Backward(ids) {
		words = append(words, string(id))
	}
	return words
}

// snapshotterNames are those of the settings.
func (a *app) snapshotterNames() []string {
	f, err := a.loadFile()
	if err != nil {
		return nil
	}
	return f.Names()
}
