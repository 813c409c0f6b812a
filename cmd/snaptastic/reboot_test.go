package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
	"snaptastic/plan"
)

// killInStep starts the binary, waits until it is in a step of this kind, and kills
// it there.
func (r *rig) killInStep(kind string, args ...string) {
	r.t.Helper()
	r.killWhen("step "+kind, func() bool { return r.inside(kind) }, args...)
}

// inside says whether a live run is in a step of this kind, and has been for a
// moment: its call hangs. In a freeze it tells nobody.
func (r *rig) inside(kind string) bool {
	if kind == "freeze" {
		owned, _ := filepath.Glob(filepath.Join(r.state(), "frozen", "*.json"))
		for _, o := range owned {
			if b, _ := os.ReadFile(o); len(b) > 0 {
				time.Sleep(400 * time.Millisecond)
				return true
			}
		}
		return false
	}
	for _, rec := range r.live(kind) {
		if rec.State == journal.Started {
			time.Sleep(200 * time.Millisecond)
			return true
		}
	}
	return false
}

// live are the records of a kind's steps, as live runs tell them.
func (r *rig) live(kind string) map[plan.StepID]journal.Record {
	socks, _ := filepath.Glob(filepath.Join(r.state(), "runs", "*.sock"))
	out := map[plan.StepID]journal.Record{}
	for _, s := range socks {
		run := strings.TrimSuffix(filepath.Base(s), ".sock")
		if l, err := engine.New(engine.Config{StateDir: r.state()}).Show(plan.RunID(run)); err == nil && l.Live {
			for id, rec := range l.Records {
				if strings.HasPrefix(string(id), kind) {
					out[id] = rec
				}
			}
		}
	}
	return out
}

// killWhen starts the binary and kills it when something is so.
func (r *rig) killWhen(what string, is func() bool, args ...string) {
	r.t.Helper()
	r.kill(r.startUntil(what, is, args...))
}

// killWaiting does so once it is so and the process only waits: its journal has all that was done.
func (r *rig) killWaiting(what string, is func() bool, args ...string) {
	r.t.Helper()
	cmd := r.startUntil(what, is, args...)
	r.eventually("process that waits", func() bool { return idle(cmd.Process.Pid) })
	r.kill(cmd)
}

func (r *rig) startUntil(what string, is func() bool, args ...string) *exec.Cmd {
	r.t.Helper()
	cmd := r.background(args...)
	r.eventually(what, is)
	return cmd
}

func (r *rig) kill(cmd *exec.Cmd) {
	r.t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		r.t.Fatalf("it ended before it could be killed: %v", err)
	}
	if err := cmd.Wait(); err == nil {
		r.t.Fatalf("%v ended before it was killed", cmd.Args)
	}
}

// background starts the binary. It is killed when the test ends.
func (r *rig) background(args ...string) *exec.Cmd {
	r.t.Helper()
	cmd := r.command(args...)
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// hang lets every call of an action take long, until calm.
func (r *rig) hang(action string, d time.Duration, when string) {
	r.t.Helper()
	r.setFaults(sandbox.Fault{Action: action, Hang: d, When: when})
}

func (r *rig) setFaults(faults ...sandbox.Fault) {
	r.t.Helper()
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{}, faults...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) calm() { r.t.Helper(); r.setFaults() }

// precious writes what must not be lost.
func (r *rig) precious() {
	r.t.Helper()
	for _, m := range r.mounts {
		if err := os.WriteFile(filepath.Join(m, "precious"), []byte(m), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	tool(r.t, "sync")
}

// made counts the volumes that were ever asked for and given.
func (r *rig) made() int {
	r.t.Helper()
	n := 0
	for _, c := range r.calls() {
		if c.Action == "CreateVolume" && c.Result == "ok" {
			n++
		}
	}
	return n
}

// only is the one unfinished run.
func (r *rig) only() string {
	r.t.Helper()
	left := r.unfinished()
	if len(left) != 1 {
		r.t.Fatalf("unfinished runs: %v, want one", left)
	}
	return left[0]
}

// wants runs the binary and wants an exit code and a text.
func (r *rig) wants(code int, text string, args ...string) string {
	r.t.Helper()
	got, out := r.run(args...)
	if got != code || !strings.Contains(out, text) {
		r.t.Fatalf("snaptastic %s: exit %d, want %d and %q\n%s", strings.Join(args, " "), got, code, text, out)
	}
	plain(r.t, out)
	return out
}

// pathFirst puts programs of the test before those of the machine.
func (r *rig) pathFirst(dir string) {
	for i, e := range r.env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			r.env[i] = "PATH=" + dir + ":" + p
		}
	}
}

// script writes a program.
func (r *rig) script(name, body string) string {
	r.t.Helper()
	p := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		r.t.Fatal(err)
	}
	return p
}

