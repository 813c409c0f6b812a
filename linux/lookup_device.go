package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LookupDevice is FindDevice for those who may not be root: no device is opened, so the size is not known. It is for
// showing what is there, and nothing may be written by what it says.
func (h *Host) LookupDevice(q DeviceQuery) (Device, bool, error) {
	serials, err := h.serials()
	if err != nil {
		return Device{}, false, fmt.Errorf("cannot find the device of %s: %w", q, err)
	}
	nitro := false
	for name, serial := range serials {
		id := volumeIDOf(serial)
		nitro = nitro || id != ""
		if id == "" || id != q.VolumeID {
			continue
		}
		if d, ok := lookupNode(filepath.Join(h.dev, name)); ok {
			d.Serial, d.VolumeID = serial, id
			return d, true, nil
		}
	}
	if nitro || q.Name == "" {
		return Device{}, false, nil
	}
	names, err := shownNames(q.Name, q.NameOffset)
	if err != nil {
		return Device{}, false, fmt.Errorf("cannot find the device of %s: %w", q, err)
	}
	for _, name := range names {
		d, ok := lookupNode(filepath.Join(h.dev, name))
		if !ok {
			continue
		}
		sized := d
		if sized.Size = h.sizeInSysfs(d); !q.wrongSize(sized) && h.findRival(q) == "" {
			return d, true, nil
		}
	}
	return Device{}, false, nil
}

// sizeInSysfs is a device's size in bytes for those who may not open it; 0 where it is not told.
func (h *Host) sizeInSysfs(d Device) int64 {
	b, err := os.ReadFile(filepath.Join(h.kernelSys, "dev/block", fmt.Sprintf("%d:%d", d.Major, d.Minor), "size"))
	if err != nil {
		return 0
	}
	sectors, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return sectors * 512 // whatever the device's own sectors are (block/genhd.c)
}

// lookupNode is openDevice without opening.
func lookupNode(path string) (Device, bool) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Device{}, false
	}
	var st unix.Stat_t
	if unix.Stat(real, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Device{}, false
	}
	return Device{Path: real, Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}, true
}
