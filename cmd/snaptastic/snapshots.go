package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/plan/units"
)

func snapshotsCommand(a *app) *cobra.Command {
	var r engine.SnapshotsRequest
	manifest := ""
	c := &cobra.Command{Use: "snapshots NAME", Args: exactly("NAME"), Short: "List snapshots, and show which ones a mount would restore",
		RunE: func(c *cobra.Command, args []string) error {
			r.Name = args[0]
			if manifest != "" {
				return a.writeManifest(c.Context(), r.Name, manifest)
			}
			stock, err := a.Snapshots(c.Context(), r)
			if err != nil {
				return err
			}
			if a.json() {
				return render.LongJSON(a.stdout, "snapshots", stock.Views(), render.Member{Name: "choices", Value: stock.ChoiceViews()},
					render.Member{Name: "kept", Value: stock.Kept}, render.Member{Name: "not_kept", Value: stock.NotKept})
			}
			return render.Stock(a.stdout, stock, a.style(a.stdoutFile))
		}}
	a.timeoutFlag(c, readTimeout)
	c.Flags().BoolVar(&r.AllowOlder, "allow-older", false, `choose as "run mount --allow-older" would`)
	c.Flags().BoolVar(&r.MixSets, "mix-sets", false, `choose as "run mount --mix-sets" would`)
	c.Flags().StringVar(&manifest, "manifest", "", "instead, write the manifest of the newest set that is shared with the accounts of share_with to `FILE`; - for stdout")
	return c
}

// writeManifest writes the manifest of the newest shared set: whole or not at all, as somebody may be reading an older one.
func (a *app) writeManifest(ctx context.Context, name, file string) error {
	m, err := a.Manifest(ctx, name)
	if err != nil {
		return err
	}
	if file == "-" || a.json() {
		if err := render.JSON(a.stdout, m); err != nil || file == "-" {
			return err
		}
	}
	var text bytes.Buffer
	err = render.JSON(&text, m)
	if err == nil {
		err = replaceFile(file, text.Bytes())
	}
	if err != nil {
		return fmt.Errorf("cannot write the manifest %s: %w", file, err)
	}
	if !a.json() {
		for _, one := range m.Sets() {
			fmt.Fprintf(a.stdout, "%s: set of %s with %s, shared with %s\n", file, one.DataTime.Format(time.RFC3339), units.Count(len(one.Members), "member", "members"), strings.Join(m.SharedWith, ", "))
		}
	}
	return nil
}
