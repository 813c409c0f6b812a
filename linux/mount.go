package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// MountRequest asks for a device's file system at a directory.
type MountRequest struct {
	Source, Target, FileSystem string
	Options                    []string // words of mount(8); "defaults" is none
	Partition                  int      // of Source; 0 for Source itself
	LeadsTo                    string   // where Target led to when this was planned; "" where nobody looked
}

// Mounted says what Mount did.
type Mounted struct {
	Mount         Mount    // as the kernel's table has it now
	CreatedTarget bool     // the mount point directory was not there
	Created       []string // all directories made for it, outermost first: RemoveCreated takes them away again
	Already       bool     // another program had mounted this very device there a moment before
	CoversFiles   bool     // the directory was not empty: its files are hidden while mounted
	Notes         []string // what an operator should know: nouuid added, files covered
}

// Mount mounts a device with mount(2), making the directory where it is missing (mode 0755). The options are those of mount(8);
// what is only for fstab is dropped. It refuses a directory on which, or below which, something is mounted already, unless that
// is the very device (Already). Symlinks that another user may have placed are refused (ErrUntrustedLink), and so is what
// leads to a part of the system (ErrSystemPath); the directory is opened once, and mounted on through that. XFS whose UUID is mounted
// on this host gets nouuid; btrfs then is ErrDuplicateUUID, since the kernel would mix the two devices up. Once begun it cannot be interrupted: recovering a log can take a while.
func (h *Host) Mount(ctx context.Context, q MountRequest) (Mounted, error) {
	m, err := h.mount(ctx, q)
	if m.Already {
		return m, nil
	}
	if err != nil {
		h.RemoveCreated(m.Created)
		return Mounted{}, fmt.Errorf("cannot mount %s on %s: %w", q.Source, q.Target, err)
	}
	return m, nil
}

func (h *Host) mount(ctx context.Context, q MountRequest) (done Mounted, err error) {
	if err := ctx.Err(); err != nil {
		return done, err
	}
	flags, data, err := splitMountOptions(q.Options)
	if err != nil {
		return done, err
	}
	if q.Partition != 0 {
		p, err := h.partition(q.Source, q.Partition)
		if err != nil {
			return done, err
		}
		q.Source = p.Path
	}
	at, err := openMountPoint(q)
	if at != nil {
		done.Created = at.made
	}
	if err != nil {
		return done, err
	}
	defer at.close()
	done.CreatedTarget = len(done.Created) > 0
	target := at.path()
	mounts, err := h.Mounts()
	if err != nil {
		return done, err
	}
	if m, taken := topmostAt(mounts, target); taken {
		return h.mountedMeanwhile(q, m, done)
	}
	if inner, ok := mountedBelow(mounts, target); ok {
		return done, fmt.Errorf("%s is mounted below it, on %s, and would become hidden: unmount that first", inner.Source, inner.Target)
	}
	if entries, err := os.ReadDir(at.fdPath()); err == nil && len(entries) > 0 && !onlyLostFound(entries) {
		done.CoversFiles = true
		done.Notes = append(done.Notes, fmt.Sprintf("%s is not empty: its %d entries will be hidden by the mount", target, len(entries)))
	}
	if err := h.mountOnce(q, at.fdPath(), flags, data, &done); err != nil {
		if m, taken, lookErr := h.MountAt(target); lookErr == nil && taken {
			if now, err := h.mountedMeanwhile(q, m, done); err == nil {
				return now, nil
			}
		}
		return done, err
	}
	var ok bool
	if done.Mount, ok, err = h.MountAt(target); err != nil {
		return done, err
	}
	if !ok {
		return done, fmt.Errorf("right after mounting, %s is %w", target, ErrNotMountPoint)
	}
	return done, nil
}

