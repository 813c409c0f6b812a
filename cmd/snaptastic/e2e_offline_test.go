package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"snaptastic/ec2/sandbox"
)

// down ends the sandbox's process: neither metadata nor EC2 answer. Its devices stay.
func (r *rig) down() {
	r.t.Helper()
	_ = r.server.Process.Kill()
	_ = r.server.Wait()
}

// After a reboot neither metadata nor EC2 answer. What the last mount had and what is plugged in is mounted all the same,
// with its hooks; and when EC2 answers, the next mount finds all as it wants it.
func TestFaultEC2IsDownAtBoot(t *testing.T) {
	t.Parallel()
	r := changing(t, "", "")
	r.must("run", "mount", "db")
	r.precious()
	made := r.made()
	r.reboot()
	r.hookLogLines()
	r.down()
	r.wants(0, "EC2 was not asked", "run", "mount", "db")
	if got := slices.Sorted(slices.Values(r.mounted())); !slices.Equal(got, r.mounts) {
		t.Errorf("mounted are %v", got)
	}
	if got := r.hookLogLines(); got != "pre_mounts post_mounts" {
		t.Errorf("ran %q", got)
	}
	r.wants(0, "", "run", "mount", "db") // nothing is left to mount
	r.serve()
	r.must("run", "mount", "db")
	if got := r.hookLogLines(); got != "" {
		t.Errorf("the mount that compares with EC2 ran %q", got)
	}
	r.check(true)
	if n := r.made(); n != made {
		t.Errorf("%d volumes were made, there were %d", n, made)
	}
}

// What must not be mounted without EC2's word: what was detached meanwhile, what an unmount let go of, what the settings keep
// back, another machine's. Nothing is done where EC2 answers.
func TestNothingIsMountedOfflineUnlessSafe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(r *rig)
		want   func(r *rig) []string
	}{
		{"one was detached", func(r *rig) {
			id := r.volumes()[r.mounts[1]].ID
			if err := r.client.DetachVolume(context.Background(), id, r.volumes()[r.mounts[1]].Attachments[0].InstanceID, ""); err != nil {
				r.t.Fatal(err)
			}
			r.eventually("detached volume", func() bool { return r.volumes()[r.mounts[1]].State == "available" })
		}, func(r *rig) []string { return r.mounts[:1] }},
		{"refused by the settings", func(r *rig) { r.hooked("  offline = \"refuse\"\n") }, func(*rig) []string { return nil }},
		{"the firmware tells another instance", func(r *rig) {
			tag := filepath.Join(sandbox.RootsOf(r.sandboxDir()).Sys, "devices/virtual/dmi/id/board_asset_tag")
			if err := os.MkdirAll(filepath.Dir(tag), 0o755); err != nil {
				r.t.Fatal(err)
			}
			if err := os.WriteFile(tag, []byte("i-0ffffffffffffffff\n"), 0o600); err != nil {
				r.t.Fatal(err)
			}
		}, func(*rig) []string { return nil }},
		{"no serial", func(r *rig) {
			serials, _ := filepath.Glob(filepath.Join(sandbox.RootsOf(r.sandboxDir()).Sys, "block", "*", "device", "serial"))
			if len(serials) < 2 {
				r.t.Fatal("the sandbox shows no serials")
			}
			for _, s := range serials {
				if err := os.Remove(s); err != nil {
					r.t.Fatal(err)
				}
			}
		}, func(*rig) []string { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			r.must("run", "mount", "db")
			r.precious()
			r.reboot()
			c.change(r)
			want := c.want(r)
			r.down()
			if code, out := r.run("run", "mount", "db", "--patience", "5s"); code == 0 {
				t.Errorf("exit 0\n%s", out)
			}
			if got := r.mounted(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("mounted are %v, want %v", got, want)
			}
		})
	}
}

// A volume that was in use is not unmounted. That refusal changed nothing, so the next boot mounts without EC2 as before; and
// after an unmount that was done it does not.
func TestARefusedUnmountDoesNotKeepABootFromMountingWithoutEC2(t *testing.T) {
	t.Parallel()
	for _, refused := range []bool{true, false} {
		t.Run(fmt.Sprintf("refused %v", refused), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			r.must("run", "mount", "db")
			if refused {
				user, err := os.Create(filepath.Join(r.mounts[0], "open"))
				if err != nil {
					t.Fatal(err)
				}
				r.wants(1, "in use", "run", "unmount", "db", "--yes")
				user.Close()
			} else {
				r.must("run", "unmount", "db", "--yes")
			}
			r.reboot()
			r.down()
			code, out := r.run("run", "mount", "db", "--patience", "1s")
			if (code == 0) != refused || (len(r.mounted()) == 2) != refused {
				t.Errorf("exit %d, mounted are %v\n%s", code, r.mounted(), out)
			}
		})
	}
}
