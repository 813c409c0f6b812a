package snapset

import (
	"cmp"
	"math"
	"slices"
	"snaptastic/plan/units"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The tags that a drill (`run verify`) leaves. All members of a set get them in one call.
const (
	TagVerified       = "snaptastic:verified"        // RFC 3339 in UTC: when the set was last restored and found good
	TagRestoreSeconds = "snaptastic:restore-seconds" // how long that took, from the start of the run to the probe's success
	TagVerifyFailed   = "snaptastic:verify-failed"   // RFC 3339 in UTC, a colon, a space and the reason
	TagPurpose        = "snaptastic:purpose"         // of a volume that is not for use; see PurposeVerify
)

// PurposeVerify is the value of TagPurpose for the scratch volumes of a drill. They have neither filter tags nor a mount
// point, so that no mount and no check takes them for real.
const PurposeVerify = "verify"

// DrillState is what the last drill of a snapshot, or of a set, came to.
type DrillState string

// The states. A set that was never restored by a drill is untested.
const (
	Untested    DrillState = ""
	Verified    DrillState = "verified"
	DrillFailed DrillState = "failed"
)

// Good says that the last drill restored it and found it good.
func (s DrillState) Good() bool { return s == Verified }

// Failed says that the last drill found it bad.
func (s DrillState) Failed() bool { return s == DrillFailed }

// ofDrill says that a tag is one that a drill leaves on snapshots, and that no volume has.
func ofDrill(key string) bool {
	return key == TagVerified || key == TagRestoreSeconds || key == TagVerifyFailed
}

// A Drill is what is known of the drills of a snapshot or of a set.
type Drill struct {
	verified moment // noTime: never
	failed   moment
	seconds  int // of the restore; 0 where that is not known
	reason   string
}

var noDrill = Drill{verified: noTime, failed: noTime}

// sinceAlways is the time of a failure that does not say when it was: no drill that succeeded is known to be later.
const sinceAlways = moment(math.MaxInt64)

// DrillOf reads the tags. begun is when the snapshot was begun, or copied: a copy takes the tags of its original along, and
// a drill of that one does not prove that the copy restores. That the data is bad is true of the copy as well.
func DrillOf(tags map[string]string, begun time.Time) Drill {
	d := noDrill
	if at, naive, ok := units.ParseTime(tags[TagVerified]); ok && !naive && !at.Before(begun.Truncate(time.Second)) {
		d.verified = momentOf(at)
		if n, err := strconv.Atoi(tags[TagRestoreSeconds]); err == nil {
			d.seconds = max(n, 0)
		}
	}
	if text, is := tags[TagVerifyFailed]; is {
		d.failed, d.reason = sinceAlways, text
		stamp, reason, _ := strings.Cut(text, " ")
		if at, naive, ok := units.ParseTime(strings.TrimSuffix(stamp, ":")); ok && !naive {
			d.failed, d.reason = momentOf(at), reason
		}
	}
	return d
}

// State depends on the later one of the two times: a drill that succeeds removes the tag of an older failure, and one that
// fails leaves the time of the last success.
func (d Drill) State() DrillState {
	switch {
	case d.failed != noTime && d.failed >= d.verified:
		return DrillFailed
	case d.verified != noTime:
		return Verified
	}
	return Untested
}

// VerifiedAt is when it was last restored and found good; zero for never. A later drill may have failed: see State.
func (d Drill) VerifiedAt() time.Time { return d.verified.time() }

// FailedAt is when its drill failed; zero where it did not, or where the tag does not say when.
func (d Drill) FailedAt() time.Time {
	if d.failed == sinceAlways {
		return time.Time{}
	}
	return d.failed.time()
}

// Reason is why it failed.
func (d Drill) Reason() string { return d.reason }

// RestoreTime is how long the last successful drill took to restore it; 0 where that is not known.
func (d Drill) RestoreTime() time.Duration { return time.Duration(d.seconds) * time.Second }

// Drill is what is known of the snapshot's drills.
func (r *Row) Drill() Drill {
	if r.drill == nil {
		return noDrill
	}
	return *r.drill
}

// Drill is what is known of the set's drills. A set is verified when every member is, by the snapshot that would be taken,
// and since the time at which the last one of them was not yet; one member that failed makes it failed.
func (s *Set) Drill() Drill {
	var all []Drill
	for _, m := range s.Members {
		all = append(all, m.Best().Drill())
	}
	for _, d := range all {
		if d.State() == DrillFailed {
			return d
		}
	}
	if len(all) == 0 || len(all) < s.Size || slices.ContainsFunc(all, func(d Drill) bool { return d.State() != Verified }) {
		return noDrill
	}
	out := slices.MinFunc(all, func(a, b Drill) int { return cmp.Compare(a.verified, b.verified) })
	for _, d := range all {
		out.seconds = max(out.seconds, d.seconds)
	}
	return out
}

// VerifiedTags are those of a set whose drill succeeded. A TagVerifyFailed of an older drill is to be removed.
func VerifiedTags(at time.Time, took time.Duration) map[string]string {
	return map[string]string{TagVerified: at.UTC().Format(time.RFC3339),
		TagRestoreSeconds: strconv.FormatInt(int64(math.Ceil(took.Seconds())), 10)}
}

// FailedTags are those of a set whose drill failed.
func FailedTags(at time.Time, reason string) map[string]string {
	return map[string]string{TagVerifyFailed: cutInTheMiddle(at.UTC().Format(time.RFC3339)+": "+OneLine(reason), maxTagValue)}
}

// cutInTheMiddle shortens a text to so many characters. What happened stands at its beginning, and what the innermost program said at its end.
func cutInTheMiddle(text string, most int) string {
	all := []rune(text)
	if len(all) <= most {
		return text
	}
	const gap = " … "
	tail := most / 3
	head := most - tail - utf8.RuneCountInString(gap)
	return strings.TrimRight(string(all[:head]), " ") + gap + strings.TrimLeft(string(all[len(all)-tail:]), " ")
}

// OneLine puts a text of whatever origin on one line: runs of white space and control characters become one space.
func OneLine(text string) string {
	clean := func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}
	return strings.Join(strings.Fields(strings.Map(clean, text)), " ")
}

// drillOf keeps one of each drill: all members of a set have the same. nil is none.
func (k *shared) drillOf(tags map[string]string, begun time.Time) *Drill {
	d := DrillOf(tags, begun)
	if d == noDrill {
		return nil
	}
	one := k.drills[d]
	if one == nil {
		one = &d
		k.drills[d] = one
	}
	return one
}
