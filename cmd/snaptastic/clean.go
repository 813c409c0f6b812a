package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/plan/units"
)

func cleanCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "clean " + strings.Join(cleanable(), "|") + " [NAME]", Short: "Delete expired, orphaned or unused resources, after showing them and asking",
		Args: unknownCleanable,
		Long: `Delete expired, orphaned or unused resources. With NAME, only those with the filter
tags of that snapshotter; without it, all that Snaptastic created in the account and
region.

It first shows what it will delete and why, and what it keeps although it is due.
Then it asks. Deleted resources cannot be recovered. To finish an interrupted cleanup,
run "snaptastic resume RUN"; a resume without RUN skips it.`,
		RunE: func(c *cobra.Command, args []string) error { return unknownCleanable(c, args) }}
	for _, op := range engine.CleanUps() {
		c.AddCommand(cleanThings(a, op))
	}
	c.AddCommand(cleanInstances(a))
	return c
}

// cleanable are the words after `clean`.
func cleanable() (words []string) {
	for _, op := range engine.CleanUps() {
		words = append(words, op.Word())
	}
	return slices.Insert(words, len(words)-1, "instances")
}

func unknownCleanable(c *cobra.Command, args []string) error {
	hint := "usage: snaptastic " + c.Use
	if len(args) == 0 {
		return &engine.Error{Code: engine.Usage, Err: engine.WithHint(hint, fmt.Errorf("%s: missing argument: %s", c.CommandPath(), strings.Join(cleanable(), ", ")))}
	}
	return &engine.Error{Code: engine.Usage, Err: engine.WithHint(hint, fmt.Errorf("%s: invalid argument %q: must be one of %s", c.CommandPath(), args[0], strings.Join(cleanable(), ", ")))}
}

// unsavedAny is --unsaved without a duration.
const unsavedAny = "any"

func cleanThings(a *app, op *engine.Operation) *cobra.Command {
	r := engine.CleanRequest{Operation: op.Name}
	var dryRun bool
	var unsaved, at string
	c := &cobra.Command{Use: op.Word() + " [NAME]", Short: op.Short, Args: between(0, "NAME"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			r.Name, r.Unsaved = strings.Join(args, ""), unsaved != ""
			if r.Unsaved && unsaved != unsavedAny {
				if r.Gap, err = durationFlag("unsaved", unsaved, time.Second); err != nil {
					return err
				}
			}
			if at != "" {
				if !dryRun {
					return usageError("--at needs --dry-run: it shows what would be deleted at a later time")
				}
				if r.At, err = units.ParseFuture(at, time.Now()); err != nil {
					return usageError("--at: %w", err)
				}
			}
			return a.clean(c.Context(), r, dryRun)
		}}
	f := c.Flags()
	f.BoolVar(&dryRun, "dry-run", false, "only show what would be deleted")
	if op.CleansSnapshots() {
		f.BoolVar(&r.LargerSets, "larger-sets", false, "the rules of keep decide on sets of many hosts, too, if these have the filter tags and more")
		f.StringVar(&at, "at", "", "with --dry-run: show what would be deleted at a later `time` if no new snapshots were taken: RFC 3339, a date, or a duration from now such as 30d")
	}
	if op.CleansVolumes() {
		f.StringVar(&unsaved, "unsaved", "", "also delete volumes whose last writes may not be in a snapshot; with a `duration`, only if the newest snapshot was started at most that long before the volume was detached")
		f.Lookup("unsaved").NoOptDefVal = unsavedAny
	}
	if op.CleansImages() {
		f.BoolVar(&r.AllImages, "all-mine", false, "all images of the account, not only those with the filter tags of NAME")
	}
	if op.ReportsInstances {
		cpuFlag(c, &r.CPUBelow)
	}
	return c
}

