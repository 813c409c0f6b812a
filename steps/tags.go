package steps

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"snaptastic/plan"
)

// The tags that the original Snaptastic wrote: snapshots of its making are found by them.
const (
	TagMountPoint = "mount_point"
	TagInstance   = "instance_id"
	TagCreated    = "created" // RFC 3339 in UTC; the original wrote local time without a zone
	TagExpires    = "expires" // likewise; on snapshots only
)

// The tags of our own.
const (
	TagToken    = "snaptastic:token"    // of the attempt that made it
	TagRun      = "snaptastic:run"      // of volumes and snapshots
	TagMembers  = "snaptastic:members"  // how many snapshots the set has
	TagState    = "snaptastic:state"    // of snapshots; a volume never has it, so that copied volume tags show
	TagDetached = "snaptastic:detached" // when a volume was let go of
	TagFailed   = "snaptastic:failed"   // when a volume that died at birth could not be deleted
)

// Values of TagState.
const (
	Unverified = "unverified" // the file systems may not have held still
	Consistent = "consistent" // restorable
)

// hasTags says whether a volume or snapshot bears the filter tags and the mount point.
func hasTags(have, filter map[string]string, mountPoint string) bool {
	for key, value := range filter {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return sameMountPoint(have[TagMountPoint], mountPoint)
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
	if !sameMountPoint(have[TagMountPoint], mountPoint) {
		differ(TagMountPoint, mountPoint)
	}
	return strings.Join(words, ", ")
}

// sameMountPoint compares as paths: the original wrote what its settings said, with a slash at the end or without.
func sameMountPoint(tag, mountPoint string) bool {
	return tag != "" && path.Clean(tag) == path.Clean(mountPoint)
}

func merged(sets ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, s := range sets {
		maps.Copy(all, s)
	}
	return all
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// begun reads the time out of a run's id. Tags that go with a ClientToken must be the same at each try, so they cannot
// hold the present time; an id of another form gives none.
func begun(run plan.RunID) (time.Time, bool) {
	const layout = "20060102T150405"
	if len(run) < len(layout) {
		return time.Time{}, false
	}
	t, err := time.Parse(layout, string(run[:len(layout)]))
	return t, err == nil
}
