package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallState puts the state directory on a disk of its own.
func (r *rig) smallState(options string) {
	r.t.Helper()
	if err := os.MkdirAll(r.state(), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := unix.Mount("none", r.state(), "tmpfs", 0, options+",mode=0700"); err != nil {
		r.t.Skipf("cannot mount a tmpfs: %v", err)
	}
	r.t.Cleanup(func() { _ = unix.Unmount(r.state(), unix.MNT_DETACH) })
}

// The root disk filled up while the machine served. It reboots, and everything is mounted again.
func TestFaultFullRootDiskAtBoot(t *testing.T) {
	t.Parallel()
	for name, fill := range map[string]func(dir string) error{
		"blocks": func(dir string) error {
			f, err := os.Create(filepath.Join(dir, "fill"))
			for err == nil {
				_, err = f.Write(make([]byte, 4096))
			}
			_ = f.Close()
			return err
		},
		"inodes": func(dir string) (err error) {
			for i := 0; err == nil; i++ {
				err = os.WriteFile(filepath.Join(dir, fmt.Sprint("inode", i)), nil, 0o600)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			r.smallState("size=8m,nr_inodes=100")
			r.must("run", "mount", "db")
			r.precious()
			r.reboot()
			if err := fill(r.state()); !strings.Contains(fmt.Sprint(err), "no space left") {
				t.Fatal(err)
			}
			r.must("resume")
			r.must("run", "mount", "db")
			r.check(true)
			if n := r.made(); n != 2 {
				t.Errorf("%d volumes were made", n)
			}
			if left, _ := filepath.Glob(filepath.Join(r.state(), "runs", "*.new")); len(left) > 0 {
				t.Errorf("left is %v", left)
			}
		})
	}
}

// A state directory that became read-only: what the last mount had is mounted without a journal, and it is said.
func TestFaultReadOnlyStateFolderAtBoot(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.smallState("size=8m")
	r.must("run", "mount", "db")
	r.precious()
	r.reboot()
	if err := unix.Mount("none", r.state(), "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	r.wants(0, "without a journal", "run", "mount", "db")
	r.check(true)
}

// Somebody deletes the state directory while a run writes its journal there. The run stops and says so.
func TestFaultStateFolderDeletedDuringARun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	hook := r.script("hook", "rm -rf "+r.state()+"\n")
	r.hooked(fmt.Sprintf("  hook \"pre_mounts\" { command = [%q] }\n", hook))
	out := r.wants(1, "was deleted or replaced while its run was in progress", "run", "mount", "db")
	if !strings.Contains(out, "run the operation again") || strings.Contains(out, "snaptastic resume") {
		t.Errorf("it does not say what to do:\n%s", out)
	}
	r.hooked("")
	r.must("run", "mount", "db")
	r.precious()
	r.check(true)
}
