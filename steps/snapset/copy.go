package snapset

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan/units"
)

// TagCopy is on the copies that Snaptastic made: when it asked for the copy (RFC 3339, UTC), a slash, the region of the source, a
// slash and the source. A tool that copies such a copy takes the tag along, and begins later than it says: see OurCopy.
const TagCopy = "snaptastic:copy"

// CopyMark is the value of TagCopy.
func CopyMark(at time.Time, region, source string) string {
	return at.UTC().Format(time.RFC3339) + "/" + region + "/" + source
}

// OurCopy says whether Snaptastic made this copy: then a clean-up may delete it. It was begun when its tag says so.
func OurCopy(s ec2.Snapshot) bool {
	stamp, _, is := strings.Cut(s.Tags[TagCopy], "/")
	at, err := time.Parse(time.RFC3339, stamp)
	return is && err == nil && IsCopy(s) && s.Started.Sub(at).Abs() <= slowest
}

// CopyTo is a destination to judge: what the copies are of, and what is there already.
type CopyTo struct {
	Region string
	Filter map[string]string // of the snapshotter
	Keep   *Keep             // of the destination; nil: the date on each snapshot counts
	Source []ec2.Snapshot    // with the filter tags, where they are copied from
	There  []ec2.Snapshot    // and at the destination
	Now    time.Time
}

// A CopyDecision says whether a set is copied to a destination, and why.
type CopyDecision struct {
	Region   string         // of the destination
	Set      string         // the set's identity: TagSet of the copies
	DataTime time.Time      // when its data was so
	Copy     bool           // false: it is left out
	Why      string         // why it is left out; "" for what is there already
	Members  []ec2.Snapshot // the snapshots to copy, by mount point
	Expires  time.Time      // of the copies; zero for never
	Size     int            // how many members the set has, with those that are there
	Larger   bool           // it is a set of many hosts; each member has the set of its host
}

// Lacking says of each set that could be copied whether a destination lacks it, the newest first: what is lost with the region
// is what was written since the newest copy.
//
// A set is copied as a whole: it is labelled, complete and completed where it is copied from. What the destination's rules would
// delete at once is not copied, and nor is what another run is copying. A larger set, of many hosts, is one set here: all of it is copied,
// or none.
func (c CopyTo) Lacking() ([]CopyDecision, error) {
	byID := map[string]ec2.Snapshot{}
	source, there := own(c.Source, c.Filter, byID), own(c.There, c.Filter, byID)
	underWay := c.underWay(there)
	have := map[string]*Set{}
	for _, one := range setsOf(IndexOf(there).rows) {
		have[one.id()] = one
	}
	ready := func(r *Row) bool { return r.Unready() == "" }
	var out []CopyDecision
	for _, one := range setsOf(IndexOf(source).rows) {
		d := CopyDecision{Region: c.Region, Set: one.id(), DataTime: one.data.time(), Size: one.Size}
		if !one.Complete(ready) {
			d.Why = "it is not complete: " + one.unready()
			out = append(out, d)
			continue
		}
		for _, m := range one.Members {
			if other := have[d.Set]; other != nil {
				if at := other.Of(m.MountPoint); at != nil && slices.ContainsFunc(at.Snapshots, usableCopy) {
					continue
				}
			}
			i := slices.IndexFunc(m.Snapshots, ready)
			s := byID[m.Snapshots[i].ID]
			d.Members = append(d.Members, s)
			if at, _, ok := units.ParseTime(s.Tags[TagExpires]); ok && c.Keep == nil {
				d.Expires = at
			}
		}
		if len(d.Members) == 0 {
			out = append(out, d)
			continue
		}
		d.Copy, d.Why = underWay[d.Set] == "", underWay[d.Set]
		if d.Copy && !d.Expires.IsZero() && !c.Now.Before(d.Expires) && len(out) > 0 {
			d.Copy, d.Why = false, "it expired "+day(d.Expires)
		}
		out = append(out, d)
	}
	if err := c.rule(out, source, there); err != nil {
		return nil, err
	}
	return together(out, source), nil
}

