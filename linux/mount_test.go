package linux

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountUnmountKeepsTheData(t *testing.T) {
	for _, fileSystem := range []string{"ext2", "ext3", "ext4", "xfs", "btrfs"} {
		t.Run(fileSystem, func(t *testing.T) {
			h := New(Roots{})
			d := formatted(t, h, fileSystem, 320*mib)
			target := filepath.Join(t.TempDir(), "a", "b")
			m := mountedAt(t, h, d, fileSystem, target, "defaults", "noatime,nofail", "x-systemd.automount")
			if !m.CreatedTarget || len(m.Created) != 2 || m.CoversFiles || m.Mount.Source != d.path || m.Mount.FileSystem != fileSystem || !m.Mount.HasOption("noatime") {
				t.Errorf("Mount = %+v", m)
			}
			dev, of, err := h.VolumeOf(target)
			if err != nil || dev.Path != d.path || of.ID != m.Mount.ID || dev.Size != 320*mib {
				t.Errorf("VolumeOf = %+v, %+v, %v; want %s", dev, of, err, d.path)
			}
			if ms, err := h.MountsOf(dev); err != nil || len(ms) != 1 || ms[0].Target != target {
				t.Errorf("MountsOf = %+v, %v", ms, err)
			}
			must(t, os.WriteFile(filepath.Join(target, "file"), []byte("kept"), 0o600))
			if _, err := h.SyncFS(t.Context(), target); err != nil {
				t.Error(err)
			}
			total, free, err := h.Usage(target)
			if err != nil || total < 200*mib || total > 320*mib || free == 0 || free > total {
				t.Errorf("Usage = %d, %d, %v", total, free, err)
			}
			must(t, h.Unmount(t.Context(), target))
			must(t, h.DeviceFree(t.Context(), d.path))
			if err := h.Unmount(t.Context(), target); !errors.Is(err, ErrNotMountPoint) {
				t.Errorf("second Unmount = %v, want ErrNotMountPoint", err)
			}
			again := mountedAt(t, h, d, fileSystem, target, "ro")
			if again.CreatedTarget || !again.Mount.HasOption("ro") {
				t.Errorf("second Mount = %+v", again)
			}
			if b, err := os.ReadFile(filepath.Join(target, "file")); string(b) != "kept" || err != nil {
				t.Errorf("read %q, %v", b, err)
			}
			must(t, h.Unmount(t.Context(), target))
			h.RemoveCreated(m.Created)
			if _, err := os.Stat(filepath.Dir(target)); !os.IsNotExist(err) {
				t.Errorf("the made folders are still there: %v", err)
			}
		})
	}
}

func TestVolumeOfReadsTheSerialOnNitro(t *testing.T) {
	h0 := New(Roots{})
	for _, fileSystem := range []string{"ext4", "btrfs"} {
		d := formatted(t, h0, fileSystem, 320*mib)
		w := newTree(t).nvme("nvme1n1", "vol0abc", d)
		m := mounted(t, w.host, d, fileSystem)
		dev, _, err := w.host.VolumeOf(m.Mount.Target)
		if err != nil || dev.VolumeID != "vol-0abc" || dev.Path != d.path {
			t.Errorf("%s: VolumeOf = %+v, %v", fileSystem, dev, err)
		}
		found, ok, err := w.host.FindDevice(t.Context(), DeviceQuery{VolumeID: "vol-0abc"})
		if !ok || err != nil || !found.Same(dev) {
			t.Errorf("%s: FindDevice = %+v, %v, %v: not the mounted one", fileSystem, found, ok, err)
		}
	}
}

func TestVolumeOfRefusesWhatIsNoVolume(t *testing.T) {
	h := New(Roots{})
	if _, _, err := h.VolumeOf(t.TempDir()); !errors.Is(err, ErrNotMountPoint) {
		t.Errorf("VolumeOf a folder = %v", err)
	}
	if _, _, err := h.VolumeOf(filepath.Join(t.TempDir(), "none")); !errors.Is(err, ErrNotMountPoint) {
		t.Errorf("VolumeOf a missing folder = %v", err)
	}
	if _, _, err := h.VolumeOf("/proc"); !errors.Is(err, ErrNotVolume) {
		t.Errorf("VolumeOf /proc = %v", err)
	}
}

