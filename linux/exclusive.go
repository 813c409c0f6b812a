package linux

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobodyElse opens a device exclusively and closes it again: EBUSY when it is mounted or part of another device.
//
// It holds the lock that a fork of this process takes. A child that another lane forks meanwhile (a mkfs) would keep the
// exclusive open until its exec, and the device would pass as busy for no reason that can be seen. What is read or written
// afterwards goes through an ordinary descriptor: the lock must not be held over a device that may hang.
func nobodyElse(path string, flags int) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(path, flags|unix.O_EXCL, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// openAlone opens a device that nobody else has in use.
func openAlone(path string, flags int) (*os.File, error) {
	if err := nobodyElse(path, flags); err != nil {
		return nil, err
	}
	return os.OpenFile(path, flags, 0)
}
