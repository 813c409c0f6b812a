package snapset

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"snaptastic/plan/units"
)

// A Choice is the snapshot that a mount point's volume is made from, or that it is made empty, or why it cannot be made.
type Choice struct {
	MountPoint string     `json:"mount_point"`
	SnapshotID string     `json:"snapshot_id,omitempty"`
	Size       int32      `json:"size,omitempty"`   // GiB
	Created    time.Time  `json:"created,omitzero"` // when the data was so; never when a copy of it was made
	Run        string     `json:"run,omitempty"`    // that made it; empty for the original's
	Set        string     `json:"set,omitempty"`    // its set, as its tag names it
	Pending    bool       `json:"pending,omitempty"`
	Create     bool       `json:"create,omitempty"`   // no snapshot in any state: a new empty volume
	Verified   time.Time  `json:"verified,omitzero"`  // when a drill last restored its set and found it good; no later drill failed
	Attached   *Attached  `json:"attached,omitempty"` // the volume that is there already, where a set was asked for by name or by time
	NoSuch     bool       `json:"no_such,omitempty"`  // there is no such set or snapshot among those with the filter tags
	Reason     string     `json:"reason,omitempty"`   // what an operator should know about it
	Problem    string     `json:"problem,omitempty"`  // why there is no volume for this mount point
	Hint       string     `json:"hint,omitempty"`     // what to do about the problem
	Unknown    bool       `json:"unknown,omitempty"`  // no snapshot exists in any state
	Warnings   []string   `json:"warnings,omitempty"` // snapshots that were perhaps meant, in words
	Misses     []NearMiss `json:"misses,omitempty"`   // and as facts
	Broken     *Broken    `json:"broken,omitempty"`   // the set that was to be drilled and that no longer restores: the problem, as facts
}

// String says what the volume will be made from.
func (c Choice) String() string {
	switch {
	case c.Problem != "":
		return c.Problem
	case c.Pending:
		return joined(c.SnapshotID+", pending, "+c.age(), c.Reason)
	case c.SnapshotID != "":
		return joined(c.SnapshotID+", "+c.age(), c.Reason)
	case c.Create:
		return "new empty volume: " + c.Reason
	}
	return "nothing to restore: the volume is attached"
}

// age says how old its data is, and whether a drill has verified it.
func (c Choice) age() string {
	if c.Created.IsZero() {
		return Ago(c.Created)
	}
	text := Ago(c.Created) + " (" + day(c.Created) + " UTC"
	if !c.Verified.IsZero() {
		text += ", verified " + units.Age(time.Since(c.Verified)) + " ago"
	}
	return text + ")"
}

// joined is a text with what there may be to add.
func joined(text, more string) string {
	if more == "" {
		return text
	}
	return text + "; " + more
}

// Choices are those of all mount points.
type Choices []Choice

// String counts them.
func (c Choices) String() string {
	restored, empty, problems := 0, 0, 0
	for _, one := range c {
		switch {
		case one.Problem != "":
			problems++
		case one.Create:
			empty++
		default:
			restored++
		}
	}
	var words []string
	for _, n := range []struct {
		count int
		what  string
	}{{restored, "to restore"}, {empty, "to create empty"}, {problems, "that cannot be restored"}} {
		if n.count > 0 {
			words = append(words, fmt.Sprintf("%d %s", n.count, n.what))
		}
	}
	if len(words) == 0 {
		return "all volumes are attached"
	}
	return strings.Join(words, ", ")
}

// Warnings are those of all mount points, each with its own.
func (c Choices) Warnings() []string {
	var all []string
	for _, one := range c {
		for _, w := range one.Warnings {
			all = append(all, one.MountPoint+": "+w)
		}
	}
	return all
}

// Of finds a mount point's choice.
func (c Choices) Of(mountPoint string) (Choice, bool) {
	i := slices.IndexFunc(c, func(c Choice) bool { return path.Clean(c.MountPoint) == path.Clean(mountPoint) })
	if i < 0 {
		return Choice{}, false
	}
	return c[i], true
}

// Ago says how long something is past, in the one unit that matters.
func Ago(t time.Time) string {
	if t.IsZero() {
		return "of unknown age"
	}
	return units.Age(time.Since(t)) + " old"
}
