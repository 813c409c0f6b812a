package main

import (
	"fmt"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

// stamp is the version set by the linker.
var stamp string

func version() string {
	if stamp != "" {
		return stamp
	}
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" && bi.Main.Version != "(devel)" {
		return strings.TrimPrefix(bi.Main.Version, "v")
	}
	return "0.0.0-dev"
}

func rootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "snaptastic",
		Short: "Restore and mount EBS volumes from their newest snapshots, and take consistent snapshots",
		Long: `Snaptastic restores and mounts the EBS volumes of an EC2 instance from their newest
tagged snapshots at boot, and takes file-system-consistent snapshots of them.

Every operation is compiled into a plan of steps and journalled. After a crash,
"snaptastic resume" finishes a run, or "snaptastic rollback" undoes it.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if !readOnlyCommand(c) {
				// A closed stdout or stderr is an error of that write, not the end of a run over someone's data. `show RUN | head -1`
				// ends like any other program.
				signal.Ignore(syscall.SIGPIPE)
			}
			if err := noEmptyFlag(c); err != nil {
				return err
			}
			return a.begin(c)
		},
	}
	a.flags.register(root.PersistentFlags())
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.Args = unknownCommand
	root.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &engine.Error{Code: engine.Usage, Err: engine.WithHint(flagHint(c, err), err)}
	})
	root.AddCommand(
		runCommand(a), planCommand(a), resumeCommand(a), rollbackCommand(a), abandonCommand(a),
		statusCommand(a), runsCommand(a), showCommand(a), traceCommand(a), reportCommand(a), thawCommand(a),
		volumesCommand(a), snapshotsCommand(a), instancesCommand(a), checkCommand(a),
		sandboxCommand(a), cleanCommand(a), labelCommand(a), undoCommand(a), versionCommand(a), doctorCommand(a), initCommand(a), validateCommand(a), fleetCommand(),
	)
	root.AddCommand(aliases(a)...)
	arrange(root)
	completions(a, root)
	return root
}

// noEmptyFlag refuses a flag that is given without a value, as `--key "$KEY"` does in a script where KEY is not set: taken for a flag that
// is left out, it would restore the newest set instead of the one meant, or snapshot again at each call.
func noEmptyFlag(c *cobra.Command) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" && err == nil {
			hint := "if the value comes from a variable, find out why that is not set"
			err = &engine.Error{Code: engine.Usage, Err: engine.WithHint(hint, fmt.Errorf("--%s has an empty value: give it one, or leave the flag out", f.Name))}
		}
	})
	return err
}

// readOnlyCommands are the commands that change nothing.
var readOnlyCommands = []string{"plan", "status", "runs", "show", "report", "volumes", "snapshots", "instances", "check", "doctor", "validate", "version", "help", "log"}

// readOnlyCommand says whether a command may be cut off at any instant: nobody's data hangs on it.
func readOnlyCommand(c *cobra.Command) bool {
	for ; c != nil; c = c.Parent() {
		if slices.Contains(readOnlyCommands, c.Name()) {
			return true
		}
	}
	return false
}

// unknownCommand refuses what is no command; an operation's bare name gets the
// whole spelling.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see `snaptastic --help`"
	if near := nearCommand(c, args[0]); near != "" {
		hint = "did you mean `snaptastic " + near + "`? " + hint
	}
	if slices.ContainsFunc(engine.Operations(), func(op *engine.Operation) bool { return op.Name == args[0] }) {
		hint = "run `snaptastic run " + args[0] + " NAME`, or `snaptastic plan " + args[0] + " NAME` to preview it"
	}
	return &engine.Error{Code: engine.Usage, Err: engine.WithHint(hint, fmt.Errorf("unknown command %q", args[0]))}
}

// exactly checks the number of arguments and names what is missing.
func exactly(names ...string) cobra.PositionalArgs {
	return between(len(names), names...)
}

// between allows the last arguments to be left out, down to least.
func between(least int, names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return &engine.Error{Code: engine.Usage, Err: engine.WithHint("usage: "+c.UseLine(), fmt.Errorf("%s: missing argument %s", c.CommandPath(), names[len(args)]))}
		case len(args) > len(names):
			return &engine.Error{Code: engine.Usage, Err: engine.WithHint("usage: "+c.UseLine(), fmt.Errorf("%s: unexpected argument %q", c.CommandPath(), args[len(names)]))}
		}
		return nil
	}
}

// aliases are the original's spellings.
func aliases(a *app) []*cobra.Command {
	var out []*cobra.Command
	for _, op := range engine.Operations() {
		for _, name := range op.Aliases {
			c := operationCommand(a, op)
			c.Use, c.Hidden = name+" NAME", true
			c.Short += " (alias of the original for `run " + op.Name + "`)"
			out = append(out, c)
		}
	}
	return out
}

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if a.json() {
				return render.JSON(a.stdout, render.VersionView{Version: version()})
			}
			c.Println("snaptastic " + version())
			return nil
		}}
}
