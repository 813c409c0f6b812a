package guard

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// include/uapi/linux/fs.h: _IOWR('X', 119, int) and _IOWR('X', 120, int), the same on amd64 and arm64.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// freezeFS issues FIFREEZE on an open directory of the file system and blocks, uninterruptibly, until it is frozen.
// Errors (fs/ioctl.c ioctl_fsfreeze, fs/super.c freeze_super): EPERM without CAP_SYS_ADMIN, EOPNOTSUPP where the file
// system cannot freeze, EBUSY when user space froze it already, else what writing the dirty data gave.
func freezeFS(fd int) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fiFreeze, 0)
	return errno
}

// thawFS issues FITHAW. EINVAL says that the file system is not frozen, or not yet: while a FIFREEZE waits for
// writers, fs/super.c thaw_super_locked answers EINVAL, and the freeze comes about all the same. A thaw of ours
// therefore follows the return of the freeze and is never sent beside it.
func thawFS(fd int) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fiThaw, 0)
	return errno
}

// monotonic returns CLOCK_MONOTONIC in nanoseconds: parent and guard share this clock, so their times are comparable.
func monotonic() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0 // cannot happen: clock and pointer are valid
	}
	return ts.Nano()
}

// realtime returns CLOCK_REALTIME in nanoseconds.
func realtime() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME, &ts) != nil {
		return 0 // cannot happen
	}
	return ts.Nano()
}

// sinceEpoch returns CLOCK_REALTIME minus CLOCK_MONOTONIC: the tightest of some tries, as the process may be held up between
// two readings.
func sinceEpoch() (offset int64) {
	within := int64(-1)
	for range 5 {
		before := monotonic()
		wall := realtime()
		after := monotonic()
		if within < 0 || after-before < within {
			within, offset = after-before, wall-(before+after)/2
		}
	}
	return offset
}

// sinceBoot returns CLOCK_BOOTTIME in nanoseconds: the same for all processes, monotonic, and it includes suspended
// time.
func sinceBoot() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0 // cannot happen
	}
	return ts.Nano()
}
