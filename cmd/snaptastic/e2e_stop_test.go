package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
)

// started is a command of the rig that runs beside the test.
type started struct {
	*exec.Cmd
	out bytes.Buffer
	t   *testing.T
}

func (r *rig) start(args ...string) *started {
	r.t.Helper()
	s := &started{Cmd: r.command(args...), t: r.t}
	s.Stdout, s.Stderr = &s.out, &s.out
	if err := s.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if s.ProcessState == nil {
			_ = s.Process.Kill()
			_ = s.Cmd.Wait()
		}
	})
	return s
}

// ends waits and returns the exit code and what was said.
func (s *started) ends() (int, string) {
	s.t.Helper()
	_ = s.Wait()
	plain(s.t, s.out.String())
	return s.ProcessState.ExitCode(), s.out.String()
}

func (s *started) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// A signal in the middle of a mount: nothing new is started, the run says how
// it goes on, exits 130 and is finished by resume. Nothing is made twice.
func TestASignalLeavesAResumableMount(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4", "--create-time=20s")
			s := r.start("run", "mount", "db")
			r.await("CreateVolume")
			began := time.Now()
			s.signal(sig)
			code, out := s.ends()
			if code != exitInterrupted || !strings.Contains(out, "was interrupted") || !strings.Contains(out, "snaptastic resume ") {
				t.Errorf("exit %d\n%s", code, out)
			}
			if took := time.Since(began); took > 16*time.Second { // it did not wait for the volumes
				t.Errorf("it took %s to stop", took)
			}
			if n := count(r.calls())["AttachVolume"]; n != 0 {
				t.Errorf("%d volumes were attached after the signal", n)
			}
			if left := r.unfinished(); len(left) != 1 {
				t.Errorf("unfinished are %v", left)
			}
			if _, out := r.run("status"); !strings.Contains(out, "interrupted") {
				t.Errorf("status says %s", out)
			}
			r.must("resume")
			r.settled(2)
			if n := count(r.calls())["CreateVolume"]; n > 4 || len(r.volumes()) != 2 {
				t.Errorf("%d CreateVolume, %d volumes", n, len(r.volumes()))
			}
		})
	}
}

// settled wants all mounted and nothing unfinished.
func (r *rig) settled(want int) {
	r.t.Helper()
	if got := r.mounted(); len(got) != want {
		r.t.Errorf("mounted are %v, want %d", got, want)
	}
	if left := r.unfinished(); len(left) > 0 {
		r.t.Errorf("unfinished are %v", left)
	}
}

// A signal while file systems are frozen: the section is finished, so that
// they are thawed at once and the snapshot is either whole or gone.
func TestASignalDuringASnapshotFinishesTheSection(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{}, sandbox.Fault{Action: "CreateSnapshot*", Latency: time.Second, Count: 1}); err != nil {
		t.Fatal(err)
	}
	s := r.start("run", "snapshot", "db")
	r.frozen()
	r.struck()
	s.signal(syscall.SIGTERM)
	code, out := s.ends()
	if code != exitInterrupted && code != exitDone {
		t.Errorf("exit %d\n%s", code, out)
	}
	for _, m := range r.mounts {
		r.writable(m)
	}
	if n := count(r.calls())["CreateSnapshots"]; n != 1 {
		t.Errorf("%d CreateSnapshots", n)
	}
	r.must("resume")
	r.must("run", "snapshot", "db")
	for _, sn := range r.snapshots() {
		if sn.Tags["snaptastic:state"] != "consistent" {
			t.Errorf("%s is %s", sn.ID, sn.Tags["snaptastic:state"])
		}
	}
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
}

// frozen waits until the snapshot's guard has left word that it freezes, and it has frozen.
func (r *rig) frozen() {
	r.t.Helper()
	r.eventually("freeze", func() bool {
		found, _ := filepath.Glob(filepath.Join(r.state(), "frozen", "*"))
		return len(found) > 0 && isFrozen(r.mounts[0])
	})
}

// struck waits until a call is under way that a counted fault holds up.
func (r *rig) struck() {
	r.t.Helper()
	r.eventually("call under way", func() bool {
		world, _ := os.ReadFile(filepath.Join(r.sandboxDir(), "world.jsonl"))
		return bytes.Contains(world, []byte(`"struck":1`))
	})
}

