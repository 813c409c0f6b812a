package settings

import "strings"

// deviceKey is what the canonical names of two volumes must not share: EC2
// keeps /dev/sdf and /dev/xvdf apart, the Xen kernel does not.
func deviceKey(canonical string) string {
	if letters, ok := strings.CutPrefix(canonical, "/dev/sd"); ok {
		return letters
	}
	return strings.TrimPrefix(canonical, "/dev/xvd")
}

// offsetFits says whether the kernel's name of a device, moved by offset
// letters, stays in the alphabet.
func offsetFits(canonical string, offset int64) bool {
	last := int64(canonical[len(canonical)-1]) + offset
	return last >= 'a' && last <= 'z'
}
