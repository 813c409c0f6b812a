package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"snaptastic-fleet/flow"
)

func TestASecondOperatorIsNotGivenTheWorkOfTheFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.control.kill() // so that what is begun stays under way
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"snapshot", "shards", "--set", "first"}, {"restore", "shards", "--set", "first"}} {
		waiting := r.spawn(bin.fleet, append(args, "--config", r.dir+"/fleet.hcl")...)
		r.eventually("the "+args[0]+" is begun", func() bool {
			var list []work
			err := r.fleet(&list, "status")
			return err == nil && len(list) > 0 && list[len(list)-1].Operation == args[0]
		})
		defer waiting.kill()
	}
	for _, c := range []struct{ args, want string }{
		{"snapshot shards --set second", "it makes set first"},
		{"snapshot shards --set first --rolling 1", "it is not --rolling"},
		{"restore shards --set second", "it is of set first"},
		{"restore shards --set first --fresh", "it does restore on the hosts, not mount"},
	} {
		args := append(strings.Fields(c.args), "--config", r.dir+"/fleet.hcl", "-o", "json")
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(bin.fleet, args...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != 1 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "is under way: "+c.want+". Wait") {
			t.Errorf("%s: exit code %d, %q on stdout, %q on stderr", c.args, code, stdout.String(), stderr.String())
		}
	}
	joined := make(chan flow.SnapshotResult)
	go func() {
		var s flow.SnapshotResult
		if err := r.fleet(&s, "snapshot", "shards"); err != nil {
			t.Error(err)
		}
		joined <- s
	}()
	if err := r.fleet(nil, "cancel", "shards", "restore"); err != nil {
		t.Error(err)
	}
	r.must(r.hosts["h1"], "run", "mount", "db", "--yes")
	r.startControl()
	if s := <-joined; s.Set != "first" || !s.Labelled {
		t.Errorf("the same command has not joined the first one: %+v", s)
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
