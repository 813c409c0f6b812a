package steps

import (
	"cmp"
	"slices"
	"strings"

	"snaptastic/ec2"
	"snaptastic/steps/snapset"
)

// ImageFates decides on each of the account's images that bears the filter's tags. One goes when no instance in any
// state was made from it. With it go its snapshots, but for those that another image or a lock holds, and those that a
// mount could restore.
func ImageFates(w CleanWorld) []Fate {
	users := map[string]ec2.Instance{}
	for _, i := range w.Instances {
		if i.State != "terminated" {
			users[i.ImageID] = i
		}
	}
	var fates []Fate
	for _, i := range w.Images {
		if !w.mine(i.Tags) {
			continue
		}
		f := Fate{Thing: ImageThing, ID: i.ID, Name: i.Name, FilterTags: snapset.OtherTags(i.Tags), Made: i.Created, Tags: TagDigest(i.Tags)}
		user, used := users[i.ID]
		switch {
		case used:
			f.keep("used by an instance", "%s (%s) was made from it", user.ID, user.State)
		case i.Public:
			f.keepAfterAll("no instance uses it, but it is public: other accounts may")
		case i.State == "pending" || i.State == "transient":
			f.keep("not finished yet", "it is %s", i.State)
		case i.Created.IsZero() || w.Now.Sub(i.Created) <= settledAge:
			f.keep("younger than a day", "it is younger than a day")
		default:
			f.Goes, f.Why = true, "no instance uses it"
			w.addSnapshots(&f, i)
		}
		fates = append(fates, f)
	}
	slices.SortFunc(fates, func(a, b Fate) int { return cmp.Or(a.Made.Compare(b.Made), strings.Compare(a.ID, b.ID)) })
	return fates
}

// addSnapshots names the snapshots that go with an image.
func (w CleanWorld) addSnapshots(f *Fate, image ec2.Image) {
	var stay []string
	for _, id := range slices.Compact(slices.Sorted(slices.Values(image.SnapshotIDs))) {
		at := slices.IndexFunc(w.Snapshots, func(s ec2.Snapshot) bool { return s.ID == id })
		if at < 0 { // gone, or another account's
			continue
		}
		s := w.Snapshots[at]
		_, ours := maker(s)
		ours = ours || snapset.OriginOf(s) == snapset.OriginConsistent // a copy of ours
		shared := slices.ContainsFunc(w.Images, func(o ec2.Image) bool { return o.ID != image.ID && slices.Contains(o.SnapshotIDs, id) })
		if ours || shared || w.Locked[id] != "" {
			stay = append(stay, id)
			continue
		}
		f.Snapshots = append(f.Snapshots, id)
		f.Dependents = append(f.Dependents, TagDigest(s.Tags))
		f.Size += s.VolumeSize
	}
	if len(stay) > 0 {
		f.Why += "; " + strings.Join(stay, ", ") + " stays: it can be restored, is shared or locked"
	}
}
