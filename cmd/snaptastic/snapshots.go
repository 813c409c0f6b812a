package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
	"snaptastic/ec2"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// A stock is all snapshots of a snapshotter, and what a mount would make of
// them. There may be many thousand, so that what is said of one is made when it
// is written.
type stock struct {
	snapshots []*snapset.Row    // newest first, those of a set together
	choices   snapset.Choices   // one for each declared mount point
	chosen    map[string]string // why, by the id of a snapshot
	declared  map[string]bool   // mount points
	now       time.Time
}

// A snapshotView is what is said of one. Its JSON is part of the command
// line's contract.
type snapshotView struct {
	SnapshotID  string         `json:"snapshot_id"`
	MountPoint  string         `json:"mount_point"`
	VolumeID    string         `json:"volume_id"`
	Started     time.Time      `json:"started"`             // of this snapshot, which may be a copy
	DataTime    *time.Time     `json:"data_time,omitempty"` // when the data was so; missing where that is not known
	AgeSeconds  int64          `json:"age_seconds"`         // of the data
	Size        int32          `json:"size_gib"`
	State       string         `json:"state"`
	Progress    int            `json:"progress_percent"`
	Tier        string         `json:"tier"`
	Expires     *time.Time     `json:"expires,omitempty"`
	Overdue     bool           `json:"overdue,omitempty"`
	Consistency snapset.Origin `json:"consistency"`
	Copy        bool           `json:"copy,omitempty"`
	Set         string         `json:"set,omitempty"`     // the same for all snapshots of one moment
	Run         string         `json:"run,omitempty"`     // that made it
	Members     int            `json:"members,omitempty"` // of its set
	Declared    bool           `json:"declared"`          // the settings have its mount point
	Chosen      bool           `json:"chosen"`            // a mount would take it
	Reason      string         `json:"reason,omitempty"`

	now time.Time // when it was looked at
}

func snapshotsCommand(a *app) *cobra.Command {
	var r snapset.Request
	c := &cobra.Command{Use: "snapshots NAME", Args: exactly("NAME"), Short: "What can be restored, and what a mount would take",
		RunE: func(c *cobra.Command, args []string) error {
			stock, err := a.stock(c.Context(), args[0], r, time.Now())
			if err != nil {
				return err
			}
			if a.json() {
				return render.LongJSON(a.stdout, "snapshots", stock.views(), "choices", stock.choiceViews())
			}
			return a.showStock(stock)
		}}
	a.timeoutFlag(c, lookTime)
	c.Flags().BoolVar(&r.AllowOlder, "allow-older", false, `choose as "run mount --allow-older" would`)
	c.Flags().BoolVar(&r.MixSets, "mix-sets", false, `choose as "run mount --mix-sets" would`)
	return c
}

// stock looks at the snapshots with one DescribeSnapshots, and chooses as a
// mount of all volumes would.
func (a *app) stock(ctx context.Context, name string, r snapset.Request, now time.Time) (stock, error) {
	spec, err := a.spec(ctx, name)
	if err != nil {
		return stock{}, err
	}
	c, err := a.cloud(ctx)
	if err == nil {
		err = a.patiently(ctx, c.Ready)
	}
	if err != nil {
		return stock{}, err
	}
	snapshots := snapset.NewIndex()
	if err := c.EachSnapshot(ctx, ec2.SnapshotQuery{Tags: literally(spec.FilterTags)}, snapshots.Add); err != nil {
		return stock{}, err
	}
	r.Group, r.MayCreate = spec.Together(), spec.OnMissing == recipe.CreateEmpty
	for _, v := range spec.Volumes {
		r.MountPoints = append(r.MountPoints, v.MountPoint)
	}
	stock := stockOf(snapshots, r, now)
	if unknown := snapset.Unknowns(stock.choices); len(unknown) > 0 {
		misses := snapset.MissesOf(stock.choices, spec.FilterTags, r.MountPoints, snapshots)
		if err := c.EachSnapshot(ctx, steps.MissQuery(unknown), misses.Add); err != nil {
			return stock, err
		}
		misses.Warn()
	}
	return stock, nil
}

// stockOf is pure.
func stockOf(snapshots *snapset.Index, r snapset.Request, now time.Time) stock {
	s := stock{snapshots: bySet(snapshots), choices: snapshots.Choose(r), chosen: map[string]string{}, declared: map[string]bool{}, now: now}
	for _, c := range s.choices {
		if c.SnapshotID != "" {
			s.chosen[c.SnapshotID] = cmp.Or(c.Reason, "the newest")
		}
	}
	for _, mp := range r.MountPoints {
		s.declared[path.Clean(mp)] = true
	}
	return s
}

// A choiceView is a choice with its unit in the name, which the journal's form lacks.
type choiceView struct {
	snapset.Choice
	Size    *struct{} `json:"size,omitempty"` // hides the choice's own
	SizeGiB int32     `json:"size_gib,omitempty"`
}

