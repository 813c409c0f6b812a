package steps

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"snaptastic/ec2"
)

// A Choice is the snapshot that a mount point's volume is made from, or that it is made empty, or why it cannot be made.
type Choice struct {
	MountPoint string    `json:"mount_point"`
	SnapshotID string    `json:"snapshot_id,omitempty"`
	Size       int32     `json:"size,omitempty"` // GiB
	Created    time.Time `json:"created,omitzero"`
	Run        string    `json:"run,omitempty"` // that made it; empty for the original's
	Pending    bool      `json:"pending,omitempty"`
	Create     bool      `json:"create,omitempty"`  // no snapshot in any state: a new empty volume
	Reason     string    `json:"reason,omitempty"`  // what an operator should know about it
	Problem    string    `json:"problem,omitempty"` // why there is no volume for this mount point
	Hint       string    `json:"hint,omitempty"`    // what to do about the problem
}

// String says what the volume will be made from.
func (c Choice) String() string {
	with := func(text string) string { return strings.TrimSuffix(text+"; "+c.Reason, "; ") }
	switch {
	case c.Problem != "":
		return c.Problem
	case c.Pending:
		return with(c.SnapshotID + ", still pending, " + ago(c.Created))
	case c.SnapshotID != "":
		return with(c.SnapshotID + ", " + ago(c.Created))
	case c.Create:
		return "a new empty volume: " + c.Reason
	}
	return "nothing to restore: the volume is there"
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
	}{{restored, "to restore"}, {empty, "to create empty"}, {problems, "that cannot be made"}} {
		if n.count > 0 {
			words = append(words, fmt.Sprintf("%d %s", n.count, n.what))
		}
	}
	if len(words) == 0 {
		return "every volume is there"
	}
	return strings.Join(words, ", ")
}

// A Wish says what may be chosen.
type Wish struct {
	MountPoints []string
	Group       bool // the snapshots of one run restore together
	AllowOlder  bool // an archived or recoverable newest snapshot may be passed over
	MixSets     bool // the newest of each mount point, whatever its set
	MayCreate   bool // a mount point without any snapshot gets a new empty volume
}

const (
	vouchHint = "to restore it all the same, give it the tag " + TagState + "=" + Consistent + "; to begin empty, take its " + TagMountPoint + " tag away"
	olderHint = "restore it from the archive or the recycle bin, or pass it over with --allow-older"
	mixHint   = "--mix-sets restores the newest snapshot of each mount point; they are not of one moment"
)

// choose decides, for each mount point, what its volume is made from. Snapshots are all that bear the filter tags, in any
// state. It is a pure function.
func choose(wish Wish, snapshots []ec2.Snapshot) []Choice {
	newest := slices.Clone(snapshots)
	slices.SortFunc(newest, func(a, b ec2.Snapshot) int {
		return cmp.Or(b.Started.Compare(a.Started), strings.Compare(b.ID, a.ID))
	})
	shelves := make([]shelf, len(wish.MountPoints))
	for i, mp := range wish.MountPoints {
		shelves[i] = shelve(mp, newest)
	}
	chosen := make([]Choice, len(shelves))
	if wish.Group && !wish.MixSets {
		chooseSet(wish, shelves, newest, chosen)
	} else {
		for i, s := range shelves {
			if len(s.fit) > 0 {
				chosen[i] = newestOf(s, wish, s.fit)
			}
		}
	}
	for i, s := range shelves {
		chosen[i].MountPoint = s.mountPoint
		if len(s.fit) == 0 {
			chosen[i] = withoutSnapshot(s, wish)
		}
	}
	return chosen
}

// A shelf is what there is for one mount point, newest first.
type shelf struct {
	mountPoint string
	fit        []ec2.Snapshot // ours or the original's, in any EC2 state
	unverified []ec2.Snapshot // the file systems may not have held still
	copied     []ec2.Snapshot // another tool's, with a volume's tags copied
}

// kindOf tells what a snapshot's tags say about who made it.
func kindOf(tags map[string]string) (fit, unverified bool) {
	state, stated := tags[TagState]
	_, token := tags[TagToken]
	switch {
	case stated:
		return state == Consistent, state != Consistent
	case token:
		return false, false // a volume's tags: volumes have a token and no state
	}
	return true, false
}

func shelve(mountPoint string, newest []ec2.Snapshot) shelf {
	s := shelf{mountPoint: mountPoint}
	for _, snap := range newest {
		if !sameMountPoint(snap.Tags[TagMountPoint], mountPoint) {
			continue
		}
		switch fit, unverified := kindOf(snap.Tags); {
		case fit:
			s.fit = append(s.fit, snap)
		case unverified:
			s.unverified = append(s.unverified, snap)
		default:
			s.copied = append(s.copied, snap)
		}
	}
	return s
}

