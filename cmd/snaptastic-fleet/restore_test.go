package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"snaptastic-fleet/flow"
)

// takeSet takes a set of the parts of some hosts, without a window, and labels it.
func (r *rig) takeSet(set string, members int, hosts ...string) {
	r.t.Helper()
	for _, n := range hosts {
		r.must(r.hosts[n], "run", "snapshot", "db", "--yes", "--key", set+"/"+n, "--set", set, "--members", fmt.Sprint(members), "--defer-label")
	}
	if members == len(hosts) {
		r.must(r.hosts[hosts[0]], "label", "--set", set)
	}
}

// cluster writes fleet.hcl again, with these lines in the cluster's block.
func (r *rig) cluster(lines string) {
	r.inCluster = lines
	r.write("fleet.hcl", r.settings(r.onControl))
}

// restores counts the restores that each host has had, whatever became of them.
func (r *rig) restores() string {
	r.t.Helper()
	var all []string
	for _, n := range sortedNames(r.hosts) {
		all = append(all, fmt.Sprint(strings.Count(r.must(r.hosts[n], "runs", "--operation", "restore", "-o", "json"), `"operation"`)))
	}
	return strings.Join(all, " ")
}

// health is what the probe "health" does on a host.
func (r *rig) health(host, script string) {
	r.write(host+"/health", script+"\n")
}

