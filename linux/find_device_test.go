package linux

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tree is a made-up /dev and /sys whose nodes lead to real loop devices.
type tree struct {
	t    *testing.T
	root string
	host *Host
}

func newTree(t *testing.T) tree {
	root := t.TempDir()
	for _, d := range []string{"dev/disk/by-id", "sys/block"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	return tree{t, root, New(Roots{Dev: filepath.Join(root, "dev"), Sys: filepath.Join(root, "sys")})}
}

func (w tree) serial(name, serial string) tree {
	dir := filepath.Join(w.root, "sys/block", name, "device")
	must(w.t, os.MkdirAll(dir, 0o755))
	must(w.t, os.WriteFile(filepath.Join(dir, "serial"), []byte(serial+"  \n"), 0o644))
	return w
}

func (w tree) node(name string, to string) tree {
	must(w.t, os.Symlink(to, filepath.Join(w.root, "dev", name)))
	return w
}

func (w tree) nvme(name, serial string, d disk) tree {
	return w.serial(name, serial).node(name, d.path)
}

func TestFindDevice(t *testing.T) {
	a, b := newDisk(t, mib), newDisk(t, mib)
	byID := "disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0abc"
	for _, c := range []struct {
		name  string
		world func(tree)
		query DeviceQuery
		want  string // path, "" is not found
		id    string
		err   error
	}{
		{"nitro finds by serial", func(w tree) { w.nvme("nvme0n1", "vol0fff", a).nvme("nvme1n1", "vol0abc", b) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, b.path, "vol-0abc", nil},
		{"nitro without name", func(w tree) { w.nvme("nvme1n1", "vol0abc", b) },
			DeviceQuery{VolumeID: "vol-0abc"}, b.path, "vol-0abc", nil},
		{"another volume alone is not it", func(w tree) { w.nvme("nvme1n1", "vol0fff", a) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, "", "", nil},
		{"partitions and hidden paths do not count", func(w tree) { w.nvme("nvme1n1p1", "vol0abc", a).nvme("nvme1c1n1", "vol0abc", b) },
			DeviceQuery{VolumeID: "vol-0abc"}, "", "", nil},
		{"instance store has another serial", func(w tree) { w.nvme("nvme1n1", "AWS0123456789", a) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, "", "", nil},
		{"a stale by-id link is not believed", func(w tree) { w.nvme("nvme1n1", "vol0fff", a).node(byID, "../../nvme1n1") },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, "", "", nil},
		{"a stale name link is not believed", func(w tree) { w.nvme("nvme1n1", "vol0fff", a).node("sdf", "nvme1n1") },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, "", "", nil},
		{"on nitro a node without serial is no EBS volume", func(w tree) { w.nvme("nvme0n1", "vol0fff", a).node("sdf", b.path) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, "", "", nil},
		{"two devices with one serial", func(w tree) { w.nvme("nvme1n1", "vol0abc", a).nvme("nvme2n1", "vol0abc", b) },
			DeviceQuery{VolumeID: "vol-0abc"}, "", "", ErrAmbiguous},
		{"one device under two names is one", func(w tree) { w.nvme("nvme1n1", "vol0abc", a).nvme("nvme2n1", "vol0abc", a) },
			DeviceQuery{VolumeID: "vol-0abc"}, a.path, "vol-0abc", nil},
		{"serial there, node not yet", func(w tree) { w.serial("nvme1n1", "vol0abc") },
			DeviceQuery{VolumeID: "vol-0abc"}, "", "", nil},
		{"by name alone tells the volume", func(w tree) { w.nvme("nvme1n1", "vol0abc", a).node("sdf", "nvme1n1") },
			DeviceQuery{Name: "/dev/sdf"}, a.path, "vol-0abc", nil},
		{"xen", func(w tree) { w.node("xvda", a.path).node("xvdf", b.path) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, b.path, "", nil},
		{"xen with numbered name", func(w tree) { w.node("xvdf", b.path) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf1"}, b.path, "", nil},
		{"xen with the volume's size", func(w tree) { w.node("xvdf", b.path) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf", Size: mib}, b.path, "", nil},
		{"xen with another size", func(w tree) { w.node("xvdf", b.path) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf", Size: 2 * mib}, "", "", nil},
		{"plain sd with another size", func(w tree) { w.node("sdf", b.path) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf", Size: mib - 1}, "", "", nil},
		{"a serial needs no size", func(w tree) { w.nvme("nvme1n1", "vol0abc", b) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf", Size: 2 * mib}, b.path, "vol-0abc", nil},
		{"xen, sdj may be sdf's", func(w tree) { w.node("xvdj", a.path).node("xvdn", b.path) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdj", Size: mib, Rivals: []string{"/dev/sdf"}}, "", "", nil},
		{"xen, sdf is there by itself", func(w tree) { w.node("xvdf", a.path).node("xvdj", b.path) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdj", Size: mib, Rivals: []string{"/dev/sdf"}}, b.path, "", nil},
		{"declared xvdf, shown as sdf", func(w tree) { w.node("sdf", b.path) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/xvdf"}, b.path, "", nil},
		{"xen shifted", func(w tree) { w.node("xvdf", a.path).node("xvdj", b.path) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf", NameOffset: 4}, b.path, "", nil},
		{"plain sd", func(w tree) { w.node("sdf", b.path) },
			DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, b.path, "", nil},
		{"sd linked to xvd is one device", func(w tree) { w.node("xvdf", b.path).node("sdf", "xvdf") },
			DeviceQuery{Name: "/dev/sdf"}, b.path, "", nil},
		{"sd and xvd are two devices", func(w tree) { w.node("xvdf", a.path).node("sdf", b.path) },
			DeviceQuery{Name: "/dev/sdf"}, "", "", ErrAmbiguous},
		{"nothing at all", func(tree) {}, DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTree(t)
			c.world(w)
			got, found, err := w.host.FindDevice(t.Context(), c.query)
			if !errors.Is(err, c.err) || found != (c.want != "") || got.Path != c.want || got.VolumeID != c.id {
				t.Fatalf("FindDevice = %+v, %v, %v; want %q %q, %v", got, found, err, c.want, c.id, c.err)
			}
			if found && (got.Size != mib || got.Major != 7) {
				t.Errorf("size %d, major %d; want a loop device (major 7) of 1 MiB", got.Size, got.Major)
			}
		})
	}
}

func TestAWaitErrorSaysWhyADeviceWithoutSerialIsNotTheVolume(t *testing.T) {
	d := newDisk(t, mib)
	w := newTree(t).node("xvdj", d.path)
	for words, q := range map[string]DeviceQuery{
		"1048576 bytes (the volume has 3145728)": {VolumeID: "vol-0abc", Name: "/dev/sdj", Size: 3 * mib},
		"set device_name_offset":                 {VolumeID: "vol-0abc", Name: "/dev/sdj", Size: mib, Rivals: []string{"/dev/sdf"}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := w.host.WaitDevice(ctx, q)
		wantError(t, err, words, "xvdj")
		if _, found, err := w.host.LookupDevice(q); found || err != nil {
			t.Errorf("LookDevice(%s) = %v, %v", q, found, err)
		}
	}
}

func TestRivalNames(t *testing.T) {
	for name, want := range map[string]string{"/dev/sdj": "/dev/sdf", "/dev/xvdj": "/dev/sdf", "/dev/sdf": "/dev/xvdb", "/dev/sdn": "/dev/sdj", "/dev/sdb": "", "/dev/xvdbf": "/dev/xvdbb"} {
		got := strings.Join(RivalNames(name, []string{"/dev/sdf", "/dev/xvdb", "/dev/sdj", "/dev/xvdbb", "/dev/sdz"}), " ")
		if got != want {
			t.Errorf("RivalNames(%s) = %q, want %q", name, got, want)
		}
	}
}

func TestFindDeviceRefusesARootName(t *testing.T) {
	_, _, err := newTree(t).host.FindDevice(t.Context(), DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sda1"})
	wantError(t, err, "vol-0abc", "/dev/sda1", "root device")
}

func TestWaitDeviceSeesALateDevice(t *testing.T) {
	d := newDisk(t, mib)
	w := newTree(t).nvme("nvme0n1", "vol0fff", d)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	type answer struct {
		dev Device
		err error
	}
	came := make(chan answer, 1)
	late := newDisk(t, mib)
	go func() {
		dev, err := w.host.WaitDevice(ctx, DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"})
		came <- answer{dev, err}
	}()
	w.nvme("nvme1n1", "vol0abc", late)
	if a := <-came; a.err != nil || a.dev.Path != late.path || a.dev.VolumeID != "vol-0abc" {
		t.Errorf("WaitDevice = %+v, %v; want %s", a.dev, a.err, late.path)
	}
}

func TestWaitDeviceErrorListsTheDevicesSeen(t *testing.T) {
	d := newDisk(t, mib)
	w := newTree(t).nvme("nvme1n1", "vol0fff", d).node("disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0abc", "../../nvme1n1")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.host.WaitDevice(ctx, DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"})
	wantError(t, err, "vol-0abc (/dev/sdf) did not appear", "nvme1n1 with serial vol0fff", "stale link", "no "+filepath.Join(w.root, "dev/xvdf"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v is not a deadline's error", err)
	}
}

func TestWaitDeviceGivesUpOnAmbiguity(t *testing.T) {
	a, b := newDisk(t, mib), newDisk(t, mib)
	w := newTree(t).nvme("nvme1n1", "vol0abc", a).nvme("nvme2n1", "vol0abc", b)
	if _, err := w.host.WaitDevice(t.Context(), DeviceQuery{VolumeID: "vol-0abc"}); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("WaitDevice = %v, want ErrAmbiguous at once", err)
	}
}

func TestWatchWakesOnANewNode(t *testing.T) {
	dir := t.TempDir()
	events, stop := watch(dir, filepath.Join(dir, "not-there"))
	defer stop()
	must(t, os.WriteFile(filepath.Join(dir, "nvme1n1"), nil, 0o600))
	select {
	case <-events:
	case <-time.After(10 * time.Second):
		t.Error("no event for a new node")
	}
}

func TestBootID(t *testing.T) {
	real, err := New(Roots{}).BootID()
	if err != nil || len(real) != 36 {
		t.Errorf("BootID of this machine = %q, %v", real, err)
	}
	file := filepath.Join(t.TempDir(), "boot_id")
	must(t, os.WriteFile(file, []byte("another\n"), 0o600))
	if id, err := New(Roots{BootID: file}).BootID(); id != "another" || err != nil {
		t.Errorf("BootID = %q, %v", id, err)
	}
	must(t, os.WriteFile(file, []byte("\n"), 0o600))
	_, err = New(Roots{BootID: file}).BootID()
	wantError(t, err, file, "empty")
}
