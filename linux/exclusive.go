package linux

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// checkExclusive opens a device exclusively and closes it again: ErrDeviceBusy when it is mounted or part of another device.
//
// It holds the lock that a fork of this process takes. A child that another lane forks meanwhile (a mkfs) would keep the
// exclusive open until its exec, and the device would pass as busy for no reason that can be seen. What is read or written
// afterwards goes through an ordinary descriptor: the lock must not be held over a device that may hang.
func (h *Host) checkExclusive(path string, flags int) error {
	syscall.ForkLock.RLock()
	f, err := os.OpenFile(path, flags|unix.O_EXCL, 0)
	if err == nil {
		err = f.Close()
	}
	syscall.ForkLock.RUnlock() // before the holders are looked for
	return h.explainBusy(path, err)
}

// openExclusive opens a device that nobody else has in use.
func (h *Host) openExclusive(path string, flags int) (*os.File, error) {
	if err := h.checkExclusive(path, flags); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, flags, 0)
	return f, h.explainBusy(path, err)
}

// explainBusy makes of EBUSY an ErrDeviceBusy that names the holders.
func (h *Host) explainBusy(path string, err error) error {
	if errors.Is(err, unix.EBUSY) {
		return h.deviceBusy(path)
	}
	return err
}
