package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"snaptastic/journal"
	"snaptastic/linux/guard"
)

// frozenDir is where guards leave word of what they may have frozen.
func frozenDir(s *journal.Store) string { return filepath.Join(s.Dir(), "frozen") }

// hookDir is where the records of running hooks lie.
func hookDir(s *journal.Store) string { return filepath.Join(s.Dir(), "hooks") }

func thawCommand(a *app) *cobra.Command {
	var owned bool
	c := &cobra.Command{Use: "thaw [MOUNT…]", Short: "Thaw file systems: the named ones, or what killed runs left frozen (--owned)",
		RunE: func(c *cobra.Command, args []string) error {
			if err := needRoot("thaw"); err != nil {
				return err
			}
			if !owned && len(args) == 0 {
				return &codeError{code: exitUsage, err: usageError("thaw: say which mount points, or --owned"), hint: "usage: " + c.UseLine()}
			}
			return a.thaw(c, args, owned)
		}}
	c.Flags().BoolVar(&owned, "owned", false, "what killed runs left frozen; live runs are left alone")
	return c
}

func (a *app) thaw(c *cobra.Command, mounts []string, owned bool) error {
	var failed error
	if owned {
		store, err := a.store()
		if err != nil {
			return err
		}
		thawed, err := guard.ThawOwned(c.Context(), frozenDir(store), false)
		for _, t := range thawed {
			fmt.Fprintf(a.stdout, "%s: %s (run %s)\n", t.Path, t.Outcome, t.Run)
		}
		if len(thawed) == 0 && err == nil {
			fmt.Fprintln(a.stdout, "no run left anything frozen")
		}
		failed = err
	}
	for _, m := range mounts {
		switch err := guard.ThawMount(m); {
		case err == nil:
			fmt.Fprintf(a.stdout, "%s: thawed\n", m)
		case errors.Is(err, syscall.EINVAL):
			fmt.Fprintf(a.stdout, "%s: not frozen\n", m)
		default:
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
