package main

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
	"snaptastic/ec2"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// A stockView is all snapshots of a snapshotter, and what a mount would make
// of them. Its JSON is part of the command line's contract.
type stockView struct {
	Snapshots []snapshotView  `json:"snapshots"` // newest first, those of a set together
	Choices   snapset.Choices `json:"choices"`   // one for each declared mount point
}

type snapshotView struct {
	SnapshotID  string         `json:"snapshot_id"`
	MountPoint  string         `json:"mount_point"`
	VolumeID    string         `json:"volume_id"`
	Started     time.Time      `json:"started"`             // of this snapshot, which may be a copy
	DataTime    *time.Time     `json:"data_time,omitempty"` // when the data was so; missing where that is not known
	AgeSeconds  int64          `json:"age_seconds"`         // of the data
	Size        int32          `json:"size"`                // GiB
	State       string         `json:"state"`
	Progress    int            `json:"progress"` // percent
	Tier        string         `json:"tier"`
	Expires     *time.Time     `json:"expires,omitempty"`
	Overdue     bool           `json:"overdue,omitempty"`
	Consistency snapset.Origin `json:"consistency"`
	Copy        bool           `json:"copy,omitempty"`
	Set         string         `json:"set,omitempty"` // the same for all snapshots of one moment
	Run         string         `json:"run,omitempty"` // that made it
	Members     string         `json:"members,omitempty"`
	Declared    bool           `json:"declared"` // the settings have its mount point
	Chosen      bool           `json:"chosen"`   // a mount would take it
	Reason      string         `json:"reason,omitempty"`

	now time.Time // when it was looked at
}

func snapshotsCommand(a *app) *cobra.Command {
	var o recipe.Options
	c := &cobra.Command{Use: "snapshots NAME", Args: exactly("NAME"), Short: "What can be restored, and what a mount would take",
		RunE: func(c *cobra.Command, args []string) error {
			stock, err := a.stock(c.Context(), args[0], o, time.Now())
			if err != nil {
				return err
			}
			if a.json() {
				return render.JSON(a.stdout, stock)
			}
			return a.showStock(stock)
		}}
	a.timeoutFlag(c, lookTime)
	c.Flags().BoolVar(&o.AllowOlder, "allow-older", false, `choose as "run mount --allow-older" would`)
	c.Flags().BoolVar(&o.MixSets, "mix-sets", false, `choose as "run mount --mix-sets" would`)
	return c
}

// stock looks at the snapshots with one DescribeSnapshots, and chooses as a
// mount of all volumes would.
func (a *app) stock(ctx context.Context, name string, o recipe.Options, now time.Time) (stockView, error) {
	spec, err := a.spec(ctx, name)
	if err != nil {
		return stockView{}, err
	}
	c, err := a.cloud(ctx)
	if err == nil {
		err = a.patiently(ctx, c.Ready)
	}
	if err != nil {
		return stockView{}, err
	}
	snapshots, err := c.Snapshots(ctx, ec2.SnapshotQuery{Tags: literally(spec.FilterTags)})
	if err != nil {
		return stockView{}, err
	}
	r := snapset.Request{Group: spec.Consistency != "volume", AllowOlder: o.AllowOlder, MixSets: o.MixSets, MayCreate: spec.OnMissing != "fail"}
	for _, v := range spec.Volumes {
		r.MountPoints = append(r.MountPoints, v.MountPoint)
	}
	stock := stockOf(snapshots, r, now)
	if unknown := snapset.Unknowns(stock.Choices); len(unknown) > 0 {
		near, err := c.Snapshots(ctx, steps.MissQuery(unknown))
		if err != nil {
			return stockView{}, err
		}
		snapset.AddMisses(stock.Choices, spec.FilterTags, r.MountPoints, slices.Concat(snapshots, near))
	}
	return stock, nil
}

// stockOf is the view; it is pure.
func stockOf(snapshots []ec2.Snapshot, r snapset.Request, now time.Time) stockView {
	stock := stockView{Snapshots: []snapshotView{}, Choices: snapset.Choose(r, snapshots)}
	for _, s := range bySet(snapshots) {
		mp := s.Tags[steps.TagMountPoint]
		v := snapshotView{now: now, SnapshotID: s.ID, MountPoint: mp, VolumeID: s.VolumeID, Started: s.Started.UTC(),
			Size: s.VolumeSize, State: s.State, Progress: s.Progress, Tier: s.StorageTier, Consistency: snapset.OriginOf(s), Copy: snapset.IsCopy(s),
			Set: s.Tags[snapset.TagSet], Run: snapset.RunOf(s.Tags), Members: s.Tags[snapset.TagMembers]}
		if at := snapset.DataTime(s).UTC(); !at.IsZero() {
			v.DataTime, v.AgeSeconds = &at, int64(now.Sub(at)/time.Second)
		}
		if at, ok := steps.Expires(s.Tags); ok {
			at = at.UTC()
			v.Expires, v.Overdue = &at, now.After(at)
		}
		for _, mountPoint := range r.MountPoints {
			v.Declared = v.Declared || snapset.SameMountPoint(mp, mountPoint)
		}
		for _, choice := range stock.Choices {
			if choice.SnapshotID == s.ID {
				v.Chosen, v.Reason = true, cmp.Or(choice.Reason, "the newest")
			}
		}
		stock.Snapshots = append(stock.Snapshots, v)
	}
	return stock
}

// bySet sorts newest first; the snapshots of a set stand together, at the
// place of its newest.
func bySet(snapshots []ec2.Snapshot) []ec2.Snapshot {
	out := snapset.NewestFirst(snapshots)
	key := func(s ec2.Snapshot) string { return cmp.Or(snapset.IDOf(s), s.ID) }
	place := map[string]int{}
	for i, s := range out {
		if _, known := place[key(s)]; !known {
			place[key(s)] = i
		}
	}
	slices.SortStableFunc(out, func(a, b ec2.Snapshot) int {
		return cmp.Or(place[key(a)]-place[key(b)], strings.Compare(a.Tags[steps.TagMountPoint], b.Tags[steps.TagMountPoint]))
	})
	return out
}

func (a *app) showStock(stock stockView) error {
	var rows [][]string
	last := ""
	for _, v := range stock.Snapshots {
		rows = append(rows, v.row(last))
		last = v.Run
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.stdout, "no snapshots")
	} else if err := render.Table(a.stdout, []string{" ", "MOUNT POINT", "SNAPSHOT", "AGE", "SIZE", "STATE", "TIER", "EXPIRES", "CONSISTENCY", "SET", "RUN"}, rows, a.style(a.stdoutFile)); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "\na mount of all volumes takes (*):")
	for _, c := range stock.Choices {
		what := c.String()
		if c.Hint != "" {
			what += "; " + c.Hint
		}
		if _, err := fmt.Fprintf(a.stdout, "  %s: %s\n", render.Clean(c.MountPoint), render.Clean(what)); err != nil {
			return err
		}
	}
	for _, w := range stock.Choices.Warnings() {
		if _, err := fmt.Fprintf(a.stdout, "warning: %s\n", w); err != nil {
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
	if v.Members != "" && v.Consistency != snapset.OriginCopied {
		set = "of " + v.Members
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