// isFrozen tries to write from a process of its own, which a freeze holds: it sleeps uninterruptibly, and goes on to. One that waits for a
// processor does not.
func isFrozen(m string) bool {
	cmd := exec.Command("touch", filepath.Join(m, "touched"))
	if cmd.Start() != nil {
		return false
	}
	over := make(chan struct{})
	go func() { _ = cmd.Wait(); close(over) }()
	for asleep := 0; asleep < 5; {
		select {
		case <-over:
			return false
		case <-time.After(20 * time.Millisecond):
		}
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)); err == nil && bytes.Contains(stat, []byte(") D ")) {
			asleep++
		} else {
			asleep = 0
		}
	}
	return true
}

// A second signal ends the program at once, and even so nothing stays frozen:
// the guard thaws.
func TestASecondSignalDuringAFreezeStillThaws(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{}, sandbox.Fault{Action: "CreateSnapshot*", Latency: 4 * time.Second, Count: 1}); err != nil {
		t.Fatal(err)
	}
	s := r.start("run", "snapshot", "db")
	r.frozen()
	r.struck()
	s.signal(syscall.SIGTERM)
	time.Sleep(50 * time.Millisecond)
	s.signal(syscall.SIGINT)
	if code, out := s.ends(); code != exitInterrupted {
		t.Errorf("exit %d\n%s", code, out)
	}
	for _, m := range r.mounts {
		r.writable(m)
	}
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("answer of the call that was cut off", func() bool { return count(r.calls())["CreateSnapshots"] > 0 })
	r.must("resume")
	for _, sn := range r.snapshots() {
		if sn.Tags["snaptastic:state"] != "consistent" {
			t.Errorf("%s is %s", sn.ID, sn.Tags["snaptastic:state"])
		}
	}
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
}

// A second run of what is being worked on is refused at once with the id of
// the first; the first one does not notice.
func TestASecondRunIsRefusedAsBusy(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4", "--create-time=2s")
	s := r.start("run", "mount", "db")
	r.await("CreateVolume")
	before := len(r.calls())
	for _, op := range []string{"mount", "snapshot", "unmount"} {
		code, _, stderr := r.apart(r.command("run", op, "db"))
		if code != exitBusy {
			t.Errorf("%s: exit %d\n%s", op, code, stderr)
		}
		oneSentence(t, stderr)
		ids := r.journals()
		if len(ids) != 1 || !strings.Contains(stderr, strings.TrimSuffix(filepath.Base(ids[0]), ".db")) {
			t.Errorf("it does not name the first run:\n%s", stderr)
		}
		t.Logf("it says: %s", stderr)
	}
	if _, out := r.run("status"); !strings.Contains(out, "live") && !strings.Contains(out, "running") {
		t.Errorf("status says %s", out)
	}
	if _, out := r.run("show", strings.TrimSuffix(filepath.Base(r.journals()[0]), ".db")); !strings.Contains(out, "create-volume") {
		t.Errorf("show says %s", out)
	}
	if did := mutating(r.calls()[before:]); len(did) > 0 {
		t.Errorf("meanwhile %v was called", did)
	}
	if code, out := s.ends(); code != 0 {
		t.Errorf("the first ended with exit %d\n%s", code, out)
	}
	r.settled(1)
}

// Of volumes that go each by itself, one that somebody uses is left alone and
// the holder named; the other one is unmounted.
func TestABusyMountNamesItsHolderAndFailsOnlyItsLane(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.hooked("  consistency = \"volume\"\n")
	r.must("run", "mount", "db")
	holder := exec.Command("sleep", "300")
	holder.Dir = r.mounts[0]
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	code, out := r.run("run", "unmount", "db")
	plain(t, out)
	if code != exitSomeLanes || !strings.Contains(out, fmt.Sprint(holder.Process.Pid)) || !strings.Contains(out, "sleep") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if got := r.mounted(); len(got) != 1 || got[0] != r.mounts[0] {
		t.Errorf("mounted are %v", got)
	}
	if n := count(r.calls())["DetachVolume"]; n != 1 {
		t.Errorf("%d DetachVolume", n)
	}
	// Once it is free, the same command finishes.
	_ = holder.Process.Kill()
	_ = holder.Wait()
	r.must("run", "unmount", "db")
	if got := r.mounted(); len(got) != 0 {
		t.Errorf("mounted are %v", got)
	}
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
}
