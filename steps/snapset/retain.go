package snapset

import (
	"path"
	"slices"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

// Groups tell the snapshots of one snapshotter from those of another, so that each keeps its newest. They go by filter
// tags alone: another tool may give each snapshot a tag with a value of its own, and each would be the newest of its kind.
type Groups struct {
	named    []string            // keys of the filter tags by the settings; nil when no snapshotter was named
	byVolume map[string][]string // keys of the filter tags as recorded last on a snapshot of the volume's mount point
	differ   map[string][]string // keys in which the members of a set differ: no filter tag does
}

// NewGroups learns from the snapshots themselves where they do not say what their filter tags are. filter is that of the
// snapshotter that was named; nil without one.
func NewGroups(filter map[string]string, snapshots []ec2.Snapshot) Groups {
	g := Groups{byVolume: map[string][]string{}, differ: map[string][]string{}}
	if filter != nil {
		g.named = []string{}
		for key := range filter {
			g.named = append(g.named, key)
		}
	}
	newest := map[string]time.Time{}
	first := map[string]ec2.Snapshot{}
	for _, s := range snapshots {
		if !OriginOf(s).Restorable() {
			continue
		}
		if keys, known := RecordedKeys(s.Tags); known {
			if on := onVolume(s); on != "" && !s.Started.Before(newest[on]) {
				newest[on], g.byVolume[on] = s.Started, keys
			}
			continue
		}
		id := IDOf(s)
		if other, any := first[id]; any && id != "" {
			g.differ[id] = append(g.differ[id], differing(OtherTags(s.Tags), OtherTags(other.Tags))...)
		} else {
			first[id] = s
		}
	}
	return g
}

// onVolume is the place of a snapshot: a volume belongs to one snapshotter, and its filter tags were the volume's.
func onVolume(s ec2.Snapshot) string {
	if IsCopy(s) || s.VolumeID == "" || s.Tags[TagMountPoint] == "" {
		return ""
	}
	return s.VolumeID + " " + path.Clean(s.Tags[TagMountPoint])
}

func differing(a, b map[string]string) (keys []string) {
	for key, value := range a {
		if other, there := b[key]; !there || other != value {
			keys = append(keys, key)
		}
	}
	for key := range b {
		if _, there := a[key]; !there {
			keys = append(keys, key)
		}
	}
	return keys
}

// Tags are the filter tags of a snapshot. sure is false where they are all that it has besides ours: of these each may be
// a filter tag, or another tool's.
func (g Groups) Tags(s ec2.Snapshot) (tags map[string]string, sure bool) {
	keys, known := RecordedKeys(s.Tags)
	switch {
	case known:
		// The settings name fewer keys than were recorded: another snapshotter's snapshots have its filter tags, too.
		return only(s.Tags, append(keys, g.named...)), true
	case g.named != nil:
		return only(s.Tags, g.named), true
	}
	tags = OtherTags(s.Tags)
	for _, key := range g.differ[IDOf(s)] {
		delete(tags, key)
	}
	if keys, known := g.byVolume[onVolume(s)]; known {
		if own := only(tags, keys); len(own) == len(keys) {
			return own, true
		}
	}
	return tags, false
}

// Key is the same for all snapshots of one snapshotter.
func (g Groups) Key(s ec2.Snapshot) string {
	tags, _ := g.Tags(s)
	return InOrder(tags)
}

// Point is the same for all snapshots of one mount point of one snapshotter.
func (g Groups) Point(s ec2.Snapshot) string {
	return g.Key(s) + "\x00" + path.Clean(s.Tags[TagMountPoint])
}

// Retained is what has to stay of one mount point of one snapshotter.
type Retained struct {
	Instead []string        // the newest set to restore it from, whole; none when there is no restorable one
	Guarded map[string]bool // all that must not go
}

// Retain finds what has to stay of each mount point, by Groups.Point. Which volumes a settings file declares is not known
// here, so a set stays whenever no newer whole set has all of its mount points: whatever is declared, what a mount would
// choose is among those. What could be restored by itself, or after a restore from the archive, stays as well.
func Retain(g Groups, snapshots []ec2.Snapshot) map[string]*Retained {
	groups := map[string][]ec2.Snapshot{}
	for _, s := range snapshots {
		if s.Tags[TagMountPoint] != "" && OriginOf(s).Restorable() {
			key := g.Key(s)
			groups[key] = append(groups[key], s)
		}
	}
	all := map[string]*Retained{}
	for _, group := range groups {
		r := retention{points: map[string]string{}, all: all, sets: setsOf(IndexOf(group).rows)}
		every := map[string]bool{}
		for _, s := range group {
			key := g.Point(s)
			r.points[s.ID], every[key] = key, true
			if all[key] == nil {
				all[key] = &Retained{Guarded: map[string]bool{}}
			}
		}
		ready := func(s *Row) bool { return s.State == ebs.SnapshotCompleted && s.dormant() == "" }
		any := func(*Set) bool { return true }
		r.guardSets(ready, true)
		r.guardSets(func(s *Row) bool { return s.State != ebs.SnapshotError }, false)
		r.guardUngrouped(any, ready, true)
		if !slices.ContainsFunc(r.sets, func(one *Set) bool { return one.Complete(ready) && includes(r.pointsOf(one), every) }) {
			// Some declaration may find no whole set: then a mount takes what belongs to none.
			alone := func(one *Set) bool { return one.Size == 1 }
			r.guardUngrouped(alone, ready, true)
			r.guardUngrouped(alone, func(*Row) bool { return true }, false)
		}
	}
	return all
}

// retention is that of one snapshotter.
type retention struct {
	points map[string]string // of each snapshot, by Groups.Point
	all    map[string]*Retained
	sets   []*Set // newest first
}

func (r retention) pointsOf(one *Set) map[string]bool {
	keys := map[string]bool{}
	for _, m := range one.Members {
		keys[r.points[m.Best().ID]] = true
	}
	return keys
}

// guardSets guards each whole set of usable snapshots of which no newer one has all mount points, with all copies of it.
func (r retention) guardSets(usable func(*Row) bool, instead bool) {
	var combinations []map[string]bool
	for _, one := range r.sets {
		if !one.Complete(usable) {
			continue
		}
		points := r.pointsOf(one)
		if slices.ContainsFunc(combinations, func(c map[string]bool) bool { return includes(c, points) }) {
			continue
		}
		combinations = append(combinations, points)
		var best, every []string
		for _, m := range one.Members {
			best = append(best, m.Best().ID)
			for _, s := range m.Snapshots {
				every = append(every, s.ID)
			}
		}
		for key := range points {
			kept := r.all[key]
			if instead && kept.Instead == nil {
				kept.Instead = best
			}
			for _, id := range every {
				kept.Guarded[id] = true
			}
		}
	}
}

func includes(all, some map[string]bool) bool {
	for key := range some {
		if !all[key] {
			return false
		}
	}
	return true
}

// guardUngrouped guards the newest usable snapshot of each mount point, whatever its set lost.
func (r retention) guardUngrouped(of func(*Set) bool, usable func(*Row) bool, instead bool) {
	done := map[string]bool{}
	for _, one := range r.sets {
		for _, m := range one.Members {
			key := r.points[m.Best().ID]
			i := slices.IndexFunc(m.Snapshots, usable)
			if done[key] || i < 0 || !of(one) {
				continue
			}
			done[key] = true
			kept := r.all[key]
			for _, s := range m.Snapshots {
				kept.Guarded[s.ID] = true
			}
			if instead && kept.Instead == nil {
				kept.Instead = []string{m.Snapshots[i].ID}
			}
		}
	}
}
