package snapset

import (
	"cmp"
	"fmt"
	"time"
)

// Broken is a set that no longer restores: a member is gone, or failed in EC2. That says something of the set itself; that it
// is pending, archived or not labelled does not.
type Broken struct {
	Set         string    `json:"set"`              // as its tag names it, or else the run that made it
	Created     time.Time `json:"created,omitzero"` // when its data was so
	SnapshotIDs []string  `json:"snapshot_ids"`     // those that remain, with the copies
	Begun       time.Time `json:"begun,omitzero"`   // when the last of these was begun: EC2 may not show all of a set that is new
	Reason      string    `json:"reason"`           // such as "1 of its 2 snapshots is gone"
}

// Broken returns the broken set that keeps some choices from being made; nil for none.
func (c Choices) Broken() *Broken {
	for _, one := range c {
		if one.Broken != nil {
			return one.Broken
		}
	}
	return nil
}

// brokenFor says, where a drill asks, whether it would find out no more than that the set is broken. What belongs to no set is
// passed over as in a mount. A set of which more is there without a label than with one may be in the making, or be deleted just now.
func (x *Index) brokenFor(r Request, s *Set) *Broken {
	best := s.Members[0].Best()
	if !r.Drill || best.SetID == "" || s.Size == 0 {
		return nil
	}
	why := s.broken()
	if why == "" {
		return nil
	}
	for _, row := range x.rows {
		if row.SetID == best.SetID && !row.Origin.Restorable() {
			return nil
		}
	}
	b := &Broken{Set: cmp.Or(best.SetTag(), s.Name()), Created: s.data.time(), Reason: why}
	for _, m := range s.Members {
		for _, row := range m.Snapshots {
			b.SnapshotIDs = append(b.SnapshotIDs, row.ID)
			if at := row.started.time(); at.After(b.Begun) {
				b.Begun = at
			}
		}
	}
	return b
}

// choice is that of every mount point.
func (b *Broken) choice(s *Set, r Request) Choice {
	return Choice{Broken: b, Problem: fmt.Sprintf("%s cannot be restored: %s", s, b.Reason),
		Hint: fmt.Sprintf("take a new set with `snaptastic run snapshot %s`, or drill another one with --set; %s", cmp.Or(r.Name, "NAME"), r.listHint())}
}
