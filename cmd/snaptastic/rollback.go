package main

import (
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

func rollbackCommand(a *app) *cobra.Command {
	var deleteVolumes bool
	c := &cobra.Command{Use: "rollback RUN", Short: "Undo what an unfinished run did", Args: exactly("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			_, err := a.Rollback(c.Context(), engine.RunID(args[0]), deleteVolumes)
			return err
		}}
	privateMountsFlag(c, a)
	a.patienceFlag(c)
	eventsFlag(c, a)
	c.Flags().BoolVar(&deleteVolumes, "delete-volumes", false, "also delete volumes that the run created and mounted; asks for each one")
	return c
}

func abandonCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "abandon RUN", Short: "End an unfinished run without undoing it, and list what it leaves behind", Args: exactly("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.Abandon(c.Context(), engine.RunID(args[0]))
			if err != nil {
				return err
			}
			if a.json() {
				return a.show(s)
			}
			return render.Abandoned(a.stdout, a.details(s), time.Now(), a.style(a.stdoutFile))
		}}
}

func (a *app) details(s engine.RunDetails) render.Details {
	return render.Details{RunDetails: s, Flags: a.repeated}
}

// show prints one run.
func (a *app) show(s engine.RunDetails) error {
	story := a.details(s)
	if a.json() {
		return render.ShowJSON(a.stdout, story, time.Now())
	}
	return render.Show(a.stdout, story, time.Now(), a.style(a.stdoutFile))
}
