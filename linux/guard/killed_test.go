package guard

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parentRole is a program that freezes and then hangs in its API call for good.
func parentRole() int {
	paths := strings.Split(os.Getenv("GUARD_TEST_MOUNTS"), "\n")
	o := Options{OwnedDir: os.Getenv("GUARD_TEST_OWNED"), Run: "run-7", Section: "freeze", Expedite: os.Getenv("GUARD_TEST_EXPEDITE") != ""}
	o.MaxHold, _ = time.ParseDuration(os.Getenv("GUARD_TEST_HOLD"))
	var mounts []Mount
	for _, p := range paths {
		mounts = append(mounts, Mount{Path: p})
	}
	g, err := Start(context.Background(), mounts, o)
	if err != nil {
		fmt.Println("failed", err)
		return 1
	}
	var f *os.File
	if os.Getenv("GUARD_TEST_WRITES") != "" {
		if f, err = os.Create(filepath.Join(paths[0], "parent")); err != nil {
			return 1
		}
	}
	fmt.Println("freezing", g.PID())
	if err := g.Freeze(context.Background()); err != nil {
		fmt.Println("failed", err)
		select {}
	}
	if f != nil {
		go func() { // sleeps in the kernel now, whatever signal comes
			_, _ = f.WriteString("x")
		}()
		for { // until it does
			tasks, _ := filepath.Glob("/proc/self/task/*/stat")
			for _, name := range tasks {
				if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), ") D ") {
					fmt.Println("frozen")
					select {}
				}
			}
			time.Sleep(time.Millisecond)
		}
	}
	fmt.Println("frozen")
	for {
		time.Sleep(time.Hour)
	}
}

// child is a running parentRole.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *bufio.Scanner
	guard identity
	owned string
}

func startChild(t *testing.T, disks []disk, env ...string) *child {
	t.Helper()
	var paths []string
	for _, d := range disks {
		paths = append(paths, d.path)
	}
	v := &child{t: t, cmd: exec.Command("/proc/self/exe"), owned: t.TempDir()}
	v.cmd.Env = append(os.Environ(), "GUARD_TEST_ROLE=parent", "GUARD_TEST_MOUNTS="+strings.Join(paths, "\n"), "GUARD_TEST_OWNED="+v.owned)
	v.cmd.Env = append(v.cmd.Env, env...)
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	v.out = bufio.NewScanner(out)
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, d := range disks {
			thawPath(d.path)
		}
		_ = v.cmd.Process.Kill()
		_ = v.cmd.Wait()
		if v.guard.PID != 0 && v.guard.alive() {
			_ = syscall.Kill(v.guard.PID, syscall.SIGKILL)
		}
		for _, d := range disks {
			thawPath(d.path)
		}
	})
	var pid int
	if _, err := fmt.Sscanf(v.line(), "freezing %d", &pid); err != nil {
		t.Fatal(err)
	}
	if v.guard, err = identify(pid); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *child) line() string {
	v.t.Helper()
	if !v.out.Scan() {
		v.t.Fatal("the parent said nothing")
	}
	return v.out.Text()
}

// kill sends SIGKILL to the parent.
func (v *child) kill() { _ = v.cmd.Process.Kill() }

// identity is the parent's.
func (v *child) identity() identity {
	v.t.Helper()
	parent, err := identify(v.cmd.Process.Pid)
	if err != nil {
		v.t.Fatal(err)
	}
	return parent
}

// killBoth kills parent and guard so that neither can act on the other's death, and returns when both are as dead as
// they can be.
func (v *child) killBoth() {
	v.t.Helper()
	parent := v.identity()
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		_ = syscall.Kill(v.guard.PID, s)
		_ = v.cmd.Process.Signal(s)
	}
	waitUntil(v.t, slowly, "both die", func() bool { return !v.guard.alive() && !parent.alive() })
}