func TestMountAtFollowsSymlinksAndSeesTheTopmost(t *testing.T) {
	h := New(Roots{})
	d, over := formatted(t, h, "ext4", 32*mib), formatted(t, h, "ext4", 32*mib)
	m := mounted(t, h, d, "ext4")
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(m.Mount.Target, link))
	if at, ok, err := h.MountAt(link); !ok || err != nil || at.ID != m.Mount.ID {
		t.Errorf("MountAt the link = %+v, %v, %v", at, ok, err)
	}
	_, err := h.Mount(t.Context(), MountRequest{Source: over.path, Target: link, FileSystem: "ext4"})
	wantError(t, err, "already mounted there", d.path)
	must(t, unix.Mount(over.path, m.Mount.Target, "ext4", 0, ""))
	if at, ok, err := h.MountAt(link); !ok || err != nil || at.Source != over.path {
		t.Errorf("MountAt = %+v, %v, %v; want the one on top", at, ok, err)
	}
	must(t, h.Unmount(t.Context(), link))
	if at, _, _ := h.MountAt(link); at.ID != m.Mount.ID {
		t.Errorf("Unmount took the wrong one away: %+v is left", at)
	}
}

func TestMountReportsThatItCoversFiles(t *testing.T) {
	h := New(Roots{})
	d := formatted(t, h, "ext4", 32*mib)
	target := t.TempDir()
	must(t, os.WriteFile(filepath.Join(target, "old"), nil, 0o600))
	m := mountedAt(t, h, d, "ext4", target)
	if !m.CoversFiles || m.CreatedTarget || len(m.Notes) != 1 || !strings.Contains(m.Notes[0], "not empty") {
		t.Errorf("Mount = %+v", m)
	}
}

func TestMountErrorsAreClearAndLeaveNothing(t *testing.T) {
	h := New(Roots{})
	ext4, blank := formatted(t, h, "ext4", 32*mib), newDisk(t, 32*mib)
	for _, c := range []struct {
		name       string
		source, fs string
		options    []string
		words      []string
	}{
		{"wrong file system", ext4.path, "xfs", nil, []string{"contains ext4", "not xfs"}},
		{"blank", blank.path, "ext4", nil, []string{"blank", "no ext4"}},
		{"unknown to the kernel", ext4.path, "nofs", nil, []string{"does not support", "nofs"}},
		{"bad option", ext4.path, "ext4", []string{"frobnicate"}, []string{"frobnicate"}},
		{"remount", ext4.path, "ext4", []string{"remount"}, []string{"remount"}},
		{"no such device", "/dev/none", "ext4", nil, []string{"/dev/none", "no such file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "mnt")
			_, err := h.Mount(t.Context(), MountRequest{Source: c.source, Target: target, FileSystem: c.fs, Options: c.options})
			wantError(t, err, append(c.words, c.source, target)...)
			if _, err := os.Stat(target); !os.IsNotExist(err) {
				t.Errorf("the failed mount left its folder: %v", err)
			}
		})
	}
	for _, target := range []string{"relative", "/", "/../"} {
		_, err := h.Mount(t.Context(), MountRequest{Source: ext4.path, Target: target, FileSystem: "ext4"})
		wantError(t, err, "absolute path, and not /")
	}
}

func TestReadOnlyDeviceWithADirtyLog(t *testing.T) {
	h := New(Roots{})
	d := formatted(t, h, "ext4", 32*mib)
	run(t, "blockdev", "--setro", d.path)
	t.Cleanup(func() { run(t, "blockdev", "--setrw", d.path) })
	_, err := h.Mount(t.Context(), MountRequest{Source: d.path, Target: filepath.Join(t.TempDir(), "m"), FileSystem: "ext4"})
	wantError(t, err, "read-only")
	mounted(t, h, d, "ext4", "ro")
}

// clone makes a second device with the same content, as a volume restored beside its original.
func clone(t *testing.T, d disk) disk {
	t.Helper()
	image := filepath.Join(t.TempDir(), "clone")
	d.flush(t)
	run(t, "cp", "--sparse=always", d.image, image)
	return attach(t, image)
}

