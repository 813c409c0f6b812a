package steps

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// The tags of volumes and snapshots; what each is for is told in snapset.
const (
	TagMountPoint = snapset.TagMountPoint
	TagInstance   = snapset.TagInstance
	TagCreated    = snapset.TagCreated
	TagExpires    = snapset.TagExpires
	TagToken      = snapset.TagToken
	TagRun        = snapset.TagRun
	TagKey        = snapset.TagKey
	TagLargerSet  = snapset.TagLargerSet
	TagDetached   = snapset.TagDetached // when a volume was detached
	TagReplaced   = snapset.TagReplaced
	TagMembers    = snapset.TagMembers
	TagState      = snapset.TagState
	TagFailed     = "snaptastic:failed" // when a volume that died at birth could not be deleted
	Unverified    = snapset.Unverified
	Consistent    = snapset.Consistent
)

// hasTags reports whether a volume or snapshot has the filter tags and the mount point.
func hasTags(have, filter map[string]string, mountPoint string) bool {
	return snapset.HasTags(have, filter) && snapset.SameMountPoint(have[TagMountPoint], mountPoint)
}

// Mismatch says which of the filter tags, or the mount point's, a volume or snapshot lacks or has another value of: in
// words such as `role is "a", want "b"`. It is "" where all match.
func Mismatch(have, filter map[string]string, mountPoint string) string {
	var words []string
	differ := func(key, want string) {
		if got, ok := have[key]; ok {
			words = append(words, fmt.Sprintf("%s is %q, want %q", key, got, want))
		} else {
			words = append(words, fmt.Sprintf("%s is missing, want %q", key, want))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(filter)) {
		if got, ok := have[key]; !ok || got != filter[key] {
			differ(key, filter[key])
		}
	}
	if !snapset.SameMountPoint(have[TagMountPoint], mountPoint) {
		differ(TagMountPoint, mountPoint)
	}
	return strings.Join(words, ", ")
}

func merged(sets ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, s := range sets {
		maps.Copy(all, s)
	}
	return all
}

// underKey adds the key of the run, where it has one.
func (w *Env) underKey(tags map[string]string) map[string]string {
	if w.Key != "" {
		tags[TagKey] = w.Key
	}
	return tags
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// runTime reads the time out of a run's id. Tags that go with a ClientToken must be the same at each try, so they cannot
// hold the present time; an id of another form gives none.
func runTime(run plan.RunID) (time.Time, bool) {
	const layout = "20060102T150405"
	if len(run) < len(layout) {
		return time.Time{}, false
	}
	t, err := time.Parse(layout, string(run[:len(layout)]))
	return t, err == nil
}
