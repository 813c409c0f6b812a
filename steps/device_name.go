package steps

import (
	"regexp"
	"strings"

	"snaptastic/linux"
)

// sameDeviceName says whether two EC2 device names take the same place: /dev/sdf, /dev/xvdf and the numbered /dev/sdf1
// do, since the kernel shows them under one name.
func sameDeviceName(a, b string) bool { return letters(a) == letters(b) }

func letters(name string) string {
	if canonical, _, err := linux.CanonicalDeviceName(name); err == nil {
		name = canonical
	}
	name = strings.TrimPrefix(name, "/dev/")
	return strings.TrimPrefix(strings.TrimPrefix(name, "xvd"), "sd")
}

// rootDevice matches the names that AMIs give their root volume.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
var rootDevice = regexp.MustCompile(`^(/dev/)?(sda|xvda|hda)[0-9]*$`)
