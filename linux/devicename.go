package linux

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// deviceNames are the names EC2 takes for a data volume of a Linux instance:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
var deviceNames = regexp.MustCompile(`^/dev/(sd[b-z]|xvd[b-z]|xvd[b-d][a-z])$`)

// numberedNames were valid on paravirtual instances only; HVM instances know the letter alone.
var numberedNames = regexp.MustCompile(`^(/dev/(?:sd|xvd)[b-z])([1-9]|1[0-5])$`)

var rootNames = regexp.MustCompile(`^/dev/(sda|xvda|hda)[0-9]*$`)

// IsRootName reports whether EC2 attaches the root volume under the name.
func IsRootName(name string) bool { return rootNames.MatchString(name) }

// CanonicalDeviceName returns the EC2 device name to ask for. Numbered names such as /dev/sdf1, which HVM instances refuse,
// become /dev/sdf, and a missing /dev/ is added; translated says so. Names of the root device are refused: a volume
// attached there would be taken for the system.
func CanonicalDeviceName(name string) (canonical string, translated bool, err error) {
	full := name
	if !strings.Contains(full, "/") && full != "" {
		full = "/dev/" + full
	}
	switch {
	case rootNames.MatchString(full):
		return "", false, fmt.Errorf("device name %q is reserved for the root device: use /dev/sdf to /dev/sdp", name)
	case deviceNames.MatchString(full):
		return full, full != name, nil
	case strings.HasPrefix(full, "/dev/nvme"):
		return "", false, fmt.Errorf("device name %q is a kernel name, which can change at every boot: use the EC2 device name, such as /dev/sdf", name)
	}
	if m := numberedNames.FindStringSubmatch(full); m != nil {
		return m[1], true, nil
	}
	return "", false, fmt.Errorf("device name %q is not valid for EC2: use /dev/sdf to /dev/sdp", name)
}

// SameKernelName reports whether a kernel that tells no serials may show both devices under one name, each moved by its offset.
func SameKernelName(a string, offsetA int, b string, offsetB int) bool {
	of, errA := shownNames(a, offsetA)
	with, errB := shownNames(b, offsetB)
	return errA == nil && errB == nil && slices.ContainsFunc(of, func(n string) bool { return slices.Contains(with, n) })
}

// shownNames are kernelNames and, for /dev/xvdf, the sdf of a kernel that emulates a disk: EC2 takes both for one place.
func shownNames(name string, nameOffset int) ([]string, error) {
	names, err := kernelNames(name, nameOffset)
	if len(names) != 1 || nameOffset != 0 {
		return names, err
	}
	if letter := strings.TrimPrefix(names[0], "xvd"); len(letter) == 1 {
		names = append(names, "sd"+letter)
	}
	return names, nil
}

// kernelNames lists the names, without /dev/, under which a Xen or emulated kernel may show the EC2 device name: as it is,
// and as xvdX. A nameOffset moves the letter: kernels that start at xvde show /dev/sdf as xvdj (offset 4).
func kernelNames(name string, nameOffset int) ([]string, error) {
	canonical, _, err := CanonicalDeviceName(name)
	if err != nil {
		return nil, err
	}
	base := strings.TrimPrefix(canonical, "/dev/")
	letters := strings.TrimPrefix(strings.TrimPrefix(base, "xvd"), "sd")
	if nameOffset != 0 {
		last := int(letters[len(letters)-1]) + nameOffset
		if last < 'a' || last > 'z' {
			return nil, fmt.Errorf("device_name_offset %d shifts %s past the end of the alphabet", nameOffset, name)
		}
		return []string{"xvd" + letters[:len(letters)-1] + string(rune(last))}, nil
	}
	if strings.HasPrefix(base, "xvd") {
		return []string{base}, nil
	}
	return []string{"xvd" + letters, base}, nil
}
