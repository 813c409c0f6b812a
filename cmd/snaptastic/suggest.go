package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snaptastic/cmd/internal/settings"
)

// nearCommand is the command below c that a mistyped word most likely meant; "" for none.
func nearCommand(c *cobra.Command, word string) string {
	var known []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	return settings.Nearest(word, known)
}

// flagHint says what to do about flags that cannot be read: the flag that was most likely meant, or where they are listed.
func flagHint(c *cobra.Command, err error) string {
	hint := "see `" + c.CommandPath() + " --help`"
	unknown, is := errors.AsType[*pflag.NotExistError](err)
	if !is || unknown.GetSpecifiedShortnames() != "" {
		return hint
	}
	var known []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, f.Name)
		}
	})
	if near := settings.Nearest(unknown.GetSpecifiedName(), known); near != "" {
		return "did you mean --" + near + "? " + hint
	}
	return hint
}
