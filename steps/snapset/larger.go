package snapset

import (
	"fmt"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

// Tags of snapshots that are a part of a larger set, one of many hosts. What is restored together on one host is told by
// TagSet as ever: a host's part is complete or not by itself, and two hosts may have the same mount points. Only snapshots have
// these tags.
const (
	TagLargerSet     = "snaptastic:larger-set"     // the same for all snapshots of all hosts
	TagLargerMembers = "snaptastic:larger-members" // how many these are
	TagLock          = "snaptastic:lock"           // a LockWish: a part is locked once the whole is labelled
)

// LockWish is how the snapshots of a part of a larger set are to be locked by whoever labels the whole of it, who may not have the
// settings of each part.
type LockWish struct {
	Mode    string // governance or compliance
	Days    int32
	CoolOff int32 // hours; 0: none
}

// String is the value of TagLock, such as "compliance 30d 24h".
func (w LockWish) String() string {
	text := fmt.Sprintf("%s %dd", w.Mode, w.Days)
	if w.CoolOff > 0 {
		text += fmt.Sprintf(" %dh", w.CoolOff)
	}
	return text
}

// ParseLockWish reads the value of TagLock. Anything else than what String writes is an error: a lock cannot always be taken back.
func ParseLockWish(tag string) (w LockWish, err error) {
	_, _ = fmt.Sscanf(tag, "%s %dd %dh", &w.Mode, &w.Days, &w.CoolOff)
	if w.String() != tag || w.Mode != "governance" && w.Mode != "compliance" || w.Days < 1 {
		return w, fmt.Errorf("%s is %q: expected something like \"governance 14d\"", TagLock, tag)
	}
	return w, nil
}

// MaxLarger is how many snapshots a larger set may have: EC2 takes so many in one CreateTags, and labels all or none.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html
const MaxLarger = 1000

// Larger is what there is of a larger set.
type Larger struct {
	IDs     []string  // of its snapshots
	Members int       // how many it has when it is complete
	Already bool      // it is labelled
	Created time.Time // the earliest start
	Problem string    // why it cannot be labelled; "" when it can
	Waits   bool      // that may be over in a moment: EC2's answers lag
}

// LargerSet judges the snapshots that carry the tag of a larger set.
func LargerSet(snapshots []ec2.Snapshot) (l Larger) {
	labelled, counts := 0, map[string]bool{}
	problem := func(waits bool, format string, a ...any) {
		if l.Problem == "" || l.Waits && !waits {
			l.Problem, l.Waits = fmt.Sprintf(format, a...), waits
		}
	}
	for _, s := range snapshots {
		if IsCopy(s) {
			continue // CopySnapshot takes tags along
		}
		l.IDs = append(l.IDs, s.ID)
		counts[s.Tags[TagLargerMembers]] = true
		l.Members = LargerMembers(s)
		if l.Created.IsZero() || s.Started.Before(l.Created) {
			l.Created = s.Started
		}
		switch state := s.Tags[TagState]; {
		case state == Consistent:
			labelled++
		case state == Deleting:
			problem(false, "%s is being deleted", s.ID)
		case state != Unverified:
			problem(false, "%s has the unknown %s %q", s.ID, TagState, state)
		case s.State != ebs.SnapshotCompleted && s.State != ebs.SnapshotPending:
			problem(false, "%s is %s", s.ID, s.State)
		case s.Tags[TagMountPoint] == "":
			problem(true, "%s has no mount point yet: its host has not finished", s.ID)
		}
	}
	switch {
	case len(l.IDs) == 0:
		problem(true, "it has no snapshots")
	case len(counts) > 1 || l.Members == 0:
		problem(false, "its snapshots do not agree on how many they are")
	case len(l.IDs) < l.Members:
		problem(true, "%d of its %d snapshots are there", len(l.IDs), l.Members)
	case len(l.IDs) > l.Members:
		problem(false, "it has %d snapshots, and should have %d", len(l.IDs), l.Members)
	}
	l.Already = l.Problem == "" && labelled == len(l.IDs)
	return l
}

// Labelled says whether a snapshot is one of a set that can be restored, as its tag says.
func Labelled(s ec2.Snapshot) bool { return s.Tags[TagState] == Consistent }

// LargerMembers is how many snapshots the larger set has that the snapshot is of, as its tag says; 0 where that is not known.
func LargerMembers(s ec2.Snapshot) int { return sizeOf(s.Tags[TagLargerMembers]) }

// WhyKept says why an undo by key or larger set does not delete a snapshot; "" when it does. mine is false for one that was not
// made under that key or set, and has got the tag from somewhere else.
func WhyKept(s ec2.Snapshot) (why string, mine bool) {
	switch {
	case IsCopy(s), s.Tags[TagSet] == "":
		return "it is not Snaptastic's own snapshot", false
	case Labelled(s):
		return "it is labelled and can be restored", true
	case s.Tags[TagState] != Unverified && s.Tags[TagState] != Deleting:
		return fmt.Sprintf("it has the unknown %s %q", TagState, s.Tags[TagState]), true
	}
	return "", true
}

// maxLargerID is how many characters the id of a larger set may have.
const maxLargerID = 128

// CheckLarger refuses what is not the id of a larger set. It has no slash: a run and a token have one between them in TagSet.
func CheckLarger(id string) error {
	if id == "" || len(id) > maxLargerID {
		return fmt.Errorf("the id of a set has 1 to %d characters, this one has %d", maxLargerID, len(id))
	}
	for i, r := range id {
		word := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !word && (i == 0 || !strings.ContainsRune("._:@+=-", r)) {
			return fmt.Errorf("set %q: must be letters, digits and ._:@+=-, and begin with a letter or a digit", id)
		}
	}
	return nil
}
