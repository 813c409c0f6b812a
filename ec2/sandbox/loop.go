package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"snaptastic/linux"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loopOptions say how loopAttach sets a device up.
type loopOptions struct {
	// DirectIO lets the device bypass the page cache of its backing file. The
	// kernel quietly falls back to buffered I/O where the file cannot do it.
	DirectIO bool
	// Partitions makes the kernel show the partitions of what is on it, as it does with an EBS volume.
	Partitions bool
}

// loopDevice is an attached loop device.
type loopDevice struct {
	Path    string // /dev/loop7
	Backing string // the backing file as the kernel names it
	Deleted bool   // the backing file was unlinked
}

// loopMissing says why loop devices cannot be used here, or returns nil.
func loopMissing() error {
	if os.Geteuid() != 0 {
		return errors.New("loop devices need root")
	}
	f, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("no loop devices (try modprobe loop): %w", err)
	}
	return f.Close()
}

// loopAttach attaches file to a free loop device, or returns the one it is
// attached to already: a file never has two.
func loopAttach(file string, opts loopOptions) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("cannot attach %s to a loop device: %w", file, err)
	}
	if found, err := loopFind(file); err != nil || found.Path != "" {
		return found.Path, err
	}
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	defer control.Close()

	// Between asking for a free number and configuring it another process may
	// take it: EBUSY, ask again.
	for range 64 {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return fail(err)
		}
		path := fmt.Sprintf("/dev/loop%d", number)
		err = loopConfigure(path, number, backing, opts)
		if err == nil {
			if opts.Partitions {
				linux.ShowPartitions(path)
			}
			return path, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fail(err)
		}
	}
	return fail(unix.EBUSY)
}

// loopConfigure binds backing to the loop device at path in one ioctl
// (LOOP_CONFIGURE, Linux 5.8; drivers/block/loop.c).
func loopConfigure(path string, number int, backing *os.File, opts loopOptions) error {
	device, err := loopOpenNode(path, number)
	if err != nil {
		return err
	}
	defer device.Close()
	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Size: 512}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], backing.Name())
	if opts.DirectIO {
		config.Info.Flags |= unix.LO_FLAGS_DIRECT_IO
	}
	if opts.Partitions {
		config.Info.Flags |= unix.LO_FLAGS_PARTSCAN
	}
	return unix.IoctlLoopConfigure(int(device.Fd()), &config)
}

// loopOpenNode opens a device node that LOOP_CTL_GET_FREE may have just made:
// devtmpfs makes it at once; where /dev is a plain folder we make it.
func loopOpenNode(path string, number int) (*os.File, error) {
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return device, err
	}
	const loopMajor = 7
	err = unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(loopMajor, uint32(number))))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// loopDetach frees the device once nobody holds it: unix.EBUSY while it is
// mounted or held exclusively in any mount namespace. A device that is already
// free is no error, nor is one that has another file by now: another process may
// have been given the number in the meantime.
func loopDetach(d loopDevice) error {
	device, err := os.OpenFile(d.Path, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		if !d.attached() {
			return nil
		}
		return fmt.Errorf("cannot detach %s: %w", d.Path, err)
	}
	defer device.Close()
	// While it is open here, it can get no other file.
	if !d.attached() {
		return nil
	}
	// With other openers (udev, blkid) the kernel answers 0 and frees the
	// device when the last of them closes.
	err = unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0)
	if err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("cannot detach %s: %w", d.Path, err)
	}
	return nil
}

// attached says whether the device still has its file.
func (d loopDevice) attached() bool {
	now, err := loopRead(filepath.Join("/sys/block", filepath.Base(d.Path), "loop/backing_file"))
	return err == nil && now.Backing == d.Backing
}

// loopWaitFree waits until the device has not its file any more, at most patience.
func loopWaitFree(d loopDevice, patience time.Duration) bool {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if !d.attached() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// loopGrow makes the device as large as its backing file has become.
func loopGrow(path string) error {
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("cannot grow %s: %w", path, err)
	}
	defer device.Close()
	if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("cannot grow %s: %w", path, err)
	}
	return nil
}

// loopList returns every attached loop device of this host, read from sysfs so
// that no device is opened.
func loopList() ([]loopDevice, error) {
	attributes, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, fmt.Errorf("cannot list the loop devices: %w", err)
	}
	var devices []loopDevice
	for _, attribute := range attributes {
		if d, err := loopRead(attribute); err == nil { // or else it is detached by now
			devices = append(devices, d)
		}
	}
	return devices, nil
}

// loopRead reads /sys/block/loopN/loop/backing_file.
func loopRead(attribute string) (loopDevice, error) {
	content, err := os.ReadFile(attribute)
	if err != nil {
		return loopDevice{}, err
	}
	backing, deleted := strings.CutSuffix(strings.TrimSuffix(string(content), "\n"), " (deleted)")
	name := filepath.Base(filepath.Dir(filepath.Dir(attribute)))
	return loopDevice{Path: "/dev/" + name, Backing: backing, Deleted: deleted}, nil
}

// loopFind returns the device that file is attached to, or the zero one. The kernel's
// device and inode numbers decide, so that a new file of an old name is told
// apart from the deleted one that a device may still hold.
func loopFind(file string) (loopDevice, error) {
	var wanted unix.Stat_t
	if err := unix.Stat(file, &wanted); err != nil {
		return loopDevice{}, fmt.Errorf("cannot find the loop device of %s: %w", file, err)
	}
	devices, err := loopList()
	if err != nil {
		return loopDevice{}, err
	}
	for _, candidate := range devices {
		if candidate.Deleted || filepath.Base(candidate.Backing) != filepath.Base(file) {
			continue
		}
		if loopHolds(candidate.Path, wanted.Dev, wanted.Ino) {
			return candidate, nil
		}
	}
	return loopDevice{}, nil
}

func loopHolds(path string, dev, inode uint64) bool {
	device, err := os.Open(path)
	if err != nil {
		return false
	}
	defer device.Close()
	info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	// lo_device is the kernel's huge_encode_dev, which is what stat returns.
	return err == nil && info.Inode == inode && info.Device == dev
}
