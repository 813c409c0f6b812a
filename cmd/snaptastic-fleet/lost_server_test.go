package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"snaptastic-fleet/flow"
)

// The server and its database are lost for good while all hosts are armed. They freeze and thaw as they were told, nothing can
// be restored, what docs/fleet.md says cleans up, and the same workers and the same control work for a new, empty server.
func TestTheServerIsLostForGoodWhileArmed(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3)
	var hosts []*testHost
	for _, n := range sortedNames(r.hosts) {
		hosts = append(hosts, r.hosts[n])
		r.must(r.hosts[n], "run", "mount", "db")
	}
	l := startLoad(t, hosts...)
	asked := make(chan error, 1)
	go func() { asked <- r.fleet(nil, "snapshot", "shards", "--set", "first") }()
	for _, h := range hosts {
		r.armed(h)
	}
	r.server.kill()
	databases, _ := filepath.Glob(r.dir + "/temporal.db*")
	for _, f := range databases {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range hosts {
		r.eventually("the window of "+h.name+" ends", func() bool { return r.armedProcess(h) == 0 })
	}
	l.end()
	if l.longest > 10*time.Second+slack { // max_hold
		t.Errorf("a write took %s", l.longest)
	}
	r.nothingFrozen(t)
	if n := r.labelledSnapshots(); n != 0 {
		t.Errorf("%d labelled snapshots", n)
	}
	if n := r.unlabelled("first"); n != 3 {
		t.Errorf("%d unlabelled snapshots", n)
	}
	for _, h := range hosts {
		if out, err := r.snaptastic(h, "plan", "restore", "db", "--set", "first"); err == nil {
			t.Errorf("%s could restore it:\n%s", h.name, out)
		}
	}

	// The next one is there, but nobody has made the namespace: all wait for it.
	r.namespaces = "other"
	r.startServer()
	for _, p := range append([]*process{r.control}, workersOf(hosts)...) {
		r.eventually("it waits for the namespace", func() bool { return strings.Contains(p.out.String(), "no namespace fleet. Next try") })
	}
	r.server.kill()
	r.namespaces = ""
	r.startServer()
	select { // the new server knows nothing of it
	case err := <-asked:
		if err == nil || !strings.Contains(err.Error(), "snaptastic undo --set SET") {
			t.Errorf("the command that had begun it says %v", err)
		}
	case <-time.After(3 * time.Minute):
		t.Error("the command that had begun it waits for ever")
	}
	again := r.soon(t, "first")
	if again.err == nil || !strings.Contains(again.err.Error(), "snaptastic undo --set first") {
		t.Errorf("the same set with its old snapshots: %v", again.err)
	}
	if l := r.labelledSnapshots(); l != 0 {
		t.Errorf("%d labelled snapshots", l)
	}

	r.must(hosts[0], strings.Fields(strings.ReplaceAll(documentedUndo(t), "SET", "first") + " --yes")[1:]...)
	if n := r.unlabelled("first"); n != 0 {
		t.Errorf("%d unlabelled snapshots are left", n)
	}
	for i, set := range []string{"first", ""} {
		if got := r.soon(t, set); got.err != nil || !got.Labelled || got.Snapshots != 3 {
			t.Errorf("set %q on the new server: %v %+v", set, got.err, got.SnapshotResult)
		}
		if n := r.labelledSnapshots(); n != 3*(i+1) {
			t.Errorf("%d labelled snapshots", n)
		}
	}
	// The name of a set that can be restored is not used again, and the set stays as it is.
	if got := r.soon(t, "first"); got.err == nil || !strings.Contains(got.err.Error(), "nothing was frozen") {
		t.Errorf("%v", got.err)
	}
	if n := r.labelledSnapshots(); n != 6 {
		t.Errorf("%d labelled snapshots", n)
	}
	for _, p := range append([]*process{r.control}, workersOf(hosts)...) { // systemd had none to start again
		if p.ended() {
			t.Errorf("%s has ended", strings.Join(p.cmd.Args, " "))
		}
	}
}

func workersOf(hosts []*testHost) (list []*process) {
	for _, h := range hosts {
		list = append(list, h.worker)
	}
	return list
}

// slack is what a busy machine may add to a time that is held against a limit.
const slack = 10 * time.Second

type asked struct {
	flow.SnapshotResult
	err error
}

// soon takes a snapshot, which must have its verdict in two minutes.
func (r *rig) soon(t *testing.T, set string) asked {
	t.Helper()
	begun := time.Now()
	args := []string{"snapshot", "shards"}
	if set != "" {
		args = append(args, "--set", set)
	}
	var got asked
	got.err = r.fleet(&got.SnapshotResult, args...)
	if took := time.Since(begun); took > 3*time.Minute {
		t.Errorf("set %q: its verdict took %s", set, took)
	}
	return got
}

// documentedUndo is the command that docs/fleet.md has for snapshots of a lost server.
func documentedUndo(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("the server is lost for good while armed .*`(snaptastic undo [^`]*)`").FindSubmatch(text)
	if m == nil {
		t.Fatal("docs/fleet.md does not say how to clean up after a server that was lost for good")
	}
	return string(m[1])
}
