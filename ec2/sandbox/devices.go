package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Roots are the directories and the file that replace the instance's own.
type Roots struct {
	Dev    string // for /dev
	Sys    string // for /sys
	BootID string // for /proc/sys/kernel/random/boot_id
}

// RootsOf returns the roots of the sandbox in dir.
func RootsOf(dir string) Roots {
	return Roots{Dev: filepath.Join(dir, "dev"), Sys: filepath.Join(dir, "sys"), BootID: filepath.Join(dir, "boot_id")}
}

// Roots returns the roots of this sandbox.
func (w *Sandbox) Roots() Roots { return RootsOf(machineDir(w.root, w.here.key(), w.machine)) }

// nvmeName is the kernel's name for the n-th NVMe device; 0 is the root volume.
func nvmeName(n int) string { return fmt.Sprintf("nvme%dn1", n) }

// serial is what a Nitro instance reads of an EBS volume: its id without the dash.
func serial(volumeID string) string { return strings.Replace(volumeID, "-", "", 1) }

// makeRoots makes the directories that a device watcher expects before there is any device.
func makeRoots(roots Roots) error {
	for _, dir := range []string{filepath.Join(roots.Sys, "block"), filepath.Join(roots.Sys, "dev", "block"), filepath.Join(roots.Dev, "disk", "by-id")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make the sandbox's devices: %w", err)
		}
	}
	return nil
}

// publish shows an attached volume as on a Nitro instance. The names under dev come last: whoever waits for them
// finds the rest in place.
func publish(roots Roots, v *Volume, device string) error {
	if v.Attachment.Xen != "" {
		if err := link(device, filepath.Join(roots.Dev, v.Attachment.Xen)); err != nil {
			return fmt.Errorf("cannot publish %s: %w", v.ID, err)
		}
		return nil
	}
	name := nvmeName(v.Attachment.NVMe)
	block := filepath.Join(roots.Sys, "block", name)
	byID := filepath.Join(roots.Dev, "disk", "by-id")
	err := os.MkdirAll(filepath.Join(block, "device"), 0o755)
	err = errors.Join(err, writeFile(filepath.Join(block, "device", "serial"), serial(v.ID)+"\n"))
	err = errors.Join(err, writeFile(filepath.Join(block, "device", "model"), "Amazon Elastic Block Store\n"))
	err = errors.Join(err, writeFile(filepath.Join(block, "size"), strconv.Itoa(v.Size*(gib/512))+"\n"))
	if number, ok := deviceNumber(device); ok {
		err = errors.Join(err, writeFile(filepath.Join(block, "dev"), number+"\n"),
			link("../../block/"+name, filepath.Join(roots.Sys, "dev", "block", number)))
	}
	err = errors.Join(err, link(device, filepath.Join(roots.Dev, name)),
		link("../../"+name, filepath.Join(byID, byIDName(v.ID))))
	if err != nil {
		return fmt.Errorf("cannot publish %s: %w", v.ID, err)
	}
	return nil
}

func byIDName(volumeID string) string { return "nvme-Amazon_Elastic_Block_Store_" + serial(volumeID) }

// deviceNumber returns major:minor of a device node; a plain file has none.
func deviceNumber(path string) (string, bool) {
	var stat unix.Stat_t
	if unix.Stat(path, &stat) != nil || stat.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", false
	}
	return fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev)), true
}

