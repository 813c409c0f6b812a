package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic/linux"
)

// armedResult is what a judge of many hosts reads.
type armedResult struct {
	Run, Outcome string
	Freezes      []struct {
		Frozen float64 `json:"frozen_seconds"`
		Mounts []struct {
			MountPoint string    `json:"mount_point"`
			FrozenAt   time.Time `json:"frozen_at"`
			ThawedAt   time.Time `json:"thawed_at"`
		}
		Clock struct {
			Synchronized bool
			Error        *float64 `json:"error_seconds"`
		}
	}
	Failures []struct{ Step, Error, Hint string }
}

// instants are the flags of a freeze in so long, for so long.
func instants(in, hold time.Duration) (at, until time.Time, flags []string) {
	at = time.Now().Add(in)
	until = at.Add(hold)
	return at, until, []string{"--at", at.UTC().Format(time.RFC3339Nano), "--hold-until", until.UTC().Format(time.RFC3339Nano), "--trust-clock"}
}

func (r *rig) armedFreeze(args ...string) (code int, res armedResult, stderr string) {
	r.t.Helper()
	code, out, stderr := r.apart(r.command(append([]string{"run", "snapshot", "db", "-o", "json"}, args...)...))
	if out != "" {
		if err := json.Unmarshal([]byte(out), &res); err != nil {
			r.t.Fatalf("%v\n%s", err, out)
		}
	}
	return code, res, stderr
}

// thawedAll fails when a file system of the rig cannot be written, or a guard or what it owns is left.
func (r *rig) thawedAll() {
	r.t.Helper()
	for _, m := range r.mounts {
		r.writable(m)
	}
	r.eventually("end of the guard", func() bool {
		left, _ := filepath.Glob(filepath.Join(r.state(), "frozen", "*.owned.json"))
		return len(left) == 0
	})
}

// All file systems stand still from the instant to the second one, and the times show it.
func TestAnArmedSnapshotFreezesAtTheInstant(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	var at, until time.Time
	var res armedResult
	var code int
	var stderr string
	for _, in := range []time.Duration{6 * time.Second, 12 * time.Second, 24 * time.Second, time.Minute} { // for a busy machine
		var flags []string
		at, until, flags = instants(in, 2*time.Second)
		code, res, stderr = r.armedFreeze(flags...)
		if says := stderr + r.failuresOf(res); !strings.Contains(says, "too late") && !strings.Contains(says, "is over") {
			break
		}
		r.restorable(0)
		r.thawedAll()
		t.Logf("too late for an instant in %s", in)
	}
	if code != 0 || len(res.Freezes) != 1 || len(res.Freezes[0].Mounts) != 2 || res.Freezes[0].Clock.Error == nil {
		t.Fatalf("exit %d, %+v\n%s", code, res, stderr)
	}
	for _, m := range res.Freezes[0].Mounts {
		if m.FrozenAt.Before(at) || m.ThawedAt.Before(until) || m.ThawedAt.Before(m.FrozenAt) || m.FrozenAt.After(m.ThawedAt) {
			t.Errorf("%s stood still from %s to %s, want %s to %s", m.MountPoint, m.FrozenAt, m.ThawedAt, at, until)
		}
	}
	r.restorable(2)
	r.thawedAll()
}

func (r *rig) failuresOf(res armedResult) (text string) {
	for _, f := range res.Failures {
		text += f.Error + "\n"
	}
	return text
}

