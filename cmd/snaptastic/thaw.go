package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

func thawCommand(a *app) *cobra.Command {
	var owned bool
	c := &cobra.Command{Use: "thaw [MOUNT…]", Short: "Thaw the named file systems, or all that killed runs left frozen (--owned)",
		RunE: func(c *cobra.Command, args []string) error {
			if !owned && len(args) == 0 {
				return &engine.Error{Code: engine.Usage, Err: engine.WithHint("usage: "+c.UseLine(), errors.New("thaw: missing argument: mount points or --owned"))}
			}
			r, err := a.Thaw(c.Context(), args, owned)
			if a.json() && r.Thawed != nil {
				return errors.Join(render.JSON(a.stdout, r.Thawed), err)
			}
			a.showThawed(r)
			return err
		}}
	c.Flags().BoolVar(&owned, "owned", false, "thaw what killed runs left frozen; live runs are not affected")
	return c
}

func (a *app) showThawed(r engine.ThawResult) {
	if r.None != "" {
		fmt.Fprintln(a.stdout, render.Clean(r.None))
	}
	for _, v := range r.Thawed {
		run := ""
		switch {
		case v.Parent != 0:
			run = fmt.Sprintf(" (run %s, pid %d, guard %d)", v.Run, v.Parent, v.Guard)
		case v.Run != "":
			run = fmt.Sprintf(" (run %s)", v.Run)
		case v.Error != "": // it is told with the others
			continue
		}
		fmt.Fprintf(a.stdout, "%s: %s\n", render.Clean(v.MountPoint), render.Clean(string(v.Outcome)+run))
	}
}
