package steps

import "snaptastic/ec2"

// What follows is for commands that only look: they see volumes as a mount does. How they see snapshots, snapset says.

// AttachedAs finds the volume that the instance has under an EC2 device name, however it is spelt.
func AttachedAs(attached []ec2.Volume, instance, device string) (ec2.Volume, bool) {
	return attachedAt(attached, instance, device)
}

// HasTags reports whether a volume or snapshot has the filter tags and the mount point.
func HasTags(have, filter map[string]string, mountPoint string) bool {
	return hasTags(have, filter, mountPoint)
}
