package linux

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// LookDevice is FindDevice for those who may not be root: no device is opened, so the size is not known. It is for
// showing what is there, and nothing may be written by what it says.
func (h *Host) LookDevice(q DeviceQuery) (Device, bool, error) {
	serials, err := h.serials()
	if err != nil {
		return Device{}, false, fmt.Errorf("cannot look for the device of %s: %w", q, err)
	}
	nitro := false
	for name, serial := range serials {
		id := volumeIDOf(serial)
		nitro = nitro || id != ""
		if id == "" || id != q.VolumeID {
			continue
		}
		if d, ok := lookNode(filepath.Join(h.dev, name)); ok {
			d.Serial, d.VolumeID = serial, id
			return d, true, nil
		}
	}
	if nitro || q.Name == "" {
		return Device{}, false, nil
	}
	names, err := kernelNames(q.Name, q.NameOffset)
	if err != nil {
		return Device{}, false, fmt.Errorf("cannot look for the device of %s: %w", q, err)
	}
	for _, name := range names {
		if d, ok := lookNode(filepath.Join(h.dev, name)); ok {
			return d, true, nil
		}
	}
	return Device{}, false, nil
}

// lookNode is openDevice without opening.
func lookNode(path string) (Device, bool) {
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
