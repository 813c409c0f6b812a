package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/cmd/internal/engine"
	"snaptastic/ec2/sandbox"
)

// A watching is a `status --watch` under way, and what it has printed.
type watching struct {
	*exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer
}

func (w *watching) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(b)
}

func (w *watching) says(text string) bool { return strings.Contains(w.text(), text) }

func (w *watching) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// watch starts a watcher, which ends with the test.
func (r *rig) watch(args ...string) *watching {
	r.t.Helper()
	w := &watching{Cmd: r.command(append([]string{"status", "--watch"}, args...)...)}
	w.Stdout, w.Stderr = w, w
	if err := w.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = w.Process.Signal(syscall.SIGCONT)
		_ = w.Process.Kill()
		_ = w.Wait()
	})
	return w
}

// idle says whether a process has begun, and all its threads wait for something, five times in a row: one that waits for a processor is not idle.
func idle(pid int) bool {
	for range 5 {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if len(threads) < 3 {
			return false
		}
		for _, t := range threads {
			stat, err := os.ReadFile(t)
			if _, after, ok := strings.Cut(string(stat), ") "); err != nil || !ok || !strings.HasPrefix(after, "S") {
				return false
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

// events reads the JSON lines of a text.
func events(t *testing.T, text string) (all []engine.Event) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e engine.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		all = append(all, e)
	}
	return all
}

// index is the place of the first event of that name and lane; -1 for none.
func index(all []engine.Event, name, lane string) int {
	for i, e := range all {
		if e.Event == name && (lane == "" || e.Lane == lane) {
			return i
		}
	}
	return -1
}

// Watchers that were there before the run, that never read, many at once: each that reads is told of the whole run, throttling and
// a failed lane included, and the run ends as it would have.
func TestWatchersFollowAMountWithAThrottledAndAFailingLane(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.setFaults(sandbox.Fault{Action: "CreateVolume", Error: "RequestLimitExceeded", Count: 4},
		sandbox.Fault{Action: "AttachVolume", Params: map[string]string{"Device": "/dev/sdg"}, Error: "AttachmentLimitExceeded"})
	lines, first := r.watch(), r.watch("-o", "jsonl")
	var many []*watching
	for range 10 {
		many = append(many, r.watch("-o", "jsonl"))
	}
	asleep := r.watch("-o", "jsonl")
	r.eventually("watcher", func() bool { return lines.says("no live runs; waiting for one") })
	for _, w := range append(many, first, asleep) { // these print nothing yet
		r.eventually("idle watcher", func() bool { return idle(w.Process.Pid) })
	}
	if err := asleep.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.dir, "events.jsonl")
	if code, out := r.run("run", "mount", "db", "--events", file); code != exitSomeLanes {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := events(t, string(written))
	for i, e := range all {
		if e.Seq != uint64(i+1) || e.At.Location() != time.UTC {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	end := all[len(all)-1]
	if all[0].Event != engine.RunStarted || end.Event != engine.RunEnded || end.Outcome != "failed" || end.Hint == "" {
		t.Errorf("from %+v to %+v", all[0], end)
	}
	if index(all, "failed", r.mounts[1]) < 0 || index(all, "skipped", r.mounts[1]) < 0 || index(all, "failed", r.mounts[0]) >= 0 {
		t.Errorf("lanes failed otherwise: %s", written)
	}
	throttled := false
	for _, e := range all {
		throttled = throttled || e.Event == "progress" && e.Throttled && e.Retry > 0
	}
	if !throttled {
		t.Errorf("nobody was told that EC2 throttled: %s", written)
	}
	for i, w := range append(many, first) {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("watcher %d said:\n%s", i, w.text())
			}
		})
		r.eventually("end of the run", func() bool { return w.says(engine.RunEnded) })
		told := events(t, w.text())
		if last := told[len(told)-1]; last.Event != engine.RunEnded || last.Seq != end.Seq || index(told, "failed", r.mounts[1]) < 0 {
			t.Errorf("watcher %d ends with %+v", i, last)
		}
	}
	for _, want := range []string{"watching: run=", "failed: run=", "outcome=failed", "finish=\"snaptastic resume ", "unfinished: run="} {
		r.eventually(want, func() bool { return lines.says(want) })
	}
	plain(t, lines.text())
}

// Under a watcher a run is killed, and another one begins beside its dead socket. `status RUN` says how a live one stands.
func TestAWatcherOutlivesAKilledRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	hook, release := r.waitingHook("a")
	r.hooked(fmt.Sprintf("  hook \"post_mounts\" { command = [%q] }\n", hook))
	all := r.watch("-o", "jsonl")
	run := r.start("run", "mount", "db")
	r.eventually("hook", r.inHook("a"))
	id := strings.TrimSuffix(filepath.Base(r.journals()[0]), ".db")
	only := r.watch(id)
	r.eventually("watcher of one run", func() bool { return only.says("watching: run="+id) && only.says("hook:post_mounts") })
	if out := r.must("status", "last"); !strings.Contains(out, "run "+id) || !strings.Contains(out, "hook:post_mounts") && !strings.Contains(out, "of ") {
		t.Errorf("status last: %s", out)
	}
	_ = run.Process.Kill()
	_ = run.Wait()
	release()
	r.eventually("end of the watch", func() bool { return only.says("because=\"its process is gone\"") })
	if err := only.Wait(); err != nil {
		t.Errorf("a watch of one run ends with %v:\n%s", err, only.text())
	}
	r.eventually("news", func() bool { return all.says(engine.RunLost) })
	if _, err := os.Lstat(filepath.Join(r.state(), "runs", id+".sock")); err != nil {
		t.Errorf("there is no dead socket to begin beside: %v", err)
	}
	if out := r.must("status", id); !strings.Contains(out, "interrupted") {
		t.Errorf("status of a dead run: %s", out)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "gate-a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	resumed := r.start("resume")
	r.eventually("resumed run", func() bool { return strings.Count(all.text(), `"event":"run-joined"`) == 2 })
	release()
	if code, out := resumed.ends(); code != exitDone {
		t.Errorf("resume ends with %d:\n%s", code, out)
	}
	r.eventually("end of the resumed run", func() bool { return all.says(`"outcome":"done"`) })
	if out := r.must("status", "--watch", id); !strings.Contains(out, "done") {
		t.Errorf("a watch of a run that has ended: %s", out)
	}
}

// What takes the events never delays or fails a run: a pipe that nobody reads, a disk that is full, a reader that is gone.
func TestEventsThatNobodyTakesCostNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	pipe := filepath.Join(r.dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	r.must("run", "mount", "db", "--events", pipe)
	r.must("run", "snapshot", "db", "--events", "/dev/full")
	_, out, _ := r.apart(r.command("run", "snapshot", "db", "-o", "jsonl"))
	all := events(t, out)
	opened, closed, thawed := index(all, "window-opened", ""), index(all, "window-closed", ""), -1
	for i, e := range all {
		if e.Kind == "thaw" && e.Event == "done" {
			thawed = i
		}
	}
	if opened < 0 || closed != opened+1 || thawed < closed || all[closed].Window <= 0 {
		t.Errorf("the window opens at %d, closes at %d, is thawed at %d:\n%s", opened, closed, thawed, out)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	gone := r.command("run", "unmount", "db", "-o", "jsonl")
	gone.Stdout = writer
	if err := gone.Run(); err != nil {
		t.Errorf("a reader that is gone: %v", err)
	}
	writer.Close()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "mount", "db", "--events", filepath.Join(r.dir, "none", "x")}, "cannot write events"},
		{[]string{"run", "mount", "db", "--events", "-", "-o", "json"}, "would both write to stdout"},
		{[]string{"run", "mount", "db", "--events", pipe, "-o", "jsonl"}, "leave out --events"},
		{[]string{"runs", "-o", "jsonl"}, "use json"},
		{[]string{"status", "--watch", "-o", "json"}, "use -o jsonl"},
	} {
		code, out := r.run(c.args...)
		if code != exitUsage || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit code %d, %s", c.args, code, out)
		}
	}
}
