package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic-fleet/flow"
)

// A set of three hosts is copied to another region once, by control, which is killed meanwhile with what it runs; labelled there in one call; and restored on
// new hosts of that region.
func TestAFleetsSetIsCopiedOnceAndWhole(t *testing.T) {
	r := newRig(t, 3)
	r.controlCopies(`  copy "eu-central-1" {}`)
	for _, n := range sortedNames(r.hosts) {
		h := r.hosts[n]
		r.must(h, "run", "mount", "db")
		if err := os.WriteFile(filepath.Join(h.mount, "shard"), []byte(h.shard), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var taken flow.SnapshotResult
	if err := r.fleet(&taken, "snapshot", "shards"); err != nil {
		t.Fatal(err)
	}
	r.write("sandbox/worlds/123456789012/eu-central-1/faults.json", `{"latency": {"copy": "4s"}}`)
	ended := make(chan error, 1)
	var got flow.SetResult
	go func() { ended <- r.fleet(&got, "copy", "shards") }()
	r.eventually("three copies are under way", func() bool { return len(r.called("CopySnapshot")) == 3 })
	r.control.kill()
	r.killCopies()
	time.Sleep(time.Second)
	r.startControl()
	if err := <-ended; err != nil || got.Copied != 1 {
		t.Fatalf("%v %+v", err, got)
	}
	r.saveHistory("copy", flowID("copy", "shards"))
	labels := slices.DeleteFunc(r.called("CreateTags"), func(c call) bool { return !strings.HasSuffix(c.World, "eu-central-1") })
	if len(labels) != 1 || labels[0].Params["ResourceId.3"] == "" {
		t.Errorf("the copies were labelled by %+v", labels)
	}
	if err := r.fleet(&got, "copy", "shards"); err != nil || len(r.called("CopySnapshot")) != 3 {
		t.Errorf("%d copies were made of 3 snapshots: %v %+v", len(r.called("CopySnapshot")), err, got)
	}

	for _, n := range sortedNames(r.hosts) {
		if out := r.must(r.hosts[n], "runs", "--operation", "copy", "-o", "json"); strings.TrimSpace(out) != "[]" {
			t.Errorf("%s copied: %s", n, out)
		}
		r.must(r.hosts[n], "run", "unmount", "db", "--yes")
		r.hosts[n].worker.kill()
		delete(r.hosts, n)
	}
	r.control.kill()
	r.region = "eu-central-1"
	for i := range 3 {
		r.addHost(fmt.Sprintf("h%d", i+4), fmt.Sprint(i+1))
	}
	r.write("fleet.hcl", r.settings(r.onControl))
	r.startControl()
	var there flow.HostsResult
	if err := r.fleet(&there, "restore", "shards", "--set", taken.Set, "--fresh"); err != nil || there.Done != 3 {
		t.Fatalf("%v %+v", err, there)
	}
	for _, h := range r.hosts {
		if text, err := os.ReadFile(filepath.Join(h.mount, "shard")); err != nil || string(text) != h.shard {
			t.Errorf("%s has %q, %v", h.name, text, err)
		}
	}
}

// Each host warms its volumes, two at a time, although a worker and control are killed meanwhile; one that fails keeps the next from being begun.
func TestWarmingOnEveryHost(t *testing.T) {
	r := newRig(t, 3, func(r *rig) {
		r.allow, r.inVolume = `, "warm db"`, "    warm        = true\n    warm_rate   = 6\n"
	})
	for _, n := range sortedNames(r.hosts) {
		h := r.hosts[n]
		r.must(h, "run", "mount", "db")
		if err := os.WriteFile(filepath.Join(h.mount, "data"), []byte(strings.Repeat("x", 24<<20)), 0o600); err != nil {
			t.Fatal(err)
		}
		r.must(h, "run", "snapshot", "db", "--wait")
		r.must(h, "run", "restore", "db", "--yes")
	}
	r.killedUnderWay("warm")
	type span struct{ Created, Ended time.Time }
	var spans []span
	for _, n := range sortedNames(r.hosts) {
		var runs []span
		out := r.must(r.hosts[n], "runs", "--operation", "warm", "-o", "json")
		if err := json.Unmarshal([]byte(out), &runs); err != nil || len(runs) != 1 || !strings.Contains(out, `"done"`) {
			t.Fatalf("%s has had %s, %v", n, out, err)
		}
		spans = append(spans, runs[0])
	}
	for _, s := range spans {
		beside := 0
		for _, o := range spans {
			if !o.Created.After(s.Created) && o.Ended.After(s.Created) {
				beside++
			}
		}
		if beside > 2 || s.Ended.IsZero() {
			t.Errorf("%d hosts warmed at a time: %+v", beside, spans)
		}
	}

	r.must(r.hosts["h2"], "run", "unmount", "db", "--yes")
	var got flow.HostsResult
	err := r.fleet(&got, "warm", "shards", "--at-once", "1", "--stop-after", "1", "--again", "x")
	if err == nil || !strings.Contains(err.Error(), "1 of 3 hosts done, 1 failed, 1 not begun") || got.Hosts[2].State != "not begun" {
		t.Errorf("%v %+v", err, got)
	}
}

// controlCopies gives control settings of its own, in which the snapshotter is that of all hosts.
func (r *rig) controlCopies(copies string) {
	r.t.Helper()
	bin, _ := programs()
	settings := r.write("control.hcl", fmt.Sprintf(`snapshotter "db" {
  filter_tags = { cluster = "shards" }
%s
  volume "/dev/sdf" {
    mount_point = %q
    size        = 1
  }
}
`, copies, r.dir+"/mnt/1"))
	r.control.kill()
	r.onControl = fmt.Sprintf("control {\n  program = %q\n  args    = [\"--sandbox=%s/sandbox\", \"--state-dir=%s/control\", \"--settings=%s\"]\n}", bin.snaptastic, r.dir, r.dir, settings)
	r.write("fleet.hcl", r.settings(r.onControl))
	r.startControl()
}

// killCopies kills the programs that copy for control.
func (r *rig) killCopies() {
	r.t.Helper()
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	killed := 0
	for _, file := range found {
		line, _ := os.ReadFile(file)
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && strings.Contains(string(line), "--state-dir="+r.dir+"/control\x00") && strings.Contains(string(line), "\x00copy\x00") {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			killed++
		}
	}
	if killed != 1 {
		r.t.Errorf("%d programs copied for control", killed)
	}
}
