package main

import (
	"context"
	"errors"
	"snaptastic/plan/units"
	"time"

	"github.com/spf13/cobra"
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
		bound, err := durationFlag("patience", text, 0)
		if err != nil {
			return err
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
		bound, err := durationFlag("timeout", text, time.Second)
		if err != nil {
			return err
		}
		return a.Within(c.Context(), bound, c.Flags().Changed("timeout"), func(ctx context.Context) error {
			c.SetContext(ctx)
			return run(c, args)
		})
	}
}

// durationFlag reads the duration that a flag was given.
func durationFlag(name, text string, least time.Duration) (time.Duration, error) {
	d, err := units.ParseDuration(text)
	if err == nil && d < least {
		err = errors.New("must be greater than 0")
	}
	if err != nil {
		return 0, usageError("--%s %q: %w", name, text, err)
	}
	return d, nil
}
