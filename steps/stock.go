package steps

import (
	"fmt"
	"time"

	"snaptastic/ec2"
)

// What follows is for commands that only look: they see snapshots and volumes as a mount does.

// Choose decides what a mount would make each mount point's volume from. It is a pure function; the snapshots are all
// that bear the filter tags, in any state and order.
func Choose(wish Wish, snapshots []ec2.Snapshot) []Choice { return choose(wish, snapshots) }

// Origin is what a snapshot's tags say about who made it, and how it came out.
type Origin string

// The origins. Only the first two are ever restored.
const (
	OriginConsistent Origin = "consistent" // ours, and labelled
	OriginOriginal   Origin = "original"   // of the original Snaptastic, which had no label
	OriginUnverified Origin = "unverified" // ours, of a run that did not finish
	OriginCopied     Origin = "copied"     // another tool's, with a volume's tags copied
)

// OriginOf reads it from a snapshot's tags.
func OriginOf(tags map[string]string) Origin {
	fit, unverified := kindOf(tags)
	switch {
	case unverified:
		return OriginUnverified
	case !fit:
		return OriginCopied
	case tags[TagState] == Consistent:
		return OriginConsistent
	}
	return OriginOriginal
}

// Restorable says whether a mount may take it.
func (o Origin) Restorable() bool { return o == OriginConsistent || o == OriginOriginal }

// Unready says why a snapshot cannot be restored at this moment; "" when it can.
func Unready(s ec2.Snapshot) string {
	asleep := dormant(s)
	switch {
	case asleep != "":
		return asleep
	case s.State == "error":
		return "in error" + because(s)
	case s.State == "pending":
		return fmt.Sprintf("still pending (%d %%)", s.Progress)
	case s.State != "completed":
		return s.State
	}
	return ""
}

// Whole returns the ids of those restorable snapshots whose set has all its members among the snapshots given.
func Whole(snapshots []ec2.Snapshot) map[string]bool {
	whole := map[string]bool{}
	for _, one := range setsOf(snapshots) {
		if one.lacks(nil, Wish{}) != "" {
			continue
		}
		for _, s := range one.snaps {
			whole[s.ID] = true
		}
	}
	return whole
}

// AttachedAs finds the volume that the instance has under an EC2 device name, however it is spelt.
func AttachedAs(attached []ec2.Volume, instance, device string) (ec2.Volume, bool) {
	return underName(attached, instance, device)
}

// Bears says whether a volume or snapshot has the filter tags and the mount point.
func Bears(have, filter map[string]string, mountPoint string) bool {
	return hasTags(have, filter, mountPoint)
}

// Expires reads when a snapshot expires. The original wrote its dates without a zone: they are taken for UTC.
// ok is false for a snapshot without the tag, or with one that is no date.
func Expires(tags map[string]string) (at time.Time, ok bool) {
	at, _, ok = readTime(tags[TagExpires])
	return at, ok
}