// restoring is a rig of three hosts with a set of all of them, and probes that do what a test has them do.
func restoring(t *testing.T) *rig {
	r := newRig(t, 3, func(r *rig) {
		r.inWorker = "  probe \"health\" {\n    command = [\"/bin/sh\", \"DIR/health\"]\n    timeout = \"5m\"\n  }\n" +
			"  probe \"slow\" {\n    command = [\"/bin/sh\", \"DIR/slow\"]\n    timeout = \"2s\"\n  }\n"
	})
	for _, n := range sortedNames(r.hosts) {
		h := r.hosts[n]
		r.must(h, "run", "mount", "db")
		if err := os.WriteFile(filepath.Join(h.mount, "of"), []byte("set-1"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.health(n, "exit 0")
	}
	r.takeSet("set-1", 3, "h1", "h2", "h3")
	r.cluster("  probe = \"health\"\n")
	return r
}

// A probe runs after each host, and says whether the next one is begun.
func TestAProbeBetweenHosts(t *testing.T) {
	r := restoring(t)
	restore := func(again string, more ...string) (got flow.HostsResult, err error) {
		t.Helper()
		err = r.fleet(&got, append([]string{"restore", "shards", "--set", "set-1", "--again", again}, more...)...)
		return got, err
	}
	want := func(got flow.HostsResult, err error, text, hosts, restores string) {
		t.Helper()
		if text == "" && err != nil || text != "" && (err == nil || !strings.Contains(err.Error(), text)) || states(got.Hosts) != hosts {
			t.Errorf("%v: %s, want %q: %s", err, states(got.Hosts), text, hosts)
		}
		if n := r.restores(); n != restores {
			t.Errorf("the hosts have had %s restores, want %s", n, restores)
		}
	}

	// One that no host has is found before anything is restored.
	r.cluster("  probe = \"nowhere\"\n")
	got, err := restore("a")
	want(got, err, `no host was begun: h1: this host has no probe "nowhere": declare it in the worker block of its fleet.hcl; h2: `, "not begun, not begun, not begun", "0 0 0")

	// It looks at what was restored. One that fails ends it.
	r.cluster("  probe = \"health\"\n")
	for _, n := range sortedNames(r.hosts) {
		h := r.hosts[n]
		if err := os.WriteFile(filepath.Join(h.mount, "of"), []byte("later"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.health(n, "cat "+h.mount+"/of >> "+h.dir+"/seen")
	}
	r.health("h2", "echo not in the ring\nexit 7")
	got, err = restore("a")
	want(got, err, `1 of 3 hosts done, 1 failed, 1 not begun; h2: probe "health": exit status 7: not in the ring`, "done, failed, not begun", "1 1 0")
	if w := r.status("restore"); states(w.Hosts) != "done, failed, not begun" || w.State != "failed" {
		t.Errorf("%+v", w)
	}

	// The same command goes on, and asks again the host that had the set and failed.
	r.health("h2", "cat "+r.hosts["h2"].mount+"/of >> "+r.hosts["h2"].dir+"/seen")
	got, err = restore("a")
	want(got, err, "", "done, done, done", "1 1 1")
	for _, n := range sortedNames(r.hosts) {
		if text, err := os.ReadFile(r.hosts[n].dir + "/seen"); err != nil || strings.ReplaceAll(string(text), "set-1", "") != "" {
			t.Errorf("the probe of %s has seen %q, %v", n, text, err)
		}
	}

	// One that hangs is killed with what it has begun.
	r.cluster("  probe = \"slow\"\n")
	r.write("h1/slow", "sleep 1000 &\necho $! > "+r.hosts["h1"].dir+"/pid\nwait")
	got, err = restore("b")
	want(got, err, `h1: probe "slow" took longer than 2s`, "failed, not begun, not begun", "2 1 1")
	r.goneProcess(r.hosts["h1"].dir + "/pid")

	// Cancelled, the probe is stopped and no further host begun; the same command goes on.
	r.cluster("  probe = \"health\"\n")
	r.health("h1", "sleep 1000 &\necho $! > "+r.hosts["h1"].dir+"/pid\nwait")
	if err := os.Remove(r.hosts["h1"].dir + "/pid"); err != nil {
		t.Fatal(err)
	}
	ended := r.begun(&got, "restore", "shards", "--set", "set-1", "--again", "c")
	r.eventually("h1 is probed", func() bool { _, err := os.Stat(r.hosts["h1"].dir + "/pid"); return err == nil })
	if w := r.status("restore"); states(w.Hosts) != "probing, waiting, waiting" {
		t.Errorf("%+v", w)
	}
	if err := r.fleet(nil, "cancel", "shards", "restore"); err != nil {
		t.Error(err)
	}
	want(got, <-ended, "it was cancelled", "failed, not begun, not begun", "3 1 1")
	r.goneProcess(r.hosts["h1"].dir + "/pid")
	if w := r.status("restore"); w.State != "cancelled" || !strings.Contains(w.Hosts[0].Error, "was stopped") {
		t.Errorf("%+v", w)
	}
	r.health("h1", "exit 0")
	got, err = restore("c")
	want(got, err, "", "done, done, done", "3 2 2")
	r.saveHistory("hosts with checks beforehand", flowID("restore", "shards"))
}

// goneProcess waits until the process whose id is in a file has ended.
func (r *rig) goneProcess(file string) {
	r.t.Helper()
	text, err := os.ReadFile(file)
	pid, bad := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || bad != nil {
		r.t.Fatal(err, bad)
	}
	r.eventually("the probe's process has ended", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

// What would stop a later host is found before the first one has lost what it had.
func TestNoHostIsRestoredUnlessTheSetIsWhole(t *testing.T) {
	r := restoring(t)
	r.takeSet("set-2", 2, "h1", "h2")
	r.takeSet("set-3", 4, "h1", "h2", "h3")
	refused := func(set, why string, more ...string) {
		t.Helper()
		var got flow.HostsResult
		err := r.fleet(&got, append([]string{"restore", "shards", "--set", set}, more...)...)
		if err == nil || !strings.Contains(err.Error(), "no host was begun: "+why) || states(got.Hosts) != "not begun, not begun, not begun" {
			t.Errorf("%s: %v %+v", set, err, got)
		}
	}
	refused("set-2", "set set-2 has no part for shard 3: none of its snapshots has that in a tag")
	refused("set-3", "set set-3 is not whole: 0 of its 4 snapshots are labelled")
	refused("set-4", "there is no set set-4 of a fleet in the account and region of control")
	refused("set-2", "set set-2 has no part for shard 3", "--fresh")
	if n := r.restores(); n != "0 0 0" {
		t.Errorf("the hosts have had %s restores", n)
	}
	if out := r.must(r.hosts["h1"], "runs", "--operation", "mount", "-o", "json"); strings.Count(out, `"operation"`) != 1 {
		t.Errorf("h1 has had another mount: %s", out)
	}
	// A host that is not there keeps the others from nothing: it fails when it is its turn. And a set of these two hosts alone is whole.
	h3 := r.hosts["h3"]
	delete(r.hosts, "h3")
	r.cluster("")
	r.hosts["h3"] = h3
	var got flow.HostsResult
	if err := r.fleet(&got, "restore", "shards", "--set", "set-2"); err != nil || states(got.Hosts) != "done, done" {
		t.Errorf("%v %+v", err, got)
	}
}

// Two hosts at a time, and no further one after so many failures; who is under way ends. The same command goes on with those that are not done.
func TestFailuresStopARestoreBetweenHosts(t *testing.T) {
	r := restoring(t)
	h1, h2 := r.hosts["h1"], r.hosts["h2"]
	restore := func(stopAfter, hosts, restores string) {
		t.Helper()
		r.health("h1", "echo down\nexit 1")
		r.health("h2", "while [ ! -e "+h2.dir+"/go ]; do sleep 0.1; done")
		_ = os.Remove(h2.dir + "/go")
		args := []string{"restore", "shards", "--set", "set-1", "--again", stopAfter, "--at-once", "2", "--stop-after", stopAfter}
		var got flow.HostsResult
		ended := r.begun(&got, args...)
		r.eventually("h1 has failed, and h2 is probed", func() bool {
			s := states(r.status("restore").Hosts)
			return strings.HasPrefix(s, "failed, probing, ")
		})
		if stopAfter == "2" {
			r.eventually("h3 is done", func() bool { return states(r.status("restore").Hosts) == "failed, probing, done" })
		}
		r.write("h2/go", "")
		if err := <-ended; err == nil || !strings.Contains(err.Error(), `h1: probe "health": exit status 1: down`) || states(got.Hosts) != hosts {
			t.Errorf("stop after %s: %v %+v", stopAfter, err, got)
		}
		if n := r.restores(); n != restores {
			t.Errorf("stop after %s: the hosts have had %s restores, want %s", stopAfter, n, restores)
		}
		r.health("h1", "exit 0")
		if err := r.fleet(&got, args...); err != nil || got.Done != 3 || !got.Runs[0].Repeated || !got.Runs[1].Repeated || got.Runs[2].Repeated != (stopAfter == "2") {
			t.Errorf("once more: %v %+v", err, got)
		}
	}
	restore("1", "failed, done, not begun", "1 1 0")
	restore("2", "failed, done, done", "2 2 2")
	if n := r.restores(); n != "2 2 2" {
		t.Errorf("the hosts have had %s restores", n)
	}

	// A restore that fails itself, since somebody uses the file system.
	f, err := os.Create(filepath.Join(h1.mount, "in-use"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got flow.HostsResult
	err = r.fleet(&got, "restore", "shards", "--set", "set-1", "--again", "busy")
	if err == nil || !strings.Contains(err.Error(), "0 of 3 hosts done, 1 failed, 2 not begun; h1: ") || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("%v %+v", err, got)
	}
	f.Close()
	if err := r.fleet(&got, "restore", "shards", "--set", "set-1", "--again", "busy"); err != nil || got.Done != 3 {
		t.Errorf("%v %+v", err, got)
	}
}
