package linux

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// disk is a loop device over a sparse file, both gone when the test is.
type disk struct{ path, image string }

func newDisk(t *testing.T, size int64) disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices and mounts need root")
	}
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, size))
	return attach(t, image)
}

// attach makes a loop device of an image.
func attach(t *testing.T, image string) disk {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		t.Skipf("no loop devices here: losetup: %v: %s", err, out)
	}
	d := disk{strings.TrimSpace(string(out)), image}
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", d.path).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", d.path, err, out)
		}
	})
	return d
}

// put writes bytes at an offset of the device.
func (d disk) put(t *testing.T, at int64, b string) {
	t.Helper()
	f, err := os.OpenFile(d.path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte(b), at)
	must(t, err)
	must(t, f.Sync())
}

// sum fingerprints what is on the device: the places and bytes of its image that are not holes or zeros.
func (d disk) sum(t *testing.T) string {
	t.Helper()
	d.flush(t)
	f, err := os.Open(d.image)
	must(t, err)
	defer f.Close()
	hash, block := sha256.New(), make([]byte, 4096)
	for at := int64(0); ; {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return fmt.Sprintf("%x", hash.Sum(nil))
		}
		must(t, err)
		at = data &^ 4095
		n, err := f.ReadAt(block, at)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if !allZero(block[:n]) {
			fmt.Fprintf(hash, "%d %x", at, block[:n])
		}
		at += 4096
	}
}

// flush brings what was written to the device into its image.
func (d disk) flush(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(d.path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	must(t, f.Sync())
}

// enlarge makes the device larger while it is in use, as ModifyVolume does.
func (d disk) enlarge(t *testing.T, size int64) {
	t.Helper()
	must(t, os.Truncate(d.image, size))
	run(t, "losetup", "--set-capacity", d.path)
}

// formatted makes a file system on a new disk, to be mounted.
func formatted(t *testing.T, h *Host, fileSystem string, size int64) disk {
	t.Helper()
	needFileSystem(t, fileSystem)
	return format(t, h, fileSystem, size)
}

// format needs the file system's tool only, and not its driver in the kernel.
func format(t *testing.T, h *Host, fileSystem string, size int64) disk {
	t.Helper()
	needTools(t, fileSystem)
	d := newDisk(t, size)
	must(t, h.Format(context.Background(), FormatRequest{Device: d.path, FileSystem: fileSystem, UUID: UUIDFromToken(t.Name() + d.path)}))
	return d
}

func needTools(t *testing.T, fileSystem string) {
	t.Helper()
	if m := MissingTools(fileSystem); len(m) > 0 {
		t.Skipf("%s (package %s) is not installed", m[0].Command, m[0].Package)
	}
}

func needFileSystem(t *testing.T, fileSystem string) {
	t.Helper()
	needTools(t, fileSystem)
	if !KernelSupports(fileSystem) {
		t.Skipf("this kernel has no %s", fileSystem)
	}
}

// mounted mounts a disk and unmounts it when the test ends, if it is mounted then.
func mounted(t *testing.T, h *Host, d disk, fileSystem string, options ...string) Mounted {
	t.Helper()
	return mountedAt(t, h, d, fileSystem, filepath.Join(t.TempDir(), "mnt"), options...)
}

func mountedAt(t *testing.T, h *Host, d disk, fileSystem, target string, options ...string) Mounted {
	t.Helper()
	m, err := h.Mount(context.Background(), MountRequest{Source: d.path, Target: target, FileSystem: fileSystem, Options: options})
	must(t, err)
	t.Cleanup(func() {
		if _, ok, _ := h.MountAt(target); ok {
			if err := h.Unmount(context.Background(), target); err != nil {
				t.Error(err)
			}
		}
	})
	return m
}

// run runs a tool and skips the test where it is not installed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := findTool(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError checks that an error is there and has all the words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; wanted one that says %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// hasCapability tells whether this process may do what the capability guards.
func hasCapability(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}
