package snapset

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"snaptastic/ec2"
)

// A Miss is snapshots that a mount point would be restored from, were it not for one tag.
type Miss struct {
	SnapshotID string    `json:"newest"` // of them
	Count      int       `json:"count"`
	DataTime   time.Time `json:"data_time,omitzero"`
	Tag        string    `json:"tag"`            // in which they differ: mount_point or a filter tag
	Want       string    `json:"want"`           // by the settings
	Have       string    `json:"have,omitempty"` // on the snapshots
	Absent     bool      `json:"absent,omitempty"`
	Filter     string    `json:"filter,omitempty"` // the snapshots' own filter tags, where they lack the tag
}

// mostMisses is how many kinds are named for one mount point, the newest first.
const mostMisses = 3

// AddMisses adds to the choices of mount points of which no snapshot exists those snapshots that were perhaps meant: with
// the filter tags for a mount point that is not declared, or of this mount point with all filter tags but one. The
// snapshots are those with the filter tags and those of the mount points, in any order; some may be given twice.
func AddMisses(choices []Choice, filter map[string]string, declared []string, snapshots []ec2.Snapshot) {
	for i := range choices {
		c := &choices[i]
		if !c.Unknown {
			continue
		}
		all := missesOf(c.MountPoint, filter, declared, snapshots)
		c.Misses = all[:min(len(all), mostMisses)]
		for _, m := range c.Misses {
			c.Warnings = append(c.Warnings, m.String())
		}
		if more := len(all) - len(c.Misses); more > 0 {
			c.Warnings = append(c.Warnings, fmt.Sprintf("snapshots of %d more kinds miss it by one tag: `snaptastic snapshots` lists those with the filter tags", more))
		}
	}
}

// Unknowns are the mount points of which no snapshot exists in any state.
func Unknowns(choices []Choice) (mountPoints []string) {
	for _, c := range choices {
		if c.Unknown {
			mountPoints = append(mountPoints, c.MountPoint)
		}
	}
	return mountPoints
}

func missesOf(mountPoint string, filter map[string]string, declared []string, snapshots []ec2.Snapshot) []Miss {
	byTag, seen := map[Miss]*Miss{}, map[string]bool{}
	var all []*Miss
	for _, s := range snapshots {
		if seen[s.ID] || !OriginOf(s).Restorable() {
			continue
		}
		seen[s.ID] = true
		kind, is := missOf(s, mountPoint, filter, declared)
		if !is {
			continue
		}
		m := byTag[kind]
		if m == nil {
			m = &kind
			byTag[kind], all = m, append(all, m)
		}
		m.Count++
		if at := DataTime(s); m.SnapshotID == "" || at.After(m.DataTime) || at.Equal(m.DataTime) && s.ID > m.SnapshotID {
			m.SnapshotID, m.DataTime = s.ID, at
		}
	}
	slices.SortFunc(all, func(a, b *Miss) int {
		return cmp.Or(b.DataTime.Compare(a.DataTime), strings.Compare(b.SnapshotID, a.SnapshotID))
	})
	out := make([]Miss, len(all))
	for i, m := range all {
		out[i] = *m
	}
	return out
}

// missOf says by which one tag a snapshot misses the mount point.
func missOf(s ec2.Snapshot, mountPoint string, filter map[string]string, declared []string) (Miss, bool) {
	if s.Tags[TagMountPoint] == "" {
		return Miss{}, false
	}
	point := path.Clean(s.Tags[TagMountPoint])
	if HasTags(s.Tags, filter) {
		is := !slices.ContainsFunc(declared, func(d string) bool { return path.Clean(d) == point })
		return Miss{Tag: TagMountPoint, Want: mountPoint, Have: point}, is
	}
	if !SameMountPoint(point, mountPoint) {
		return Miss{}, false
	}
	var wrong []string
	for key, value := range filter {
		if s.Tags[key] != value {
			wrong = append(wrong, key)
		}
	}
	if len(wrong) != 1 {
		return Miss{}, false
	}
	have, there := s.Tags[wrong[0]]
	m := Miss{Tag: wrong[0], Want: filter[wrong[0]], Have: have, Absent: !there}
	if !there {
		m.Filter = strings.TrimSpace(words(filterTagsOf(s)))
	}
	return m, true
}

// filterTagsOf are a snapshot's filter tags, or what they can be.
func filterTagsOf(s ec2.Snapshot) map[string]string {
	keys, known := RecordedKeys(s.Tags)
	if !known {
		return OtherTags(s.Tags)
	}
	return only(s.Tags, keys)
}

func only(tags map[string]string, keys []string) map[string]string {
	out := map[string]string{}
	for _, key := range keys {
		if value, ok := tags[key]; ok {
			out[key] = value
		}
	}
	return out
}

// String says what the snapshots are, and what to check.
func (m Miss) String() string {
	who, has, is, its := fmt.Sprintf("snapshot %s (%s)", m.SnapshotID, Ago(m.DataTime)), "has", "is", "its"
	if m.Count > 1 {
		who, has, is, its = fmt.Sprintf("%d snapshots (newest %s, %s)", m.Count, m.SnapshotID, Ago(m.DataTime)), "have", "are", "their"
	}
	switch {
	case m.Tag == TagMountPoint:
		return fmt.Sprintf("%s %s these filter tags and %s=%s, which is not declared: check whether the mount point was renamed or mistyped",
			who, has, TagMountPoint, m.Have)
	case m.Absent:
		return fmt.Sprintf("%s %s of this mount point and %s no tag %s=%s (%s tags: %s): check filter_tags",
			who, is, has, m.Tag, m.Want, its, cmp.Or(m.Filter, "none"))
	}
	return fmt.Sprintf("%s %s of this mount point and %s %s=%s, not %s=%s: check filter_tags", who, is, has, m.Tag, m.Have, m.Tag, m.Want)
}

func words(tags map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		fmt.Fprintf(&b, "%s=%s ", key, tags[key])
	}
	return b.String()
}
