package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"path"
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
			return a.showStock(stock)
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
		fmt.Fprintf(a.stdout, "%s: set of %s with %d members, shared with %s\n", file, m.DataTime.Format(time.RFC3339), len(m.Members), strings.Join(m.SharedWith, ", "))
	}
	return nil
}

func (a *app) showStock(s engine.Stock) error {
	rows := func(yield func([]string) bool) {
		last := ""
		for v := range s.Views() {
			if !yield(stockRow(v, last)) {
				return
			}
			last = v.Run
		}
	}
	expires := "EXPIRES"
	if s.KeepRules {
		expires = "KEPT BY"
	}
	if len(s.Snapshots) == 0 {
		fmt.Fprintln(a.stdout, "no snapshots")
	} else if err := render.LongTable(a.stdout, []string{" ", "MOUNT POINT", "SNAPSHOT", "RUN", "AGE", "SIZE", "DATA", "STATE", "TIER", expires, "CONSISTENCY", "VERIFIED", "SET"}, rows, a.style(a.stdoutFile)); err != nil {
		return err
	}
	if s.Kept.Sets > 0 {
		fmt.Fprintf(a.stdout, "\nkept: %s\n", holding(s.Kept))
	}
	if s.NotKept.Sets > 0 {
		fmt.Fprintf(a.stdout, "no longer kept: %s; see snaptastic clean snapshots %s --dry-run\n", holding(s.NotKept), s.Name)
	}
	fmt.Fprintln(a.stdout, "\na mount of all volumes would restore (*):")
	for _, c := range s.Choices {
		what := c.String()
		if c.Hint != "" {
			what += "; " + c.Hint
		}
		if _, err := fmt.Fprintf(a.stdout, "  %s: %s\n", render.Clean(c.MountPoint), render.Clean(what)); err != nil {
			return err
		}
	}
	for _, w := range s.Choices.Warnings() {
		if _, err := fmt.Fprintf(a.stdout, "warning: %s\n", render.Clean(w)); err != nil {
			return err
		}
	}
	return nil
}

// stockRow is a line of the table; the run is written once for each set.
func stockRow(v engine.StockView, last string) []string {
	mark, state, expires, set, run := "", string(v.State), "-", "-", cmp.Or(v.Run, "-")
	if v.Chosen {
		mark = "*"
	}
	if v.State == engine.SnapshotPending {
		state = fmt.Sprintf("pending %d %%", v.Progress)
	}
	age := time.Duration(v.AgeSeconds) * time.Second
	if v.Expires != nil {
		left := v.ExpiresIn()
		expires = "in " + units.Age(left)
		if v.Overdue {
			expires = "overdue " + units.Age(-left)
		}
	}
	if v.Members > 0 && !v.Consistency.Copied() {
		set = fmt.Sprint("of ", v.Members)
	}
	if v.Run != "" && v.Run == last {
		run = `"`
	}
	mountPoint := cmp.Or(v.MountPoint, "-")
	if !v.Declared && v.MountPoint != "" {
		mountPoint = path.Clean(v.MountPoint) + " (not declared)"
	}
	if v.KeepRules {
		expires = cmp.Or(v.KeptText(), "not kept")
	}
	full := "-"
	if v.FullSize > 0 {
		full = render.Bytes(v.FullSize)
	}
	old, consistency := "unknown", string(v.Consistency)
	if v.DataTime != nil {
		old = units.Age(age)
	}
	if v.Copy && v.Consistency.Restorable() {
		consistency += ", a copy"
	}
	return []string{mark, mountPoint, v.SnapshotID, run, old, fmt.Sprintf("%d GiB", v.Size), full, state, cmp.Or(string(v.Tier), "-"), expires, consistency, drillCell(v), set}
}

// drillCell says what the last drill of a snapshot's set came to, and how long ago that was.
func drillCell(v engine.StockView) string {
	ago := func(at *time.Time) string {
		if at == nil {
			return ""
		}
		return units.Age(v.Since(*at))
	}
	switch {
	case v.Drill.Good():
		return ago(v.Verified) + " ago"
	case v.Drill.Failed():
		return strings.TrimSpace("FAILED " + ago(v.VerifyFailed))
	}
	return "-"
}
