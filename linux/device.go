package linux

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// DeviceQuery describes a wanted device: by volume id where the kernel tells it (NVMe), by EC2 device name elsewhere.
type DeviceQuery struct {
	VolumeID   string // vol-0abc; may be empty, then the name decides
	Name       string // EC2's name, /dev/sdf; may be empty, then the volume id decides
	NameOffset int    // letters by which a Xen kernel's xvd names are shifted
	// Size is the volume's, in bytes: a device that tells no serial must have exactly that. 0 where it is not known.
	Size int64
	// Rivals are EC2 names of other volumes that this kernel may show under the names looked for, should it shift its names:
	// with /dev/sdf beside it, /dev/sdj is not known by xvdj as long as there is no xvdf.
	Rivals []string
}

func (q DeviceQuery) String() string {
	switch {
	case q.VolumeID != "" && q.Name != "":
		return q.VolumeID + " (" + q.Name + ")"
	case q.VolumeID != "":
		return q.VolumeID
	}
	return q.Name
}

// Device is a whole block device of this machine.
type Device struct {
	Path         string // the real node, symlinks resolved: /dev/nvme1n1, /dev/loop7
	Major, Minor uint32
	Size         int64  // bytes
	Serial       string // NVMe serial as the kernel tells it, trimmed; empty where there is none
	VolumeID     string // vol-0abc, from the serial; empty on Xen
	// Mounted, from VolumeOf, is the only partition of the device, which is what is mounted; nil where that is the device itself.
	Mounted *Partition
}

// Same reports whether both are one device of the kernel.
func (d Device) Same(o Device) bool { return d.Major == o.Major && d.Minor == o.Minor }

// openDevice looks a device node up, follows symlinks and asks its size.
func openDevice(path string) (Device, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Device{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat(real, &st); err != nil {
		return Device{}, &os.PathError{Op: "stat", Path: real, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Device{}, fmt.Errorf("%s is not a block device", real)
	}
	f, err := os.Open(real)
	if err != nil {
		return Device{}, err
	}
	defer f.Close()
	size, err := sizeOf(f)
	if err != nil {
		return Device{}, fmt.Errorf("cannot determine the size of %s: %w", real, err)
	}
	return Device{Path: real, Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev), Size: size}, nil
}

// sizeOf returns the bytes of a device or of an image file; seeking to the end answers for both.
func sizeOf(f *os.File) (int64, error) { return f.Seek(0, io.SeekEnd) }

// nvmeName matches a namespace's whole device, and neither its partitions nor the hidden paths of a multipath device.
var nvmeName = regexp.MustCompile(`^nvme[0-9]+n[0-9]+$`)

// serials reads the serial of every NVMe device, by kernel name (nvme1n1).
func (h *Host) serials() (map[string]string, error) {
	entries, err := os.ReadDir(filepath.Join(h.sys, "block"))
	if os.IsNotExist(err) {
		return nil, nil // a sandbox without any attachment yet
	}
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, e := range entries {
		if !nvmeName.MatchString(e.Name()) {
			continue
		}
		// A device that is going away has no serial any more: it is not there.
		if b, err := os.ReadFile(filepath.Join(h.sys, "block", e.Name(), "device/serial")); err == nil {
			found[e.Name()] = strings.TrimSpace(string(b))
		}
	}
	return found, nil
}

// volumeIDOf turns an EBS serial (vol0abc) into the volume id (vol-0abc); other makes of device give "".
// https://docs.aws.amazon.com/ebs/latest/userguide/identify-nvme-ebs-device.html
func volumeIDOf(serial string) string {
	rest, ok := strings.CutPrefix(serial, "vol")
	if !ok || rest == "" {
		return ""
	}
	return "vol-" + strings.TrimPrefix(rest, "-")
}
