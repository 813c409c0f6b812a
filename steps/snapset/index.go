package snapset

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"snaptastic/ec2"
)

// An Index is the snapshots with the filter tags, in any state and order, kept small: they are added page by page.
// Once it was asked something, none may be added any more.
type Index struct {
	rows  []*Row
	chunk []Row // where the next rows go
	kept  *shared

	once     sync.Once
	sets     []*Set               // newest first
	matching map[string][]*Member // by mount point, newest first: ours or the original's, in any EC2 state
	others   map[string][]*Row    // by mount point, newest first: those that are never restored
}

// NewIndex makes an empty one.
func NewIndex() *Index {
	return &Index{kept: newShared()}
}

// IndexOf holds snapshots that are there already.
func IndexOf(snapshots []ec2.Snapshot) *Index {
	x := NewIndex()
	for _, s := range snapshots {
		x.Add(s)
	}
	return x
}

// rowsAtOnce is how many rows are made together at most, so that none is copied when there are more.
const rowsAtOnce = 512

// Add adds a snapshot.
func (x *Index) Add(s ec2.Snapshot) {
	if len(x.chunk) == 0 {
		x.chunk = make([]Row, min(max(len(x.rows), 4), rowsAtOnce))
	}
	r := &x.chunk[0]
	x.chunk = x.chunk[1:]
	x.kept.fill(r, s)
	x.rows = append(x.rows, r)
}

// Unlabelled are those of the ids that it does not have as labelled snapshots of ours.
func (x *Index) Unlabelled(ids []string) []string {
	if len(ids) == 0 {
		return nil
	}
	there := make(map[string]bool, len(ids))
	for _, r := range x.rows {
		if r.Origin == OriginConsistent && slices.Contains(ids, r.ID) {
			there[r.ID] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return there[id] })
}

// only is an index of some of the rows.
func (x *Index) only(keep func(*Row) bool) *Index {
	some := &Index{}
	for _, r := range x.rows {
		if keep(r) {
			some.rows = append(some.rows, r)
		}
	}
	return some
}

// NewestFirst are the rows by the age of their data; those of one moment by their start.
func (x *Index) NewestFirst() []*Row { return newestFirst(x.rows) }

func newestFirst(rows []*Row) []*Row {
	all := slices.Clone(rows)
	slices.SortFunc(all, func(a, b *Row) int {
		return cmp.Or(cmp.Compare(b.data, a.data), cmp.Compare(b.started, a.started), strings.Compare(b.ID, a.ID))
	})
	return all
}

// build puts the rows into sets, and both by mount point, once for all questions.
func (x *Index) build() {
	x.once.Do(func() {
		x.kept, x.chunk = nil, nil
		x.sets = setsOf(x.rows)
		x.matching, x.others = map[string][]*Member{}, map[string][]*Row{}
		for i, one := range x.sets {
			one.rank = i
			for _, m := range one.Members {
				x.matching[m.MountPoint] = append(x.matching[m.MountPoint], m)
			}
		}
		for _, r := range x.rows {
			if point := r.point(); point != "" && !r.Origin.Restorable() {
				x.others[point] = append(x.others[point], r)
			}
		}
		for point, rows := range x.others {
			x.others[point] = newestFirst(rows)
		}
	})
}

// setsWith are the sets that have any of the mount points, newest first.
func setsWith(groups []*candidates) []*Set {
	var sets []*Set
	seen := map[*Set]bool{}
	for _, g := range groups {
		for _, m := range g.matching {
			if !seen[m.Set] {
				seen[m.Set], sets = true, append(sets, m.Set)
			}
		}
	}
	slices.SortFunc(sets, func(a, b *Set) int { return a.rank - b.rank })
	return sets
}

// complete holds those restorable rows that are ready and whose set has all its members among the ready ones.
func (x *Index) complete() map[*Row]bool {
	x.build()
	ready := func(r *Row) bool { return r.Unready() == "" }
	whole := map[*Row]bool{}
	for _, one := range x.sets {
		if !one.Complete(ready) {
			continue
		}
		for _, m := range one.Members {
			for _, r := range m.Snapshots {
				whole[r] = ready(r)
			}
		}
	}
	return whole
}
