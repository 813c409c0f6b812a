package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// checkFlags are those of check.
type checkFlags struct {
	maxAge string
	format string
	// The original's filters, for where no settings are at hand.
	environment, cluster, role string
}

func checkCommand(a *app) *cobra.Command {
	var o checkFlags
	c := &cobra.Command{Use: "check [NAME]", Aliases: []string{"check-backups"}, Args: between(0, "NAME"),
		Short: "Exit 1 where a volume in use lacks a recent restorable snapshot",
		Long: `Looks at the volumes in use, wherever in the account they are attached, and at
their snapshots. A gap is a volume, or a declared mount point, without a snapshot
that is completed, restorable and not older than --max-age; and a declared mount
point of which no volume is in use.

With NAME that snapshotter is checked, without it all of the settings file, and
with --environment, --cluster or --role every volume that has these tags; that
needs no settings.

Exit codes: 0 all is well, 1 a gap or a failure. With --format nagios they are
those of a Nagios plugin: 0 OK, 2 CRITICAL (a gap), 3 UNKNOWN (could not look).`,
		RunE: func(c *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			err := a.TimeUp(c.Context(), a.check(c.Context(), name, o))
			if o.format == "nagios" {
				return a.nagiosUnknown(err)
			}
			return err
		}}
	a.timeoutFlag(c, checkTime)
	f := c.Flags()
	f.StringVar(&o.maxAge, "max-age", "26h", "`age` from which a snapshot is too old: 30s, 15m, 26h, 7d, 2w")
	f.StringVar(&o.format, "format", "text", "`format`: text, nagios or prometheus (the textfile collector's)")
	f.StringVar(&o.environment, "environment", "", "check the volumes with this environment `tag`")
	f.StringVar(&o.cluster, "cluster", "", "check the volumes with this cluster `tag`")
	f.StringVar(&o.role, "role", "", "check the volumes with this role `tag`")
	return c
}

// tags are the filter tags that the flags give.
func (o checkFlags) tags() map[string]string {
	tags := map[string]string{"environment": o.environment, "cluster": o.cluster, "role": o.role}
	maps.DeleteFunc(tags, func(_, value string) bool { return value == "" })
	return tags
}

func (a *app) check(ctx context.Context, name string, o checkFlags) error {
	maxAge, err := settings.ParseDuration(o.maxAge)
	switch {
	case err != nil:
		return usageError("--max-age %q: %w", o.maxAge, err)
	case maxAge == 0:
		return usageError("--max-age %s would find every snapshot too old", o.maxAge)
	case o.format != "text" && o.format != "nagios" && o.format != "prometheus":
		return usageError("--format %q is none of text, nagios, prometheus", o.format)
	case o.format != "text" && a.json():
		return usageError("--format %s and --output json exclude each other", o.format)
	case name != "" && len(o.tags()) > 0:
		return usageError("%s has its own filter tags: give a name, or --environment, --cluster and --role", name)
	}
	// Without settings the region comes from elsewhere.
	if err := a.loadSettings(); err != nil && (len(o.tags()) == 0 || !errors.Is(err, settings.ErrNotFound)) {
		return err
	}
	var verdicts []verdict
	if tags := o.tags(); len(tags) > 0 {
		verdicts, err = a.checkTags(ctx, tags, maxAge)
	} else {
		verdicts, err = a.checkSettings(ctx, name, maxAge)
	}
	if err != nil {
		return err
	}
	now, err := a.cloudTime(ctx)
	if err != nil {
		return err
	}
	if off := time.Until(now); off.Abs() > clockOff/2 {
		a.log.Warn("this machine's clock differs from EC2's, whose time is used", "by", off.Round(time.Second))
	}
	return a.report(checked{At: now.UTC(), MaxAge: maxAge, Verdicts: verdicts}, o.format)
}

// clockOff is from where this machine's clock is not believed.
const clockOff = time.Minute