// clean shows what a clean-up deletes and keeps, and then lets the engine ask and delete it.
func (a *app) clean(ctx context.Context, r engine.CleanRequest, dryRun bool) error {
	p, err := a.PlanClean(ctx, r)
	if err != nil {
		return err
	}
	stop := dryRun || !p.Deletes()
	switch {
	case !a.json():
		if err = a.showClean(p); err == nil && p.Idle != nil {
			err = a.showInstances(*p.Idle)
		}
	case stop: // otherwise the summary is the one document
		err = render.JSON(a.stdout, render.CleanView{Operation: r.Operation, Snapshotter: p.Name, At: p.At.UTC().Round(time.Second), Decisions: p.Decisions, Kept: p.Kept()})
	}
	if err == nil && !stop {
		_, err = a.Clean(ctx, p)
	}
	return err
}

// show tells what is deleted and why, what is kept although it is due, and how many others are kept.
func (a *app) showClean(p engine.CleanPlan) error {
	var deleted, kept [][]string
	type course struct{ resource, class string }
	courses := map[course]int{}
	for _, f := range p.Decisions {
		row := []string{f.Label(), ownerOf(cmp.Or(f.Name, f.MountPoint), f.FilterTags), size(f.Size), made(f.Created, p.At), f.Why}
		switch {
		case f.Delete:
			if f.Resource == engine.ImageResource && len(f.Snapshots) > 0 {
				row[4] += "; with " + strings.Join(f.Snapshots, ", ")
			}
			deleted = append(deleted, row)
		case f.Due || len(f.KeptBy) > 0:
			kept = append(kept, row)
		default:
			courses[course{string(f.Resource), f.Class}]++
		}
	}
	var hints []string
	for _, f := range p.Decisions {
		if f.Due && f.Hint != "" && !slices.Contains(hints, f.Hint) {
			hints = append(hints, f.Hint)
		}
	}
	style := a.style(a.stdoutFile)
	for _, part := range []struct {
		head string
		rows [][]string
	}{{"DELETE", deleted}, {"KEEP", kept}} {
		if len(part.rows) == 0 {
			continue
		}
		if err := render.Table(a.stdout, []string{part.head, "OF", "GiB", "AGE", "WHY"}, part.rows, style); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	byName := func(a, b course) int {
		return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.class, b.class))
	}
	for _, c := range slices.SortedFunc(maps.Keys(courses), byName) {
		fmt.Fprintf(a.stdout, "%s kept: %s\n", units.Count(courses[c], c.resource, c.resource+"s"), c.class)
	}
	for _, hint := range hints {
		var of []string
		for _, f := range p.Decisions {
			if f.Due && f.Hint == hint {
				of = append(of, f.ID)
			}
		}
		fmt.Fprintf(a.stdout, "note: %s kept: %s\n", someOf(of), hint)
	}
	if p.NoImages {
		fmt.Fprintln(a.stdout, "images are skipped: use NAME or --all-mine")
	}
	if kept := p.Kept(); kept.Sets > 0 {
		fmt.Fprintf(a.stdout, "kept: %s\n", render.Holding(kept))
	}
	if p.Later {
		fmt.Fprintf(a.stdout, "this is what would be kept at %s if no new snapshots were taken until then\n", p.At.UTC().Format(time.RFC3339))
	}
	if len(deleted) == 0 {
		fmt.Fprintln(a.stdout, "nothing to clean up")
		return nil
	}
	fmt.Fprintf(a.stdout, "%s to delete\n", p.Tally())
	return nil
}

// ownerOf says what a thing is of: its name and its tags.
func ownerOf(name string, tags map[string]string) string {
	words := []string{name}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		words = append(words, key+"="+tags[key])
	}
	return cmp.Or(strings.TrimSpace(strings.Join(words, " ")), "-")
}

func size(gib int32) string {
	if gib == 0 {
		return "-"
	}
	return fmt.Sprint(gib)
}

func made(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return units.Age(now.Sub(at))
}

// someOf names a few, and counts the others.
func someOf(ids []string) string {
	const enough = 3
	if len(ids) <= enough {
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(ids[:enough], ", "), len(ids)-enough)
}
