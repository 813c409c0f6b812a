package sandbox_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
)

// While a writer appends and fsyncs, a snapshot taken under a freeze is clean
// and holds every record that was fsynced before.
func TestASnapshotUnderAFreezeHoldsWhatWasSynced(t *testing.T) {
	check := map[string][]string{
		"ext4":  {"e2fsck", "-fn"},
		"xfs":   {"xfs_repair", "-n"},
		"btrfs": {"btrfs", "check", "--readonly"},
	}
	for fs, checker := range check {
		t.Run(fs, func(t *testing.T) {
			w := onDevices(t, sandbox.Config{})
			volume := w.volume(1)
			w.attach(volume, "/dev/sdf")
			dir := w.mounted(1, fs)
			var synced atomic.Int64
			stop, stopped := make(chan struct{}), make(chan error, 1)
			end := sync.OnceFunc(func() { close(stop) })
			defer end()
			go func() { stopped <- appendRecords(filepath.Join(dir, "log"), &synced, stop) }()
			for synced.Load() < 50 {
				time.Sleep(time.Millisecond) // the writer works in real time
			}

			run(t, "fsfreeze", "-f", dir)
			defer exec.Command("fsfreeze", "-u", dir).Run() // on every way out
			before := synced.Load()
			snapshot := w.snapshot(volume)
			run(t, "fsfreeze", "-u", dir)
			end()
			if err := <-stopped; err != nil {
				t.Fatal(err)
			}
			run(t, "umount", dir)

			w.attach(w.restoredFrom(snapshot, 1), "/dev/sdg")
			device := filepath.Join(w.Roots().Dev, "nvme2n1")
			run(t, "mount", device, dir) // replays the journal, as a restore does
			content, err := os.ReadFile(filepath.Join(dir, "log"))
			if err != nil {
				t.Fatal(err)
			}
			for n, line := range strings.Split(strings.TrimSuffix(string(content), "\n"), "\n") {
				if int64(n) < before && line != fmt.Sprintf("record %d", n) {
					t.Fatalf("record %d is %q", n, line)
				}
			}
			if got := int64(strings.Count(string(content), "\n")); got < before {
				t.Errorf("%d records restored, %d were synced before the freeze", got, before)
			}
			run(t, "umount", dir)
			run(t, checker[0], append(checker[1:], device)...)
		})
	}
}

func appendRecords(path string, synced *atomic.Int64, stop <-chan struct{}) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, err := fmt.Fprintf(file, "record %d\n", n); err != nil {
			return err
		}
		if err := file.Sync(); err != nil {
			return err
		}
		synced.Add(1)
	}
}
