package snapset

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

// A Request says what a mount asks for. Whatever an operator may say about which snapshots to take belongs here, and is
// heeded by Choose alone.
type Request struct {
	MountPoints []string
	Group       bool // the snapshots of one set restore together
	AllowOlder  bool // an archived or recoverable newest snapshot may be passed over
	MixSets     bool // the newest of each mount point, whatever its set
	MayCreate   bool // a mount point without any snapshot gets a new empty volume

	Set      string    // the set to take: see [Index.named]
	Snapshot string    // the snapshot to take, of one mount point
	Before   time.Time // take the newest whose data is not newer; zero for no limit
	Verified bool      // only what a drill has verified
	Drill    bool      // to find out what the set is worth: one that no longer restores is the answer, and none before it

	Existing bool                // a snapshot was asked for, so that none begins empty
	Name     string              // of the snapshotter, for hints
	Attached map[string]Attached // by mount point: the volumes that are there already, and stay
}

// explicit says that an operator asked for other snapshots than the newest.
func (r Request) explicit() bool { return r.Set != "" || r.Snapshot != "" || !r.Before.IsZero() }

const (
	labelHint = "to restore it anyway, add the tag " + TagState + "=" + Consistent + "; to start empty, remove its " + TagMountPoint + " tag"
	olderHint = "restore it from the archive or the recycle bin, or skip it with --allow-older"

	// MixHint says what helps where no set is whole.
	MixHint = "use --mix-sets to restore the newest snapshot of each mount point, from different moments"
)

// Choose decides, for each mount point, what its volume is made from; see [Index.Choose].
func Choose(r Request, snapshots []ec2.Snapshot) []Choice { return IndexOf(snapshots).Choose(r) }

// Choose decides, for each mount point, what its volume is made from. It is the only place where that is decided: a
// mount, and every command that tells what a mount would do, ask here. It costs what the mount points' own snapshots do.
func (x *Index) Choose(r Request) []Choice {
	x.build()
	groups := x.groupsOf(r.MountPoints)
	chosen := make([]Choice, len(groups))
	if r.Set != "" || r.Snapshot != "" {
		x.chooseNamed(r, groups, chosen)
	} else {
		for _, g := range groups {
			g.limit(r)
		}
		x.chooseNewest(r, groups, chosen)
	}
	for i, g := range groups {
		chosen[i].MountPoint = g.mountPoint
	}
	if r.explicit() {
		holdAgainstAttached(r, groups, chosen)
		refuseTogether(r, chosen)
	}
	return chosen
}

// chooseNewest takes the newest of what there is.
func (x *Index) chooseNewest(r Request, groups []*candidates, chosen []Choice) {
	if r.Group && !r.MixSets {
		x.chooseSet(r, groups, chosen)
	} else {
		for i, g := range groups {
			if len(g.matching) > 0 {
				chosen[i] = newestOf(g, r, g.matching)
			}
		}
	}
	for i, g := range groups {
		if len(g.matching) == 0 {
			chosen[i] = withoutSnapshot(g, r)
		}
	}
}

// candidates are what there is of one mount point, newest first.
type candidates struct {
	mountPoint string
	matching   []*Member // ours or the original's, in any EC2 state
	unverified []*Row    // the file systems may not have held still
	copied     []*Row    // another tool's, with a volume's tags copied

	all       []*Member // matching ones, before anything was left out
	tooNew    []*Member // that a limit of time leaves out
	undrilled []*Member // that are left out because no drill has verified them
}

func (x *Index) groupsOf(mountPoints []string) []*candidates {
	groups := make([]*candidates, len(mountPoints))
	for i, mp := range mountPoints {
		g := &candidates{mountPoint: mp, matching: x.matching[path.Clean(mp)], all: x.matching[path.Clean(mp)]}
		for _, r := range x.others[path.Clean(mp)] {
			if r.Origin == OriginUnverified {
				g.unverified = append(g.unverified, r)
			} else {
				g.copied = append(g.copied, r)
			}
		}
		groups[i] = g
	}
	return groups
}

// withoutSnapshot: only where nothing at all is known of a mount point may it begin empty.
func withoutSnapshot(g *candidates, r Request) (c Choice) {
	switch {
	case len(g.undrilled) > 0:
		c.Problem = fmt.Sprintf(`none of its snapshots is verified, and restore is "verified"; the newest is %s`, g.undrilled[0].Best().ID)
		c.Hint = r.verifyHint("")
	case len(g.tooNew) > 0:
		oldest := g.tooNew[len(g.tooNew)-1]
		c.Problem = fmt.Sprintf("no snapshot has its data of %s or earlier; the oldest is %s, of %s", stampOf(r.Before), oldest.Best().ID, stampOf(oldest.Set.data.time()))
		c.Hint = "name a later time, or a set with --set; " + r.listHint()
	case len(g.unverified) > 0:
		c.Problem = fmt.Sprintf("its only snapshot %s is not labelled %s: the run that took it did not finish", g.unverified[0].ID, Consistent)
		c.Hint = labelHint
	case len(g.copied) > 0:
		c.Problem = fmt.Sprintf("its only snapshot %s was created by another tool that copied our tags", g.copied[0].ID)
		c.Hint = labelHint
	case r.explicit() || r.Existing:
		c.Problem, c.Hint = "no snapshot of it exists", "check filter_tags and the mount point; "+r.listHint()
	case !r.MayCreate:
		c.Unknown = true
		c.Problem = `no snapshot exists, and on_missing is "fail"`
		c.Hint = `set on_missing = "create" for a first start, or check the filter tags`
	default:
		c.Unknown, c.Create, c.Reason = true, true, "no snapshot exists"
	}
	return c
}

