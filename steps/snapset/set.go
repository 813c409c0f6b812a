package snapset

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

// A Set is the snapshots of one moment. Its members may be originals and copies, side by side or in each other's place.
type Set struct {
	Size    int       // how many members it had; 0 when they do not say
	Members []*Member // by mount point

	begun moment // the earliest start
	data  moment // when its data was so
	rank  int    // its place among all, newest first
}

// A Member is what there is of one mount point in a set.
type Member struct {
	Set        *Set
	MountPoint string
	Snapshots  []*Row // the one to take first; more than one where there are copies
}

// Best is the snapshot to take.
func (m *Member) Best() *Row { return m.Snapshots[0] }

// How the identities of sets begin.
const (
	setPrefix = "set "
	runPrefix = "run "
)

// IDOf is the identity of a snapshot's set; "" for one that belongs to none. Sets of older builds go by run and token.
func IDOf(s ec2.Snapshot) string {
	if id := s.Tags[TagSet]; id != "" {
		return setPrefix + id
	}
	if run, token := s.Tags[TagRun], s.Tags[TagToken]; (run != "" || token != "") && membersOf(s) > 0 {
		return runPrefix + run + " " + token
	}
	return ""
}

// setsOf puts the restorable ones of some snapshots together, newest first.
func setsOf(rows []*Row) []*Set {
	var sets []*Set
	byID := map[string]*Set{}
	for _, r := range rows {
		if !r.Origin.Restorable() {
			continue
		}
		id := cmp.Or(r.SetID, r.ID)
		one := byID[id]
		if one == nil {
			one = &Set{data: r.data, begun: r.started}
			byID[id], sets = one, append(sets, one)
		}
		one.add(r)
	}
	for _, one := range sets {
		one.order()
	}
	slices.SortFunc(sets, func(a, b *Set) int {
		return cmp.Or(cmp.Compare(b.data, a.data), cmp.Compare(b.begun, a.begun), strings.Compare(b.Members[0].Best().ID, a.Members[0].Best().ID))
	})
	return sets
}

func (s *Set) add(r *Row) {
	size := sizeOf(r.Members)
	if r.SetID == "" {
		size = 1
	}
	s.Size = max(s.Size, size)
	// They are of one moment: where tags were changed so that they differ, none is newer than the oldest says.
	s.data = min(s.data, r.data)
	s.begun = min(s.begun, r.started)
	// Without a mount point it is nobody's copy.
	name := cmp.Or(r.point(), r.ID)
	for _, m := range s.Members {
		if m.MountPoint == name {
			m.Snapshots = append(m.Snapshots, r)
			return
		}
	}
	s.Members = append(s.Members, &Member{Set: s, MountPoint: name, Snapshots: []*Row{r}})
}

// order puts what can be taken first, and an original before its copies.
func (s *Set) order() {
	for _, m := range s.Members {
		slices.SortFunc(m.Snapshots, func(a, b *Row) int {
			return cmp.Or(readiness(a)-readiness(b), later(a.Copy)-later(b.Copy), cmp.Compare(a.started, b.started), strings.Compare(a.ID, b.ID))
		})
	}
	slices.SortFunc(s.Members, func(a, b *Member) int { return strings.Compare(a.MountPoint, b.MountPoint) })
}

func readiness(r *Row) int {
	switch {
	case r.State == ebs.SnapshotError:
		return 3
	case r.dormant() != "":
		return 2
	case r.State != ebs.SnapshotCompleted:
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

// Run is the one that made it; "" for the original's.
func (s *Set) Run() string { return s.Members[0].Best().Run() }

// String names the set.
func (s *Set) String() string {
	if run := s.Run(); run != "" {
		return "the set of run " + run
	}
	return s.Members[0].Best().ID
}

// Complete reports whether of each of its members there is a usable snapshot.
func (s *Set) Complete(usable func(*Row) bool) bool {
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
		return "its snapshots do not record how many there were"
	case len(s.Members) < s.Size:
		gone, are := s.Size-len(s.Members), "are"
		if gone == 1 {
			are = "is"
		}
		return fmt.Sprintf("%d of its %d snapshots %s gone", gone, s.Size, are)
	}
	return ""
}