// cloudTime is the time by EC2's clock where this machine's is off: snapshots
// have their start times from there.
func (a *app) cloudTime(ctx context.Context) (time.Time, error) {
	c, err := a.cloud(ctx)
	if err != nil {
		return time.Time{}, err
	}
	skew, err := c.Skew(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if skew.Abs() < clockOff {
		skew = 0
	}
	return time.Now().Add(skew), nil
}

// checkSettings checks one snapshotter, or all of them.
func (a *app) checkSettings(ctx context.Context, name string, maxAge time.Duration) ([]verdict, error) {
	names := a.File().Names()
	if name != "" {
		names = []string{name}
	}
	if len(names) == 0 {
		return nil, usageError("there is nothing to check: %s declares no snapshotter", strings.Join(a.File().Paths(), ", "))
	}
	var all []verdict
	for _, n := range names {
		spec, err := a.spec(ctx, n)
		if err != nil {
			return nil, err
		}
		s := snapset.Scope{Name: n, Tags: spec.FilterTags, Group: spec.Together()}
		for _, v := range spec.Volumes {
			s.Declared = append(s.Declared, v.MountPoint)
		}
		volumes, err := a.volumesBearing(ctx, s.Tags)
		if err != nil {
			return nil, err
		}
		snapshots := snapset.NewIndex()
		now, err := a.snapshotsBearing(ctx, s.Tags, snapshots.Add)
		if err != nil {
			return nil, err
		}
		others := a.declaredByOthers(ctx, n)
		volumes = slices.DeleteFunc(volumes, func(v ec2.Volume) bool {
			mp := path.Clean(v.Tags[steps.TagMountPoint])
			return others[mp] && !slices.Contains(s.Declared, mp)
		})
		all = append(all, judge(s, volumes, snapshots, now, maxAge)...)
	}
	return all, nil
}

// declaredByOthers are the mount points of the other snapshotters: on one
// instance several may have the same filter tags. One that cannot be evaluated
// here declares nothing.
func (a *app) declaredByOthers(ctx context.Context, name string) map[string]bool {
	declared := map[string]bool{}
	for _, n := range a.File().Names() {
		if n == name {
			continue
		}
		spec, err := a.specWarned(ctx, n, func(*settings.Error) {})
		if err != nil {
			continue
		}
		for _, v := range spec.Volumes {
			declared[v.MountPoint] = true
		}
	}
	return declared
}

// checkTags checks all volumes in use that bear the tags. They may be of
// several snapshotters, which the original's three tags tell apart; whether
// these restore whole sets is not known here, so sets are held to be whole.
func (a *app) checkTags(ctx context.Context, tags map[string]string, maxAge time.Duration) ([]verdict, error) {
	volumes, err := a.volumesBearing(ctx, tags)
	if err != nil {
		return nil, err
	}
	type kin struct{ environment, cluster, role string }
	type family struct {
		snapset.Scope
		volumes   []ec2.Volume
		snapshots *snapset.Index
	}
	of := func(tags map[string]string) kin { return kin{tags["environment"], tags["cluster"], tags["role"]} }
	families := map[kin]*family{}
	for _, v := range volumes {
		if _, on := snapset.InUse(v); !on || v.Tags[steps.TagMountPoint] == "" {
			continue
		}
		k := of(v.Tags)
		if families[k] == nil {
			name := tagWords(map[string]string{"environment": k.environment, "cluster": k.cluster, "role": k.role})
			families[k] = &family{Scope: snapset.Scope{Group: true, Name: name}, snapshots: snapset.NewIndex()}
		}
		families[k].volumes = append(families[k].volumes, v)
	}
	if len(families) == 0 {
		return []verdict{{snapset.Finding{Subject: tagWords(tags), Problem: "no volume in use has these tags"}}}, nil
	}
	now, err := a.snapshotsBearing(ctx, tags, func(s ec2.Snapshot) {
		if f := families[of(s.Tags)]; f != nil {
			f.snapshots.Add(s)
		}
	})
	if err != nil {
		return nil, err
	}
	var all []verdict
	for _, f := range families {
		all = append(all, judge(f.Scope, f.volumes, f.snapshots, now, maxAge)...)
	}
	slices.SortStableFunc(all, func(a, b verdict) int { return strings.Compare(a.Subject, b.Subject) })
	return all, nil
}

// volumesBearing asks for the volumes that bear the tags.
func (a *app) volumesBearing(ctx context.Context, tags map[string]string) (volumes []ec2.Volume, err error) {
	c, err := a.cloud(ctx)
	if err != nil {
		return nil, err
	}
	err = a.patiently(ctx, func(ctx context.Context) (err error) {
		volumes, err = c.VolumesByTag(ctx, tags)
		return err
	})
	return volumes, err
}

// snapshotsBearing visits the snapshots that bear the tags, and says at which
// time it was told.
func (a *app) snapshotsBearing(ctx context.Context, tags map[string]string, visit func(ec2.Snapshot)) (time.Time, error) {
	c, err := a.cloud(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if err := c.EachSnapshot(ctx, ec2.SnapshotQuery{Tags: literally(tags)}, visit); err != nil {
		return time.Time{}, err
	}
	return a.cloudTime(ctx)
}

// literally makes tags a query for just these values.
func literally(tags map[string]string) map[string][]string {
	out := map[string][]string{}
	for key, value := range tags {
		out[key] = []string{ec2.Literal(value)}
	}
	return out
}

// tagWords writes the tags that have a value.
func tagWords(tags map[string]string) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if tags[key] != "" {
			words = append(words, fmt.Sprintf("%s=%s", key, tags[key]))
		}
	}
	return strings.Join(words, " ")
}
