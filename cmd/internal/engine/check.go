package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/plan/units"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// A CheckRequest asks whether volumes in use have a recent restorable snapshot: those of one snapshotter, those with the tags,
// or with neither those of all snapshotters of the settings.
type CheckRequest struct {
	Name   string
	Tags   map[string]string
	MaxAge time.Duration

	MaxVerifyAge time.Duration // of the last drill that succeeded; 0: as the settings say (verify { every = … })
}

// A CheckResult is what a check found.
type CheckResult struct {
	At       time.Time // by EC2's clock
	MaxAge   time.Duration
	Findings []snapset.Finding
}

// Gaps are the findings that are not OK.
func (r CheckResult) Gaps() []snapset.Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f snapset.Finding) bool { return f.OK })
}

// Check judges the snapshots of volumes in use. Gaps are an error that comes with the result.
func (e *Engine) Check(ctx context.Context, r CheckRequest) (CheckResult, error) {
	if r.Name != "" && len(r.Tags) > 0 {
		return CheckResult{}, usageError("%s has its own filter tags: use either a name, or --environment, --cluster and --role", r.Name)
	}
	// Without settings the region comes from elsewhere.
	if err := e.loadSettings(); err != nil && (len(r.Tags) == 0 || !errors.Is(err, settings.ErrNotFound)) {
		return CheckResult{}, err
	}
	out := CheckResult{MaxAge: r.MaxAge}
	var err error
	if len(r.Tags) > 0 {
		out.Findings, err = e.checkTags(ctx, r)
	} else {
		out.Findings, err = e.checkSettings(ctx, r)
	}
	if err != nil {
		return CheckResult{}, err
	}
	now, err := e.cloudTime(ctx)
	if err != nil {
		return CheckResult{}, err
	}
	if off := time.Until(now); off.Abs() > clockOff/2 {
		e.log.Warn("this machine's clock differs from EC2's; using EC2's", "by", units.Logged(off))
	}
	out.At = now.UTC()
	if n := len(out.Gaps()); n > 0 {
		err = &Error{Code: Failed, Err: fmt.Errorf("gaps: %d", n), InResult: true}
	}
	return out, err
}

// checkSettings checks one snapshotter, or all of them.
func (e *Engine) checkSettings(ctx context.Context, r CheckRequest) ([]snapset.Finding, error) {
	name := r.Name
	names := e.file.Names()
	if name != "" {
		names = []string{name}
	}
	if len(names) == 0 {
		return nil, usageError("nothing to check: %s declares no snapshotter", strings.Join(e.file.Paths(), ", "))
	}
	var all []snapset.Finding
	silent := map[string]error{} // regions that were asked for an earlier snapshotter, in vain
	for _, n := range names {
		spec, err := e.spec(ctx, n)
		if err != nil {
			return nil, err
		}
		s := snapset.Scope{Name: n, Tags: spec.FilterTags, Group: spec.Together(), MaxVerifyAge: cmp.Or(r.MaxVerifyAge, spec.Drill.Every)}
		for _, v := range spec.Volumes {
			s.Declared = append(s.Declared, v.MountPoint)
		}
		volumes, err := e.volumesTagged(ctx, s.Tags)
		if err != nil {
			return nil, err
		}
		snapshots := snapset.NewIndex()
		now, err := e.snapshotsTagged(ctx, s.Tags, snapshots.Add)
		if err != nil {
			return nil, err
		}
		others := e.declaredByOthers(ctx, n)
		volumes = slices.DeleteFunc(volumes, func(v ec2.Volume) bool {
			mp := path.Clean(v.Tags[steps.TagMountPoint])
			return others[mp] && !slices.Contains(s.Declared, mp)
		})
		all = append(all, snapset.Covered(s, volumes, snapshots, now, r.MaxAge)...)
		all = append(all, e.checkCopies(ctx, s, spec.Copies, silent, now, r.MaxAge)...)
	}
	return all, nil
}

