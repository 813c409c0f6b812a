package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"snaptastic/ec2"
)

// upgradeDir is where testdata/upgrade/make recorded: settings and journals name mount points by their full path.
const upgradeDir = "/var/tmp/snaptastic-upgrade"

// What an earlier build left on a machine, this build goes on with: it reads the settings and every journal, finishes the
// mount that was killed while it restored a set, and finds the set again.
func TestThisBuildGoesOnWithWhatAnEarlierOneLeft(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob("testdata/upgrade/*.tar.gz")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, archive := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".tar.gz"), func(t *testing.T) {
			archive, err := filepath.Abs(archive)
			if err != nil {
				t.Fatal(err)
			}
			r := upgradeRig(t, archive)
			var runs []struct {
				Run, Operation, State string
			}
			if err := json.Unmarshal([]byte(r.must("--log-level", "off", "runs", "-o", "json")), &runs); err != nil {
				t.Fatal(err)
			}
			var states []string
			for _, one := range runs {
				states = append(states, one.Operation+" "+one.State)
				if out := r.must("show", one.Run); !strings.Contains(out, one.Run) {
					t.Errorf("show %s:\n%s", one.Run, out)
				}
				r.must("show", one.Run, "--history")
			}
			want := []string{"mount done", "mount interrupted", "snapshot done", "snapshot rolled back", "unmount done"}
			if slices.Sort(states); !slices.Equal(states, want) {
				t.Errorf("runs: %q, want %q", states, want)
			}
			r.must("resume")
			for _, m := range r.mounts {
				if got, err := os.ReadFile(filepath.Join(m, "data")); err != nil || string(got) != "saved\n" {
					t.Errorf("%s: %q, %v", m, got, err)
				}
			}
			made, err := r.client.Snapshots(t.Context(), ec2.SnapshotQuery{Tags: map[string][]string{"role": {"db"}}})
			if err != nil || len(made) != 2 {
				t.Errorf("snapshots: %v, %v; want the 2 of the set", made, err)
			}
			r.must("run", "snapshot", "db")
			r.must("clean", "snapshots", "db", "--dry-run")
			r.must("run", "unmount", "db")
		})
	}
}

// upgradeRig is a rig with what an archive recorded. Only one test on a machine can have it at a time.
func upgradeRig(t *testing.T, archive string) *rig {
	needRig(t)
	lock, err := os.OpenFile(upgradeDir+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(upgradeDir, 0o700); err != nil {
		t.Fatalf("%v; if a test that was killed left it: unmount what is mounted in it and remove it", err)
	}
	r := &rig{t: t, dir: upgradeDir, bin: filepath.Join(upgradeDir, "snaptastic"), settings: filepath.Join(upgradeDir, "snaptastic.hcl"),
		mounts: []string{filepath.Join(upgradeDir, "mnt", "a"), filepath.Join(upgradeDir, "mnt", "b")}}
	t.Cleanup(r.clean)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, r.bin); err != nil {
		t.Fatal(err)
	}
	r.serve() // makes the folder for volumes
	_ = r.server.Process.Signal(syscall.SIGTERM)
	_ = r.server.Wait()
	tool(t, "tar", "-C", r.dir, "-xzf", archive)
	r.serve()
	return r
}
