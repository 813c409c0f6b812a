package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
)

// keyedResult is what a program reads of a run with a key.
type keyedResult struct {
	Run      string `json:"run"`
	Key      string `json:"key"`
	Outcome  string `json:"outcome"`
	Repeated bool   `json:"repeated"`
	Failures []struct{ Step, Error, Hint string }
	Lanes    []struct {
		SnapshotID string `json:"snapshot_id"`
	}
}

// keyed runs a command with -o json and reads its result; there is none where it was refused.
func (r *rig) keyed(args ...string) (code int, res keyedResult, stderr string) {
	r.t.Helper()
	code, out, stderr := r.apart(r.command(append(args, "-o", "json")...))
	if out != "" {
		if err := json.Unmarshal([]byte(out), &res); err != nil {
			r.t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return code, res, stderr
}

func TestAKeyRunsOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db", "--key", "set-1/host-a/mount")
	for _, v := range r.volumes() {
		if v.Tags["snaptastic:key"] != "set-1/host-a/mount" {
			t.Errorf("%s has the key %q", v.ID, v.Tags["snaptastic:key"])
		}
	}
	code, first, stderr := r.keyed("run", "snapshot", "db", "--key", "set-1/host-a")
	if code != 0 || first.Repeated || first.Key != "set-1/host-a" {
		t.Fatalf("exit %d, %+v\n%s", code, first, stderr)
	}
	r.quiet(func() {
		code, again, stderr := r.keyed("run", "snapshot", "db", "--key", "set-1/host-a")
		if code != 0 || !again.Repeated || again.Run != first.Run || fmt.Sprint(again.Lanes) != fmt.Sprint(first.Lanes) {
			t.Errorf("exit %d, %+v, want %+v\n%s", code, again, first, stderr)
		}
		for _, other := range [][]string{{"run", "mount", "db"}, {"run", "snapshot", "db", "--wait"}, {"run", "snapshot", "db", "--on-failure=rollback"}} {
			code, _, stderr := r.keyed(append(other, "--key", "set-1/host-a")...)
			if code != exitUsage || !strings.Contains(stderr, first.Run) {
				t.Errorf("%v: exit %d\n%s", other, code, stderr)
			}
		}
		for _, bad := range []string{"-a", "a b", "ä", strings.Repeat("k", 201)} {
			if code, _, stderr := r.keyed("run", "snapshot", "db", "--key="+bad); code != exitUsage {
				t.Errorf("key %q: exit %d\n%s", bad, code, stderr)
			}
		}
	})
	for _, s := range r.snapshots() {
		if s.Tags["snaptastic:key"] != "set-1/host-a" {
			t.Errorf("%s has the key %q", s.ID, s.Tags["snaptastic:key"])
		}
	}
	r.restorable(2)
}

// Several processes that are started together make one run; each prints its result.
func TestTwoWithOneKeyAtOnceAreOneRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	var all sync.WaitGroup
	results := make([]keyedResult, 6)
	for i := range results {
		all.Go(func() {
			code, res, stderr := r.keyed("run", "snapshot", "db", "--key", "K")
			if code != 0 {
				t.Errorf("exit %d\n%s", code, stderr)
			}
			results[i] = res
		})
	}
	all.Wait()
	news := 0
	for _, res := range results {
		if !res.Repeated {
			news++
		}
		if res.Run != results[0].Run || res.Outcome != "done" {
			t.Errorf("%+v", res)
		}
	}
	if news != 1 {
		t.Errorf("%d of them took the snapshots", news)
	}
	r.restorable(2)
}

