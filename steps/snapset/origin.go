package snapset

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan/units"
)

// Origin is who made a snapshot, and how it came out.
type Origin string

// The origins. Only the first two are ever restored, judged fresh, or deleted for their age.
const (
	OriginConsistent Origin = "consistent" // ours, and labelled
	OriginOriginal   Origin = "original"   // of the original Snaptastic, which had no label
	OriginUnverified Origin = "unverified" // ours, of a run that did not finish
	OriginCopied     Origin = "copied"     // another tool's, with a volume's tags copied
)

// Restorable reports whether a mount may take it.
func (o Origin) Restorable() bool { return o == OriginConsistent || o == OriginOriginal }

// Copied reports whether another tool copied our tags onto it.
func (o Origin) Copied() bool { return o == OriginCopied }

const (
	// furthestZone is how far a local time can be from UTC, rounded up: UTC+14 and UTC-12 are in use.
	furthestZone = 14 * time.Hour
	// slowest is how much later than its tags say a snapshot of the original's may have begun, or earlier.
	slowest = time.Hour
	// clocksDiffer is by how much the clocks of a machine and of EC2 may differ for a tag to be believed.
	clocksDiffer = 5 * time.Minute
)

// copiedVolume is what EC2 shows as the volume of a copy. Its documentation calls it arbitrary, so the description that
// the console gives to copies counts as well.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopySnapshot.html
var copiedVolume = regexp.MustCompile(`^vol-f+$`)

// IsCopy reports whether EC2 shows that the snapshot is a copy of another one.
func IsCopy(s ec2.Snapshot) bool {
	return copiedVolume.MatchString(s.VolumeID) || strings.HasPrefix(s.Description, "[Copied snap-")
}

// OriginOf tells who made a snapshot. What has our label is ours, a copy of it too: no volume has that tag, so no tool
// that copies a volume's tags has it to give. Everything else with a tag of ours has a volume's tags.
//
// The original had no label and wrote the same tags on volumes. A snapshot with these is believed to be its own when it
// was begun when it says that it was created: of a volume the date is the volume's. A copy was begun later; it is
// believed when it is not older than what it says, since it is then no newer than that to anybody.
func OriginOf(s ec2.Snapshot) Origin {
	state, stated := s.Tags[TagState]
	switch {
	case stated && state == Consistent:
		return OriginConsistent
	case stated, s.Tags[TagSet] != "": // the label was taken from it
		return OriginUnverified
	case ofAnotherTool(s.Tags):
		return OriginCopied
	}
	text, dated := s.Tags[TagCreated]
	if !dated {
		if IsCopy(s) {
			return OriginCopied // it does not say how old its data is
		}
		return OriginOriginal // made by hand with the tags to find it by
	}
	at, naive, ok := units.ParseTime(text)
	latest := slowest
	if naive {
		latest += furthestZone
	}
	switch off := s.Started.Sub(at); {
	case !ok, off < -latest, off > latest && !IsCopy(s):
		return OriginCopied
	}
	return OriginOriginal
}

// ofAnotherTool reports whether the tags are those of a volume of ours, or whether a service of AWS says that it made it.
func ofAnotherTool(tags map[string]string) bool {
	for key := range tags {
		if ofDrill(key) {
			continue // the original's were restored by a drill of ours
		}
		for _, prefix := range []string{"snaptastic:", "aws:dlm:", "aws:backup:", "dlm:"} {
			if strings.HasPrefix(key, prefix) {
				return true
			}
		}
	}
	return false
}

// DataTime is when the data of a snapshot was so; zero when that is not known, which counts as older than everything. It
// is never later than the snapshot's start by EC2's clock, and never the start of a copy.
func DataTime(s ec2.Snapshot) time.Time {
	if at, naive, ok := units.ParseTime(s.Tags[TagDataTime]); ok && !naive {
		return notAfterStart(s, at)
	}
	begun := s.Started
	if IsCopy(s) {
		begun = time.Time{}
	}
	at, naive, ok := units.ParseTime(s.Tags[TagCreated])
	switch origin := OriginOf(s); {
	case !ok || !origin.Restorable():
		return begun
	case origin == OriginConsistent && membersOf(s) == 0 && !IsCopy(s):
		return s.Started // labelled by hand: the date may be that of the volume
	case naive && IsCopy(s):
		return notAfterStart(s, at.Add(-furthestZone)) // whatever the zone was, the data is not older than this
	case naive:
		return s.Started // they agree but for the zone
	}
	return notAfterStart(s, at)
}

// notAfterStart believes a tag that says no later than the start. Of another one the start is known to be right, unless
// it is that of a copy.
func notAfterStart(s ec2.Snapshot, at time.Time) time.Time {
	switch {
	case s.Started.IsZero() || !at.After(s.Started):
		return at
	case IsCopy(s) && at.Sub(s.Started) > clocksDiffer:
		return time.Time{}
	}
	return s.Started
}

// membersOf is how many snapshots the set of this one has; 0 when it does not say.
func membersOf(s ec2.Snapshot) int { return sizeOf(s.Tags[TagMembers]) }

// sizeOf reads TagMembers.
func sizeOf(members string) int {
	n, err := strconv.Atoi(members)
	if err != nil || n < 1 {
		return 0
	}
	return n
}

// Unready says why a snapshot cannot be restored at this moment; "" when it can.
func Unready(s ec2.Snapshot) string {
	asleep := Dormant(s)
	switch {
	case asleep != "":
		return asleep
	case s.State == ebs.SnapshotError:
		return "in error" + reasons(s)
	case s.State == ebs.SnapshotPending:
		return fmt.Sprintf("pending (%d %%)", s.Progress)
	case s.State != ebs.SnapshotCompleted:
		return string(s.State)
	}
	return ""
}

// Dormant says why a snapshot that exists cannot be used at once; "" when it can, or will without anybody's doing.
func Dormant(s ec2.Snapshot) string {
	switch {
	case s.StorageTier == ebs.TierArchive:
		return "archived"
	case s.State == ebs.SnapshotRecoverable || s.State == ebs.SnapshotRecovering:
		return "in the recycle bin (" + string(s.State) + ")"
	}
	return ""
}

func reasons(s ec2.Snapshot) string {
	if s.StateMessage == "" {
		return ""
	}
	return ": " + s.StateMessage
}