func (s stock) choiceViews() []choiceView {
	views := []choiceView{}
	for _, c := range s.choices {
		views = append(views, choiceView{Choice: c, SizeGiB: c.Size})
	}
	return views
}

func (s stock) views() iter.Seq[snapshotView] {
	return func(yield func(snapshotView) bool) {
		for _, r := range s.snapshots {
			if !yield(s.view(r)) {
				return
			}
		}
	}
}

func (s stock) view(r *snapset.Row) snapshotView {
	members, _ := strconv.Atoi(r.Members) // of a tag that anybody may have written
	v := snapshotView{now: s.now, SnapshotID: r.ID, MountPoint: r.MountPoint, VolumeID: r.VolumeID, Started: r.Started(),
		Size: r.Size, State: r.State, Progress: r.Progress, Tier: r.Tier, Consistency: r.Origin, Copy: r.Copy,
		Set: r.SetTag(), Run: r.Run(), Members: members, Declared: r.MountPoint != "" && s.declared[path.Clean(r.MountPoint)]}
	if at := r.DataTime(); !at.IsZero() {
		v.DataTime, v.AgeSeconds = &at, int64(s.now.Sub(at)/time.Second)
	}
	if at := r.Expires(); !at.IsZero() {
		v.Expires, v.Overdue = &at, s.now.After(at)
	}
	v.Reason, v.Chosen = s.chosen[r.ID]
	return v
}

// bySet sorts newest first; the snapshots of a set stand together, at the
// place of its newest.
func bySet(snapshots *snapset.Index) []*snapset.Row {
	out := snapshots.NewestFirst()
	key := func(r *snapset.Row) string { return cmp.Or(r.SetID, r.ID) }
	place := map[string]int{}
	for i, r := range out {
		if _, known := place[key(r)]; !known {
			place[key(r)] = i
		}
	}
	slices.SortStableFunc(out, func(a, b *snapset.Row) int {
		return cmp.Or(place[key(a)]-place[key(b)], strings.Compare(a.MountPoint, b.MountPoint))
	})
	return out
}

func (a *app) showStock(s stock) error {
	rows := func(yield func([]string) bool) {
		last := ""
		for v := range s.views() {
			if !yield(v.row(last)) {
				return
			}
			last = v.Run
		}
	}
	if len(s.snapshots) == 0 {
		fmt.Fprintln(a.stdout, "no snapshots")
	} else if err := render.LongTable(a.stdout, []string{" ", "MOUNT POINT", "SNAPSHOT", "AGE", "SIZE", "STATE", "TIER", "EXPIRES", "CONSISTENCY", "SET", "RUN"}, rows, a.style(a.stdoutFile)); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "\na mount of all volumes takes (*):")
	for _, c := range s.choices {
		what := c.String()
		if c.Hint != "" {
			what += "; " + c.Hint
		}
		if _, err := fmt.Fprintf(a.stdout, "  %s: %s\n", render.Clean(c.MountPoint), render.Clean(what)); err != nil {
			return err
		}
	}
	for _, w := range s.choices.Warnings() {
		if _, err := fmt.Fprintf(a.stdout, "warning: %s\n", render.Clean(w)); err != nil {
			return err
		}
	}
	return nil
}

// row is a line of the table; the run is written once for each set.
func (v snapshotView) row(last string) []string {
	mark, state, expires, set, run := "", v.State, "-", "-", cmp.Or(v.Run, "-")
	if v.Chosen {
		mark = "*"
	}
	if v.State == "pending" {
		state = fmt.Sprintf("pending %d %%", v.Progress)
	}
	age := time.Duration(v.AgeSeconds) * time.Second
	if v.Expires != nil {
		left := v.Expires.Sub(v.now)
		expires = "in " + render.Age(max(0, left))
		if v.Overdue {
			expires = "overdue " + render.Age(max(0, -left))
		}
	}
	if v.Members > 0 && v.Consistency != snapset.OriginCopied {
		set = fmt.Sprint("of ", v.Members)
	}
	if v.Run != "" && v.Run == last {
		run = `"`
	}
	mountPoint := cmp.Or(v.MountPoint, "-")
	if !v.Declared && v.MountPoint != "" {
		mountPoint = path.Clean(v.MountPoint) + " (not declared)"
	}
	old, consistency := "unknown", string(v.Consistency)
	if v.DataTime != nil {
		old = render.Age(max(0, age))
	}
	if v.Copy && v.Consistency.Restorable() {
		consistency += ", a copy"
	}
	return []string{mark, mountPoint, v.SnapshotID, old, fmt.Sprintf("%d GiB", v.Size), state, cmp.Or(v.Tier, "-"), expires, consistency, set, run}
}