// openMountPoint follows the way to the mount point, making what is missing, and refuses where it must not lead.
func openMountPoint(q MountRequest) (*walked, error) {
	if !filepath.IsAbs(q.Target) || filepath.Clean(q.Target) == "/" {
		return nil, fmt.Errorf("mount point %q must be an absolute path, and not /", q.Target)
	}
	leads, err := ResolveMountPoint(q.Target) // before anything is made
	if err != nil {
		return nil, err
	}
	if q.LeadsTo != "" && leads != q.LeadsTo {
		return nil, fmt.Errorf("%s resolves to %s, but resolved to %s when the plan was made", q.Target, leads, q.LeadsTo)
	}
	w, err := walk(q.Target, walkOptions{distrust: true, create: true})
	if err != nil {
		return w, err
	}
	if err := refuseSystemPath(q.Target, w.path()); err != nil || w.path() != leads {
		w.close()
		return w, cmp.Or(err, fmt.Errorf("%s resolved to %s a moment ago, and now to %s", q.Target, leads, w.path()))
	}
	return w, nil
}

// fdPath is a path to the directory that was opened, whatever has become of its name.
func (w *walked) fdPath() string { return fmt.Sprintf("/proc/self/fd/%d", w.last().fd) }

// mountedMeanwhile judges what is mounted at the mount point already: where it is the very device, somebody else was
// quicker (systemd, with a line in fstab), and all is well.
func (h *Host) mountedMeanwhile(q MountRequest, m Mount, done Mounted) (Mounted, error) {
	dev, err := openDevice(q.Source)
	if major, minor := m.deviceNumber(); err != nil || major != dev.Major || minor != dev.Minor {
		return done, fmt.Errorf("%s (%s) is already mounted there", m.Source, m.FileSystem)
	}
	return Mounted{Mount: m, Already: true, Notes: []string{fmt.Sprintf("%s was mounted on %s by another program in the meantime (%s)", m.Source, m.Target, strings.Join(m.Options, ","))}}, nil
}

// mountedBelow finds a mount inside a directory. What another mount hides is not inside.
func mountedBelow(mounts []Mount, target string) (Mount, bool) {
	on, ok := mountOf(mounts, target)
	for _, m := range mounts {
		if ok && m.Parent == on.ID && m.ID != on.ID && m.Target != target && isUnder(m.Target, target) {
			return m, true
		}
	}
	return Mount{}, false
}

// mountOnce looks for a mounted file system with the same UUID and mounts, one at a time for each UUID.
func (h *Host) mountOnce(q MountRequest, target string, flags uintptr, data []string, done *Mounted) error {
	if _, uuid, err := mountedSignature(q.Source); err != nil {
		return err
	} else if uuid != "" {
		lock, _ := h.mounting.LoadOrStore(uuid, new(sync.Mutex))
		lock.(*sync.Mutex).Lock()
		defer lock.(*sync.Mutex).Unlock()
	}
	twin, err := h.SameUUIDMounted(q.Source)
	if err != nil {
		return err
	}
	if twin != nil {
		f, _ := fileSystemOf(q.FileSystem)
		if f.newUUID.Command != "" {
			return fmt.Errorf("its UUID is that of %s on %s: %w", twin.Source, twin.Target, ErrDuplicateUUID)
		}
		if f.copyOption != "" && !slices.Contains(data, f.copyOption) {
			data = append(data, f.copyOption)
			done.Notes = append(done.Notes, fmt.Sprintf("mounted with %s: its UUID is that of %s on %s", f.copyOption, twin.Source, twin.Target))
		}
	}
	if err := unix.Mount(q.Source, target, q.FileSystem, flags, strings.Join(data, ",")); err != nil {
		return h.explainMount(q, data, err)
	}
	return nil
}

// onlyLostFound: the directory that mkfs makes covers nothing of anybody's.
func onlyLostFound(entries []fs.DirEntry) bool {
	return len(entries) == 1 && entries[0].Name() == "lost+found"
}

// RemoveCreated removes directories that Mount made, innermost first, as far as they are empty.
func (h *Host) RemoveCreated(created []string) {
	for _, p := range slices.Backward(created) {
		if unix.Rmdir(p) != nil {
			return
		}
	}
}

