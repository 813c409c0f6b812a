package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"snaptastic/cmd/internal/render"
	"snaptastic/steps"
)

// show tells what goes and why, what stays though it seems due, and how much stays as a matter of course.
func (j *cleaning) show(fates []steps.Fate, now time.Time) error {
	a := j.app
	if a.json() {
		if !j.dryRun && slices.ContainsFunc(fates, func(f steps.Fate) bool { return f.Goes }) {
			return nil // the summary is the one document
		}
		return render.JSON(a.stdout, map[string]any{"operation": "clean " + j.what, "snapshotter": j.name, "at": now.UTC().Round(time.Second), "fates": notNil(fates)})
	}
	var goes, stays [][]string
	courses := map[string]int{}
	for _, f := range fates {
		row := []string{f.ID, whose(f), size(f.Size), made(f.Made, now), f.Why}
		switch {
		case f.Goes:
			if len(f.Snapshots) > 0 {
				row[4] += "; with " + strings.Join(f.Snapshots, ", ")
			}
			goes = append(goes, row)
		case f.Notable:
			stays = append(stays, row)
		default:
			courses[fmt.Sprintf("%s %s", f.Thing, f.Class)]++
		}
	}
	var hints []string
	for _, f := range fates {
		if f.Notable && f.Hint != "" && !slices.Contains(hints, f.Hint) {
			hints = append(hints, f.Hint)
		}
	}
	style := a.style(a.stdoutFile)
	for _, part := range []struct {
		head string
		rows [][]string
	}{{"GOES", goes}, {"STAYS", stays}} {
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
		fmt.Fprintf(a.stdout, "%s stay: %s\n", number(courses[course], thing), class)
	}
	for _, hint := range hints {
		var of []string
		for _, f := range fates {
			if f.Notable && f.Hint == hint {
				of = append(of, f.ID)
			}
		}
		fmt.Fprintf(a.stdout, "note: of what stays, %s: %s\n", someOf(of), hint)
	}
	if j.what == "all" && !j.images() {
		fmt.Fprintln(a.stdout, "images are left out: name a snapshotter, or say --all-mine")
	}
	if len(goes) == 0 {
		fmt.Fprintln(a.stdout, "nothing to clean up")
		return nil
	}
	fmt.Fprintf(a.stdout, "%s to delete\n", tally(fates))
	return nil
}

func notNil(fates []steps.Fate) []steps.Fate {
	if fates == nil {
		return []steps.Fate{}
	}
	return fates
}

// whose says what a thing is of: its mount point and filter tags, or its name.
func whose(f steps.Fate) string {
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

// tally counts what goes.
func tally(fates []steps.Fate) string {
	counts, gib := map[steps.Thing]int{}, int64(0)
	for _, f := range fates {
		if f.Goes {
			counts[f.Thing]++
			gib += int64(f.Size)
		}
	}
	var words []string
	for _, thing := range []steps.Thing{steps.SnapshotThing, steps.VolumeThing, steps.ImageThing} {
		if counts[thing] > 0 {
			words = append(words, number(counts[thing], string(thing)))
		}
	}
	return fmt.Sprintf("%s (of %d GiB)", strings.Join(words, ", "), gib)
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