// withoutSnapshot: only where nothing at all is known of a mount point may it begin empty.
func withoutSnapshot(s shelf, wish Wish) Choice {
	c := Choice{MountPoint: s.mountPoint}
	switch {
	case len(s.unverified) > 0:
		c.Problem = fmt.Sprintf("its only snapshot %s is not labelled %s: the run that took it did not finish", s.unverified[0].ID, Consistent)
		c.Hint = vouchHint
	case len(s.copied) > 0:
		c.Problem = fmt.Sprintf("its only snapshot %s was made by another tool that copied our tags", s.copied[0].ID)
		c.Hint = vouchHint
	case !wish.MayCreate:
		c.Problem = `no snapshot of it exists, and on_missing is "fail"`
		c.Hint = `set on_missing = "create" for a first start, or check the filter tags`
	default:
		c.Create, c.Reason = true, "no snapshot of it exists"
	}
	return c
}

// newestOf takes the newest usable of some snapshots of one mount point.
func newestOf(s shelf, wish Wish, from []ec2.Snapshot) Choice {
	notes := passedOver(s)
	for _, snap := range from {
		switch asleep := dormant(snap); {
		case snap.State == "error":
			notes = append(notes, snap.ID+" is in error"+because(snap))
		case asleep != "" && !wish.AllowOlder:
			return Choice{MountPoint: s.mountPoint, Problem: fmt.Sprintf("its newest snapshot %s is %s", snap.ID, asleep), Hint: olderHint}
		case asleep != "":
			notes = append(notes, snap.ID+" is "+asleep)
		default:
			return take(s, snap, notes)
		}
	}
	return Choice{MountPoint: s.mountPoint, Problem: "none of its snapshots is usable: " + strings.Join(notes, "; "),
		Hint: "a new empty volume is made only where no snapshot exists in any state: delete what is of no use"}
}

// passedOver notes newer snapshots that are never candidates.
func passedOver(s shelf) (notes []string) {
	newer := func(snap ec2.Snapshot) bool { return len(s.fit) == 0 || snap.Started.After(s.fit[0].Started) }
	for _, snap := range s.unverified {
		if newer(snap) {
			notes = append(notes, snap.ID+" is newer and not labelled "+Consistent)
		}
	}
	for _, snap := range s.copied {
		if newer(snap) {
			notes = append(notes, snap.ID+" is newer and another tool's, with our tags copied")
		}
	}
	return notes
}

func take(s shelf, snap ec2.Snapshot, notes []string) Choice {
	return Choice{MountPoint: s.mountPoint, SnapshotID: snap.ID, Size: snap.VolumeSize, Created: snap.Started, Run: snap.Tags[TagRun],
		Pending: snap.State == "pending", Reason: strings.Join(notes, "; ")}
}

// dormant says why a snapshot that exists cannot be used at once.
func dormant(s ec2.Snapshot) string {
	switch {
	case s.StorageTier == "archive":
		return "archived"
	case s.State == "recoverable" || s.State == "recovering":
		return "in the recycle bin (" + s.State + ")"
	}
	return ""
}

func because(s ec2.Snapshot) string {
	if s.StateMessage == "" {
		return ""
	}
	return ": " + s.StateMessage
}

// A set is the labelled snapshots of one attempt of one run. A snapshot of the original's is a set by itself.
type set struct {
	run     string
	members int
	snaps   []ec2.Snapshot
}

func setsOf(newest []ec2.Snapshot) []*set {
	var sets []*set
	byKey := map[string]*set{}
	for _, snap := range newest {
		if fit, _ := kindOf(snap.Tags); !fit {
			continue
		}
		key := snap.Tags[TagRun] + " " + snap.Tags[TagToken]
		members, err := strconv.Atoi(snap.Tags[TagMembers])
		if key == " " || err != nil || members < 1 {
			sets = append(sets, &set{members: 1, snaps: []ec2.Snapshot{snap}})
			continue
		}
		one := byKey[key]
		if one == nil {
			one = &set{run: snap.Tags[TagRun], members: members}
			byKey[key], sets = one, append(sets, one)
		}
		one.snaps = append(one.snaps, snap)
	}
	return sets
}

func (s *set) of(mountPoint string) (ec2.Snapshot, bool) {
	for _, snap := range s.snaps {
		if sameMountPoint(snap.Tags[TagMountPoint], mountPoint) {
			return snap, true
		}
	}
	return ec2.Snapshot{}, false
}

