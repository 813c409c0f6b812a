package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"snaptastic/linux/guard"
)

// A stopwatch writes to a file system all the time and notes when each write
// began and ended: a write to a frozen file system ends when it is thawed.
type stopwatch struct {
	mu      sync.Mutex
	began   time.Time
	writing bool
	longest time.Duration
	until   time.Time // end of the longest
}

func startStopwatch(t *testing.T, mount string) *stopwatch {
	t.Helper()
	f, err := os.Create(filepath.Join(mount, "stopwatch"))
	if err != nil {
		t.Fatal(err)
	}
	w := &stopwatch{}
	stop, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			w.mu.Lock()
			w.began, w.writing = time.Now(), true
			w.mu.Unlock()
			_, err := f.WriteAt([]byte("x"), i%4096)
			w.mu.Lock()
			w.writing = false
			if now := time.Now(); err == nil && now.Sub(w.began) > w.longest {
				w.longest, w.until = now.Sub(w.began), now
			}
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = guard.ThawMount(mount) // whatever the test left
		close(stop)
		<-over
		_ = f.Close()
	})
	return w
}

// blocked is how long the present write has been waiting.
func (w *stopwatch) blocked() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.writing {
		return 0
	}
	return time.Since(w.began)
}

// freed is when the longest write ended, and how long it took.
func (w *stopwatch) freed() (time.Time, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.until, w.longest
}

const isBlocked = 400 * time.Millisecond

func (w *stopwatch) waitBlocked() bool { return w.blocked() > isBlocked }
func (w *stopwatch) goesOn() bool      { return w.blocked() < 20*time.Millisecond }

// guardOf is the guard process of a live run.
func guardOf(t *testing.T, run int) int {
	t.Helper()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		b, _ := os.ReadFile(s)
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(s), "cmdline"))
		if len(f) > 1 && f[1] == strconv.Itoa(run) && strings.HasPrefix(string(cmdline), "snaptastic-guard") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(s)))
			return pid
		}
	}
	t.Fatalf("run %d has no guard", run)
	return 0
}

// blockedTime begins a snapshot that hangs in its one call, and returns it when
// everything stands still.
func (r *rig) blockedTime(w *stopwatch, hang time.Duration) *exec.Cmd {
	r.t.Helper()
	r.hang("CreateSnapshot*", hang, "before")
	cmd := r.background("run", "snapshot", "db")
	r.eventually("freeze", w.waitBlocked)
	return cmd
}

// A killed run or a killed guard: whoever is left thaws at once, and not when
// the hold ends or EC2 answers, which is far later.
func TestAWriterGoesOnSoonAfterAKill(t *testing.T) {
	t.Parallel()
	for _, victim := range []string{"the run", "the guard"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			r.hooked("  max_hold = \"50s\"\n")
			r.must("run", "mount", "db")
			r.precious()
			w := startStopwatch(t, r.mounts[1])
			cmd := r.blockedTime(w, time.Minute)
			pid := cmd.Process.Pid
			if victim == "the guard" {
				pid = guardOf(t, pid)
			}
			killed := time.Now()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			r.eventually("thaw", w.goesOn)
			until, _ := w.freed()
			late := until.Sub(killed)
			t.Logf("the writer went on %s after %s was killed", late, victim)
			if late > 20*time.Second {
				t.Errorf("the writer went on %s after the kill", late)
			}
			r.calm()
			if err := cmd.Wait(); err == nil {
				t.Fatal("the run succeeded")
			}
			for _, s := range r.snapshots() {
				if s.Tags["snaptastic:state"] != "unverified" || victim == "the guard" {
					t.Errorf("snapshot %s is left %s", s.ID, s.Tags["snaptastic:state"])
				}
			}
			for _, id := range r.unfinished() {
				r.must("rollback", id)
			}
			r.check(true)
		})
	}
}

// A call that hangs ends the freeze at max_hold and the run with it; what the
// call made all the same is deleted, and nothing is labelled.
func TestFaultCreateSnapshotHangs(t *testing.T) {
	t.Parallel()
	for volumes, when := range map[int]string{1: "after", 2: "after", 3: "before"} {
		t.Run(fmt.Sprintf("%d volumes, %s the effect", volumes, when), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, volumes, "ext4")
			r.hooked("  max_hold = \"1s\"\n")
			r.must("run", "mount", "db")
			r.precious()
			w := startStopwatch(t, r.mounts[0])
			r.hang("CreateSnapshot*", 20*time.Second, when)
			out := r.wants(1, "the freeze ended before EC2 answered", "run", "snapshot", "db")
			if !strings.Contains(out, "max_hold") {
				t.Errorf("it does not say what to do:\n%s", out)
			}
			if _, longest := w.freed(); longest < 500*time.Millisecond || longest > 15*time.Second {
				t.Errorf("the writer was blocked for %s, want max_hold, 1s, and not the 20s until EC2 answers", longest)
			}
			r.calm()
			if s := r.snapshots(); len(s) > 0 {
				t.Errorf("snapshots are left: %v", s)
			}
			r.check(true)
		})
	}
}

// Run and guard both killed: everything stands still until `thaw --owned` or
// the next resume, which then finishes the snapshot.
func TestFaultKilledWhileFrozen(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"thaw --owned", "resume"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			r.must("run", "mount", "db")
			r.precious()
			w := startStopwatch(t, r.mounts[0])
			cmd := r.blockedTime(w, 20*time.Second)
			both := []int{cmd.Process.Pid, guardOf(t, cmd.Process.Pid)}
			for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // neither sees the other die
				for _, pid := range both {
					_ = syscall.Kill(pid, s)
				}
			}
			_ = cmd.Wait()
			time.Sleep(isBlocked)
			if w.goesOn() {
				t.Fatal("somebody thawed")
			}
			r.calm()
			out := r.must(strings.Fields(by)...)
			if by != "resume" && !strings.Contains(out, r.mounts[1]+": thawed (run ") {
				t.Errorf("it does not say what it thawed:\n%s", out)
			}
			r.eventually("thaw", w.goesOn)
			r.must("resume")
			if n := len(r.snapshots()); n != 2 {
				t.Errorf("%d snapshots", n)
			}
			r.check(true)
			r.wants(0, "nothing was left frozen", "thaw", "--owned")
		})
	}
}
