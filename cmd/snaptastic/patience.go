package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/settings"
)

const (
	// readTimeout bounds a command that only looks: a large account behind a throttled API takes its time.
	readTimeout = "2m"
	// checkTime leaves a monitor time to hear the answer.
	checkTime = "50s"
)

// patienceFlag makes a command one that runs unattended.
func (a *app) patienceFlag(c *cobra.Command) {
	var text string
	c.Flags().StringVar(&text, "patience", "", "how long to retry if metadata, credentials or EC2 are not available yet, such as `5m`; 0s: try once (default: from the settings, or 5m, shared by the commands of one boot)")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if text == "" {
			a.Unattended(nil)
			return run(c, args)
		}
		bound, err := settings.ParseDuration(text)
		if err != nil {
			return usageError("--patience %q: %w", text, err)
		}
		a.Unattended(&bound)
		return run(c, args)
	}
}

// timeoutFlag bounds a command that only looks.
func (a *app) timeoutFlag(c *cobra.Command, standard string) {
	var text string
	c.Flags().StringVar(&text, "timeout", standard, "give up after this `time`, such as 30s or 5m")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		bound, err := settings.ParseDuration(text)
		if err == nil && bound <= 0 {
			err = errors.New("must be greater than 0")
		}
		if err != nil {
			return usageError("--timeout %q: %w", text, err)
		}
		return a.Within(c.Context(), bound, c.Flags().Changed("timeout"), func(ctx context.Context) error {
			c.SetContext(ctx)
			return run(c, args)
		})
	}
}
