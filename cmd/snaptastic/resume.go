package main

import (
	"strings"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
)

func resumeCommand(a *app) *cobra.Command {
	var redo, done []string
	c := &cobra.Command{Use: "resume [RUN]", Short: "Finish what a crash left; without RUN what may be finished unattended", Args: between(0, "RUN"),
		Long: `Finish what a crash left.

Without RUN, interrupted runs only: mounts go on, at any boot; a snapshot run goes
on under the boot it began with and is otherwise thawed and undone; an unmount is
left for an operator, and so is a failed run. It is for every boot, and exits 0
when there is nothing to do.`,
		RunE: func(c *cobra.Command, args []string) error {
			a.listed = len(args) == 0
			r, err := a.Resume(c.Context(), engine.ResumeRequest{Run: engine.RunID(strings.Join(args, "")), Redo: engine.StepIDs(redo), AssumeDone: engine.StepIDs(done)})
			if !a.listed {
				return err
			}
			return a.resumed(r, err)
		}}
	privateMountsFlag(c, a)
	a.patienceFlag(c)
	c.Flags().StringSliceVar(&redo, "redo", nil, "do this uncertain `STEP` again")
	c.Flags().StringSliceVar(&done, "assume-done", nil, "take this uncertain `STEP` as done")
	return c
}
