package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

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
	for _, sub := range c.Commands() {
		completions(a, sub)
	}
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
