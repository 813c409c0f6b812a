package main

import (
	"errors"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
)

func doctorCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "doctor", Aliases: []string{"test"}, Args: exactly(),
		Short: "Check settings, credentials, permissions, metadata, tools and state; read-only",
		Long: `Check everything that a run needs. Prints one line per check, with a fix for each
problem. Nothing is changed: permissions are tested with EC2's DryRun, and the freeze
guard is started without freezing anything.

It works without root and without settings, and lists what it could not check. It
exits with 1 if a check fails.`,
		RunE: func(c *cobra.Command, _ []string) error {
			findings, err := a.Doctor(c.Context())
			switch {
			case findings == nil:
				return err
			case a.json():
				return errors.Join(render.FindingsJSON(a.stdout, findings, a.repeated), err)
			}
			return errors.Join(render.Findings(a.stdout, findings, a.style(a.stdoutFile)), err)
		}}
	a.timeoutFlag(c, readTimeout)
	return c
}