// Who comes upon the live run of its key sees its events, and its result.
func TestTheLiveRunOfAKeyIsJoined(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.hang("CreateTags", time.Second, "before")
	one := r.start("run", "snapshot", "db", "--key", "K")
	r.eventually("run of the key", func() bool { return len(r.live("tag-snapshots")) > 0 })
	code, out, stderr := r.apart(r.command("run", "snapshot", "db", "--key", "K", "-o", "jsonl"))
	if code != 0 || !strings.Contains(out, `"run-joined"`) || !strings.Contains(out, `"run-ended"`) || strings.Count(out, `"run-ended"`) != 1 {
		t.Errorf("exit %d\n%s%s", code, out, stderr)
	}
	if code, out := one.ends(); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	r.restorable(1)
}

// A process that is killed leaves its key: the next one goes on with the run.
func TestTheInterruptedRunOfAKeyIsResumed(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.hang("CreateTags", 10*time.Second, "before")
	r.killInStep("tag-snapshots", "run", "snapshot", "db", "--key", "K")
	r.calm()
	run := r.unfinished()
	code, res, stderr := r.keyed("run", "snapshot", "db", "--key", "K")
	if code != 0 || len(run) != 1 || res.Run != run[0] || res.Repeated {
		t.Errorf("exit %d, %+v, unfinished was %v\n%s", code, res, run, stderr)
	}
	r.restorable(1)
}

// A snapshot run that failed has deleted what it made; its key stays failed.
func TestAKeyThatFailedStaysFailed(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{}, sandbox.Fault{Action: "CreateSnapshot", Error: "SnapshotLimitExceeded"}); err != nil {
		t.Fatal(err)
	}
	code, first, _ := r.keyed("run", "snapshot", "db", "--key", "K")
	r.calm()
	var again keyedResult
	r.quiet(func() {
		var next int
		if next, again, _ = r.keyed("run", "snapshot", "db", "--key", "K"); next != code || code != exitFailed {
			t.Errorf("exit %d and then %d", code, next)
		}
	})
	if len(first.Failures) != 1 || fmt.Sprint(again.Failures) != fmt.Sprint(first.Failures) || again.Outcome != first.Outcome || !again.Repeated {
		t.Errorf("%+v, and then %+v", first, again)
	}
	r.must("run", "snapshot", "db", "--key", "K2")
	r.restorable(1)
}

// What was interrupted and then undone did not do what the key was for.
func TestAKeyThatWasUndoneIsNotASuccess(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.hang("CreateTags", 10*time.Second, "before")
	r.killInStep("tag-snapshots", "run", "snapshot", "db", "--key", "K")
	r.calm()
	r.must("rollback", "last")
	r.quiet(func() {
		if code, res, stderr := r.keyed("run", "snapshot", "db", "--key", "K"); code != exitFailed || res.Outcome != "rolled-back" || !res.Repeated || !strings.Contains(stderr, "another key") {
			t.Errorf("exit %d, %+v\n%s", code, res, stderr)
		}
	})
	r.restorable(0)
}

// A key whose journal is damaged says nothing about what was done under it.
func TestTheKeyOfADamagedJournalIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--key", "K")
	f, err := os.OpenFile(r.journals()[1], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("garbage!", 4096)), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r.quiet(func() {
		if code, _, stderr := r.keyed("run", "snapshot", "db", "--key", "K"); code != exitOperator || !strings.Contains(stderr, "damaged") {
			t.Errorf("exit %d\n%s", code, stderr)
		}
	})
}

// A waiting process can be stopped; the run goes on.
func TestAProcessThatWaitsForAKeyCanBeStopped(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.hang("CreateTags", 2*time.Second, "before")
	one := r.start("run", "snapshot", "db", "--key", "K")
	r.eventually("run of the key", func() bool { return len(r.live("tag-snapshots")) > 0 })
	events := filepath.Join(r.dir, "events")
	two := r.start("run", "snapshot", "db", "--key", "K", "--events", events)
	r.eventually("word of the second", func() bool { b, _ := os.ReadFile(events); return strings.Contains(string(b), "run-joined") })
	two.signal(syscall.SIGTERM)
	if code, out := two.ends(); code != exitInterrupted {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, out := one.ends(); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
}
