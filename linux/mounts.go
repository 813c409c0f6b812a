package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Mount is one entry of the mount table (proc_pid_mountinfo(5)).
type Mount struct {
	Target, Source, FileSystem string
	Options                    []string // of the mount and of the file system, each once
	Major, Minor               uint32   // of the super block: for btrfs an anonymous number, not the device's
	ID, Parent                 int
	Root                       string // what of the file system is mounted here: "/" unless bind or subvolume
	shared, master             int    // peer group, and the one that it receives from; 0 for none (mount_namespaces(7))
}

// HasOption reports whether the mount has the option, such as ro.
func (m Mount) HasOption(o string) bool { return slices.Contains(m.Options, o) }

// Mounts returns this process's mount table, in the kernel's order.
func (h *Host) Mounts() ([]Mount, error) { return h.mountsOfProcess("self") }

func (h *Host) mountsOfProcess(pid string) ([]Mount, error) {
	f, err := os.Open(filepath.Join(h.proc, pid, "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	defer f.Close()
	infos, err := mountinfo.GetMountsFromReader(f, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	mounts := make([]Mount, 0, len(infos))
	for _, i := range infos {
		m := Mount{Target: i.Mountpoint, Source: i.Source, FileSystem: i.FSType, Major: uint32(i.Major), Minor: uint32(i.Minor), ID: i.ID, Parent: i.Parent, Root: i.Root}
		m.shared, m.master = propagation(i.Optional)
		for o := range strings.SplitSeq(i.Options+","+i.VFSOptions, ",") {
			if o != "" && !slices.Contains(m.Options, o) {
				m.Options = append(m.Options, o)
			}
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// propagation reads the optional fields of a mount: "shared:7 master:1".
func propagation(optional string) (shared, master int) {
	for _, field := range strings.Fields(optional) {
		name, number, _ := strings.Cut(field, ":")
		n, err := strconv.Atoi(number)
		switch {
		case err != nil:
		case name == "shared":
			shared = n
		case name == "master":
			master = n
		}
	}
	return shared, master
}

// MountAt returns the topmost mount exactly at target, whose symlinks are resolved. A target that does not exist is no
// mount point.
func (h *Host) MountAt(target string) (Mount, bool, error) {
	path, err := resolve(target)
	if errors.Is(err, fs.ErrNotExist) {
		return Mount{}, false, nil
	}
	if err != nil {
		return Mount{}, false, err
	}
	mounts, err := h.Mounts()
	if err != nil {
		return Mount{}, false, err
	}
	m, ok := topmostAt(mounts, path)
	return m, ok, nil
}

// MountedBelow returns a mount inside the directory that target leads to, which a mount on target would hide.
func (h *Host) MountedBelow(target string) (Mount, bool, error) {
	mounts, err := h.Mounts()
	if err != nil {
		return Mount{}, false, err
	}
	m, ok := mountedBelow(mounts, LeadsTo(target))
	return m, ok, nil
}

// resolve follows symlinks. A mounted file system whose device is gone answers I/O errors: what lies on it is kept as it is
// written, since it must still be found in order to be unmounted.
func resolve(path string) (string, error) {
	w, err := walk(path, walkOptions{})
	if err != nil {
		return "", err
	}
	defer w.close()
	if w.absent != nil && !isGone(w.absent) {
		return "", w.absent
	}
	return w.path(), nil
}

// topmostAt: of mounts stacked on one directory the topmost is the one that is nobody's parent there.
func topmostAt(mounts []Mount, target string) (top Mount, ok bool) {
	for _, m := range mounts {
		if m.Target != target {
			continue
		}
		covered := slices.ContainsFunc(mounts, func(o Mount) bool { return o.Target == target && o.Parent == m.ID && o.ID != m.ID })
		if !covered {
			top, ok = m, true
		}
	}
	return top, ok
}

// mountOf returns the mount that path lies on, without touching the file system it is on.
func mountOf(mounts []Mount, path string) (best Mount, ok bool) {
	for _, m := range mounts {
		if isUnder(path, m.Target) && len(m.Target) >= len(best.Target) {
			best, ok = m, true
		}
	}
	if ok {
		return topmostAt(mounts, best.Target)
	}
	return best, ok
}

// isUnder reports whether path is directory or lies below it.
func isUnder(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// MountsOf returns the mounts of a device, bind mounts and subvolumes too.
func (h *Host) MountsOf(dev Device) ([]Mount, error) {
	mounts, err := h.Mounts()
	if err != nil {
		return nil, err
	}
	of := mountsOf(mounts, dev)
	for _, p := range h.partitionsOf(dev.Major, dev.Minor) {
		of = append(of, mountsOf(mounts, p.Device)...)
	}
	return of, nil
}

func mountsOf(mounts []Mount, dev Device) (of []Mount) {
	for _, m := range mounts {
		if major, minor := m.deviceNumber(); major == dev.Major && minor == dev.Minor {
			of = append(of, m)
		}
	}
	return of
}

// deviceNumber is the device behind the mount. btrfs gives every super block an anonymous number (major 0), so there the
// mount's source tells.
func (m Mount) deviceNumber() (major, minor uint32) {
	if m.Major != 0 {
		return m.Major, m.Minor
	}
	var st unix.Stat_t
	if strings.HasPrefix(m.Source, "/") && unix.Stat(m.Source, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	return m.Major, m.Minor
}

// VolumeOf goes from a mount point to the device that is mounted there, with its serial where the kernel tells it: what is
// frozen must be what is snapshotted. On Xen VolumeID is empty; compare the device with FindDevice's by Same.
// The only partition of a device stands for it (Mounted).
// Errors: ErrNotMountPoint; ErrNotVolume for one of several partitions, a bind mount's or an assembled device, and tmpfs and the like.
func (h *Host) VolumeOf(mountPoint string) (Device, Mount, error) {
	fail := func(err error) (Device, Mount, error) {
		return Device{}, Mount{}, fmt.Errorf("cannot determine the volume of %s: %w", mountPoint, err)
	}
	m, ok, err := h.MountAt(mountPoint)
	if err != nil {
		return fail(err)
	}
	if !ok {
		return fail(ErrNotMountPoint)
	}
	major, minor := m.deviceNumber()
	if major == 0 {
		return fail(fmt.Errorf("%s (%s): %w", m.Source, m.FileSystem, ErrNotVolume))
	}
	block := filepath.Join(h.kernelSys, "dev/block", fmt.Sprintf("%d:%d", major, minor))
	if wholeMajor, wholeMinor, count, is := h.wholeOf(major, minor); is {
		if count != 1 { // the others would be in a snapshot as they happen to be
			return fail(fmt.Errorf("%s is one of %d partitions: %w", m.Source, count, ErrNotVolume))
		}
		dev, err := h.deviceByNumber(wholeMajor, wholeMinor, m.Source)
		if err != nil {
			return fail(err)
		}
		only := h.partitionsOf(wholeMajor, wholeMinor)
		if len(only) == 1 {
			dev.Mounted = &only[0]
		}
		return dev, m, nil
	}
	if slaves, _ := os.ReadDir(filepath.Join(block, "slaves")); len(slaves) > 0 {
		return fail(fmt.Errorf("%s is made of %s (LVM, RAID or encryption): %w", m.Source, slaves[0].Name(), ErrNotVolume))
	}
	dev, err := h.deviceByNumber(major, minor, m.Source)
	if err != nil {
		return fail(err)
	}
	return dev, m, nil
}

// deviceByNumber finds the node of a device: first among the NVMe devices, which tell their volume, then at the source the
// mount table names, then where the kernel would put it.
func (h *Host) deviceByNumber(major, minor uint32, source string) (Device, error) {
	want := Device{Major: major, Minor: minor}
	serials, err := h.serials()
	if err != nil {
		return Device{}, err
	}
	for name, serial := range serials {
		if d, err := openDevice(filepath.Join(h.dev, name)); err == nil && d.Same(want) {
			d.Serial, d.VolumeID = serial, volumeIDOf(serial)
			return d, nil
		}
	}
	candidates := []string{source}
	if link, err := os.Readlink(filepath.Join(h.kernelSys, "dev/block", fmt.Sprintf("%d:%d", major, minor))); err == nil {
		candidates = append(candidates, filepath.Join(h.dev, filepath.Base(link)), filepath.Join(h.kernelDev, filepath.Base(link)))
	}
	for _, path := range candidates {
		if !strings.HasPrefix(path, "/") {
			continue
		}
		if d, err := openDevice(path); err == nil && d.Same(want) {
			return d, nil
		}
	}
	return Device{}, fmt.Errorf("no node for block device %d:%d (%s)", major, minor, source)
}
