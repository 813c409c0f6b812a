package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"snaptastic-fleet/flow"
	"snaptastic-fleet/link"
)

func TestASecondOperatorIsNotGivenTheWorkOfTheFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.must(r.hosts["h1"], "run", "mount", "db", "--yes")
	r.control.kill() // so that what is begun stays under way
	var first, joined flow.SnapshotResult
	ended := r.begun(&first, "snapshot", "shards", "--set", "first")
	r.eventually("the snapshot is begun", func() bool { return r.status("snapshot").State == "running" })
	r.refused(t, "snapshot shards --set second", "it makes set first")
	r.refused(t, "snapshot shards --set first --rolling 1", "it is not --rolling")
	again := r.begun(&joined, "snapshot", "shards")
	// Whoever joins is told so, and whoever waits for control, too.
	bin, _ := programs()
	third := r.spawn(bin.fleet, "snapshot", "shards", "--config", r.dir+"/fleet.hcl")
	r.eventually("it says what it waits for", func() bool {
		return third.out.String() == "the same snapshot of shards is under way already: waiting for its end\n"+
			"waiting: no control has taken it yet. Check that snaptastic-fleet-control runs, on the machine that is to decide\n"
	})
	r.startControl()
	if err := errors.Join(<-ended, <-again); err != nil || first.Set != "first" || !first.Labelled || joined.Set != "first" {
		t.Errorf("the same command has not joined the first one: %v, %+v, %+v", err, first, joined)
	}

	r.control.kill()
	restored := r.begun(nil, "restore", "shards", "--set", "first")
	r.eventually("the restore is begun", func() bool { return r.status("restore").State == "running" })
	r.refused(t, "restore shards --set second", "it is of set first")
	r.refused(t, "restore shards --set first --fresh", "it does restore on the hosts, not mount")
	r.startControl()
	if err := <-restored; err != nil {
		t.Error(err)
	}

	// Control has no settings here: that is said wherever the command is typed, and by status.
	const missing = "control on [^ ]*: no settings file: "
	if err := r.fleet(nil, "clean", "shards"); err == nil || !regexp.MustCompile("^error: "+missing).MatchString(err.Error()) {
		t.Errorf("clean: %v", err)
	}
	if w := r.status("clean"); w.State != "failed" || !regexp.MustCompile("^"+missing).MatchString(w.Error) {
		t.Errorf("status after it: %+v", w)
	}

	// Whoever types has a key, and control has none.
	r.more = fmt.Sprintf("  key_file = %q\n", r.write("key", link.NewKey()))
	r.write("fleet.hcl", r.settings(r.onControl))
	if err := r.fleet(nil, "verify", "shards"); err == nil || !strings.HasPrefix(err.Error(), "error: control cannot read what it is asked: it has no key, or another one") {
		t.Errorf("control without the key: %v", err)
	}
}

// refused types a command that asks for something else than what is under way.
func (r *rig) refused(t *testing.T, line, why string) {
	t.Helper()
	bin, _ := programs()
	var stdout, stderr bytes.Buffer
	c := exec.Command(bin.fleet, append(strings.Fields(line), "--config", r.dir+"/fleet.hcl", "-o", "json")...)
	c.Stdout, c.Stderr = &stdout, &stderr
	_ = c.Run()
	if code := c.ProcessState.ExitCode(); code != 5 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "is under way: "+why+". Wait") {
		t.Errorf("%s: exit code %d, %q on stdout, %q on stderr", line, code, stdout.String(), stderr.String())
	}
}

func TestNoSnapshotIsTakenWhileTheClusterIsRestored(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	h := r.hosts["h1"]
	r.must(h, "run", "mount", "db", "--yes")
	var s flow.SnapshotResult
	if err := r.fleet(&s, "snapshot", "shards"); err != nil {
		t.Fatal(err)
	}
	h.worker.kill() // so that the restore stays under way
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	waiting := r.spawn(bin.fleet, "restore", "shards", "--set", s.Set, "--config", r.dir+"/fleet.hcl")
	defer waiting.kill()
	r.eventually("the restore is begun", func() bool {
		var list []work
		return r.fleet(&list, "status") == nil && len(list) == 2
	})
	if err := r.fleet(nil, "snapshot", "shards"); err == nil || !strings.Contains(err.Error(), "nothing was frozen: the cluster is restored") {
		t.Errorf("a snapshot while the cluster is restored: %v", err)
	}
	r.saveHistory("snapshot while the cluster is restored", flowID("snapshot", "shards"))
	h.worker = r.startWorker(h)
	<-waiting.end
	if err := r.fleet(&s, "snapshot", "shards"); err != nil || !s.Labelled {
		t.Errorf("a snapshot after the restore: %v, %+v", err, s)
	}
	r.saveHistory("snapshot after a restore", flowID("snapshot", "shards"))
}

// A worker on another machine that was given the same name would take a part of this one's orders.
func TestTwoMachinesWithOneNameAreNotRestored(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	h := r.hosts["h1"]
	r.must(h, "run", "mount", "db", "--yes")
	r.takeSet("set-1", 1, "h1")
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	other := r.spawn("unshare", "--uts", "sh", "-c", "hostname elsewhere && exec "+bin.fleet+" worker --config "+h.dir+"/fleet.hcl")
	r.eventually("the other machine's worker works", other.working)
	var got flow.HostsResult
	r.eventually("both are seen", func() bool {
		got = flow.HostsResult{}
		err = r.fleet(&got, "restore", "shards", "--set", "set-1")
		return err != nil
	})
	if !strings.Contains(err.Error(), "no host was begun: h1: two machines go by the name h1, ") || states(got.Hosts) != "not begun" {
		t.Errorf("%v, %+v", err, got)
	}
	other.kill()
}
