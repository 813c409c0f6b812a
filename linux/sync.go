package linux

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// SyncFS writes everything of the file system at target to its device (syncfs(2)) and returns how long that took, so that a
// caller can repeat it until it is quick: what is left to write is what a freeze will have to wait for.
func (h *Host) SyncFS(ctx context.Context, target string) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	f, err := os.Open(target)
	if err != nil {
		return 0, fmt.Errorf("cannot sync %s: %w", target, err)
	}
	defer f.Close()
	start := time.Now()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return 0, fmt.Errorf("cannot sync %s: %w", target, err)
	}
	return time.Since(start), nil
}

// Usage returns the size of the file system at target and what an ordinary user may still write, in bytes.
func (h *Host) Usage(target string) (total, free uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err != nil {
		return 0, 0, fmt.Errorf("cannot determine the usage of %s: %w", target, err)
	}
	unit := uint64(st.Frsize)
	if unit == 0 {
		unit = uint64(st.Bsize)
	}
	return st.Blocks * unit, st.Bavail * unit, nil
}