// waitUntil waits up to the limit for a condition.
func waitUntil(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// What thaws by itself is given longFreeze: a writer that goes on within slowly, which a busy machine does too, was freed
// by whoever saw the death, and not by the end of the hold.
const (
	longFreeze = 25 * time.Second
	slowly     = 12 * time.Second
)

func TestTheGuardThawsWhenTheParentIsKilled(t *testing.T) {
	for name, env := range map[string]string{
		"":                                 "GUARD_TEST_NONE=1",
		"while it writes to what it froze": "GUARD_TEST_WRITES=1", // its end of the pipe stays open: it cannot die
		"and grace periods are expedited":  "GUARD_TEST_EXPEDITE=1",
	} {
		t.Run(name, func(t *testing.T) {
			knob := readKnob(t)
			disks := makeDisks(t, "ext4", 3)
			w := startWriter(t, disks[1])
			blocked := killWhileFrozen(t, startChild(t, disks, env, "GUARD_TEST_HOLD="+longFreeze.String()), w)
			t.Logf("the writer went on %s after the kill", blocked)
			if blocked > slowly {
				t.Fatalf("the writer was blocked for %s after the kill", blocked)
			}
			for _, d := range disks {
				if errno := thawPath(d.path); errno != syscall.EINVAL {
					t.Errorf("%s was left frozen (%v)", d.path, errno)
				}
			}
			if now := readKnob(t); now != knob {
				t.Errorf("rcu_expedited is %s, was %s", now, knob)
			}
		})
	}
}

// killWhileFrozen kills the parent once it has frozen and says how long the writer stayed blocked.
func killWhileFrozen(t *testing.T, v *child, w *writer) time.Duration {
	t.Helper()
	if l := v.line(); l != "frozen" {
		t.Fatal(l)
	}
	w.isBlocked()
	killed := monotonic()
	v.kill()
	blocked := time.Duration(w.after(killed) - killed)
	waitUntil(t, slowly, "the guard leaves", v.guard.gone)
	if left := ownedFiles(t, v.owned); len(left) != 0 {
		t.Errorf("left behind: %s", left)
	}
	return blocked
}

func TestTheGuardThawsWhenTheParentIsKilledInMidFreeze(t *testing.T) {
	disks := makeDisks(t, "ext4", 3)
	w := startWriter(t, disks[0])
	for _, delay := range []time.Duration{0, 2, 5, 10, 15, 20, 30, 40} {
		v := startChild(t, disks, "GUARD_TEST_HOLD="+longFreeze.String())
		time.Sleep(delay * time.Millisecond)
		killed := monotonic()
		v.kill()
		waitUntil(t, slowly, "the guard leaves", v.guard.gone)
		left := monotonic()
		for _, d := range disks {
			if errno := thawPath(d.path); errno != syscall.EINVAL {
				t.Errorf("killed after %d ms: %s was left frozen (%v)", delay, d.path, errno)
			}
		}
		next := w.after(left)
		t.Logf("killed after %2d ms: guard gone %s later, next write %s after that", delay, time.Duration(left-killed), time.Duration(next-left))
		if late := time.Duration(next - left); late > slowly {
			t.Errorf("killed after %d ms: the writer was blocked for %s", delay, late)
		}
	}
}

func TestTheParentThawsWhenTheGuardIsKilledInMidFreeze(t *testing.T) {
	disks := makeDisks(t, "ext4", 3)
	for _, delay := range []time.Duration{0, 2, 5, 10, 20, 30, 40} {
		g := startGuard(t, asMounts(disks), Options{})
		go func() {
			time.Sleep(delay * time.Millisecond)
			_ = syscall.Kill(g.PID(), syscall.SIGKILL)
		}()
		err := g.Freeze(t.Context())
		if err == nil {
			<-g.Broken()
		}
		if h, err := g.Thaw(t.Context()); err != nil || h.Unbroken {
			t.Errorf("killed after %d ms: hold %+v, %v", delay, h, err)
		}
		if err := g.Release(); err != nil {
			t.Error(err)
		}
		for _, d := range disks {
			if errno := thawPath(d.path); errno != syscall.EINVAL {
				t.Errorf("killed after %d ms: %s was left frozen (%v)", delay, d.path, errno)
			}
		}
	}
}

func readKnob(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(expeditedKnob)
	if err != nil {
		t.Skip(err)
	}
	return strings.TrimSpace(string(b))
}
