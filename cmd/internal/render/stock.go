package render

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/plan/units"
)

// Stock writes the snapshots of a snapshotter, and which ones a mount would restore.
func Stock(w io.Writer, s engine.Stock, style Style) error {
	rows := func(yield func([]string) bool) {
		last := ""
		for v := range s.Views() {
			if !yield(StockRow(v, last)) {
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
		fmt.Fprintln(w, "no snapshots")
	} else if err := LongTable(w, []string{" ", "MOUNT POINT", "SNAPSHOT", "RUN", "AGE", "SIZE", "DATA", "STATE", "TIER", expires, "CONSISTENCY", "VERIFIED", "SET"}, rows, style); err != nil {
		return err
	}
	if s.Kept.Sets > 0 {
		fmt.Fprintf(w, "\nkept: %s\n", Holding(s.Kept))
	}
	if s.NotKept.Sets > 0 {
		fmt.Fprintf(w, "no longer kept: %s; see snaptastic clean snapshots %s --dry-run\n", Holding(s.NotKept), s.Name)
	}
	fmt.Fprintln(w, "\na mount of all volumes would restore (*):")
	for _, c := range s.Choices {
		what := c.String()
		if c.Hint != "" {
			what += "; " + c.Hint
		}
		if _, err := fmt.Fprintf(w, "  %s: %s\n", Clean(c.MountPoint), Clean(what)); err != nil {
			return err
		}
	}
	for _, text := range s.Choices.Warnings() {
		if _, err := fmt.Fprintf(w, "warning: %s\n", Clean(text)); err != nil {
			return err
		}
	}
	return nil
}

// StockRow is a line of the table; the run is written once for each set.
func StockRow(v engine.StockView, last string) []string {
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
		full = Bytes(v.FullSize)
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

// Holding is such as "12 sets (24 snapshots of 480 GiB), 120.5 GiB of data".
func Holding(h engine.Holding) string {
	text := fmt.Sprintf("%s (%s of %d GiB)", units.Count(h.Sets, "set", "sets"), units.Count(h.Snapshots, "snapshot", "snapshots"), h.Volumes)
	switch {
	case h.Unsized == h.Snapshots:
		return text
	case h.Unsized > 0:
		return fmt.Sprintf("%s, %s of data in the %d snapshots whose full size EC2 gives", text, Bytes(h.FullSize), h.Snapshots-h.Unsized)
	}
	return text + ", " + Bytes(h.FullSize) + " of data"
}
