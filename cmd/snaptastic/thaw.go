package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
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

// thawView is what became of one mount point, for programs.
type thawView struct {
	MountPoint string        `json:"mount_point"`
	Outcome    guard.Outcome `json:"outcome"`
	Run        string        `json:"run,omitempty"`
	Section    string        `json:"section,omitempty"`
	Parent     int           `json:"pid,omitempty"`       // of a live run's process
	Guard      int           `json:"guard_pid,omitempty"` // and of its guard
	Error      string        `json:"error,omitempty"`
}

func (a *app) thaw(c *cobra.Command, mounts []string, owned bool) error {
	thawed, failed := []guard.Thawed{}, error(nil)
	none := "no run left anything frozen"
	if owned {
		store, err := a.stateForLooking()
		switch {
		case errors.Is(err, journal.ErrNoState):
			none = err.Error()
		case err != nil:
			return err
		default:
			thawed, failed = guard.ThawOwned(c.Context(), frozenDir(store), false)
		}
	}
	silent := owned && len(thawed) == 0 && failed == nil
	for _, m := range mounts {
		t := guard.Thawed{Path: m, Outcome: guard.WasFrozen}
		switch err := guard.ThawMount(m); {
		case err == nil:
		case errors.Is(err, syscall.EINVAL):
			t.Outcome = guard.WasNotFrozen
		default:
			t.Outcome, t.Err = guard.NotThawed, err
			failed = errors.Join(failed, err)
		}
		thawed = append(thawed, t)
	}
	views := []thawView{}
	for _, t := range thawed {
		v := thawView{MountPoint: t.Path, Outcome: t.Outcome, Run: t.Run, Section: t.Section}
		if t.Outcome == guard.IsLive {
			v.Parent, v.Guard = t.Parent, t.Guard
		}
		if t.Err != nil {
			v.Error = t.Err.Error()
		}
		views = append(views, v)
	}
	if a.json() {
		return errors.Join(render.JSON(a.stdout, views), failed)
	}
	if silent {
		fmt.Fprintln(a.stdout, render.Clean(none))
	}
	for _, v := range views {
		switch {
		case v.Outcome == guard.IsLive:
			fmt.Fprintf(a.stdout, "%s: %s (run %s, pid %d, guard %d)\n", v.MountPoint, v.Outcome, v.Run, v.Parent, v.Guard)
		case v.Run != "":
			fmt.Fprintf(a.stdout, "%s: %s (run %s)\n", render.Clean(v.MountPoint), v.Outcome, render.Clean(v.Run))
		case v.Outcome != guard.NotThawed: // else the error says it
			fmt.Fprintf(a.stdout, "%s: %s\n", render.Clean(v.MountPoint), v.Outcome)
		}
	}
	return failed
}
