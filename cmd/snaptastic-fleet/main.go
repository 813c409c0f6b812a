// Command snaptastic-fleet runs snaptastic on many hosts, by Temporal: one
// instant, one set, one verdict. `snaptastic fleet …` calls it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"snaptastic-fleet/config"
	"snaptastic-fleet/link"
)

// stamp is the version; the build sets it.
var stamp = "0.0.0-dev"

type app struct {
	config string
	output string
	log    *slog.Logger
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// usage is a mistake in the command line or the settings: exit code 2, as snaptastic has it.
type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

// partly is done but for something that an operator has to see to: exit code 3, as snaptastic has it.
type partly struct{ error }

func (p partly) Unwrap() error { return p.error }

// underWay is refused while other work is under way: exit code 5, as snaptastic has it.
type underWay struct{ error }

func (u underWay) Unwrap() error { return u.error }

func rootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "snaptastic-fleet",
		Short: "Snapshot, restore and prove the volumes of many hosts together",
		Long: "Snapshot, restore and prove the volumes of many hosts together, by a Temporal server.\n" +
			"Every host runs a worker, one machine runs control; the other commands may run anywhere with fleet.hcl.",
		SilenceUsage: true, SilenceErrors: true, Version: stamp,
	}
	root.PersistentFlags().StringVar(&a.config, "config", config.Default, "the fleet's settings")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "text", "text or json")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage{err} })
	root.AddCommand(a.workerCommand(), a.controlCommand(), a.snapshotCommand(), a.restoreCommand(), a.verifyCommand(),
		a.cleanCommand(), a.scheduleCommand(), a.statusCommand(), a.cancelCommand(), keyCommand(), a.eachCommand("warm"), a.copyCommand())
	return root
}

func run(ctx context.Context, args []string) int {
	root := rootCommand(&app{log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	root.SetArgs(args)
	_, _, err := root.Find(args)
	if err != nil {
		err = usage{err}
	} else {
		err = root.ExecuteContext(ctx)
	}
	if none := (*serviceerror.NamespaceNotFound)(nil); errors.As(err, &none) {
		err = fmt.Errorf("the server has no namespace %s. Check server.namespace in fleet.hcl, and that server.address is the right server's", none.Namespace)
	}
	var u usage
	var p partly
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errInterrupted):
		fmt.Fprintln(os.Stderr, err)
		return 130
	case errors.As(err, &u):
		fmt.Fprintln(os.Stderr, "error:", err)
		return 2
	case errors.As(err, &p):
		fmt.Fprintln(os.Stderr, "error:", err)
		return 3
	case errors.As(err, new(underWay)):
		fmt.Fprintln(os.Stderr, "error:", err)
		return 5
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	return 1
}

// arguments refuses too few and too many; one in brackets may be left out.
func arguments(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) > len(names):
			return usage{fmt.Errorf("unexpected argument %q. Usage: %s", args[len(names)], c.UseLine())}
		case len(args) < len(names) && !strings.HasPrefix(names[len(args)], "["):
			return usage{fmt.Errorf("missing argument %s. Usage: %s", names[len(args)], c.UseLine())}
		}
		return nil
	}
}

func (a *app) file() (*config.File, error) {
	if a.output != "text" && a.output != "json" {
		return nil, usage{fmt.Errorf("--output is text or json, not %q", a.output)}
	}
	f, err := config.Read(a.config)
	if err != nil {
		return nil, usage{err}
	}
	return f, nil
}

// connection is a client, and what reads payloads.
type connection struct {
	client.Client
	payloads converter.DataConverter
	identity string // of this process
}

func (a *app) dial(ctx context.Context, f *config.File) (*connection, error) {
	o, err := link.Options(ctx, f.Server, a.log)
	switch {
	case errors.As(err, new(link.CommandError)):
		return nil, err
	case err != nil:
		return nil, usage{err}
	}
	name, _ := os.Hostname()
	o.Identity = fmt.Sprintf("%d@%s", os.Getpid(), name)
	c, err := link.Dial(ctx, o)
	return &connection{c, o.DataConverter, o.Identity}, err
}

// cluster reads the settings and connects, for a command about one cluster.
func (a *app) cluster(ctx context.Context, name string) (*config.Cluster, *connection, error) {
	f, err := a.file()
	if err != nil {
		return nil, nil, err
	}
	cl, err := f.Cluster(name)
	if err != nil {
		return nil, nil, usage{err}
	}
	c, err := a.dial(ctx, f)
	return cl, c, err
}

func keyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "key", Short: "Print a new key for server.key_file, or for a secret store", Args: arguments(),
		Example: "  (umask 077; snaptastic-fleet key > /etc/snaptastic/fleet.key)",
		Run:     func(c *cobra.Command, _ []string) { fmt.Fprint(c.OutOrStdout(), link.NewKey()) },
	}
}
