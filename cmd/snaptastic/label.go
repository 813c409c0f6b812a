package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

func labelCommand(a *app) *cobra.Command {
	var r engine.LabelRequest
	c := &cobra.Command{Use: "label --set ID", Short: "Label a set of many hosts as restorable, in one call, if it is complete", Args: exactly(),
		Long: `Label all snapshots of a set that was taken with "run snapshot --set ID --defer-label",
on whatever hosts, if all are there and none has failed. Then lock those whose snapshotter has
a lock block. It runs anywhere and can be repeated.`,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := a.Label(c.Context(), r)
			switch {
			case l.Set == "":
				return err
			case a.json():
				return errors.Join(render.JSON(a.stdout, l), err)
			case r.DryRun:
				fmt.Fprintf(a.stdout, "set %s: %d of its %d snapshots are labelled\n", l.Set, len(l.Snapshots), l.Members)
			case l.Already:
				fmt.Fprintf(a.stdout, "set %s is labelled already (%d snapshots, %d locked)\n", l.Set, l.Members, len(l.Locked))
			default:
				fmt.Fprintf(a.stdout, "set %s is labelled: its %d snapshots can be restored, %d are locked\n", l.Set, l.Members, len(l.Locked))
			}
			return err
		}}
	c.Flags().StringVar(&r.Set, "set", "", "the `id` of the set")
	c.Flags().BoolVar(&r.DryRun, "dry-run", false, "only say how many of its snapshots are labelled")
	return c
}

func undoCommand(a *app) *cobra.Command {
	var r engine.UndoRequest
	c := &cobra.Command{Use: "undo --key KEY|--set ID", Short: "Delete the unlabelled snapshots of a key or of a set of many hosts, by their tags", Args: exactly(),
		Long: `Delete the snapshots that were made under a key ("run --key") or as a part of a set
("run snapshot --set"), and that are not labelled, by their tags. It runs anywhere, also when the host that made them is lost, and
can be repeated. A labelled snapshot is never deleted. To undo a run of this machine, use "rollback RUN".`,
		RunE: func(c *cobra.Command, _ []string) error {
			u, err := a.UndoByTags(c.Context(), r)
			if a.json() && (err == nil || len(u.Deleted)+len(u.Kept) > 0) {
				return errors.Join(render.JSON(a.stdout, u), err)
			}
			verb := "deleted"
			if u.DryRun {
				verb = "would delete"
			}
			for _, id := range u.Deleted {
				fmt.Fprintln(a.stdout, verb, id)
			}
			for _, k := range u.Kept {
				fmt.Fprintf(a.stdout, "kept %s: %s\n", k.SnapshotID, render.Clean(k.Reason))
			}
			if err == nil && len(u.Deleted)+len(u.Kept) == 0 {
				fmt.Fprintln(a.stdout, "there are no unlabelled snapshots of it")
			}
			return err
		}}
	c.Flags().StringVar(&r.Key, "key", "", "the `key` of a run")
	c.Flags().StringVar(&r.Set, "set", "", "the `id` of a set")
	c.Flags().BoolVar(&r.DryRun, "dry-run", false, "only list what would be deleted")
	return c
}