// together puts the parts of each larger set into one decision.
func together(parts []CopyDecision, source []ec2.Snapshot) (out []CopyDecision) {
	type member struct{ set, point string }
	seen, members, of := map[string]map[member]bool{}, map[string]int{}, map[string]string{}
	for _, s := range source {
		if id := s.Tags[TagLargerSet]; id != "" && OriginOf(s).Restorable() {
			if seen[id] == nil {
				seen[id] = map[member]bool{}
			}
			seen[id][member{s.Tags[TagSet], path.Clean(s.Tags[TagMountPoint])}] = true
			members[id], of[s.Tags[TagSet]] = sizeOf(s.Tags[TagLargerMembers]), id
		}
	}
	at := map[string]int{}
	for _, part := range parts {
		id := of[part.Set]
		i, known := at[id]
		switch {
		case id == "":
			out = append(out, part)
			continue
		case !known:
			i = len(out)
			at[id], out = i, append(out, CopyDecision{Region: part.Region, Set: id, DataTime: part.DataTime, Expires: part.Expires, Size: members[id], Larger: true})
		}
		d := &out[i]
		d.Members, d.Why = append(d.Members, part.Members...), cmp.Or(d.Why, part.Why)
	}
	for id, i := range at {
		d := &out[i]
		if len(seen[id]) < members[id] {
			d.Why = fmt.Sprintf("it is of several hosts, and %d of its %d snapshots have the filter tags: `snaptastic fleet copy` copies it as a whole", len(seen[id]), members[id])
		}
		d.Copy = d.Why == "" && len(d.Members) > 0
		sort.Slice(d.Members, func(i, j int) bool { // slices.SortFunc of such a struct is 14 kB of code
			a, b := d.Members[i], d.Members[j]
			return cmp.Or(strings.Compare(a.Tags[TagMountPoint], b.Tags[TagMountPoint]), strings.Compare(a.ID, b.ID)) < 0
		})
	}
	return out
}

// own are those that a snapshotter with these filter tags made; byID gets them as well.
func own(all []ec2.Snapshot, filter map[string]string, byID map[string]ec2.Snapshot) (mine []ec2.Snapshot) {
	for _, s := range all {
		keys, known := RecordedKeys(s.Tags)
		larger := s.Tags[TagLargerSet] != "" // its hosts have more filter tags than all of them have in common
		if s.Tags[TagMountPoint] != "" && HasTags(s.Tags, filter) && (!known || len(keys) == len(filter) || larger && len(keys) > len(filter)) {
			byID[s.ID] = s
			mine = append(mine, s)
		}
	}
	return mine
}

// usableCopy says whether a labelled snapshot restores, or will.
func usableCopy(r *Row) bool { return r.State != ebs.SnapshotError }

// unready says of the first member that cannot be copied why.
func (s *Set) unready() string {
	for _, m := range s.Members {
		if why := m.Best().Unready(); why != "" {
			return m.Best().ID + " of it is " + why
		}
	}
	return cmp.Or(s.lost(), "it has more members than it says")
}

// underWay are the sets of which unlabelled copies are at the destination, and why they are left alone. A run of ours makes them,
// here or elsewhere; what one that is gone left is deleted by a clean-up after a day, and is not waited for any longer.
func (c CopyTo) underWay(there []ec2.Snapshot) map[string]string {
	busy := map[string]string{}
	for _, s := range there {
		set := s.Tags[TagSet]
		if OriginOf(s) != OriginUnverified || !OurCopy(s) || s.State == ebs.SnapshotError || set == "" {
			continue
		}
		if s.State == ebs.SnapshotPending || c.Now.Sub(s.Started) <= settledAge {
			busy[set] = "run " + s.Tags[TagRun] + " is copying it; if that run is gone, a `run copy` does so once what it left is a day old"
		}
	}
	return busy
}

