package snapset

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"snaptastic/ec2/ebs"
)

// Attached is a volume that is there already, and the snapshot that it was made from; "" for one that was made empty.
type Attached struct {
	VolumeID   string `json:"volume_id"`
	SnapshotID string `json:"snapshot_id,omitempty"`
}

// Hints for what was asked for by name.
const (
	wakeHint = "restore it from the archive or the recycle bin first, or choose another set"
)

// listHint says where an operator finds what to ask for.
func (r Request) listHint() string {
	return fmt.Sprintf("`snaptastic snapshots %s` lists what there is", cmp.Or(r.Name, "NAME"))
}

// verifyHint says what helps where only verified sets are restored.
func (r Request) verifyHint(set string) string {
	if set != "" {
		set = " --set " + set
	}
	return fmt.Sprintf("run `snaptastic run verify %s%s`, or remove restore = \"verified\" from the settings", cmp.Or(r.Name, "NAME"), set)
}

// problem is why something that was asked for cannot be taken.
type problem struct {
	what, hint string
	noSuch     bool
}

func (p problem) choice() Choice { return Choice{Problem: p.what, Hint: p.hint, NoSuch: p.noSuch} }

// limit leaves out what is newer than asked for, and what no drill has verified where only that counts. What does not say
// how old its data is cannot be told to be old enough.
func (g *candidates) limit(r Request) {
	if !r.Before.IsZero() {
		limit := momentOf(r.Before)
		old := func(at moment) bool { return at != noTime && at <= limit }
		g.matching, g.tooNew = divide(g.matching, func(m *Member) bool { return old(m.Set.data) })
		g.unverified, _ = divide(g.unverified, func(s *Row) bool { return old(s.data) })
		g.copied, _ = divide(g.copied, func(s *Row) bool { return old(s.data) })
	}
	if r.Verified {
		g.matching, g.undrilled = divide(g.matching, func(m *Member) bool { return m.Set.Drill().State().Good() })
	}
}

// divide returns those that are so, and the others, each in their order.
func divide[T any](all []T, is func(T) bool) (so, others []T) {
	for _, one := range all {
		if is(one) {
			so = append(so, one)
		} else {
			others = append(others, one)
		}
	}
	return so, others
}

// Name is what an operator calls the set by: the run that made it, or else its tag, or else its first snapshot.
func (s *Set) Name() string {
	best := s.Members[0].Best()
	return cmp.Or(s.Run(), best.SetTag(), best.ID)
}

// tag is the name that tells it from other sets of its run.
func (s *Set) tag() string {
	best := s.Members[0].Best()
	return cmp.Or(best.SetTag(), best.ID)
}

// isCalled reports whether the row is called so: by the tag of its set, by the larger set that this
// is a part of, by the run that made it or by its own id. Of tag and run
// the beginning is enough, and is half a match.
func (r *Row) isCalled(name string) (exactly, partly bool) {
	tag, run := r.SetTag(), r.Run()
	if name == r.ID || name == tag || name == run || name == r.LargerSet {
		return true, true
	}
	return false, tag != "" && strings.HasPrefix(tag, name) || run != "" && strings.HasPrefix(run, name)
}

