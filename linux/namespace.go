package linux

import (
	"os"
	"path/filepath"
	"slices"
)

// MountsShared reports whether what this process mounts is seen by the rest of the machine: whether its mount namespace is
// that of PID 1. known is false where /proc tells neither the namespace nor the mounts of PID 1 (hidepid, a container).
//
// Without the permission to look at another's namespace (ptrace(2), PTRACE_MODE_READ) the mount ids decide: the kernel gives
// each mount of each namespace one of its own (fs/namespace.c, mnt_alloc_id).
func (h *Host) MountsShared() (shared, known bool) {
	ours, err := os.Readlink(filepath.Join(h.proc, "self/ns/mnt"))
	if err == nil {
		if theirs, err := os.Readlink(filepath.Join(h.proc, "1/ns/mnt")); err == nil {
			return ours == theirs, true
		}
	}
	mine, err := h.mountsOfProcess("self")
	if err != nil || len(mine) == 0 {
		return false, false
	}
	theirs, err := h.mountsOfProcess("1")
	if err != nil || len(theirs) == 0 {
		return false, false
	}
	return slices.ContainsFunc(mine, func(m Mount) bool {
		return slices.ContainsFunc(theirs, func(t Mount) bool { return t.ID == m.ID })
	}), true
}
