package sandbox_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"snaptastic/ec2/sandbox"
)

// writeRandom writes some data into a volume's file, far apart, and returns it.
func writeRandom(t *testing.T, w *rig, volume string) []byte {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(w.dir(), "vol", volume), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data := bytes.Repeat([]byte("snaptastic "), 10_000)
	for _, at := range []int64{0, 100 << 20, 1<<30 - int64(len(data))} {
		if _, err := file.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

func (w *rig) expect(id string, data []byte, size int64) {
	w.Helper()
	file, err := os.Open(filepath.Join(w.dir(), "vol", id))
	if err != nil {
		w.Fatal(err)
	}
	defer file.Close()
	got := make([]byte, len(data))
	for _, at := range []int64{0, 100 << 20, 1<<30 - int64(len(data))} {
		if _, err := file.ReadAt(got, at); err != nil || !bytes.Equal(got, data) {
			w.Errorf("%s differs at %d: %v", id, at, err)
		}
	}
	info, err := file.Stat()
	if err != nil || info.Size() != size {
		w.Errorf("%s has %d bytes, want %d", id, info.Size(), size)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 10<<20 {
		w.Errorf("%s is not sparse: %d bytes", id, used)
	}
}

func (w *rig) restoredFrom(snapshot string, size int32) string {
	w.Helper()
	out, err := w.c.CreateVolume(w.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), SnapshotId: &snapshot, Size: &size})
	if err != nil {
		w.Fatal(err)
	}
	return *out.VolumeId
}

func TestCopiesAreSparseAndWhole(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *rig{
		"files only": func(t *testing.T) *rig { return filesOnly(t, sandbox.Config{}) },
		"pool image": func(t *testing.T) *rig { return onDevices(t, sandbox.Config{}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			volume := w.volume(1)
			data := writeRandom(t, w, volume)
			snapshot := w.snapshot(volume)
			if err := os.WriteFile(filepath.Join(w.dir(), "vol", volume), nil, 0); err != nil {
				t.Fatal(err)
			}
			w.expect(snapshot, data, 1<<30)
			w.expect(w.restoredFrom(snapshot, 2), data, 2<<30)
		})
	}
}

// On a file system that clones, the files lie there without an image.
func TestAFolderThatClonesNeedsNoImage(t *testing.T) {
	needLoop(t)
	image, mount := filepath.Join(t.TempDir(), "xfs"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 1<<30); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.xfs", "-q", image)
	device, err := sandbox.LoopAttach(image, sandbox.LoopOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sandbox.LoopDetach(device); err != nil {
			t.Error(err)
		}
	})
	run(t, "mount", device, mount)
	t.Cleanup(func() { run(t, "umount", mount) })

	w := onDevices(t, sandbox.Config{Dir: filepath.Join(mount, "sandbox")})
	volume := w.volume(1)
	w.attach(volume, "/dev/sdf")
	data := writeRandom(t, w, volume)
	w.expect(w.restoredFrom(w.snapshot(volume), 1), data, 1<<30)
	if _, err := os.Stat(filepath.Join(w.dir(), "pool.xfs")); !os.IsNotExist(err) {
		t.Errorf("pool.xfs: %v", err)
	}
}

func TestOpenRefusesAnInvalidConfiguration(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sandbox")
	inMemory(t, sandbox.Config{Dir: dir})
	if err := os.WriteFile(filepath.Join(dir, "faults.json"), []byte(`{"fautls": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]sandbox.Config{
		"unknown field": {Dir: dir, FilesOnly: true},
		"no folder":     {FilesOnly: true},
		"a file":        {Dir: filepath.Join(dir, "world.jsonl"), FilesOnly: true},
	} {
		if w, err := sandbox.Open(cfg); err == nil {
			w.Close()
			t.Errorf("%s: opened", name)
		}
	}
	os.Remove(filepath.Join(dir, "faults.json"))
	if sandbox.Missing() == nil {
		if _, err := sandbox.Open(sandbox.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "files only") {
			t.Errorf("with devices on a world without: %v", err)
		}
	}
	if _, err := sandbox.Serve(t.Context(), sandbox.Config{Dir: dir, FilesOnly: true}, "0.0.0.0:0"); err == nil {
		t.Error("served on all addresses")
	}
}

func TestALatencyIsAFlag(t *testing.T) {
	var l sandbox.Latency
	if err := l.Set("create=2s, lag=500ms"); err != nil || l.String() != "create=2s,lag=500ms" {
		t.Errorf("%v, %v", l.String(), err)
	}
	for _, bad := range []string{"create", "create=2", "colour=2s"} {
		if err := l.Set(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
