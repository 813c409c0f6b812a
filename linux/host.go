// Package linux is this one machine: its block devices, what is written on them, its mounts, and the hook programs that
// run beside them. It takes the roots of /dev, /sys and /proc as values, so that the sandbox and the tests walk the very
// path that a Nitro instance walks.
//
// It imports nothing of this project and knows nothing of plans or of EC2 beyond two facts: an EBS volume's NVMe
// serial is its volume id without the dash, and EC2's device names are not the kernel's.
//
// It never formats a device that is not blank, never unmounts lazily or by force, never runs a shell, and freezes
// nothing (that is the guard's work): it only says what must not be frozen.
package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Sentinels that callers act on. Each is wrapped in an error that says what was attempted and on what.
var (
	// ErrNotMountPoint: the path is no mount point, though it may lie on a mounted file system.
	ErrNotMountPoint = errors.New("not a mount point")
	// ErrDeviceBusy: the device is open exclusively, mounted, or part of another device.
	ErrDeviceBusy = errors.New("device is in use")
	// ErrBusy: a mounted file system has open files, working directories or mounts inside.
	ErrBusy = errors.New("file system is in use")
	// ErrAmbiguous: two devices answer to one description, and guessing could destroy data.
	ErrAmbiguous = errors.New("more than one device matches")
	// ErrDuplicateUUID: a file system with the same UUID is mounted already and two of this type cannot be mounted.
	ErrDuplicateUUID = errors.New("a file system with the same UUID is mounted on this host")
	// ErrNotVolume: what is mounted is not a whole block device, so it cannot be one EBS volume.
	ErrNotVolume = errors.New("not a whole block device")
	// ErrNotBlank: the device carries something, and formatting would destroy it.
	ErrNotBlank = errors.New("device is not blank")
	// ErrCannotGrow: this file system type cannot be grown while it is mounted.
	ErrCannotGrow = errors.New("file system cannot be grown while mounted")
)

// Roots says where this machine's /dev, /sys, /proc and boot id are. Zero fields mean the real ones.
// Fstab is /etc/fstab.
type Roots struct{ Dev, Sys, Proc, BootID, Fstab string }

// Host is one machine. It may be used concurrently.
type Host struct {
	dev, sys, proc, bootID, fstab string
	// kernelSys and kernelDev are the running kernel's own /sys and /dev whatever Roots says: a sandbox volume is a real
	// loop device, and only there is its backing file to be found.
	kernelSys, kernelDev string
	// mounting holds a *sync.Mutex for each UUID that Mount has dealt with: of two lanes with the same one, the second must see
	// the first's mount.
	mounting sync.Map
}

// New returns the machine seen through r.
func New(r Roots) *Host {
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return filepath.Clean(s)
	}
	h := &Host{dev: or(r.Dev, "/dev"), sys: or(r.Sys, "/sys"), proc: or(r.Proc, "/proc"), kernelSys: "/sys", kernelDev: "/dev"}
	h.fstab = or(r.Fstab, "/etc/fstab")
	h.bootID = or(r.BootID, filepath.Join(h.proc, "sys/kernel/random/boot_id"))
	return h
}

// BootID returns the kernel's random id of this boot (random(4)): another id means that every mount is gone.
func (h *Host) BootID() (string, error) {
	b, err := os.ReadFile(h.bootID)
	if err != nil {
		return "", fmt.Errorf("cannot read the boot id: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if id == "" {
		return "", fmt.Errorf("cannot read the boot id: %s is empty", h.bootID)
	}
	return id, nil
}
