package steps

import (
	"regexp"
	"strings"

	"snaptastic/linux"
)

// SameDeviceName reports whether two EC2 device names take the same place: /dev/sdf, /dev/xvdf and the numbered /dev/sdf1
// do, since the kernel shows them under one name.
func SameDeviceName(a, b string) bool { return letters(a) == letters(b) }

func letters(name string) string {
	if canonical, _, err := linux.CanonicalDeviceName(name); err == nil {
		name = canonical
	}
	name = strings.TrimPrefix(name, "/dev/")
	return strings.TrimPrefix(strings.TrimPrefix(name, "xvd"), "sd")
}

// DeviceKey is the one spelling of a device name that claims go by: /dev/sdf for /dev/xvdf and /dev/sdf1 as well.
func DeviceKey(name string) string {
	key := letters(name)
	if len(key) == 1 {
		return "/dev/sd" + key
	}
	return "/dev/xvd" + key
}

// RivalNames are those of others that a kernel which shifts its names would show under name's.
func RivalNames(name string, others []string) []string { return linux.RivalNames(name, others) }

// rootDevice matches the names that AMIs give their root volume.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
var rootDevice = regexp.MustCompile(`^(/dev/)?(sda|xvda|hda)[0-9]*$`)
