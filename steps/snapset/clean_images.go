package snapset

import (
	"slices"
	"strings"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

// images decides on each of the account's images that has the filter's tags. One is deleted when no instance in any state was
// made from it, and with it its snapshots, but for those that another image or a lock holds, and those that a mount could
// restore.
func (inv Inventory) images() (decisions []Decision) {
	users := map[string]ec2.Instance{}
	for _, i := range inv.Instances {
		if i.State != ebs.InstanceTerminated {
			users[i.ImageID] = i
		}
	}
	for _, i := range inv.Images {
		if !inv.isOurs(i.Tags) {
			continue
		}
		d := Decision{Resource: ImageResource, ID: i.ID, Name: i.Name, FilterTags: OtherTags(i.Tags), Created: i.Created, Tags: TagDigest(i.Tags)}
		user, used := users[i.ID]
		switch {
		case used:
			d.keep("used by an instance", "%s (%s) was made from it", user.ID, user.State)
		case i.Public:
			d.keepDue("no instance uses it, but it is public, so other accounts may use it")
		case i.State.Unfinished():
			d.keep("not finished yet", "it is %s", i.State)
		case i.Created.IsZero() || inv.Now.Sub(i.Created) <= settledAge:
			d.keep("younger than a day", "it is younger than a day")
		default:
			d.Delete, d.Why = true, "no instance uses it"
			inv.addSnapshots(&d, i)
		}
		decisions = append(decisions, d)
	}
	return decisions
}

// addSnapshots names the snapshots that go with an image.
func (inv Inventory) addSnapshots(d *Decision, image ec2.Image) {
	var stay []string
	for _, id := range slices.Compact(slices.Sorted(slices.Values(image.SnapshotIDs))) {
		at := slices.IndexFunc(inv.Snapshots, func(s ec2.Snapshot) bool { return s.ID == id })
		if at < 0 { // gone, or another account's
			continue
		}
		s := inv.Snapshots[at]
		_, ours := maker(s)
		ours = ours || OriginOf(s) == OriginConsistent // a copy of ours
		shared := slices.ContainsFunc(inv.Images, func(o ec2.Image) bool { return o.ID != image.ID && slices.Contains(o.SnapshotIDs, id) })
		if ours || shared || inv.Locked[id].Locked() {
			stay = append(stay, id)
			continue
		}
		d.Snapshots = append(d.Snapshots, id)
		d.Dependents = append(d.Dependents, TagDigest(s.Tags))
		d.Size += s.VolumeSize
	}
	if len(stay) > 0 {
		d.Why += "; " + strings.Join(stay, ", ") + " is kept: it can be restored, is shared or locked"
	}
}
