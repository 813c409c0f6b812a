package snapset

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The tags that the original Snaptastic wrote: snapshots of its making are found by them.
const (
	TagMountPoint = "mount_point"
	TagInstance   = "instance_id"
	TagCreated    = "created" // RFC 3339 in UTC; the original wrote local time without a zone
	TagExpires    = "expires" // likewise
)

// The tags of our own that volumes have as well. A policy that copies a volume's tags onto its snapshots overwrites them
// there, so that nothing rests on them where there is a tag that only snapshots have.
const (
	TagToken    = "snaptastic:token"    // of the attempt that made it
	TagRun      = "snaptastic:run"      // that made it
	TagKey      = "snaptastic:key"      // that the caller gave to that run
	TagDetached = "snaptastic:detached" // when a volume was detached; on volumes only
	TagReplaced = "snaptastic:replaced" // when a restore took its place, a slash, and the restore's run; on volumes only
)

// The tags of our own that only snapshots have: never write them on a volume.
const (
	TagSet        = "snaptastic:set"         // whose snapshot it is: the same for all of one moment
	TagMembers    = "snaptastic:members"     // how many snapshots the set has
	TagDataTime   = "snaptastic:data-time"   // RFC 3339 in UTC: when the data was so
	TagFilterKeys = "snaptastic:filter-keys" // which of its tags are filter tags
	TagState      = "snaptastic:state"
)

// Values of TagState.
const (
	Unverified = "unverified" // the file systems may not have held still
	Consistent = "consistent" // restorable
	Deleting   = "deleting"   // a clean-up has begun to delete the set: nothing restores a part of it
)

// SetID is the value of TagSet for the snapshots that one attempt of a run makes.
func SetID(run, token string) string { return run + "/" + token }

// RunOf is the run that made a snapshot; "" when its tags do not say. TagRun may have been overwritten with a volume's.
func RunOf(tags map[string]string) string {
	if run, _, ok := strings.Cut(tags[TagSet], "/"); ok {
		return run
	}
	return tags[TagRun]
}

// Replaced is the value of TagReplaced.
func Replaced(at time.Time, run string) string { return at.UTC().Format(time.RFC3339) + "/" + run }

// ReplacedBy is the run of a restore that took a volume's place; "" where none did.
func ReplacedBy(tags map[string]string) string {
	_, run, _ := strings.Cut(tags[TagReplaced], "/")
	return run
}

// SameMountPoint compares as paths: the original wrote what its settings said, with a slash at the end or without.
func SameMountPoint(tag, mountPoint string) bool {
	return tag != "" && path.Clean(tag) == path.Clean(mountPoint)
}

// HasTags reports whether a resource has all of the filter's tags.
func HasTags(tags, filter map[string]string) bool {
	for key, value := range filter {
		if got, ok := tags[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// InOrder writes tags as one text, the same for the same tags.
func InOrder(tags map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		fmt.Fprintf(&b, "%q=%q ", key, tags[key])
	}
	return b.String()
}

// DataStamp writes a time for TagDataTime. It has milliseconds: two sets may be of one second, and when only copies of
// them are left nothing else tells which is the newer one.
func DataStamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// maxTagValue is how many characters we put into a tag's value; EC2 takes 256.
const maxTagValue = 255

// hashedKeys begins a list of filter keys that are too long to be written out.
const hashedKeys = "#"

// JoinFilterKeys writes the keys of the filter tags for TagFilterKeys: in order, with commas. When that does not fit, or
// when a key has a comma, each is written as the first 6 characters of its hash: whoever reads it looks for the tags that
// are there, and 35 filter tags fit.
func JoinFilterKeys(keys []string) string {
	keys = slices.Sorted(slices.Values(keys))
	text := strings.Join(keys, ",")
	plain := utf8.RuneCountInString(text) <= maxTagValue && !strings.HasPrefix(text, hashedKeys)
	for _, key := range keys {
		plain = plain && !strings.Contains(key, ",") && key == strings.TrimSpace(key)
	}
	if plain {
		return text
	}
	var b strings.Builder
	b.WriteString(hashedKeys)
	for _, key := range keys {
		b.WriteString(hashOf(key))
	}
	return b.String()
}

const hashLength = 6

func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:hashLength]
}

// RecordedKeys are the keys of the filter tags as the run recorded them, of those that the snapshot still has. known is
// false where nothing is recorded: it is of an older build, or of the original.
func RecordedKeys(tags map[string]string) (keys []string, known bool) {
	text, known := tags[TagFilterKeys]
	if !known {
		return nil, false
	}
	recorded := map[string]bool{}
	hashes, hashed := strings.CutPrefix(text, hashedKeys)
	switch {
	case hashed:
		for part := range slices.Chunk([]byte(hashes), hashLength) {
			recorded[string(part)] = true
		}
	case text != "":
		for key := range strings.SplitSeq(text, ",") {
			recorded[key] = true
		}
	}
	for key := range tags {
		if hashed && recorded[hashOf(key)] || !hashed && recorded[key] {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, true
}

// OtherTags are all tags that neither we nor AWS wrote.
func OtherTags(tags map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range tags {
		switch {
		case key == TagMountPoint || key == TagInstance || key == TagCreated || key == TagExpires:
		case strings.HasPrefix(key, "snaptastic:") || strings.HasPrefix(key, "aws:"):
		default:
			out[key] = value
		}
	}
	return out
}

// TagDigest identifies a set of tags.
func TagDigest(tags map[string]string) string {
	sum := sha256.Sum256([]byte(InOrder(tags)))
	return hex.EncodeToString(sum[:8])
}