// rule leaves out what the destination's rules would not keep once all is copied.
func (c CopyTo) rule(out []CopyDecision, source, there []ec2.Snapshot) error {
	if c.Keep == nil {
		return nil
	}
	// As it will be: what is copied counts like the original.
	var all []ec2.Snapshot
	for _, d := range out {
		if d.Copy {
			all = append(all, d.Members...)
		}
	}
	copied := map[string]bool{}
	for _, s := range all {
		copied[s.ID] = true
	}
	for _, s := range there {
		if !copied[s.ID] && OriginOf(s).Restorable() {
			all = append(all, s)
		}
	}
	for i := range all { // whoever made it: at the destination the copy is ours
		all[i].Tags = withTagOf(all[i].Tags, TagState, Consistent)
	}
	rows := IndexOf(all).rows
	for _, r := range rows {
		if !r.Ours {
			t := *r.traits
			t.Ours, r.traits = true, &t
		}
	}
	sets, first := setsOf(rows), map[string]*Set{}
	name := func(s *Set) string { return cmp.Or(s.Members[0].Best().LargerSet, s.id()) }
	judged := slices.DeleteFunc(slices.Clone(sets), func(s *Set) bool { // of a larger set, one part stands for all
		_, known := first[name(s)]
		if !known {
			first[name(s)] = s
		}
		return known
	})
	kept, err := c.Keep.judge(judged, c.Now)
	if err != nil {
		return err
	}
	keeps := map[string]bool{}
	for _, one := range sets {
		keeps[one.id()] = len(kept[first[name(one)]]) > 0
	}
	for i := range out {
		if d := &out[i]; d.Copy && !keeps[d.Set] {
			d.Copy, d.Why = false, "no rule of the destination's keep would keep it"
		}
	}
	return nil
}

func withTagOf(tags map[string]string, key, value string) map[string]string {
	all := map[string]string{key: value}
	for k, v := range tags {
		if k != key {
			all[k] = v
		}
	}
	return all
}

// CopyTags are the tags that a member's copy has from its creation on, but for those that say who copies it: what tells whose it
// is, of which set, and when its data was so. That its drill failed is true of the copy as well; that one succeeded is not known
// of the copy.
func CopyTags(d CopyDecision, s ec2.Snapshot) map[string]string {
	tags := OtherTags(s.Tags)
	for _, key := range []string{TagInstance, TagFilterKeys, TagVerifyFailed} {
		if value, is := s.Tags[key]; is {
			tags[key] = value
		}
	}
	tags[TagMountPoint] = path.Clean(s.Tags[TagMountPoint])
	tags[TagSet], tags[TagMembers] = d.Set, fmt.Sprint(d.Size)
	if d.Larger {
		for _, key := range []string{TagSet, TagMembers, TagLargerSet, TagLargerMembers} {
			tags[key] = s.Tags[key]
		}
	}
	if !d.DataTime.IsZero() {
		tags[TagDataTime], tags[TagCreated] = DataStamp(d.DataTime), d.DataTime.UTC().Format(time.RFC3339)
	}
	return tags
}

// Lag says, for each declared mount point, whether the newest restorable copy at a destination is recent enough. Age is that of the
// data: when the first region is lost, that much is lost with it.
func Lag(s Scope, region string, there *Index, now time.Time, maxLag time.Duration) []Finding {
	c := coverage{Scope: s, now: now, maxAge: maxLag, of: map[string][]*Row{},
		countable: there.only(func(r *Row) bool { return !r.Origin.Restorable() || r.Unready() == "" })}
	c.whole = c.countable.complete()
	c.sort(there.NewestFirst())
	var out []Finding
	for _, choice := range c.choices() {
		f := Finding{Subject: c.Name, MountPoint: choice.MountPoint, Region: region}
		of := c.of[path.Clean(choice.MountPoint)]
		f.decide(&c, of, slices.IndexFunc(of, func(r *Row) bool { return r.ID == choice.SnapshotID }))
		if f.SnapshotID == "" && len(of) == 0 {
			f.Problem = "no copy exists there"
		}
		out = append(out, f)
	}
	return out
}
