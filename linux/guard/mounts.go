package guard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"snaptastic/linux"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountEntry is a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mountEntry struct {
	id     int
	dev    string // major:minor of the superblock: one value for all mounts, bind mounts and subvolumes of a file system
	point  string
	source string
}

// mountTable reads the mounts of this process's mount namespace.
func mountTable() ([]mountEntry, error) {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	table := make([]mountEntry, len(infos))
	for i, m := range infos {
		table[i] = mountEntry{id: m.ID, dev: fmt.Sprintf("%d:%d", m.Major, m.Minor), point: m.Mountpoint, source: m.Source}
	}
	return table, nil
}

// errNotMountPoint: the path lies inside a file system, it is not the root of one.
var errNotMountPoint = errors.New("not a mount point")

// openMount opens the directory at path and finds the mount it is the root of.
func openMount(path string, table []mountEntry) (*os.File, mountEntry, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		var p *fs.PathError // its text would name the path a second time
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, mountEntry{}, err
	}
	e, err := mountOf(f, table)
	if err != nil {
		f.Close()
		return nil, e, err
	}
	return f, e, nil
}

// mountOf finds the mount of a descriptor (fdinfo's mnt_id, proc_pid_fdinfo(5)), so that a mount that appears or
// vanishes over the path meanwhile does not matter.
func mountOf(f *os.File, table []mountEntry) (mountEntry, error) {
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
	if err != nil {
		return mountEntry{}, fmt.Errorf("cannot find its mount: %w", err)
	}
	id := linux.MountID(string(info))
	if id < 0 {
		return mountEntry{}, fmt.Errorf("cannot find its mount: no mnt_id in fdinfo")
	}
	for _, e := range table {
		if e.id != id {
			continue
		}
		if real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err == nil && real != e.point {
			return e, fmt.Errorf("%w (it is on %s)", errNotMountPoint, e.point)
		}
		return e, nil
	}
	return mountEntry{}, fmt.Errorf("its mount is not in the mount table")
}

// isOn reports whether the mount's device is the expected one, by the superblock's number or, for file systems with
// an anonymous one (btrfs), by the number of the block device that it was mounted from.
func (e mountEntry) isOn(dev string) bool {
	if e.dev == dev {
		return true
	}
	var st unix.Stat_t
	if !filepath.IsAbs(e.source) || unix.Stat(e.source, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return false
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)) == dev
}

// target is a mount that this process keeps open.
type target struct {
	path    string
	dev     string
	dir     *os.File
	counter string // file of the kernel's count of what is written to its device; "" without one
}

// openAll opens every mount point and refuses what must never be frozen, or not together.
func openAll(mounts []Mount) (all []target, err error) {
	table, err := mountTable()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeAll(all)
			all = nil
		}
	}()
	root := ""
	for _, e := range table {
		if e.point == "/" {
			root = e.dev // the last one listed is the one on top
		}
	}
	seen := map[string]string{}
	for _, m := range mounts {
		dir, e, err := openMount(m.Path, table)
		if err != nil {
			return all, fmt.Errorf("cannot prepare to freeze %s: %w", m.Path, err)
		}
		all = append(all, target{path: m.Path, dev: e.dev, dir: dir, counter: counterOf(e)})
		switch {
		case e.dev == root:
			return all, fmt.Errorf("cannot prepare to freeze %s: it is the root file system", m.Path)
		case m.Dev != "" && !e.isOn(m.Dev):
			return all, fmt.Errorf("cannot prepare to freeze %s: it is on device %s, not on %s", m.Path, e.dev, m.Dev)
		case seen[e.dev] != "":
			return all, fmt.Errorf("cannot prepare to freeze %s: it is the same file system as %s", m.Path, seen[e.dev])
		}
		seen[e.dev] = m.Path
	}
	return all, nil
}

func closeAll(all []target) {
	for _, h := range all {
		h.dir.Close()
	}
}

// ThawMount thaws the file system mounted at path, no matter which process froze it. It is for an operator. The error
// wraps EINVAL if the file system was not frozen, EPERM without CAP_SYS_ADMIN.
func ThawMount(path string) error {
	table, err := mountTable()
	if err != nil {
		return err
	}
	dir, _, err := openMount(path, table)
	if err != nil {
		return fmt.Errorf("cannot thaw %s: %w", path, err)
	}
	defer dir.Close()
	if errno := thawFS(int(dir.Fd())); errno != 0 {
		return fmt.Errorf("cannot thaw %s: %w", path, explain(errno, isThawed))
	}
	return nil
}

// explainedError explains the kernel's answer to a freeze or thaw and keeps the errno for errors.Is.
type explainedError struct {
	text  string
	errno syscall.Errno
}

func (e *explainedError) Error() string { return e.text }
func (e *explainedError) Unwrap() error { return e.errno }

func explain(errno syscall.Errno, k kind) error {
	freeze := k == isRefused
	switch {
	case errno == syscall.EBUSY && freeze:
		return &explainedError{"another program has frozen it", errno}
	case errno == syscall.EOPNOTSUPP && freeze:
		return &explainedError{"this kind of file system cannot be frozen", errno}
	case errno == syscall.ETIME && freeze:
		return &explainedError{"the time for it had passed", errno}
	case errno == syscall.EINVAL && !freeze:
		return &explainedError{"it is not frozen", errno}
	case errno == syscall.EPERM:
		return &explainedError{"operation not permitted: needs CAP_SYS_ADMIN (run as root)", errno}
	}
	return errno
}