func TestAnArmedSnapshotIsRefusedBeforeAnythingIsDone(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	now := time.Now().UTC()
	in := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339Nano) }
	r.quiet(func() {
		for _, tt := range []struct {
			args []string
			says string
		}{
			{[]string{"--at", in(-time.Second), "--hold-until", in(time.Second)}, "is over"},
			{[]string{"--at", in(time.Minute)}, "together"},
			{[]string{"--hold-until", in(time.Minute)}, "together"},
			{[]string{"--trust-clock"}, "needs --at"},
			{[]string{"--at", in(time.Minute), "--hold-until", in(time.Minute)}, "not after"},
			{[]string{"--at", in(time.Minute), "--hold-until", in(71 * time.Second)}, "max_hold"},
			{[]string{"--at", in(2 * time.Hour), "--hold-until", in(2*time.Hour + time.Second)}, "ahead"},
			{[]string{"--at", "noon", "--hold-until", in(time.Minute)}, "expected a time"},
		} {
			for _, verb := range []string{"run", "plan"} {
				code, out := r.run(append([]string{verb, "snapshot", "db"}, tt.args...)...)
				if code != exitUsage || !strings.Contains(out, tt.says) {
					t.Errorf("%s %v: exit %d, want %q\n%s", verb, tt.args, code, tt.says, out)
				}
			}
		}
	})
	// The kernel of a machine that nobody keeps in time says so.
	_, _, flags := instants(time.Minute, time.Second)
	if code, out := r.run(append([]string{"plan", "snapshot", "db"}, flags...)...); code != 0 || !strings.Contains(out, "wait until") || !strings.Contains(out, "until "+flags[3]) {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestAnUnsynchronizedClockIsNotReady(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	if c, err := linux.New(linux.Roots{}).Clock(); err != nil || c.Synchronized {
		t.Skip("the clock of this machine is synchronized")
	}
	_, _, flags := instants(time.Minute, time.Second)
	r.quiet(func() {
		code, out := r.run(append([]string{"run", "snapshot", "db"}, flags[:4]...)...)
		if code != exitFailed || !strings.Contains(out, "not ready") || !strings.Contains(out, "chronyd") {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
}

// armed starts an armed run and waits until it waits.
func (r *rig) armed(in, hold time.Duration, args ...string) (*started, time.Time) {
	r.t.Helper()
	at, _, flags := instants(in, hold)
	s := r.start(append(append([]string{"run", "snapshot", "db"}, flags...), args...)...)
	r.eventually("armed run", func() bool { return len(r.live("arm")) > 0 || s.ProcessState != nil })
	return s, at
}

// A process that is stopped across the instant freezes nothing when it goes on: not in its wait, nor with the guard ready.
func TestAProcessThatIsStoppedAcrossTheInstantDoesNotFreeze(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"while it waits": true, "with the guard ready": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			r.must("run", "mount", "db")
			s, at := r.armed(9*time.Second, time.Second, "--key", "K")
			if !early {
				r.guardReady()
			}
			s.signal(syscall.SIGSTOP)
			time.Sleep(time.Until(at.Add(time.Second)))
			if isFrozen(r.mounts[0]) {
				t.Error("it is frozen")
			}
			s.signal(syscall.SIGCONT)
			code, out := s.ends()
			if code != exitFailed || !strings.Contains(out, "too late to freeze") {
				t.Errorf("exit %d\n%s", code, out)
			}
			r.restorable(0)
			r.thawedAll()
			if n := count(r.calls())["CreateSnapshot"]; n != 0 {
				t.Errorf("%d calls", n)
			}
			if code, again := r.run("run", "snapshot", "db", "--key", "K"); code != exitUsage {
				t.Errorf("exit %d\n%s", code, again)
			}
		})
	}
}

// guardReady waits until a guard of the rig has written what it owns.
func (r *rig) guardReady() {
	r.t.Helper()
	r.eventually("guard", func() bool {
		owned, _ := filepath.Glob(filepath.Join(r.state(), "frozen", "*.json"))
		for _, o := range owned {
			if b, _ := os.ReadFile(o); len(b) > 0 {
				return true
			}
		}
		return false
	})
}

// SIGTERM before the instant ends it; nothing was frozen, and a resume before the instant could go on.
func TestAnArmedRunCanBeStopped(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"while it waits": true, "with the guard ready": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			r.must("run", "mount", "db")
			s, at := r.armed(8*time.Second, time.Second)
			if !early {
				r.guardReady()
			}
			s.signal(syscall.SIGTERM)
			code, out := s.ends()
			if code != exitInterrupted {
				t.Errorf("exit %d\n%s", code, out)
			}
			if time.Now().After(at) {
				t.Skip("this machine was too busy to be in time")
			}
			r.restorable(0)
			r.thawedAll()
			time.Sleep(time.Until(at.Add(300 * time.Millisecond)))
			if code, out := r.run("resume"); code != exitFailed || !strings.Contains(out, "too late") {
				t.Errorf("exit %d\n%s", code, out)
			}
			r.restorable(0)
			if left := r.unfinished(); len(left) > 0 {
				t.Errorf("unfinished: %v", left)
			}
		})
	}
}

// Whenever it is killed: nothing is frozen for longer than it may be, there is no second freeze, and nothing is left.
func TestAnArmedRunThatIsKilledNeverFreezesLate(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(r *rig, at time.Time){
		"while it waits":       func(*rig, time.Time) {},
		"with the guard ready": func(r *rig, _ time.Time) { r.guardReady() },
		"in the window":        func(_ *rig, at time.Time) { time.Sleep(time.Until(at.Add(700 * time.Millisecond))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			r.must("run", "mount", "db")
			s, at := r.armed(8*time.Second, 5*time.Second, "--key", "K")
			kill(r, at)
			if err := s.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = s.Wait()
			r.thawedAll()
			time.Sleep(time.Until(at.Add(300 * time.Millisecond)))
			args := s.Args[slices.Index(s.Args, "snapshot")-1:]
			code, out := r.run(args...)
			if code != exitFailed || !strings.Contains(out, "too late") {
				t.Errorf("exit %d\n%s", code, out)
			}
			r.restorable(0)
			r.thawedAll()
			if n := count(r.calls())["CreateSnapshot"]; n > 1 {
				t.Errorf("%d calls", n)
			}
			if next, again := r.run(args...); next != code || !strings.Contains(again, "too late") {
				t.Errorf("exit %d\n%s", next, again)
			}
		})
	}
}