func (s *set) String() string {
	if s.run != "" {
		return "the set of run " + s.run
	}
	return s.snaps[0].ID
}

// lacks says what keeps a set from being restored; "" when it is complete. What a set lost may be a mount point that is
// declared no more, or one that is: so every member counts.
func (s *set) lacks(shelves []shelf, wish Wish) string {
	there := 0
	for _, snap := range s.snaps {
		switch asleep := dormant(snap); {
		case snap.State == "error":
			return snap.ID + " of it is in error" + because(snap)
		case asleep != "" && wish.AllowOlder:
			return snap.ID + " of it is " + asleep
		}
		there++
	}
	if there < s.members {
		return fmt.Sprintf("%d of its %d snapshots are gone", s.members-there, s.members)
	}
	for _, sh := range shelves {
		if _, ok := s.of(sh.mountPoint); !ok && len(sh.fit) > 0 {
			return "it has none of " + sh.mountPoint
		}
	}
	return ""
}

// chooseSet takes all from the newest set that is complete for every mount point that has any snapshot.
func chooseSet(wish Wish, shelves []shelf, newest []ec2.Snapshot, chosen []Choice) {
	if !slices.ContainsFunc(shelves, func(s shelf) bool { return len(s.fit) > 0 }) {
		return
	}
	sets := setsOf(newest)
	var notes []string
	for _, one := range sets {
		if !one.touches(shelves) {
			continue
		}
		if why := one.lacks(shelves, wish); why != "" {
			notes = append(notes, fmt.Sprintf("not %s: %s", one, why))
			continue
		}
		for i, s := range shelves {
			if snap, ok := one.of(s.mountPoint); ok {
				chosen[i] = fromSet(s, snap, slices.Concat(brief(notes), passedOver(s)))
			}
		}
		return
	}
	chooseWithoutSet(wish, shelves, sets, notes, chosen)
}

// brief keeps the first of many notes.
func brief(notes []string) []string {
	const enough = 3
	if len(notes) <= enough {
		return notes
	}
	return append(slices.Clone(notes[:enough]), fmt.Sprintf("and %d more", len(notes)-enough))
}

// touches says whether the set says anything about these mount points.
func (s *set) touches(shelves []shelf) bool {
	return slices.ContainsFunc(shelves, func(sh shelf) bool { _, ok := s.of(sh.mountPoint); return ok })
}

func fromSet(s shelf, snap ec2.Snapshot, notes []string) Choice {
	if asleep := dormant(snap); asleep != "" {
		return Choice{MountPoint: s.mountPoint, Problem: fmt.Sprintf("its snapshot %s of the newest set is %s", snap.ID, asleep), Hint: olderHint}
	}
	return take(s, snap, notes)
}

// chooseWithoutSet: snapshots that belong to no set of several (the original's) restore each by itself, as the original
// did. Those of a broken set are not put together with others.
func chooseWithoutSet(wish Wish, shelves []shelf, sets []*set, notes []string, chosen []Choice) {
	single := map[string]bool{}
	for _, one := range sets {
		if one.members == 1 {
			single[one.snaps[0].ID] = true
		}
	}
	for i, s := range shelves {
		alone := slices.DeleteFunc(slices.Clone(s.fit), func(snap ec2.Snapshot) bool { return !single[snap.ID] })
		switch {
		case len(s.fit) == 0:
		case len(alone) < len(s.fit) && !everyHas(shelves, single):
			chosen[i] = Choice{Problem: "no set of its snapshots is complete: " + strings.Join(brief(notes), "; "), Hint: mixHint}
		default:
			chosen[i] = newestOf(s, wish, alone)
			if chosen[i].Problem == "" {
				reason := "no set of one moment exists: the newest of this mount point"
				if len(alone) < len(s.fit) {
					reason = "no set is complete: the newest that belongs to none"
				}
				chosen[i].Reason = strings.TrimSuffix(reason+"; "+chosen[i].Reason, "; ")
			}
		}
	}
}

// everyHas says whether each mount point that has a snapshot has one outside of all sets.
func everyHas(shelves []shelf, single map[string]bool) bool {
	for _, s := range shelves {
		if len(s.fit) > 0 && !slices.ContainsFunc(s.fit, func(snap ec2.Snapshot) bool { return single[snap.ID] }) {
			return false
		}
	}
	return true
}

// choiceOf finds a mount point's choice.
func choiceOf(choices []Choice, mountPoint string) (Choice, bool) {
	i := slices.IndexFunc(choices, func(c Choice) bool { return path.Clean(c.MountPoint) == path.Clean(mountPoint) })
	if i < 0 {
		return Choice{}, false
	}
	return choices[i], true
}
