package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"snaptastic/cmd/internal/render"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// show tells what is deleted and why, what is kept although it is due, and how many others are kept.
func (j *cleaning) show(c snapset.Cleanup, decisions []snapset.Decision, now time.Time) error {
	a := j.app
	if a.json() {
		if !j.dryRun && len(snapset.Deleted(decisions)) > 0 {
			return nil // the summary is the one document
		}
		return render.JSON(a.stdout, map[string]any{"operation": j.op.Name, "snapshotter": j.name, "at": now.UTC().Round(time.Second), "decisions": notNil(decisions)})
	}
	var deleted, kept [][]string
	courses := map[string]int{}
	for _, f := range decisions {
		row := []string{f.ID, whose(f), size(f.Size), made(f.Created, now), f.Why}
		switch {
		case f.Delete:
			if len(f.Snapshots) > 0 {
				row[4] += "; with " + strings.Join(f.Snapshots, ", ")
			}
			deleted = append(deleted, row)
		case f.Due:
			kept = append(kept, row)
		default:
			courses[fmt.Sprintf("%s %s", f.Resource, f.Class)]++
		}
	}
	var hints []string
	for _, f := range decisions {
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
	for _, course := range slices.Sorted(maps.Keys(courses)) {
		thing, class, _ := strings.Cut(course, " ")
		fmt.Fprintf(a.stdout, "%s kept: %s\n", number(courses[course], thing), class)
	}
	for _, hint := range hints {
		var of []string
		for _, f := range decisions {
			if f.Due && f.Hint == hint {
				of = append(of, f.ID)
			}
		}
		fmt.Fprintf(a.stdout, "note: of what is kept, %s: %s\n", someOf(of), hint)
	}
	if len(c.Resources) < len(j.op.Cleans) {
		fmt.Fprintln(a.stdout, "images are left out: name a snapshotter, or say --all-mine")
	}
	if len(deleted) == 0 {
		fmt.Fprintln(a.stdout, "nothing to clean up")
		return nil
	}
	fmt.Fprintf(a.stdout, "%s to delete\n", recipe.Tally(decisions))
	return nil
}

func notNil(decisions []snapset.Decision) []snapset.Decision {
	if decisions == nil {
		return []snapset.Decision{}
	}
	return decisions
}

// whose says what a thing is of: its mount point and filter tags, or its name.
func whose(f snapset.Decision) string {
	words := []string{cmp.Or(f.Name, f.MountPoint)}
	for _, key := range slices.Sorted(maps.Keys(f.FilterTags)) {
		words = append(words, key+"="+f.FilterTags[key])
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
	switch d := now.Sub(at); {
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", max(d, 0).Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	default:
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	}
}

func number(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// someOf names a few, and counts the others.
func someOf(ids []string) string {
	const enough = 3
	if len(ids) <= enough {
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(ids[:enough], ", "), len(ids)-enough)
}
