package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
)

func runCommand(a *app) *cobra.Command {
	return operationsCommand("run", "Plan, journal and execute an operation", func(op *engine.Operation) *cobra.Command { return operationCommand(a, op) })
}

// operationsCommand has a command for each operation.
func operationsCommand(verb, short string, command func(*engine.Operation) *cobra.Command) *cobra.Command {
	var names []string
	c := &cobra.Command{Short: short}
	for _, op := range engine.Operations() {
		names = append(names, op.Name)
		c.AddCommand(command(op))
	}
	last := len(names) - 1
	first := strings.Join(names[:last], ", ")
	c.Use = verb + " " + strings.Join(names, "|") + " NAME"
	c.Args = func(c *cobra.Command, args []string) error {
		err := fmt.Errorf("%s: missing operation: %s or %s", c.CommandPath(), first, names[last])
		hint := "usage: snaptastic " + c.Use
		if len(args) > 0 {
			if near := nearCommand(c, args[0]); near != "" {
				hint = "did you mean `" + c.CommandPath() + " " + near + "`? " + hint
			}
			err = fmt.Errorf("%s: unknown operation %q: must be %s or %s", c.CommandPath(), args[0], first, names[last])
		}
		return &engine.Error{Code: engine.Usage, Err: engine.WithHint(hint, err)}
	}
	c.RunE = func(c *cobra.Command, args []string) error { return c.Args(c, args) }
	return c
}

func operationCommand(a *app, op *engine.Operation) *cobra.Command {
	r := engine.RunRequest{Operation: op.Name}
	var onFailure string
	c := &cobra.Command{Use: op.Name + " NAME", Short: op.Short, Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if onFailure != "stop" && onFailure != "rollback" {
				return usageError("--on-failure %q: must be stop or rollback", onFailure)
			}
			r.Name, r.RollBack = args[0], onFailure == "rollback"
			_, err := a.Run(c.Context(), r)
			return err
		}}
	a.patienceFlag(c)
	eventsFlag(c, a)
	r.Options = optionFlags(c, op)
	if op.ChangesMounts() {
		privateMountsFlag(c, a)
	}
	c.Flags().StringVar(&r.Key, "key", "", "run it once, however often it is called with this `key`: wait for the run with the key, go on with it, or print its result again")
	c.Flags().StringVar(&onFailure, "on-failure", "stop", "what to do when it fails: `stop` (resumable), or rollback")
	return c
}

// optionFlags are the flags that change the plan; `run` and `plan` share them. The options have their values when the command
// runs.
func optionFlags(c *cobra.Command, op *engine.Operation) engine.Options {
	options := engine.Options{}
	for _, f := range op.Flags {
		switch standard := f.Default.(type) {
		case bool:
			c.Flags().Bool(f.Name, standard, f.Help)
		case string:
			c.Flags().String(f.Name, standard, f.Help)
		}
	}
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		for _, f := range op.Flags {
			switch f.Default.(type) {
			case bool:
				options[f.Name], _ = c.Flags().GetBool(f.Name)
			case string:
				options[f.Name], _ = c.Flags().GetString(f.Name)
			}
		}
		return run(c, args)
	}
	return options
}

// privateMountsFlag is for every command that mounts or unmounts.
func privateMountsFlag(c *cobra.Command, a *app) {
	c.Flags().BoolVar(&a.privateMounts, "private-mounts", false, "allow mounting in a private mount namespace, which other processes cannot see")
}