// newestOf takes the newest usable of some snapshots of one mount point.
func newestOf(g *candidates, r Request, from []*Member) Choice {
	notes := passedOver(g)
	for _, m := range from {
		snap := m.Best()
		switch asleep := snap.dormant(); {
		case snap.State == ebs.SnapshotError:
			notes = append(notes, snap.ID+" is in state error"+snap.because())
		case asleep != "" && !r.AllowOlder:
			return Choice{Problem: fmt.Sprintf("its newest snapshot %s is %s", snap.ID, asleep), Hint: olderHint}
		case asleep != "":
			notes = append(notes, snap.ID+" is "+asleep)
		default:
			return take(m, notes)
		}
	}
	return Choice{Problem: "none of its snapshots is usable: " + strings.Join(notes, "; "),
		Hint: "delete the unusable snapshots: a new empty volume is created only if no snapshot exists in any state"}
}

// passedOver notes newer snapshots that are never candidates.
func passedOver(g *candidates) (notes []string) {
	newer := func(r *Row) bool { return len(g.matching) == 0 || r.data > g.matching[0].Set.data }
	for _, s := range g.unverified {
		if newer(s) {
			notes = append(notes, s.ID+" is newer but not labelled "+Consistent)
		}
	}
	for _, s := range g.copied {
		if newer(s) {
			notes = append(notes, s.ID+" is newer but was created by another tool that copied our tags")
		}
	}
	for _, m := range g.undrilled {
		if len(g.matching) == 0 || m.Set.data > g.matching[0].Set.data {
			notes = append(notes, m.Best().ID+" is newer but not verified")
		}
	}
	return notes
}

func take(m *Member, notes []string) Choice {
	s := m.Best()
	if s.Copy {
		notes = append(notes, "it is a copy")
	}
	c := Choice{SnapshotID: s.ID, Size: s.Size, Created: m.Set.data.time(), Run: m.Best().Run(), Set: s.SetTag(),
		Pending: s.State == ebs.SnapshotPending, Reason: strings.Join(notes, "; ")}
	switch d := m.Set.Drill(); {
	case d.State().Good():
		c.Verified = d.VerifiedAt()
	case d.State().Failed():
		c.Warnings = append(c.Warnings, fmt.Sprintf("the last drill of %s failed: %s", s.ID, cmp.Or(d.Reason(), "it does not say why")))
	}
	return c
}

// lacks says what keeps a set from being restored; "" when it is complete. What a set lost may be a mount point that is
// declared no more, or one that is: so every member counts.
func (s *Set) lacks(groups []*candidates, r Request) string {
	for _, m := range s.Members {
		switch best := m.Best(); {
		case best.State == ebs.SnapshotError:
			return best.ID + " of it is in state error" + best.because()
		case best.dormant() != "" && r.AllowOlder:
			return best.ID + " of it is " + best.dormant()
		}
	}
	if why := s.lost(); why != "" {
		return why
	}
	for _, g := range groups {
		if len(g.matching) > 0 && s.Of(g.mountPoint) == nil {
			return "it has none of " + g.mountPoint
		}
	}
	return ""
}

// chooseSet takes all from the newest set that is complete for every mount point that has any snapshot. A drill takes nothing
// where a set before that one is broken.
func (x *Index) chooseSet(r Request, groups []*candidates, chosen []Choice) {
	var notes []string
	for _, one := range setsWith(groups) {
		if b := x.brokenFor(r, one); b != nil {
			for i := range chosen {
				chosen[i] = b.choice(one, r)
			}
			return
		}
		if why := one.lacks(groups, r); why != "" {
			notes = append(notes, fmt.Sprintf("not %s: %s", one, why))
			continue
		}
		for i, g := range groups {
			if m := one.Of(g.mountPoint); m != nil {
				chosen[i] = fromSet(m, slices.Concat(brief(notes), passedOver(g)))
			}
		}
		return
	}
	chooseWithoutSet(r, groups, notes, chosen)
}

// brief keeps the first of many notes.
func brief(notes []string) []string {
	const enough = 3
	if len(notes) <= enough {
		return notes
	}
	return append(slices.Clone(notes[:enough]), fmt.Sprintf("and %d more", len(notes)-enough))
}

func fromSet(m *Member, notes []string) Choice {
	if asleep := m.Best().dormant(); asleep != "" {
		return Choice{Problem: fmt.Sprintf("its snapshot %s of the newest set is %s", m.Best().ID, asleep), Hint: olderHint}
	}
	return take(m, notes)
}

// chooseWithoutSet: snapshots that belong to no set of several (the original's) restore each by itself, as the original
// did. Those of a broken set are not put together with others.
func chooseWithoutSet(r Request, groups []*candidates, notes []string, chosen []Choice) {
	alone := make([][]*Member, len(groups))
	everyHas := true // each mount point that has a snapshot has one outside of all sets
	for i, g := range groups {
		for _, m := range g.matching {
			if m.Set.Size == 1 {
				alone[i] = append(alone[i], m)
			}
		}
		everyHas = everyHas && (len(g.matching) == 0 || len(alone[i]) > 0)
	}
	for i, g := range groups {
		switch {
		case len(g.matching) == 0:
		case len(alone[i]) < len(g.matching) && !everyHas:
			chosen[i] = Choice{Problem: "none of its sets is complete: " + strings.Join(brief(notes), "; "), Hint: MixHint}
		default:
			chosen[i] = newestOf(g, r, alone[i])
			if chosen[i].Problem == "" {
				reason := "no set exists: the newest of this mount point"
				if len(alone[i]) < len(g.matching) {
					reason = "no set is complete: the newest that is not part of a set"
				}
				chosen[i].Reason = joined(reason, chosen[i].Reason)
			}
		}
	}
}
