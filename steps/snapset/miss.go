package snapset

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"snaptastic/ec2"
)

// A NearMiss is snapshots that a mount point would be restored from, were it not for one tag.
type NearMiss struct {
	SnapshotID string    `json:"newest"` // of them
	Count      int       `json:"count"`
	DataTime   time.Time `json:"data_time,omitzero"`
	Tag        string    `json:"tag"`            // in which they differ: mount_point or a filter tag
	Want       string    `json:"want"`           // by the settings
	Have       string    `json:"have,omitempty"` // on the snapshots
	Absent     bool      `json:"absent,omitempty"`
	Filter     string    `json:"filter,omitempty"` // the snapshots' own filter tags, where they lack the tag
}

// maxMisses is how many kinds are named for one mount point, the newest first.
const maxMisses = 3

// NearMisses gathers, for mount points of which no snapshot exists, those snapshots that were perhaps meant: with the filter
// tags for a mount point that is not declared, or of this mount point with all filter tags but one. Of each kind only the
// newest and their number are kept.
type NearMisses struct {
	filter   map[string]string
	declared []string
	choices  []*Choice // the unknown ones
	kinds    []map[NearMiss]*NearMiss
	seen     map[string]bool
}

// NearMissesOf begins with what has the filter tags. Those of the mount points are added.
func NearMissesOf(choices []Choice, filter map[string]string, declared []string, with *Index) *NearMisses {
	ms := &NearMisses{filter: filter, declared: declared, seen: map[string]bool{}}
	for i := range choices {
		if choices[i].Unknown {
			ms.choices, ms.kinds = append(ms.choices, &choices[i]), append(ms.kinds, map[NearMiss]*NearMiss{})
		}
	}
	if len(ms.choices) == 0 {
		return ms
	}
	for _, r := range with.rows {
		if ms.new(r.ID, r.Origin) && r.point() != "" && ms.undeclared(r.point()) {
			for i, c := range ms.choices {
				ms.count(i, NearMiss{Tag: TagMountPoint, Want: c.MountPoint, Have: r.point()}, r.ID, r.DataTime())
			}
		}
	}
	return ms
}

// Add adds a snapshot, which may be among those with the filter tags.
func (ms *NearMisses) Add(s ec2.Snapshot) {
	if !ms.new(s.ID, OriginOf(s)) {
		return
	}
	for i, c := range ms.choices {
		if kind, is := ms.missOf(s, c.MountPoint); is {
			ms.count(i, kind, s.ID, DataTime(s))
		}
	}
}

func (ms *NearMisses) new(id string, origin Origin) bool {
	if ms.seen[id] || !origin.Restorable() {
		return false
	}
	ms.seen[id] = true
	return true
}

func (ms *NearMisses) undeclared(point string) bool {
	return !slices.ContainsFunc(ms.declared, func(d string) bool { return path.Clean(d) == point })
}

func (ms *NearMisses) count(choice int, kind NearMiss, id string, at time.Time) {
	m := ms.kinds[choice][kind]
	if m == nil {
		m = new(NearMiss)
		*m = kind
		ms.kinds[choice][kind] = m
	}
	m.Count++
	if m.SnapshotID == "" || at.After(m.DataTime) || at.Equal(m.DataTime) && id > m.SnapshotID {
		m.SnapshotID, m.DataTime = id, at
	}
}

// Warn adds what was gathered to the choices.
func (ms *NearMisses) Warn() {
	for i, c := range ms.choices {
		var all []NearMiss
		for _, m := range ms.kinds[i] {
			all = append(all, *m)
		}
		sort.Slice(all, func(i, j int) bool {
			a, b := &all[i], &all[j]
			return cmp.Or(b.DataTime.Compare(a.DataTime), strings.Compare(b.SnapshotID, a.SnapshotID), strings.Compare(a.Tag, b.Tag)) < 0
		})
		c.Misses = all[:min(len(all), maxMisses)]
		for _, m := range c.Misses {
			c.Warnings = append(c.Warnings, m.String())
		}
		if more := len(all) - len(c.Misses); more > 0 {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%d more groups of snapshots differ in one tag: `snaptastic snapshots` lists those with the filter tags", more))
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

// missOf says by which one tag a snapshot misses the mount point.
func (ms *NearMisses) missOf(s ec2.Snapshot, mountPoint string) (NearMiss, bool) {
	filter := ms.filter
	if s.Tags[TagMountPoint] == "" {
		return NearMiss{}, false
	}
	point := path.Clean(s.Tags[TagMountPoint])
	if HasTags(s.Tags, filter) {
		return NearMiss{Tag: TagMountPoint, Want: mountPoint, Have: point}, ms.undeclared(point)
	}
	if !SameMountPoint(point, mountPoint) {
		return NearMiss{}, false
	}
	var wrong []string
	for key, value := range filter {
		if s.Tags[key] != value {
			wrong = append(wrong, key)
		}
	}
	if len(wrong) != 1 {
		return NearMiss{}, false
	}
	have, there := s.Tags[wrong[0]]
	m := NearMiss{Tag: wrong[0], Want: filter[wrong[0]], Have: have, Absent: !there}
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
func (m NearMiss) String() string {
	who, has, is, its := fmt.Sprintf("snapshot %s (%s)", m.SnapshotID, Ago(m.DataTime)), "has", "is", "its"
	if m.Count > 1 {
		who, has, is, its = fmt.Sprintf("%d snapshots (newest %s, %s)", m.Count, m.SnapshotID, Ago(m.DataTime)), "have", "are", "their"
	}
	switch {
	case m.Tag == TagMountPoint:
		return fmt.Sprintf("%s %s these filter tags and %s=%s, which is not declared: was the mount point renamed or mistyped?",
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
