package steps

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"snaptastic/ec2"
)

// SnapshotFates decides on each snapshot, oldest first. A snapshot goes when its date has passed, or when a run that is
// gone left it unverified; when it is ours, is held by no image and no lock; and when something newer can be restored
// in its stead.
func SnapshotFates(w CleanWorld) []Fate {
	held := w.held()
	var ours []ec2.Snapshot
	for _, s := range w.Snapshots {
		if _, is := maker(s); is && w.mine(s.Tags) {
			ours = append(ours, s)
		}
	}
	shelves := keepersOf(ours)
	var fates []Fate
	for _, s := range w.Snapshots {
		if !w.mine(s.Tags) {
			continue
		}
		f := Fate{Thing: SnapshotThing, ID: s.ID, MountPoint: s.Tags[TagMountPoint], FilterTags: FilterTagsOf(s.Tags), Size: s.VolumeSize, Made: s.Started,
			Tags: TagDigest(s.Tags)}
		w.judgeSnapshot(&f, s, held, shelves)
		fates = append(fates, f)
	}
	slices.SortFunc(fates, func(a, b Fate) int { return cmp.Or(a.Made.Compare(b.Made), strings.Compare(a.ID, b.ID)) })
	return fates
}

func (f *Fate) keep(class, format string, args ...any) {
	f.Goes, f.Class, f.Why = false, class, fmt.Sprintf(format, args...)
}

// keepAfterAll keeps what would have gone.
func (f *Fate) keepAfterAll(format string, args ...any) {
	f.keep("", format, args...)
	f.Notable = true
}

func (w CleanWorld) judgeSnapshot(f *Fate, s ec2.Snapshot, held map[string]string, shelves map[string]*keeper) {
	if other, is := maker(s); !is {
		f.keep(other, "%s", other)
		return
	}
	if s.State != "completed" && s.State != "error" && s.State != "pending" {
		f.keep("in the recycle bin", "it is %s", s.State)
		return
	}
	due := w.expired
	if _, unverified := kindOf(s.Tags); unverified {
		due = w.leftUnverified
	}
	if !due(f, s) {
		return
	}
	newer := shelves[shelfKey(s)]
	switch {
	case held[s.ID] != "":
		f.keepAfterAll("%s, but %s", f.Why, held[s.ID])
	case s.Tags[TagMountPoint] == "": // of a run that was cut off before it tagged: nothing would restore it
		f.Goes = true
	case newer == nil || len(newer.stands) == 0:
		f.keepAfterAll("%s, but nothing else of %s can be restored", f.Why, s.Tags[TagMountPoint])
	case newer.guarded[s.ID]:
		f.keepAfterAll("%s, but it is the newest to restore %s from", f.Why, s.Tags[TagMountPoint])
	default:
		f.Goes, f.Stands = true, newer.stands
	}
}

// expired says whether the snapshot's own date has passed.
func (w CleanWorld) expired(f *Fate, s ec2.Snapshot) bool {
	text, dated := s.Tags[TagExpires]
	if !dated {
		f.keep("without an expiry date", "it does not expire")
		return false
	}
	at, naive, ok := readTime(text)
	if !ok {
		f.keepAfterAll("its %s tag %q is no date", TagExpires, text)
		return false
	}
	if s.State == "pending" {
		f.keep("not completed yet", "it is not completed yet")
		return false
	}
	until := at
	if naive {
		until = at.Add(naiveGrace)
	}
	if !w.Now.After(until) {
		f.keep("not expired yet", "it expires %s", day(until))
		return false
	}
	f.Why = "expired " + day(at)
	return true
}

// leftUnverified says whether the run that made the snapshot is gone.
func (w CleanWorld) leftUnverified(f *Fate, s ec2.Snapshot) bool {
	run := s.Tags[TagRun]
	switch {
	case s.Tags[TagState] != Unverified:
		f.keepAfterAll("its %s tag says %q, which is no word of ours", TagState, s.Tags[TagState])
	case run == "" || s.Tags[TagToken] == "":
		f.keepAfterAll("it is unverified, but does not say by which run")
	case w.Now.Sub(s.Started) <= settledAge:
		f.keep("unverified, and younger than a day", "it is unverified, and younger than a day")
	case w.Unfinished[run]:
		f.keepAfterAll("its run %s is unfinished here: resume it or roll it back", run)
	default:
		f.Why = "left unverified by run " + run
		return true
	}
	return false
}

// maker says whether the snapshot is ours or the original's; if not, what it is instead.
func maker(s ec2.Snapshot) (other string, ours bool) {
	if s.VolumeID == copiedVolume {
		return "copies that somebody made", false // CopySnapshot takes tags along
	}
	if _, stated := s.Tags[TagState]; stated {
		return "", s.Tags[TagMountPoint] != "" || s.Tags[TagToken] != ""
	}
	if _, token := s.Tags[TagToken]; token {
		return "another tool's, with a volume's tags copied", false
	}
	for _, key := range []string{TagMountPoint, TagCreated, TagExpires, TagInstance} {
		if s.Tags[key] == "" {
			return "without the tags that we write", false
		}
	}
	// The original wrote these tags on volumes, too: on a copy of them the date is the volume's, not the snapshot's. Its
	// dates are local time, which is up to 14 hours off.
	const furthest = 15 * time.Hour
	if at, _, ok := readTime(s.Tags[TagCreated]); !ok || s.Started.Sub(at).Abs() > furthest {
		return "another tool's, with a volume's tags copied", false
	}
	return "", true
}

