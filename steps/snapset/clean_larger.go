package snapset

import "snaptastic/ec2"

// isPart says whether a snapshot is of a larger set, and of a host with the policy's filter tags and more.
func (p Policy) isPart(s ec2.Snapshot, keys []string) bool {
	return p.Larger && s.Tags[TagLargerSet] != "" && len(only(s.Tags, keys)) > len(p.Filter)
}

// host tells the parts of a larger set of one host from those of others: what is restored together is judged together, and no host's
// set takes the place of another's.
func (p Policy) host(g Groups, s ec2.Snapshot) string {
	if keys, _ := RecordedKeys(s.Tags); p.isPart(s, keys) {
		return " " + g.Key(s)
	}
	return ""
}

// whole makes one decision of those over the parts of a larger set.
func whole(all []Decision) []Decision {
	at, out := map[string]int{}, all[:0]
	for i := range all {
		d := &all[i]
		if d.larger != "" {
			if i, known := at[d.larger]; known {
				out[i].join(d)
				continue
			}
			at[d.larger], d.ID = len(out), d.larger
		}
		out = append(out, *d)
	}
	return out
}

// join adds another part: what keeps one of them keeps all.
func (d *Decision) join(o *Decision) {
	if d.Delete && !o.Delete {
		d.Delete, d.Why, d.KeptBy, d.Hint, d.Due, d.Class = false, o.Why, o.KeptBy, o.Hint, o.Due, o.Class
	}
	d.Snapshots, d.Dependents, d.ReplacedBy = append(d.Snapshots, o.Snapshots...), append(d.Dependents, o.Dependents...), append(d.ReplacedBy, o.ReplacedBy...)
	d.Size, d.FullSize, d.Unsized = d.Size+o.Size, d.FullSize+o.FullSize, d.Unsized+o.Unsized
	if d.MountPoint != o.MountPoint { // hosts mostly have the same
		d.MountPoint += " " + o.MountPoint
	}
}
