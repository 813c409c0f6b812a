package main

import (
	"strings"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
)

func resumeCommand(a *app) *cobra.Command {
	var redo, done []string
	c := &cobra.Command{Use: "resume [RUN]", Short: "Finish interrupted runs; without RUN, all that are safe to resume unattended", Args: between(0, "RUN"),
		Long: `Finish interrupted runs.

Without RUN, it takes interrupted runs only. Mounts are continued after any boot. A
snapshot run is continued in the boot it started in; after a reboot it is thawed and
undone. Unmounts and failed runs wait for an operator. Run it at every boot: it exits
0 if there is nothing to do.`,
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
	eventsFlag(c, a)
	c.Flags().StringSliceVar(&redo, "redo", nil, "run this uncertain `STEP` again")
	c.Flags().StringSliceVar(&done, "assume-done", nil, "mark this uncertain `STEP` as done")
	return c
}
