package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Who asks for a set again has it on all hosts afterwards, whatever was restored in between; hosts that have it are left as they are.
func TestASetIsRestoredAgainAfterAnotherOne(t *testing.T) {
	r := restoring(t)
	holds := func(want string) {
		t.Helper()
		for _, n := range sortedNames(r.hosts) {
			if text, err := os.ReadFile(filepath.Join(r.hosts[n].mount, "of")); err != nil || string(text) != want {
				t.Errorf("%s holds %s (%v), want %s", n, text, err, want)
			}
		}
	}
	write := func(text string) {
		t.Helper()
		for _, n := range sortedNames(r.hosts) {
			if err := os.WriteFile(filepath.Join(r.hosts[n].mount, "of"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		syscall.Sync()
	}
	restore := func(restores, said string, args ...string) {
		t.Helper()
		bin, _ := programs()
		var out bytes.Buffer
		c := exec.Command(bin.fleet, append([]string{"restore", "shards", "--config", r.dir + "/fleet.hcl"}, args...)...)
		c.Stdout, c.Stderr = &out, &out
		if err := c.Run(); err != nil || !strings.HasSuffix(out.String(), said+"\n") || strings.Contains(out.String(), "under way already") {
			t.Errorf("%v: %v, %s, want %s", args, err, out.String(), said)
		}
		if n := r.restores(); n != restores {
			t.Errorf("%v: the hosts have had %s restores, want %s", args, n, restores)
		}
	}
	unmounted := func() { // as after a reboot
		t.Helper()
		for _, n := range sortedNames(r.hosts) {
			if err := syscall.Unmount(r.hosts[n].mount, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("set-2")
	r.takeSet("set-2", 3, "h1", "h2", "h3")
	restore("1 1 1", "set set-1: 3 of 3 hosts done", "--set", "set-1", "--at-once", "3")
	holds("set-1")
	restore("2 2 2", "set set-2: 3 of 3 hosts done", "--set", "set-2", "--at-once", "3")
	holds("set-2")
	restore("3 3 3", "set set-1: 3 of 3 hosts done", "--set", "set-1", "--at-once", "3")
	holds("set-1")

	// What was written since stays, also where a mount has run in between, as at boot; and where the set was restored under another word.
	write("later")
	unmounted()
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db", "--yes")
	}
	restore("3 3 3", "set set-1: 3 of 3 hosts done, 3 of them by an earlier command, and left as they were", "--set", "set-1", "--at-once", "3")
	holds("later")
	restore("4 4 4", "set set-1: 3 of 3 hosts done", "--set", "set-1", "--at-once", "3", "--again", "x")
	restore("4 4 4", "set set-1: 3 of 3 hosts done, 3 of them by an earlier command, and left as they were", "--set", "set-1", "--at-once", "3")
	holds("set-1")

	// A host that was rebooted mounts again what it had.
	fresh := []string{"--set", "set-1", "--fresh", "--at-once", "3"}
	restore("4 4 4", "set set-1: 3 of 3 hosts done", fresh...)
	unmounted()
	restore("4 4 4", "set set-1: 3 of 3 hosts done", fresh...)
	holds("set-1")
}

// Each drill is a new one, also of the same set; one that has a word is done once under it.
func TestEachDrillOfASetIsANewOne(t *testing.T) {
	r := newRig(t, 1)
	h := r.hosts["h1"]
	r.must(h, "run", "mount", "db")
	r.takeSet("set-1", 1, "h1")
	for i, args := range [][]string{{}, {}, {"--again", "x"}, {"--again", "x"}} {
		if err := r.fleet(nil, append([]string{"verify", "shards", "--set", "set-1"}, args...)...); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(r.must(h, "runs", "--operation", "verify", "-o", "json"), `"operation"`); n != min(i+1, 3) {
			t.Errorf("after %d commands the host has had %d drills", i+1, n)
		}
	}
	if err := r.fleet(nil, "verify", "shards", "--again", "no word"); err == nil || !strings.Contains(err.Error(), "1 to 20 letters") {
		t.Errorf("a word with a space: %v", err)
	}
}