// named finds the sets that are called by a name: the value of their tag `snaptastic:set`, the run that made them, the
// beginning of either, or the id of one of their snapshots. There are several where each volume is a set of its own. A problem
// tells why it is none.
func (x *Index) named(r Request, name string) ([]*Set, problem) {
	var exact, part []*Set
	for _, one := range x.sets {
		exactly, partly := one.isCalled(name)
		if exactly {
			exact = append(exact, one)
		}
		if partly {
			part = append(part, one)
		}
	}
	found := exact
	if len(found) == 0 {
		found = part
	}
	if len(found) == 0 {
		return nil, x.notRestorable(r, name)
	}
	apart := (*Set).tag
	if !r.Group || r.MixSets {
		apart = (*Set).Name
	}
	var names []string
	for _, one := range found {
		if n := apart(one); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if len(names) > 1 {
		return nil, problem{what: fmt.Sprintf("%q is the name of %d sets: %s", name, len(names), strings.Join(brief(names), ", ")), hint: "write the name of one of them in full"}
	}
	return found, problem{}
}

func (s *Set) isCalled(name string) (exactly, partly bool) {
	for _, m := range s.Members {
		for _, row := range m.Snapshots {
			e, p := row.isCalled(name)
			exactly, partly = exactly || e, partly || p
		}
	}
	return exactly, partly
}

// notRestorable says what keeps all that is called so from being restored.
func (x *Index) notRestorable(r Request, name string) problem {
	var found *Row
	for _, row := range x.rows {
		if exactly, partly := row.isCalled(name); partly && !row.Origin.Restorable() {
			if found = row; exactly {
				break
			}
		}
	}
	switch {
	case found == nil:
		return problem{what: fmt.Sprintf("no set or snapshot %q has these filter tags", name), hint: x.nearest(name) + r.listHint(), noSuch: true}
	case found.Origin == OriginUnverified && found.LargerSet != "":
		return problem{what: fmt.Sprintf("%s is not labelled %s: it is a part of the larger set %s, which is labelled as a whole", found.ID, Consistent, found.LargerSet),
			hint: "run `snaptastic label --set " + found.LargerSet + "`, or choose another set"}
	case found.Origin == OriginUnverified:
		return problem{what: fmt.Sprintf("%s is not labelled %s: the run that took it did not finish", found.ID, Consistent), hint: "choose another set; " + labelHint}
	}
	return problem{what: found.ID + " was created by another tool that copied our tags", hint: "choose another set; " + labelHint}
}

// nearest names the sets that were most likely meant: those whose names begin alike, and then the newest. Names are runs, and begin
// with their time.
func (x *Index) nearest(name string) string {
	alike := func(s *Set) int {
		other := s.Name()
		for i := range min(len(name), len(other)) {
			if name[i] != other[i] {
				return i
			}
		}
		return min(len(name), len(other))
	}
	var near []*Set
	for _, s := range x.sets {
		if s.broken() == "" && !slices.ContainsFunc(near, func(o *Set) bool { return o.Name() == s.Name() }) {
			near = append(near, s)
		}
	}
	sort.SliceStable(near, func(i, j int) bool { return alike(near[i]) > alike(near[j]) })
	var names []string
	for _, s := range near[:min(len(near), 3)] {
		names = append(names, s.Name())
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return "the nearest is " + names[0] + "; "
	}
	return "the nearest are " + strings.Join(names, ", ") + "; "
}

// chooseNamed takes all from the set, or the one snapshot, that was asked for.
func (x *Index) chooseNamed(r Request, groups []*candidates, chosen []Choice) {
	sets, why := x.named(r, cmp.Or(r.Snapshot, r.Set))
	for i, g := range groups {
		switch {
		case why.what != "":
			chosen[i] = why.choice()
		case r.Snapshot == "" && x.brokenFor(r, sets[0]) != nil:
			chosen[i] = x.brokenFor(r, sets[0]).choice(sets[0], r)
		case r.Snapshot != "":
			chosen[i] = r.takeSnapshot(g, sets[0], len(groups))
		default:
			chosen[i] = r.takeFrom(g, sets)
		}
	}
}

// takeFrom takes a mount point's snapshot of the sets that were asked for.
func (r Request) takeFrom(g *candidates, sets []*Set) Choice {
	for _, one := range sets {
		if r.Group && !r.MixSets {
			if why := one.broken(); why != "" {
				return Choice{Problem: fmt.Sprintf("%s cannot be restored: %s", one, why), Hint: "choose another set; " + r.listHint()}
			}
		}
		if m := one.Of(g.mountPoint); m != nil {
			return r.takeMember(m, m.Best())
		}
	}
	return Choice{Problem: fmt.Sprintf("%s has no snapshot of %s", sets[0], g.mountPoint),
		Hint: "choose another set, or restore the volumes one by one with --snapshot; " + r.listHint()}
}

// takeSnapshot takes the snapshot itself, whatever becomes of the others of its set.
func (r Request) takeSnapshot(g *candidates, of *Set, mountPoints int) Choice {
	for _, m := range of.Members {
		i := slices.IndexFunc(m.Snapshots, func(row *Row) bool { return row.ID == r.Snapshot })
		if i < 0 {
			continue
		}
		row := m.Snapshots[i]
		switch point := row.point(); {
		case point == "" && mountPoints > 1:
			return Choice{Problem: fmt.Sprintf("%s does not say which volume it is of", row.ID), Hint: "add the tag " + TagMountPoint + " to it"}
		case point != "" && !SameMountPoint(point, g.mountPoint):
			return Choice{Problem: fmt.Sprintf("%s is a snapshot of %s", row.ID, point), Hint: "choose a snapshot of " + g.mountPoint + "; " + r.listHint()}
		}
		return r.takeMember(m, row)
	}
	return Choice{Problem: fmt.Sprintf("%q is not the id of a snapshot", r.Snapshot), Hint: "use --set for a set; " + r.listHint()}
}

// takeMember takes one snapshot of a member, if it can be used now.
func (r Request) takeMember(m *Member, row *Row) Choice {
	switch {
	case row.State == ebs.SnapshotError:
		return Choice{Problem: row.ID + " is in state error" + row.because(), Hint: "choose another set; " + r.listHint()}
	case row.dormant() != "":
		return Choice{Problem: row.ID + " is " + row.dormant(), Hint: wakeHint}
	case r.Verified && !m.Set.Drill().State().Good():
		return Choice{Problem: fmt.Sprintf(`%s is not verified, and restore is "verified"`, m.Set), Hint: r.verifyHint(m.Set.Name())}
	}
	one := *m
	one.Snapshots = []*Row{row}
	return take(&one, nil)
}

// broken says what a set that was asked for lacks, whatever is declared.
func (s *Set) broken() string {
	for _, m := range s.Members {
		if best := m.Best(); best.State == ebs.SnapshotError {
			return best.ID + " of it is in state error" + best.because()
		}
	}
	return s.lost()
}

// holdAgainstAttached compares what was asked for with the volumes that are there: those stay as they are, so that one of
// another set is refused.
func holdAgainstAttached(r Request, groups []*candidates, chosen []Choice) {
	for i, g := range groups {
		at, is := r.Attached[g.mountPoint]
		if !is || chosen[i].Problem != "" {
			continue
		}
		if at.SnapshotID != "" && slices.ContainsFunc(g.all, func(m *Member) bool {
			has := func(id string) bool {
				return slices.ContainsFunc(m.Snapshots, func(row *Row) bool { return row.ID == id })
			}
			return has(at.SnapshotID) && has(chosen[i].SnapshotID)
		}) {
			chosen[i].Attached = &at
			continue
		}
		from := "made empty"
		if at.SnapshotID != "" {
			from = "made from " + at.SnapshotID
		}
		chosen[i] = Choice{MountPoint: g.mountPoint, Attached: &at, Problem: fmt.Sprintf("%s is attached and was %s, not from %s", at.VolumeID, from, chosen[i].SnapshotID),
			Hint: fmt.Sprintf("to replace it, run `snaptastic run restore %s %s`", cmp.Or(r.Name, "NAME"), r.flag())}
	}
}

// flag is how an operator asks for the same.
func (r Request) flag() string {
	switch {
	case r.Snapshot != "":
		return "--snapshot " + r.Snapshot
	case r.Set != "":
		return "--set " + r.Set
	}
	return "--before " + stampOf(r.Before)
}

// refuseTogether: of a group that was asked for as a whole, no volume is restored when one cannot be.
func refuseTogether(r Request, chosen []Choice) {
	i := slices.IndexFunc(chosen, func(c Choice) bool { return c.Problem != "" })
	if i < 0 || !r.Group || r.MixSets {
		return
	}
	for k := range chosen {
		if chosen[k].Problem == "" {
			chosen[k] = Choice{MountPoint: chosen[k].MountPoint, Attached: chosen[k].Attached, Hint: chosen[i].Hint,
				Problem: fmt.Sprintf("it is restored together with %s, and that one cannot be: %s", chosen[i].MountPoint, chosen[i].Problem)}
		}
	}
}

func stampOf(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// PointOf says which of the declared mount points a snapshot is of: by its own tag, and where it has none, the only one.
func PointOf(tags map[string]string, mountPoints []string) (string, error) {
	point := tags[TagMountPoint]
	for _, mp := range mountPoints {
		if point == "" && len(mountPoints) == 1 || SameMountPoint(point, mp) {
			return mp, nil
		}
	}
	if point == "" {
		return "", errors.New("it has no tag " + TagMountPoint + ", and several volumes are declared")
	}
	return "", fmt.Errorf("it is a snapshot of %s, which is not declared", point)
}