// A mount is cut off at each of its calls, the machine reboots, and a bare
// resume or the next `run mount` ends with every volume mounted and none made
// twice.
func TestRebootInTheMiddleOfAMount(t *testing.T) {
	t.Parallel()
	for _, again := range []string{"resume", "run mount db"} {
		for _, at := range []string{"create-volume CreateVolume", "attach AttachVolume", "delete-on-termination ModifyInstanceAttribute"} {
			t.Run(again+" after "+at, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, 2, "ext4")
				kind, action, _ := strings.Cut(at, " ")
				r.hang(action, 60*time.Second, "after")
				r.killInStep(kind, "run", "mount", "db")
				r.reboot()
				r.must(strings.Fields(again)...)
				if n := r.made(); n != len(r.mounts) {
					t.Errorf("%d volumes were made", n)
				}
				r.precious()
				r.check(true)
				r.reboot() // and after it
				r.wants(0, "nothing to resume", "resume")
				r.must("run", "mount", "db")
				if n := r.made(); n != len(r.mounts) {
					t.Errorf("the reboot after it made %d volumes", n)
				}
				r.check(true)
			})
		}
	}
}

func (r *rig) reboot() {
	r.t.Helper()
	r.calm()
	r.must("sandbox", "reboot")
	if m := r.mounted(); len(m) > 0 {
		r.t.Fatalf("after the reboot are mounted: %v", m)
	}
}

// Two volumes were being formatted when the machine went down, and came back
// with their NVMe numbers swapped. Each gets the file system that was meant for
// it, and a bare resume ends it.
func TestRebootInTheMiddleOfAFormat(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	pids := filepath.Join(r.dir, "pids")
	r.script("first/mkfs.ext4", fmt.Sprintf("echo $$ >> %s\nexec sleep 60\n", pids))
	env := r.env
	r.env = append([]string{}, env...)
	r.pathFirst(filepath.Join(r.dir, "first"))
	r.killWhen("mkfs of both volumes", func() bool {
		b, _ := os.ReadFile(pids)
		return strings.Count(string(b), "\n") == 2
	}, "run", "mount", "db")
	b, _ := os.ReadFile(pids)
	for _, word := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(word); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	r.env = env
	before := map[string]string{}
	for m, v := range r.volumes() {
		before[m] = r.node(v.ID)
	}
	r.reboot()
	r.must("resume")
	r.precious()
	r.check(true)
	if n := r.made(); n != 2 {
		t.Errorf("%d volumes were made", n)
	}
	for m, v := range r.volumes() {
		src := tool(t, "findmnt", "-no", "SOURCE", m)
		if real, _ := filepath.EvalSymlinks(strings.TrimSpace(src)); real != r.node(v.ID) {
			t.Errorf("%s is mounted from %s and its volume is %s", m, real, r.node(v.ID))
		}
	}
}

// A snapshot run that a reboot cut off is thawed and undone by a bare resume,
// wherever it was: no snapshot without its label is left, and the mounts come
// back.
func TestRebootInTheMiddleOfASnapshot(t *testing.T) {
	t.Parallel()
	for _, at := range []struct{ kind, action, when string }{{"freeze", "CreateSnapshots", "before"}, {"freeze", "CreateSnapshots", "after"}, {"tag-snapshots", "CreateTags", "before"}} {
		t.Run(at.action+" "+at.when, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			r.must("run", "mount", "db")
			r.precious()
			r.hang(at.action, 60*time.Second, at.when)
			r.killInStep(at.kind, "run", "snapshot", "db")
			r.reboot()
			out := r.must("resume")
			if !strings.Contains(out, "undo=true") {
				t.Errorf("it does not say that it undoes:\n%s", out)
			}
			if s := r.snapshots(); len(s) > 0 {
				t.Errorf("snapshots are left: %v", s)
			}
			r.wants(0, "nothing to resume", "resume")
			r.must("run", "mount", "db")
			r.check(true)
			r.must("run", "snapshot", "db")
			r.check(true)
		})
	}
}

