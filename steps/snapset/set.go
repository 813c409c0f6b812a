package snapset

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"snaptastic/ec2"
)

// A Set is the snapshots of one moment. Its members may be originals and copies, side by side or in each other's place.
type Set struct {
	ID       string // the same for all that belong to it; the snapshot's own for one that belongs to none
	Run      string // that made it; "" for the original's
	Size     int    // how many members it had; 0 when they do not say
	DataTime time.Time
	Members  []*Member // by mount point

	begun time.Time // the earliest start
}

// A Member is what there is of one mount point in a set.
type Member struct {
	Set        *Set
	MountPoint string
	Snapshots  []ec2.Snapshot // the one to take first; more than one where there are copies
}

// Best is the snapshot to take.
func (m *Member) Best() ec2.Snapshot { return m.Snapshots[0] }

// IDOf is the identity of a snapshot's set; "" for one that belongs to none. Sets of older builds go by run and token.
func IDOf(s ec2.Snapshot) string {
	if id := s.Tags[TagSet]; id != "" {
		return "set " + id
	}
	if run, token := s.Tags[TagRun], s.Tags[TagToken]; (run != "" || token != "") && membersOf(s) > 0 {
		return "run " + run + " " + token
	}
	return ""
}

// Sets puts the restorable ones of some snapshots together, newest first.
func Sets(snapshots []ec2.Snapshot) []*Set {
	var sets []*Set
	byID := map[string]*Set{}
	for _, s := range snapshots {
		if !OriginOf(s).Restorable() {
			continue
		}
		id := cmp.Or(IDOf(s), s.ID)
		one := byID[id]
		if one == nil {
			one = &Set{ID: id, Run: RunOf(s.Tags), DataTime: DataTime(s), begun: s.Started}
			byID[id], sets = one, append(sets, one)
		}
		one.add(s)
	}
	for _, one := range sets {
		one.order()
	}
	slices.SortFunc(sets, func(a, b *Set) int {
		return cmp.Or(b.DataTime.Compare(a.DataTime), b.begun.Compare(a.begun), strings.Compare(b.Members[0].Best().ID, a.Members[0].Best().ID))
	})
	return sets
}

func (s *Set) add(snap ec2.Snapshot) {
	size := membersOf(snap)
	if IDOf(snap) == "" {
		size = 1
	}
	s.Size = max(s.Size, size)
	// They are of one moment: where tags were changed so that they differ, none is newer than the oldest says.
	if at := DataTime(snap); at.Before(s.DataTime) {
		s.DataTime = at
	}
	if snap.Started.Before(s.begun) {
		s.begun = snap.Started
	}
	name := snap.ID // without a mount point it is nobody's copy
	if mp := snap.Tags[TagMountPoint]; mp != "" {
		name = path.Clean(mp)
	}
	for _, m := range s.Members {
		if m.MountPoint == name {
			m.Snapshots = append(m.Snapshots, snap)
			return
		}
	}
	s.Members = append(s.Members, &Member{Set: s, MountPoint: name, Snapshots: []ec2.Snapshot{snap}})
}

// order puts what can be taken first, and an original before its copies.
func (s *Set) order() {
	for _, m := range s.Members {
		slices.SortFunc(m.Snapshots, func(a, b ec2.Snapshot) int {
			return cmp.Or(readiness(a)-readiness(b), later(IsCopy(a))-later(IsCopy(b)), a.Started.Compare(b.Started), strings.Compare(a.ID, b.ID))
		})
	}
	slices.SortFunc(s.Members, func(a, b *Member) int { return strings.Compare(a.MountPoint, b.MountPoint) })
}

func readiness(s ec2.Snapshot) int {
	switch {
	case s.State == "error":
		return 3
	case Dormant(s) != "":
		return 2
	case s.State != "completed":
		return 1
	}
	return 0
}

func later(is bool) int {
	if is {
		return 1
	}
	return 0
}

// Of is the set's member of a mount point; nil when it has none.
func (s *Set) Of(mountPoint string) *Member {
	name := path.Clean(mountPoint)
	for _, m := range s.Members {
		if m.MountPoint == name {
			return m
		}
	}
	return nil
}

// String names the set.
func (s *Set) String() string {
	if s.Run != "" {
		return "the set of run " + s.Run
	}
	return s.Members[0].Best().ID
}

// Whole says whether of each of its members there is a usable snapshot.
func (s *Set) Whole(usable func(ec2.Snapshot) bool) bool {
	there := 0
	for _, m := range s.Members {
		if slices.ContainsFunc(m.Snapshots, usable) {
			there++
		}
	}
	return s.Size > 0 && there >= s.Size && there == len(s.Members)
}

// lost says how many members are gone, of which nothing is left; "" when none is.
func (s *Set) lost() string {
	switch {
	case s.Size == 0:
		return "its snapshots do not say how many they were"
	case len(s.Members) < s.Size:
		return fmt.Sprintf("%d of its %d snapshots are gone", s.Size-len(s.Members), s.Size)
	}
	return ""
}

// WholeOf returns the ids of those restorable snapshots that are ready and whose set has all its members among the ready
// ones of those given.
func WholeOf(snapshots []ec2.Snapshot) map[string]bool {
	ready := func(s ec2.Snapshot) bool { return Unready(s) == "" }
	whole := map[string]bool{}
	for _, one := range Sets(snapshots) {
		if !one.Whole(ready) {
			continue
		}
		for _, m := range one.Members {
			for _, s := range m.Snapshots {
				whole[s.ID] = ready(s)
			}
		}
	}
	return whole
}

// NewestFirst sorts snapshots by the age of their data; those of one moment by their start.
func NewestFirst(snapshots []ec2.Snapshot) []ec2.Snapshot {
	type aged struct {
		ec2.Snapshot
		at time.Time
	}
	all := make([]aged, len(snapshots))
	for i, s := range snapshots {
		all[i] = aged{s, DataTime(s)}
	}
	slices.SortFunc(all, func(a, b aged) int {
		return cmp.Or(b.at.Compare(a.at), b.Started.Compare(a.Started), strings.Compare(b.ID, a.ID))
	})
	out := make([]ec2.Snapshot, len(all))
	for i, s := range all {
		out[i] = s.Snapshot
	}
	return out
}