func TestXFSWithAUUIDMountedHereGetsNouuid(t *testing.T) {
	h := New(Roots{})
	d := formatted(t, h, "xfs", 320*mib)
	twin := clone(t, d)
	m := mounted(t, h, d, "xfs")
	if len(m.Notes) != 0 || m.Mount.HasOption("nouuid") {
		t.Errorf("the first mount needs no nouuid: %+v", m)
	}
	second := mounted(t, h, twin, "xfs")
	if !second.Mount.HasOption("nouuid") || len(second.Notes) != 1 || !strings.Contains(second.Notes[0], m.Mount.Target) {
		t.Errorf("Mount = %+v; want nouuid and a note that names %s", second, m.Mount.Target)
	}
}

func TestTwinsMountedAtOnceDoNotMissEachOther(t *testing.T) {
	h := New(Roots{})
	d := formatted(t, h, "xfs", 320*mib)
	disks := []disk{d, clone(t, d), clone(t, d)}
	ms, errs := make([]Mounted, len(disks)), make([]error, len(disks))
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range disks {
		all.Go(func() {
			ms[i], errs[i] = h.Mount(context.Background(), MountRequest{Source: disks[i].path, Target: filepath.Join(dir, strconv.Itoa(i)), FileSystem: "xfs"})
		})
	}
	all.Wait()
	without := 0
	for i, m := range ms {
		if errs[i] != nil {
			t.Error(errs[i])
			continue
		}
		if !m.Mount.HasOption("nouuid") {
			without++
		}
		if err := h.Unmount(context.Background(), m.Mount.Target); err != nil {
			t.Error(err)
		}
	}
	if without != 1 {
		t.Errorf("%d were mounted without nouuid, want 1", without)
	}
}

func TestBtrfsWithAUUIDMountedHereIsRefused(t *testing.T) {
	h := New(Roots{})
	d := formatted(t, h, "btrfs", 128*mib)
	twin := clone(t, d)
	m := mounted(t, h, d, "btrfs")
	_, err := h.Mount(t.Context(), MountRequest{Source: twin.path, Target: filepath.Join(t.TempDir(), "m"), FileSystem: "btrfs"})
	if !errors.Is(err, ErrDuplicateUUID) {
		t.Errorf("Mount = %v, want ErrDuplicateUUID", err)
	}
	wantError(t, err, m.Mount.Target)
	if same, err := h.SameUUIDMounted(d.path); same != nil || err != nil {
		t.Errorf("a device is not its own duplicate: %+v, %v", same, err)
	}
}

func TestSplitMountOptions(t *testing.T) {
	for _, c := range []struct {
		words string
		flags uintptr
		data  []string
	}{
		{"defaults", 0, nil},
		{"defaults,noatime ro", unix.MS_NOATIME | unix.MS_RDONLY, nil},
		{"ro,rw", 0, nil},
		{"user,exec", unix.MS_NOSUID | unix.MS_NODEV, nil},
		{"nofail,_netdev,auto,noauto,x-systemd.device-timeout=5,comment=mine", 0, nil},
		{"nobarrier,logbufs=8,nosuid", unix.MS_NOSUID, []string{"nobarrier", "logbufs=8"}},
		{"relatime,nodiratime,nodev,noexec,sync", unix.MS_RELATIME | unix.MS_NODIRATIME | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_SYNCHRONOUS, nil},
	} {
		flags, data, err := splitMountOptions(strings.Fields(c.words))
		if err != nil || flags != c.flags || !slices.Equal(data, c.data) {
			t.Errorf("splitMountOptions(%q) = %#x, %q, %v; want %#x, %q", c.words, flags, data, err, c.flags, c.data)
		}
	}
	for _, word := range []string{"bind", "loop", "loop=/dev/loop0", "remount,ro", "rshared"} {
		if _, _, err := splitMountOptions([]string{word}); err == nil {
			t.Errorf("%q was not refused", word)
		}
	}
}

func TestCancelledCallsTouchNothing(t *testing.T) {
	h := New(Roots{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	target := filepath.Join(t.TempDir(), "m")
	if _, err := h.Mount(ctx, MountRequest{Source: "/dev/none", Target: target, FileSystem: "ext4"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Mount = %v", err)
	}
	if _, err := os.Stat(target); !os.IsNotExist(err) {
		t.Error("a cancelled mount made its folder")
	}
	if err := h.Unmount(ctx, "/proc"); !errors.Is(err, context.Canceled) {
		t.Errorf("Unmount = %v", err)
	}
}