// link makes or replaces a symbolic link in one step.
func link(target, path string) error {
	if current, err := os.Readlink(path); err == nil && current == target {
		return nil
	}
	temporary := path + ".tmp"
	os.Remove(temporary)
	if err := os.Symlink(target, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// unpublish removes what publish made, in the reverse order.
func unpublish(roots Roots, v *Volume) error {
	if v.Attachment.Xen != "" {
		if err := os.Remove(filepath.Join(roots.Dev, v.Attachment.Xen)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	return removeNames(roots, nvmeName(v.Attachment.NVMe), byIDName(v.ID))
}

func removeNames(roots Roots, name, byID string) error {
	block := filepath.Join(roots.Sys, "block", name)
	var failed []error
	remove := func(path string) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	remove(filepath.Join(roots.Dev, "disk", "by-id", byID))
	remove(filepath.Join(roots.Dev, name))
	if number, err := os.ReadFile(filepath.Join(block, "dev")); err == nil {
		remove(filepath.Join(roots.Sys, "dev", "block", strings.TrimSpace(string(number))))
	}
	failed = append(failed, os.RemoveAll(block))
	return errors.Join(failed...)
}

// device gives the volume's file a block device; with FilesOnly the file
// itself stands for it.
//
// Buffered I/O, not direct: it works on every file system below, and a clone
// sees the page cache anyway (see clone).
func (w *Sandbox) device(id string) (string, error) {
	if w.config.FilesOnly {
		return w.pool.path(id), nil
	}
	return loopAttach(w.pool.path(id), loopOptions{Partitions: true})
}

// settle does to the host what the records ask for: devices that are to appear,
// and detaches that waited for an unmount. It needs the locks.
func (w *Sandbox) settle() error {
	for id, v := range w.store.rows.Volumes {
		switch a := v.Attachment; {
		case a == nil || a.Bare || v.Deleted:
		case a.Detaching && a.DetachedAt.IsZero():
			if err := w.release(id); err != nil {
				return err
			}
		case !a.Detaching && !a.Published && a.Forced == "":
			// A failure here is the attaching request's to report; the
			// volume shows as attaching until it works.
			_ = w.expose(id)
		}
	}
	return nil
}

// expose makes the device of an attached volume appear.
func (w *Sandbox) expose(id string) error {
	device, err := w.device(id)
	if err != nil {
		return err
	}
	return w.apply(worldOf(w.store.rows.Volumes[id].In), func(t *tx) error {
		v := t.editVolume(id)
		v.Attachment.Published = true
		return publish(w.rootsAt(v), v, device)
	})
}

// release removes the device of a detaching volume, unless it is in use: by a mount in any namespace, swap, or device
// mapper. All of them open the block device exclusively.
func (w *Sandbox) release(id string) error {
	if !w.config.FilesOnly {
		device, err := loopFind(w.pool.path(id))
		if err != nil {
			return err
		}
		if device.Path != "" {
			if err := loopDetach(device); errors.Is(err, unix.EBUSY) {
				return nil
			} else if err != nil {
				return err
			}
			if !loopWaitFree(device, time.Second) {
				return nil // somebody looks at it, the kernel frees it when he is done
			}
		}
	}
	return w.apply(worldOf(w.store.rows.Volumes[id].In), func(t *tx) error {
		v := t.editVolume(id)
		v.Attachment.DetachedAt = t.now.Add(t.behaviour().Latency.Detach)
		v.Attachment.Published = false
		return unpublish(w.rootsAt(v), v)
	})
}

// reconcile brings the host in line with the records after a reboot or a
// killed process. It needs the folder's lock.
func (w *Sandbox) reconcile() error {
	if !w.config.FilesOnly {
		if err := w.dropStrayDevices(); err != nil {
			return err
		}
	}
	names := map[Roots]map[string]bool{}
	for _, dir := range w.store.rows.machineDirs(w.root) {
		roots := RootsOf(dir)
		names[roots] = map[string]bool{nvmeName(0): true}
		if err := makeRoots(roots); err != nil {
			return err
		}
	}
	for _, v := range w.store.rows.Volumes {
		a := v.Attachment
		if a == nil || a.Bare || v.Deleted || !a.DetachedAt.IsZero() {
			continue
		}
		names[w.rootsAt(v)][nvmeName(a.NVMe)] = true
		if !a.Published || a.Detaching {
			continue
		}
		if err := w.growDevice(v); err != nil {
			return err
		}
	}
	for roots, keep := range names {
		if err := dropStrayNames(roots, keep); err != nil {
			return err
		}
	}
	if err := w.dropStrayFiles(); err != nil {
		return err
	}
	return w.settle()
}

// dropStrayDevices detaches devices of this sandbox that have no record.
func (w *Sandbox) dropStrayDevices() error {
	devices, err := sandboxDevices(w.root, nil)
	if err != nil {
		return err
	}
	for _, device := range devices {
		v := w.store.rows.Volumes[filepath.Base(device.Backing)]
		if v != nil && !v.Deleted && v.Attachment != nil && v.Attachment.DetachedAt.IsZero() && !device.Deleted {
			continue
		}
		if err := loopDetach(device); err != nil && !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return nil
}

// sandboxDevices lists the loop devices that are backed by volumes of the sandbox in dir, or by some of them.
func sandboxDevices(dir string, some func(volumeID string) bool) ([]loopDevice, error) {
	devices, err := loopList()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(devices, func(d loopDevice) bool {
		return filepath.Dir(d.Backing) != filepath.Join(dir, "vol") || some != nil && !some(filepath.Base(d.Backing))
	}), nil
}

func dropStrayNames(roots Roots, keep map[string]bool) error {
	entries, err := os.ReadDir(filepath.Join(roots.Sys, "block"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if keep[name] {
			continue
		}
		content, _ := os.ReadFile(filepath.Join(roots.Sys, "block", name, "device", "serial"))
		id := strings.Replace(strings.TrimSpace(string(content)), "vol", "vol-", 1)
		if err := removeNames(roots, name, byIDName(id)); err != nil {
			return err
		}
	}
	return nil
}

// dropStrayFiles removes files that a killed process made before it could
// record them, or recorded as deleted before it could remove them.
func (w *Sandbox) dropStrayFiles() error {
	ids, err := w.pool.ids()
	if err != nil {
		return err
	}
	now := time.Now()
	for _, id := range ids {
		v := w.store.rows.Volumes[id]
		if (unlessDeleted(v) == nil || v.gone(now)) && unlessDeleted(w.store.rows.Snapshots[id]) == nil {
			if err := w.pool.remove(id); err != nil {
				return err
			}
		}
	}
	return nil
}
