package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
)

func runCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "run mount|snapshot|unmount NAME", Short: "Compile, journal and execute an operation", Args: unknownOperation}
	for _, op := range []string{"mount", "snapshot", "unmount"} {
		c.AddCommand(operationCommand(a, op))
	}
	c.RunE = func(c *cobra.Command, args []string) error { return unknownOperation(c, args) }
	return c
}

func unknownOperation(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return &engine.Error{Code: engine.Usage, Err: fmt.Errorf("%s: the operation is missing: mount, snapshot or unmount", c.CommandPath()), Hint: "usage: snaptastic " + c.Use}
	}
	return &engine.Error{Code: engine.Usage, Err: fmt.Errorf("%s: %q is not an operation; there are mount, snapshot and unmount", c.CommandPath(), args[0]), Hint: "usage: snaptastic " + c.Use}
}

var operationShort = map[string]string{
	"mount":    "Mount a snapshotter's volumes, from their newest snapshots where they are not there yet",
	"snapshot": "Make consistent snapshots of a snapshotter's volumes",
	"unmount":  "Unmount and detach a snapshotter's volumes; they remain and are billed",
}

func operationCommand(a *app, op string) *cobra.Command {
	var o engine.Options
	var onFailure string
	c := &cobra.Command{Use: op + " NAME", Short: operationShort[op], Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if onFailure != "stop" && onFailure != "rollback" {
				return usageError("--on-failure %q is neither stop nor rollback", onFailure)
			}
			return a.Run(c.Context(), engine.RunRequest{Operation: op, Name: args[0], Options: o, RollBack: onFailure == "rollback"})
		}}
	a.patienceFlag(c)
	optionFlags(c, op, &o)
	if op != "snapshot" {
		privateMountsFlag(c, a)
	}
	c.Flags().StringVar(&onFailure, "on-failure", "stop", "what to do when it fails: `stop` (resumable), or rollback")
	return c
}

// optionFlags are the flags that change the plan; `run` and `plan` share them.
func optionFlags(c *cobra.Command, op string, o *engine.Options) {
	switch op {
	case "mount":
		c.Flags().BoolVar(&o.AllowOlder, "allow-older", false, "pass over a newest snapshot that is archived or in the recycle bin")
		c.Flags().BoolVar(&o.MixSets, "mix-sets", false, "newest snapshot per mount point, even of different sets")
		c.Flags().BoolVar(&o.IgnoreMounted, "ignore-mounted", false, "leave a foreign volume under a device name alone and go on with the others")
	case "snapshot":
		c.Flags().BoolVar(&o.Wait, "wait", false, "wait until the snapshots are completed")
	}
}

// privateMountsFlag is for every command that mounts or unmounts.
func privateMountsFlag(c *cobra.Command, a *app) {
	c.Flags().BoolVar(&a.privateMounts, "private-mounts", false, "mount and unmount in this process's own mount namespace, though the rest of the machine does not see it")
}
