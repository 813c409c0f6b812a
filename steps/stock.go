package steps

import (
	"time"

	"snaptastic/ec2"
	"snaptastic/steps/snapset"
)

// What follows is for commands that only look: they see volumes as a mount does. How they see snapshots, snapset says.

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
	at, _, ok = snapset.ReadTime(tags[TagExpires])
	return at, ok
}