// checkCopies says for each destination whether its newest copy is recent enough. All are asked at once; one that does not answer is a gap,
// and keeps nobody from hearing of the others.
func (e *Engine) checkCopies(ctx context.Context, s snapset.Scope, destinations []recipe.Destination, silent map[string]error, now time.Time, maxAge time.Duration) (all []snapset.Finding) {
	var regions []string
	for _, d := range destinations {
		if silent[d.Region] == nil {
			regions = append(regions, d.Region)
		}
	}
	looks := e.lookAt(ctx, regions, s.Tags, time.Now().Add(checkCopiesTime))
	for _, d := range destinations {
		look, asked := looks[d.Region]
		switch {
		case !asked && silent[d.Region] == nil: // it is the own region
			continue
		case !asked:
			look.err = silent[d.Region]
		case look.err != nil:
			silent[d.Region] = look.err
		}
		if look.err != nil {
			all = append(all, snapset.Finding{Subject: s.Name, Region: d.Region, Problem: "its copies cannot be checked: " + look.err.Error()})
			continue
		}
		all = append(all, snapset.Lag(s, d.Region, snapset.IndexOf(look.snapshots), now, cmp.Or(d.MaxLag, maxAge))...)
	}
	return all
}

// declaredByOthers are the mount points of the other snapshotters: on one
// instance several may have the same filter tags. One that cannot be evaluated
// here declares nothing.
func (e *Engine) declaredByOthers(ctx context.Context, name string) map[string]bool {
	declared := map[string]bool{}
	for _, n := range e.file.Names() {
		if n == name {
			continue
		}
		spec, err := e.readSpec(ctx, n, nil, func(*settings.Error) {})
		if err != nil {
			continue
		}
		for _, v := range spec.Volumes {
			declared[v.MountPoint] = true
		}
	}
	return declared
}

// checkTags checks all volumes in use with the tags. They may be of
// several snapshotters, which the original's three tags tell apart; whether
// these restore whole sets is not known here, so sets are held to be whole.
func (e *Engine) checkTags(ctx context.Context, r CheckRequest) ([]snapset.Finding, error) {
	tags := r.Tags
	volumes, err := e.volumesTagged(ctx, tags)
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
			families[k] = &family{Scope: snapset.Scope{Group: true, Name: name, MaxVerifyAge: r.MaxVerifyAge}, snapshots: snapset.NewIndex()}
		}
		families[k].volumes = append(families[k].volumes, v)
	}
	if len(families) == 0 {
		return []snapset.Finding{{Subject: tagWords(tags), Problem: "no volume in use has these tags"}}, nil
	}
	now, err := e.snapshotsTagged(ctx, tags, func(s ec2.Snapshot) {
		if f := families[of(s.Tags)]; f != nil {
			f.snapshots.Add(s)
		}
	})
	if err != nil {
		return nil, err
	}
	var all []snapset.Finding
	for _, f := range families {
		all = append(all, snapset.Covered(f.Scope, f.volumes, f.snapshots, now, r.MaxAge)...)
	}
	sort.SliceStable(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		return strings.Compare(a.Subject, b.Subject) < 0
	})
	return all, nil
}

// volumesTagged asks for the volumes with the tags.
func (e *Engine) volumesTagged(ctx context.Context, tags map[string]string) (volumes []ec2.Volume, err error) {
	c, err := e.cloud(ctx)
	if err != nil {
		return nil, err
	}
	err = e.retry(ctx, func(ctx context.Context) (err error) {
		volumes, err = c.VolumesByTag(ctx, tags)
		return err
	})
	return volumes, err
}

// snapshotsTagged visits the snapshots with the tags, and says at which
// time it was told.
func (e *Engine) snapshotsTagged(ctx context.Context, tags map[string]string, visit func(ec2.Snapshot)) (time.Time, error) {
	c, err := e.cloud(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if err := c.EachSnapshot(ctx, ec2.SnapshotQuery{Tags: literally(tags)}, visit); err != nil {
		return time.Time{}, err
	}
	return e.cloudTime(ctx)
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
