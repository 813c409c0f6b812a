package snapset

import (
	"cmp"
	"path"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan/units"
)

// snapshots decides on each snapshot. One is deleted when its date has passed, or when a run that is gone left it unverified;
// when it is ours and no image and no lock holds it; and when a newer one can be restored instead.
func (inv Inventory) snapshots() (decisions []Decision) {
	k := inv.keeping()
	decisions, judged := inv.sets(k)
	for _, s := range inv.Snapshots {
		if !inv.isOurs(s.Tags) || judged[s.ID] {
			continue
		}
		tags, _ := k.groups.Tags(s)
		d := Decision{Resource: SnapshotResource, ID: s.ID, MountPoint: s.Tags[TagMountPoint], FilterTags: tags, Size: s.VolumeSize, Created: s.Started,
			Tags: TagDigest(s.Tags)}
		inv.decideSnapshot(&d, s, k)
		decisions = append(decisions, d)
	}
	return decisions
}

// keeping is what has to stay, by which groups, and what is held.
type keeping struct {
	groups Groups
	all    map[string]*Retained
	held   map[string]string
	kinds  map[string]map[string]bool // the groups that a mount point has snapshots of
}

func (inv Inventory) keeping() keeping {
	var ours []ec2.Snapshot // and copies of ours: a mount takes them, but they never go
	for _, s := range inv.Snapshots {
		if _, is := maker(s); inv.isOurs(s.Tags) && (is || IsCopy(s)) {
			ours = append(ours, s)
		}
	}
	k := keeping{groups: NewGroups(inv.Filter, ours), held: inv.held(), kinds: map[string]map[string]bool{}}
	k.all = Retain(k.groups, ours)
	for _, s := range ours {
		point := path.Clean(s.Tags[TagMountPoint])
		if k.kinds[point] == nil {
			k.kinds[point] = map[string]bool{}
		}
		k.kinds[point][k.groups.Key(s)] = true
	}
	return k
}

// unclear says what to do about a snapshot that stays as the newest of its kind, where that kind may be the work of another
// tool's tags.
func (k keeping) unclear(s ec2.Snapshot) string {
	if _, sure := k.groups.Tags(s); sure || len(k.kinds[path.Clean(s.Tags[TagMountPoint])]) < 2 {
		return ""
	}
	return "the filter tag keys are not recorded, so any tag may be one: give NAME to use only its filter_tags"
}

func (inv Inventory) decideSnapshot(d *Decision, s ec2.Snapshot, k keeping) {
	if other, is := maker(s); !is {
		d.keep(other, "%s", other)
		return
	}
	if s.State != ebs.SnapshotCompleted && s.State != ebs.SnapshotError && s.State != ebs.SnapshotPending {
		d.keep("in the recycle bin", "it is %s", s.State)
		return
	}
	due := inv.expired
	if OriginOf(s) == OriginUnverified {
		due = inv.leftUnverified
	}
	if !due(d, s) {
		return
	}
	kept := k.all[k.groups.Point(s)]
	switch {
	case k.held[s.ID] != "":
		d.keepDue("%s, but %s", d.Why, k.held[s.ID])
	case s.Tags[TagMountPoint] == "": // of a run that was cut off before it tagged: nothing would restore it
		d.Delete = true
	case kept == nil || len(kept.Instead) == 0:
		d.keepDue("%s, but no other snapshot of %s can be restored", d.Why, s.Tags[TagMountPoint])
		d.Hint = k.unclear(s)
	case kept.Guarded[s.ID]:
		d.keepDue("%s, but it is the newest restorable snapshot of %s", d.Why, s.Tags[TagMountPoint])
		d.Hint = k.unclear(s)
	default:
		d.Delete, d.ReplacedBy = true, kept.Instead
	}
}

// expired reports whether the snapshot's own date has passed.
func (inv Inventory) expired(d *Decision, s ec2.Snapshot) bool {
	text, dated := s.Tags[TagExpires]
	if !dated {
		d.keep("without an expiry date", "it does not expire")
		return false
	}
	at, naive, ok := units.ParseTime(text)
	if !ok {
		d.keepDue("its %s tag %q is not a date", TagExpires, text)
		return false
	}
	if s.State == ebs.SnapshotPending {
		d.keep("not completed yet", "it is not completed yet")
		return false
	}
	until := at
	if naive {
		until = at.Add(naiveGrace)
	}
	if !inv.Now.After(until) {
		d.keep("not expired yet", "it expires %s", day(until))
		return false
	}
	d.Why = "expired " + day(at)
	return true
}

// leftUnverified reports whether the run that made the snapshot is gone.
func (inv Inventory) leftUnverified(d *Decision, s ec2.Snapshot) bool {
	run := RunOf(s.Tags)
	if OurCopy(s) {
		run = s.Tags[TagRun] // its set is of another one
	}
	switch {
	case s.Tags[TagState] == Deleting:
		d.Why = "its deletion began and was cut off"
		return true
	case s.Tags[TagState] != Unverified:
		d.keepDue("its %s tag has the unknown value %q", TagState, s.Tags[TagState])
	case run == "" || s.Tags[TagToken] == "" && s.Tags[TagSet] == "":
		d.keepDue("it is unverified and does not name its run")
	case inv.Now.Sub(s.Started) <= settledAge:
		d.keep("unverified, and younger than a day", "it is unverified, and younger than a day")
	case IsCopy(s) && s.State == ebs.SnapshotPending:
		d.keep("not completed yet", "it is still being copied by run %s", run)
	case inv.Unfinished[run]:
		d.keepDue("its run %s is unfinished on this machine: resume it or roll it back", run)
	default:
		d.Why = "left unverified by run " + run
		return true
	}
	return false
}

// maker reports whether the snapshot is ours or the original's to delete; if not, what it is instead.
func maker(s ec2.Snapshot) (other string, ours bool) {
	if IsCopy(s) && !OurCopy(s) {
		return "copies made by another tool", false // the console takes tags along
	}
	switch OriginOf(s) {
	case OriginCopied:
		return "created by another tool that copied a volume's tags", false
	case OriginConsistent, OriginUnverified:
		return "", s.Tags[TagMountPoint] != "" || s.Tags[TagToken] != ""
	}
	for _, key := range []string{TagMountPoint, TagCreated, TagExpires, TagInstance} {
		if s.Tags[key] == "" {
			return "without Snaptastic's tags", false
		}
	}
	return "", true
}

// LockedBy says how a snapshot is locked, and until when.
func LockedBy(lock ec2.Lock) string {
	if lock.Expires.IsZero() {
		return "locked (" + lock.State + ")"
	}
	return "locked (" + lock.State + ") until " + day(lock.Expires)
}

// held are the snapshots that an image, a lock, a copy or a run holds, and which.
func (inv Inventory) held() map[string]string {
	held := map[string]string{}
	for _, i := range inv.Images {
		for _, id := range i.SnapshotIDs {
			held[id] = "image " + i.ID + " uses it"
		}
	}
	for id, lock := range inv.Locked {
		held[id] = "it is " + LockedBy(lock)
	}
	for id, why := range inv.beingCopied() {
		held[id] = cmp.Or(held[id], why)
	}
	for id, run := range inv.InUse {
		held[id] = cmp.Or(held[id], "run "+run+" uses it")
	}
	return held
}