// explainMount says in words what the kernel's number means here.
func (h *Host) explainMount(q MountRequest, data []string, err error) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("the kernel does not support the file system %s (try modprobe %s): %w", q.FileSystem, q.FileSystem, err)
	case errors.Is(err, unix.EBUSY):
		return h.explainBusySource(q.Source, err)
	case errors.Is(err, unix.EUCLEAN):
		return fmt.Errorf("the file system is damaged (fsck or xfs_repair first): %w", err)
	case errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("the device is read-only, but the mount needs to write (log recovery, or the ro option is missing): %w", err)
	case errors.Is(err, unix.ENXIO):
		return fmt.Errorf("the device has disappeared: %w", err)
	case errors.Is(err, unix.ENOTBLK):
		return fmt.Errorf("not a block device: %w", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("mounting needs root: %w", err)
	}
	f, openErr := os.Open(q.Source)
	if openErr != nil {
		return err
	}
	defer f.Close()
	s, probeErr := probeFile(f)
	if probeErr == nil && s.Blank() {
		return fmt.Errorf("the device is blank, there is no %s on it: %w", q.FileSystem, err)
	}
	if probeErr == nil && s.Type != q.FileSystem {
		return fmt.Errorf("it contains %s, not %s: %w", s, q.FileSystem, err)
	}
	if words := refusedOption(q.FileSystem, data); words != "" {
		return fmt.Errorf("%s: %w", words, err)
	}
	return fmt.Errorf("bad mount options or a damaged superblock (see dmesg): %w", err)
}

func (h *Host) explainBusySource(source string, err error) error {
	dev, devErr := openDevice(source)
	if devErr != nil {
		return err
	}
	if mounts, mountsErr := h.MountsOf(dev); mountsErr == nil && len(mounts) > 0 {
		return fmt.Errorf("it is mounted on %s with other options: %w", mounts[0].Target, err)
	}
	return h.deviceBusy(source)
}

// refusedOption asks the kernel which option it does not like: the newer mount interface (Linux 5.2) answers in words and
// mounts nothing by being asked. On older kernels it finds nothing.
func refusedOption(fileSystem string, data []string) string {
	fd, err := unix.Fsopen(fileSystem, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	for _, o := range data {
		if name, value, ok := strings.Cut(o, "="); ok {
			err = unix.FsconfigSetString(fd, name, value)
		} else {
			err = unix.FsconfigSetFlag(fd, o)
		}
		if err == nil {
			continue
		}
		words := make([]byte, 1024)
		if n, readErr := unix.Read(fd, words); readErr == nil && n > 2 {
			return fmt.Sprintf("option %s: %s", o, strings.TrimSpace(string(words[2:n])))
		}
		return fmt.Sprintf("option %s is not accepted", o)
	}
	return ""
}

// SameUUIDMounted returns the mount of another device of this host that has the same type and UUID as the one on source, or
// nil. Only xfs and btrfs mind; a source that is neither has none.
func (h *Host) SameUUIDMounted(source string) (*Mount, error) {
	fileSystem, uuid, err := mountedSignature(source)
	if err != nil || uuid == "" {
		return nil, err
	}
	dev, err := openDevice(source)
	if err != nil {
		return nil, err
	}
	mounts, err := h.Mounts()
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		major, minor := m.deviceNumber()
		if m.FileSystem != fileSystem || (major == dev.Major && minor == dev.Minor) {
			continue
		}
		other, err := h.deviceByNumber(major, minor, m.Source)
		if err != nil {
			continue // a mount whose node is out of reach, such as a container's
		}
		if _, o, err := mountedSignature(other.Path); err == nil && o == uuid {
			return &m, nil
		}
	}
	return nil, nil
}

// mountedSignature reads type and UUID of xfs and btrfs without the exclusive opening, as the device may be mounted.
func mountedSignature(path string) (fileSystem, uuid string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	size, err := sizeOf(f)
	if err != nil {
		return "", "", err
	}
	r := &region{from: f, size: size}
	switch {
	case string(r.bytes(0, 4)) == "XFSB":
		return "xfs", formatUUID(r.bytes(32, 16)), r.err
	case string(r.bytes(0x10040, 8)) == "_BHRfS_M":
		return "btrfs", formatUUID(r.bytes(0x10020, 16)), r.err
	}
	return "", "", r.err
}