// held are the snapshots that an image or a lock holds, and which.
func (w CleanWorld) held() map[string]string {
	held := map[string]string{}
	for _, i := range w.Images {
		for _, id := range i.SnapshotIDs {
			held[id] = "image " + i.ID + " holds it"
		}
	}
	for id, lock := range w.Locked {
		held[id] = "a lock holds it (" + lock + ")"
	}
	return held
}

// A keeper is what has to stay of one mount point of one snapshotter.
type keeper struct {
	stands  []string        // the newest set to restore it from, whole; none when there is no restorable one
	guarded map[string]bool // all that must not go
}

// shelfKey tells the mount points of all snapshotters apart.
func shelfKey(s ec2.Snapshot) string {
	return inOrder(FilterTagsOf(s.Tags)) + "\x00" + path.Clean(s.Tags[TagMountPoint])
}

// keepersOf finds what has to stay of each mount point. Which volumes a settings file declares is not known here, so a
// set stays whenever no newer whole set has all of its mount points: whatever is declared, what a mount would choose is
// among those. What could be restored by itself, or after a restore from the archive, stays as well.
func keepersOf(ours []ec2.Snapshot) map[string]*keeper {
	groups := map[string][]ec2.Snapshot{}
	for _, s := range ours {
		if fit, _ := kindOf(s.Tags); fit && s.Tags[TagMountPoint] != "" {
			key := inOrder(FilterTagsOf(s.Tags))
			groups[key] = append(groups[key], s)
		}
	}
	keepers := map[string]*keeper{}
	for _, group := range groups {
		slices.SortFunc(group, func(a, b ec2.Snapshot) int { return cmp.Or(b.Started.Compare(a.Started), strings.Compare(b.ID, a.ID)) })
		for _, s := range group {
			if key := shelfKey(s); keepers[key] == nil {
				keepers[key] = &keeper{guarded: map[string]bool{}}
			}
		}
		sets := setsOf(group)
		ready := func(s ec2.Snapshot) bool { return s.State == "completed" && dormant(s) == "" }
		guardSets(keepers, sets, ready, true)
		guardSets(keepers, sets, func(s ec2.Snapshot) bool { return s.State != "error" }, false)
		guardSingles(keepers, group, ready, true)
		if !slices.ContainsFunc(sets, func(one *set) bool { return one.whole(ready) && includes(one.shelves(), shelvesOf(group)) }) {
			// Some declaration may find no whole set: then a mount takes what belongs to none.
			alone := loners(sets)
			guardSingles(keepers, group, func(s ec2.Snapshot) bool { return ready(s) && alone[s.ID] }, true)
			guardSingles(keepers, group, func(s ec2.Snapshot) bool { return alone[s.ID] }, false)
		}
	}
	return keepers
}

func shelvesOf(snaps []ec2.Snapshot) map[string]bool {
	keys := map[string]bool{}
	for _, s := range snaps {
		keys[shelfKey(s)] = true
	}
	return keys
}

func (s *set) shelves() map[string]bool { return shelvesOf(s.snaps) }

// whole says whether all of the set is there and usable.
func (s *set) whole(usable func(ec2.Snapshot) bool) bool {
	return len(s.snaps) >= s.members && !slices.ContainsFunc(s.snaps, func(snap ec2.Snapshot) bool { return !usable(snap) })
}

// loners are the snapshots that are a set each by itself.
func loners(sets []*set) map[string]bool {
	alone := map[string]bool{}
	for _, one := range sets {
		if one.members == 1 {
			alone[one.snaps[0].ID] = true
		}
	}
	return alone
}

// guardSets guards each whole set of usable snapshots of which no newer one has all mount points.
func guardSets(keepers map[string]*keeper, newest []*set, usable func(ec2.Snapshot) bool, stand bool) {
	var combinations []map[string]bool
	for _, one := range newest {
		if !one.whole(usable) {
			continue
		}
		points, ids := one.shelves(), make([]string, len(one.snaps))
		for i, s := range one.snaps {
			ids[i] = s.ID
		}
		if slices.ContainsFunc(combinations, func(c map[string]bool) bool { return includes(c, points) }) {
			continue
		}
		combinations = append(combinations, points)
		for key := range points {
			k := keepers[key]
			if stand && k.stands == nil {
				k.stands = ids
			}
			for _, id := range ids {
				k.guarded[id] = true
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

// guardSingles guards the newest usable snapshot of each mount point, whatever its set lost.
func guardSingles(keepers map[string]*keeper, newest []ec2.Snapshot, usable func(ec2.Snapshot) bool, stand bool) {
	done := map[string]bool{}
	for _, s := range newest {
		key := shelfKey(s)
		if done[key] || !usable(s) {
			continue
		}
		done[key] = true
		keepers[key].guarded[s.ID] = true
		if stand && keepers[key].stands == nil {
			keepers[key].stands = []string{s.ID}
		}
	}
}
