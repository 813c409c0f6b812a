package main

import (
	"errors"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
)

func doctorCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "doctor", Aliases: []string{"test"}, Args: exactly(),
		Short: "Look at settings, credentials, permissions, metadata, tools and state; change nothing",
		Long: `Look at everything that a run needs and say in one line each whether it is
there, and what mends it. Nothing is changed: permissions are tried with EC2's
DryRun, the freeze guard is started and freezes nothing.

It works without root and without settings, and says what it could not look at.
It exits with 1 when something fails.`,
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
