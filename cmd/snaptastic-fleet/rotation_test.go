package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snaptastic-fleet/flow"
	"snaptastic-fleet/link"
)

// A key is replaced while a snapshot is under way: what was begun under the old key ends under the new one, on machines that
// are at different steps of it. One of the keys is printed by a program.
func TestTheKeyIsReplacedWhileASnapshotIsUnderWay(t *testing.T) {
	needFleet(t)
	dir := t.TempDir()
	newKey := func(name string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(link.NewKey()), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	before, after := newKey("before"), newKey("after")
	r := newRig(t, 1, func(r *rig) {
		r.more = fmt.Sprintf("  key_file = %q\n  read_key { command = [\"/bin/cat\", %q] }\n", before, after)
	})
	h1 := r.hosts["h1"]
	r.must(h1, "run", "mount", "db")
	ended := make(chan error, 1)
	var old, got flow.SnapshotResult
	go func() { ended <- r.fleet(&old, "snapshot", "shards") }()
	r.armed(h1)
	r.more = fmt.Sprintf("  key_command = [\"/bin/cat\", %q]\n  read_key { file = %q }\n", after, before)
	r.write("fleet.hcl", r.settings(r.onControl))
	r.control.kill()
	r.startControl()
	if err := r.fleet(&got, "snapshot", "shards"); err != nil || !got.Labelled || got.Snapshots != 1 {
		t.Errorf("whoever has the new key: %v %+v", err, got)
	}
	if err := <-ended; err != nil || old.Set != got.Set {
		t.Errorf("whoever has the old key: %v %+v", err, old)
	}
	r.more = fmt.Sprintf("  key_command = [\"/bin/cat\", %q]\n", after)
	r.write("fleet.hcl", r.settings(r.onControl))
	if err := r.fleet(&got, "verify", "shards"); err != nil {
		t.Errorf("with the new key alone: %v", err)
	}
	r.more = "  key_command = [\"/bin/false\"]\n"
	r.write("fleet.hcl", r.settings(r.onControl))
	if err := r.fleet(nil, "status"); err == nil || !strings.Contains(err.Error(), "the program for the key, /bin/false, has failed: exit status 1") {
		t.Errorf("without a key: %v", err)
	}
}

// Control, or a worker, whose program for the key fails, as at boot before the network is there, tries again.
func TestControlWaitsForItsKey(t *testing.T) {
	needFleet(t)
	dir := t.TempDir()
	r := newRig(t, 1)
	if err := os.WriteFile(dir+"/program", []byte("#!/bin/sh\ncat "+dir+"/key\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.more = fmt.Sprintf("  key_command = [%q]\n", dir+"/program")
	bin, _ := programs()
	p := r.spawn(bin.fleet, "control", "--config", r.write("keyed.hcl", r.settings(r.onControl)))
	r.eventually("it says what it waits for", func() bool { return strings.Contains(p.out.String(), "has failed: exit status 1") })
	if err := os.WriteFile(dir+"/key", []byte(link.NewKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	r.eventually("it works", p.working)
}