// No boot ever finishes an unmount: one that was cut off and one that failed
// are left alone by a bare resume, and the operator's `resume RUN` finishes it.
func TestRebootInTheMiddleOfAnUnmount(t *testing.T) {
	t.Parallel()
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, 2, "ext4")
		r.must("run", "mount", "db")
		r.precious()
		r.hang("DetachVolume", 60*time.Second, "before")
		r.killInStep("detach", "run", "unmount", "db")
		r.reboot()
		r.leftAlone()
		id := r.only()
		r.wants(5, id, "run", "mount", "db")
		r.must("resume", id)
		r.check(false)
	})
	t.Run("failed", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, 1, "ext4")
		r.must("run", "mount", "db")
		r.precious()
		r.setFaults(sandbox.Fault{Action: "DetachVolume", Error: "OperationNotPermitted"})
		r.wants(1, r.mounts[0], "run", "unmount", "db")
		r.calm()
		r.reboot()
		r.leftAlone()
		r.must("resume", r.only())
		r.check(false)
	})
}

// leftAlone checks that a bare resume changes nothing.
func (r *rig) leftAlone() {
	r.t.Helper()
	before, run := len(r.calls()), r.only()
	r.wants(0, "", "resume")
	if did := mutating(r.calls()[before:]); len(did) > 0 {
		r.t.Errorf("a bare resume made the calls %v", did)
	}
	if now := r.only(); now != run {
		r.t.Errorf("%s became %s", run, now)
	}
}

// What a hook did belongs to the boot that it ran under: a mount that goes on
// after a reboot runs it again, and one that is not repeatable it does not.
func TestRebootRunsHooksAgain(t *testing.T) {
	t.Parallel()
	for _, repeatable := range []bool{true, false} {
		t.Run(fmt.Sprintf("repeatable %t", repeatable), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			log := filepath.Join(r.dir, "hooks")
			hook := r.script("hook", "echo $SNAPTASTIC_HOOK >> "+log+"\n")
			r.declare(fmt.Sprintf("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n%s  hook \"pre_mounts\" {\n    command = [%q]\n    repeatable = %t\n  }\n}\n", r.volume(0, "ext4"), hook, repeatable))
			r.hang("AttachVolume", 60*time.Second, "before")
			r.killInStep("attach", "run", "mount", "db")
			r.reboot()
			r.must("resume")
			b, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			want := 1
			if repeatable {
				want = 2
			}
			if n := strings.Count(string(b), "pre_mounts"); n != want {
				t.Errorf("the hook ran %d times, want %d", n, want)
			}
			if got := r.mounted(); len(got) != 1 {
				t.Errorf("mounted: %v", got)
			}
		})
	}
}

// A snapshot that was cut off after its label is there to be restored: it is done, and no listing says that it was rolled back.
func TestASnapshotThatWasCutOffAfterItsLabelIsNotShownAsRolledBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4", "--snapshot-time=1h")
	r.must("run", "mount", "db")
	r.killInStep("wait-snapshot", "run", "snapshot", "db", "--wait")
	r.reboot()
	out := r.must("--log-level", "off", "resume")
	if strings.Contains(out, "rolled back") || !strings.Contains(out, "is done") {
		t.Errorf("resume says\n%s", out)
	}
	if out := r.must("runs"); strings.Contains(out, "rolled back") {
		t.Errorf("runs says\n%s", out)
	}
	if s := r.snapshots(); len(s) != 1 || s[0].Tags["snaptastic:state"] != "consistent" {
		t.Errorf("the snapshots are %+v", s)
	}
}
