package steps

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"snaptastic/ec2"
	"snaptastic/steps/snapset"
)

// SnapshotFates decides on each snapshot, oldest first. A snapshot goes when its date has passed, or when a run that is
// gone left it unverified; when it is ours, is held by no image and no lock; and when something newer can be restored
// in its stead.
func SnapshotFates(w CleanWorld) []Fate {
	r := w.retention()
	var fates []Fate
	for _, s := range w.Snapshots {
		if !w.mine(s.Tags) {
			continue
		}
		tags, _ := r.groups.Tags(s)
		f := Fate{Thing: SnapshotThing, ID: s.ID, MountPoint: s.Tags[TagMountPoint], FilterTags: tags, Size: s.VolumeSize, Made: s.Started,
			Tags: TagDigest(s.Tags)}
		w.judgeSnapshot(&f, s, r)
		fates = append(fates, f)
	}
	slices.SortFunc(fates, func(a, b Fate) int { return cmp.Or(a.Made.Compare(b.Made), strings.Compare(a.ID, b.ID)) })
	return fates
}

// retention is what has to stay, by which groups, and what is held.
type retention struct {
	groups snapset.Groups
	all    map[string]*snapset.Retained
	held   map[string]string
	kinds  map[string]map[string]bool // the groups that a mount point has snapshots of
}

func (w CleanWorld) retention() retention {
	var ours []ec2.Snapshot // and copies of ours: a mount takes them, but they never go
	for _, s := range w.Snapshots {
		if _, is := maker(s); w.mine(s.Tags) && (is || snapset.IsCopy(s)) {
			ours = append(ours, s)
		}
	}
	r := retention{groups: snapset.NewGroups(w.Filter, ours), held: w.held(), kinds: map[string]map[string]bool{}}
	r.all = snapset.Retain(r.groups, ours)
	for _, s := range ours {
		point := path.Clean(s.Tags[TagMountPoint])
		if r.kinds[point] == nil {
			r.kinds[point] = map[string]bool{}
		}
		r.kinds[point][r.groups.Key(s)] = true
	}
	return r
}

// doubt says what to do about a snapshot that stays as the newest of its kind, where that kind may be the work of another
// tool's tags.
func (r retention) doubt(s ec2.Snapshot) string {
	if _, sure := r.groups.Tags(s); sure || len(r.kinds[path.Clean(s.Tags[TagMountPoint])]) < 2 {
		return ""
	}
	return "not recorded which tags are filter tags, so that any of them may be: name the snapshotter to go by its filter_tags alone"
}

func (f *Fate) keep(class, format string, args ...any) {
	f.Goes, f.Class, f.Why = false, class, fmt.Sprintf(format, args...)
}

// keepAfterAll keeps what would have gone.
func (f *Fate) keepAfterAll(format string, args ...any) {
	f.keep("", format, args...)
	f.Notable = true
}

func (w CleanWorld) judgeSnapshot(f *Fate, s ec2.Snapshot, r retention) {
	if other, is := maker(s); !is {
		f.keep(other, "%s", other)
		return
	}
	if s.State != "completed" && s.State != "error" && s.State != "pending" {
		f.keep("in the recycle bin", "it is %s", s.State)
		return
	}
	due := w.expired
	if snapset.OriginOf(s) == snapset.OriginUnverified {
		due = w.leftUnverified
	}
	if !due(f, s) {
		return
	}
	kept := r.all[r.groups.Point(s)]
	switch {
	case r.held[s.ID] != "":
		f.keepAfterAll("%s, but %s", f.Why, r.held[s.ID])
	case s.Tags[TagMountPoint] == "": // of a run that was cut off before it tagged: nothing would restore it
		f.Goes = true
	case kept == nil || len(kept.Instead) == 0:
		f.keepAfterAll("%s, but nothing else of %s can be restored", f.Why, s.Tags[TagMountPoint])
		f.Hint = r.doubt(s)
	case kept.Guarded[s.ID]:
		f.keepAfterAll("%s, but it is the newest to restore %s from", f.Why, s.Tags[TagMountPoint])
		f.Hint = r.doubt(s)
	default:
		f.Goes, f.Stands = true, kept.Instead
	}
}

// expired says whether the snapshot's own date has passed.
func (w CleanWorld) expired(f *Fate, s ec2.Snapshot) bool {
	text, dated := s.Tags[TagExpires]
	if !dated {
		f.keep("without an expiry date", "it does not expire")
		return false
	}
	at, naive, ok := snapset.ReadTime(text)
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
	run := snapset.RunOf(s.Tags)
	switch {
	case s.Tags[TagState] != Unverified:
		f.keepAfterAll("its %s tag says %q, which is no word of ours", TagState, s.Tags[TagState])
	case run == "" || s.Tags[TagToken] == "" && s.Tags[snapset.TagSet] == "":
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

// maker says whether the snapshot is ours or the original's to delete; if not, what it is instead.
func maker(s ec2.Snapshot) (other string, ours bool) {
	if snapset.IsCopy(s) {
		return "copies that somebody made", false // CopySnapshot takes tags along
	}
	switch snapset.OriginOf(s) {
	case snapset.OriginCopied:
		return "another tool's, with a volume's tags copied", false
	case snapset.OriginConsistent, snapset.OriginUnverified:
		return "", s.Tags[TagMountPoint] != "" || s.Tags[TagToken] != ""
	}
	for _, key := range []string{TagMountPoint, TagCreated, TagExpires, TagInstance} {
		if s.Tags[key] == "" {
			return "without the tags that we write", false
		}
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
