package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Reset removes everything that the sandbox made in dir, on the host and on
// disk, and the folder itself when nothing else is in it. A folder that is not
// there is no error; one that is no sandbox is.
func Reset(dir string) error {
	if !exists(dir) {
		return nil
	}
	if root, here := SplitDir(dir); here != defaultWorld {
		return fmt.Errorf("cannot reset the sandbox: %s is one account's region in the sandbox in %s; reset that one", dir, root)
	}
	dir, unlock, err := lockSandbox(dir)
	if err != nil {
		return fmt.Errorf("cannot reset the sandbox: %w", err)
	}
	defer unlock()
	if err := reset(dir); err != nil {
		return fmt.Errorf("cannot reset the sandbox in %s: %w", dir, err)
	}
	return nil
}

// lockSandbox locks dir and makes sure that it is a sandbox's: world.jsonl is the
// last thing that Reset removes, so a reset that was killed can be repeated.
func lockSandbox(dir string) (string, func(), error) {
	absolute, err := filepath.Abs(dir)
	if err == nil {
		absolute, err = filepath.EvalSymlinks(absolute)
	}
	if err != nil {
		return "", nil, err
	}
	if !exists(filepath.Join(absolute, "world.jsonl")) {
		return "", nil, fmt.Errorf("%s holds no sandbox", absolute)
	}
	unlock, err := lockDir(absolute, os.O_CREATE)
	return absolute, unlock, err
}

func reset(dir string) error {
	if err := unmountSandbox(dir, nil); err != nil {
		return err
	}
	devices, err := sandboxDevices(dir, nil)
	if err != nil {
		return err
	}
	for _, device := range devices {
		if err := detachAndWait(device); err != nil {
			return err
		}
	}
	if err := closePool(dir); err != nil {
		return err
	}
	for _, name := range []string{"dev", "sys", "worlds", "lost", "vol", "pool.xfs", "pool.xfs.tmp", "boot_id", "log.jsonl", "world.jsonl.tmp", "world.jsonl", "lock"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	// What is left is not ours, a faults.json for instance.
	if err := os.Remove(dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// detachAndWait waits for passing openers (udev, blkid) to close.
func detachAndWait(device loopDevice) error {
	if err := retryBusy(func() error { return loopDetach(device) }); err != nil {
		return err
	}
	if !loopWaitFree(device, 5*time.Second) {
		return fmt.Errorf("%s is still open somewhere", device.Path)
	}
	return nil
}

func closePool(dir string) error {
	vol := filepath.Join(dir, "vol")
	if mounted, err := isMountPoint(vol); err == nil && mounted {
		if err := retryBusy(func() error { return unix.Unmount(vol, unix.UMOUNT_NOFOLLOW) }); err != nil {
			return fmt.Errorf("cannot unmount %s: %w", vol, err)
		}
	}
	image := filepath.Join(dir, "pool.xfs")
	if !exists(image) {
		return nil
	}
	device, err := loopFind(image)
	if err != nil || device.Path == "" {
		return err
	}
	return detachAndWait(device)
}

// retryBusy retries what is busy for the moment.
func retryBusy(try func() error) error {
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := try(); !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

// unmountSandbox unmounts the sandbox's devices, or those of some volumes, and everything mounted below them.
func unmountSandbox(dir string, some func(volumeID string) bool) error {
	devices, err := sandboxDevices(dir, some)
	if err != nil || len(devices) == 0 {
		return err
	}
	mounts, err := mountsOf(devices)
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		thaw(mount.Mountpoint)
		err := retryBusy(func() error { return unix.Unmount(mount.Mountpoint, unix.UMOUNT_NOFOLLOW) })
		if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: no mount point any more
			return fmt.Errorf("cannot unmount %s: %w", mount.Mountpoint, err)
		}
	}
	return nil
}

// mountsOf lists the mounts of devices and their children, in the order to
// unmount them. btrfs has a device number of its own, so the source counts too.
func mountsOf(devices []loopDevice) ([]*mountinfo.Info, error) {
	every, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot list the mounts: %w", err)
	}
	numbers := map[string]bool{}
	paths := map[string]bool{}
	for _, device := range devices {
		paths[device.Path] = true
		if number, ok := deviceNumber(device.Path); ok {
			numbers[number] = true
		}
	}
	ours := map[int]bool{}
	for grew := true; grew; {
		grew = false
		for _, mount := range every {
			source := mount.Source
			if resolved, err := filepath.EvalSymlinks(source); err == nil && filepath.IsAbs(source) {
				source = resolved
			}
			if !ours[mount.ID] && (ours[mount.Parent] || paths[source] || numbers[fmt.Sprintf("%d:%d", mount.Major, mount.Minor)]) {
				ours[mount.ID], grew = true, true
			}
		}
	}
	mounts := slices.DeleteFunc(every, func(m *mountinfo.Info) bool { return !ours[m.ID] })
	slices.Reverse(mounts) // of two on one mount point the later one lies on top
	slices.SortStableFunc(mounts, func(a, b *mountinfo.Info) int {
		return -cmp.Compare(strings.Count(a.Mountpoint, "/"), strings.Count(b.Mountpoint, "/"))
	})
	return mounts, nil
}

// fithaw is FITHAW of linux/fs.h, _IOWR('X', 120, int).
const fithaw = 0xc0045878

// thaw ends every freeze of the file system: a frozen one cannot be unmounted. Errors are ignored; the unmount
// reports them.
func thaw(mountPoint string) {
	dir, err := os.Open(mountPoint)
	if err != nil {
		return
	}
	defer dir.Close()
	for range 8 {
		if unix.IoctlSetInt(int(dir.Fd()), fithaw, 0) != nil {
			return
		}
	}
}
