package guard

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// parentRole is a program that freezes and then hangs in its API call for good.
func parentRole() int {
	paths := strings.Split(os.Getenv("GUARD_TEST_MOUNTS"), "\n")
	o := Options{OwnedDir: os.Getenv("GUARD_TEST_OWNED"), Run: "run-7", Section: "freeze", Expedite: os.Getenv("GUARD_TEST_EXPEDITE") != ""}
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

// victim is a running parentRole.
type victim struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *bufio.Scanner
	guard identity
	owned string
}

func startVictim(t *testing.T, disks []disk, env ...string) *victim {
	t.Helper()
	var paths []string
	for _, d := range disks {
		paths = append(paths, d.path)
	}
	v := &victim{t: t, cmd: exec.Command("/proc/self/exe"), owned: t.TempDir()}
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

func (v *victim) line() string {
	v.t.Helper()
	if !v.out.Scan() {
		v.t.Fatal("the parent said nothing")
	}
	return v.out.Text()
}

// kill sends SIGKILL to the parent.
func (v *victim) kill() { _ = v.cmd.Process.Kill() }

// identity is the parent's.
func (v *victim) identity() identity {
	v.t.Helper()
	parent, err := identify(v.cmd.Process.Pid)
	if err != nil {
		v.t.Fatal(err)
	}
	return parent
}

// killBoth kills parent and guard so that neither can act on the other's death, and returns when both are as dead as
// they can be.
func (v *victim) killBoth() {
	v.t.Helper()
	parent := v.identity()
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		_ = syscall.Kill(v.guard.PID, s)
		_ = v.cmd.Process.Signal(s)
	}
	eventually(v.t, 5*time.Second, "both die", func() bool { return !v.guard.alive() && !parent.alive() })
}

// eventually waits up to the limit for a condition.
func eventually(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// promptly is how long a writer may stay blocked after a kill. A busy machine gets a second and a third try; slowly is
// too long on any.
const (
	promptly = 100 * time.Millisecond
	slowly   = 2 * time.Second
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
			for try := 1; ; try++ {
				blocked := killWhileFrozen(t, startVictim(t, disks, env), w)
				t.Logf("the writer went on %s after the kill", blocked)
				if blocked > slowly || blocked > promptly && try == 3 {
					t.Fatalf("the writer was blocked for %s after the kill", blocked)
				} else if blocked <= promptly {
					break
				}
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
func killWhileFrozen(t *testing.T, v *victim, w *writer) time.Duration {
	t.Helper()
	if l := v.line(); l != "frozen" {
		t.Fatal(l)
	}
	w.standsStill()
	killed := monotonic()
	v.kill()
	blocked := time.Duration(w.after(killed) - killed)
	eventually(t, 5*time.Second, "the guard leaves", v.guard.gone)
	if left := ownedFiles(t, v.owned); len(left) != 0 {
		t.Errorf("left behind: %s", left)
	}
	return blocked
}

func TestTheGuardThawsWhenTheParentIsKilledInMidFreeze(t *testing.T) {
	disks := makeDisks(t, "ext4", 3)
	w := startWriter(t, disks[0])
	for _, delay := range []time.Duration{0, 2, 5, 10, 15, 20, 30, 40} {
		v := startVictim(t, disks)
		time.Sleep(delay * time.Millisecond)
		killed := monotonic()
		v.kill()
		eventually(t, 5*time.Second, "the guard leaves", v.guard.gone)
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
		if h, err := g.Thaw(t.Context()); err != nil || h.Held {
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

func TestThawOwnedFreesWhatBothLeft(t *testing.T) {
	for name, env := range map[string]string{
		"": "GUARD_TEST_NONE=1",
		"and a thread that cannot die keeps the lock": "GUARD_TEST_WRITES=1",
		"and the expedited grace periods":             "GUARD_TEST_EXPEDITE=1",
	} {
		t.Run(name, func(t *testing.T) {
			knob := readKnob(t)
			disks := append(makeDisks(t, "ext4", 2), makeDisks(t, "xfs", 1)...)
			w := startWriter(t, disks[0])
			v := startVictim(t, disks, env)
			if l := v.line(); l != "frozen" {
				t.Fatal(l)
			}
			frozeBy := monotonic()
			v.killBoth()
			time.Sleep(50 * time.Millisecond)
			if between(w.moments(), frozeBy+int64(20*time.Millisecond), monotonic()) {
				t.Fatal("the writer went on before anybody thawed")
			}
			done, err := ThawOwned(t.Context(), v.owned, false)
			if err != nil || len(done) != len(disks) {
				t.Fatalf("%+v, %v", done, err)
			}
			for i, d := range done {
				if d.Outcome != WasFrozen || d.Path != disks[i].path || d.Run != "run-7" || d.Section != "freeze" {
					t.Errorf("%+v", d)
				}
			}
			w.after(monotonic())
			for _, d := range disks {
				if frozenNow(t, d.path) {
					t.Errorf("%s is still frozen", d.path)
				}
			}
			if now := readKnob(t); now != knob {
				t.Errorf("rcu_expedited is %s, was %s", now, knob)
			}
			if done, err := ThawOwned(t.Context(), v.owned, false); err != nil || len(done) != 0 {
				t.Errorf("a second time: %+v, %v", done, err)
			}
		})
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

// A file system whose image lies on a frozen one takes as long to freeze as that stays frozen: its dirty data cannot
// be written.
func makeSlowDisk(t *testing.T) (under, slow disk) {
	t.Helper()
	under = makeDisks(t, "ext4", 1)[0]
	slow = makeDisksIn(t, under.path, "ext4", 1)[0]
	// The image must have its blocks, or every write to it would be an allocation that waits much the same; what
	// matters is that the cleanup thaws the lower one first.
	t.Cleanup(func() { thawPath(under.path) })
	return under, slow
}

func dirty(t *testing.T, d disk) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.path, "dirty"), make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestALateFreezeIsThawedWhenItReturns(t *testing.T) {
	under, slow := makeSlowDisk(t)
	quick := makeDisks(t, "ext4", 1)[0]
	g := startGuard(t, asMounts([]disk{slow, quick}), Options{MaxHold: 300 * time.Millisecond})
	t.Cleanup(func() { thawPath(under.path) })
	dirty(t, slow)
	freezePath(t, under.path)
	err := g.Freeze(t.Context())
	if err == nil || !strings.Contains(err.Error(), slow.path) {
		t.Fatalf("a freeze that hangs: %v", err)
	}
	if errno := thawPath(quick.path); errno != syscall.EINVAL {
		t.Errorf("%s was left frozen (%v)", quick.path, errno)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if h, err := g.Thaw(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), slow.path) || h.Held {
		t.Errorf("thawing while a freeze hangs: %+v, %v", h, err)
	}
	if err := g.Release(); err == nil {
		t.Error("the guard was released with a freeze under way")
	}
	thawPath(under.path)
	h, err := g.Thaw(t.Context())
	if err != nil || h.Held || h.Frozen < 300*time.Millisecond {
		t.Errorf("hold %+v, %v", h, err)
	}
	if errno := thawPath(slow.path); errno != syscall.EINVAL {
		t.Errorf("the late freeze stayed (%v)", errno)
	}
	<-g.reaped // as Release promised
}

func TestAKilledGuardWhoseFreezeIsLate(t *testing.T) {
	under, slow := makeSlowDisk(t)
	quick := makeDisks(t, "ext4", 1)[0]
	w := startWriter(t, quick)
	g := startGuard(t, asMounts([]disk{slow, quick}), Options{MaxHold: time.Second})
	t.Cleanup(func() { thawPath(under.path) })
	dirty(t, slow)
	freezePath(t, under.path)
	failed := make(chan error)
	go func() { failed <- g.Freeze(context.Background()) }()
	eventually(t, 5*time.Second, "the quick one freezes", func() bool {
		return g.is(func() bool { return g.state[1].phase == frozen })
	})
	killed := monotonic()
	_ = syscall.Kill(g.PID(), syscall.SIGKILL)
	// The thread in FIFREEZE keeps the dead guard's socket open, so the parent learns of it by MaxHold alone.
	if blocked := time.Duration(w.after(killed+int64(20*time.Millisecond)) - killed); blocked > time.Second+overdue+answerWithin+time.Second {
		t.Errorf("the writer was blocked for %s", blocked)
	}
	thawPath(under.path)
	if err := <-failed; err == nil {
		t.Error("the freeze was said to have succeeded")
	}
	if h, err := g.Thaw(t.Context()); err != nil || h.Held {
		t.Errorf("hold %+v, %v", h, err)
	}
	if errno := thawPath(slow.path); errno != syscall.EINVAL {
		t.Errorf("the late freeze stayed (%v)", errno)
	}
}

func TestThawOwnedWaitsForTheDeadGuardsLateFreeze(t *testing.T) {
	under, slow := makeSlowDisk(t)
	quick := makeDisks(t, "ext4", 1)[0]
	w := startWriter(t, quick)
	dirty(t, slow)
	freezePath(t, under.path)
	t.Cleanup(func() { thawPath(under.path) })
	v := startVictim(t, []disk{quick, slow})
	t.Cleanup(func() { thawPath(under.path) })
	w.standsStill()
	v.killBoth()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	done, err := ThawOwned(ctx, v.owned, false)
	if err == nil || len(done) != 2 || done[0].Outcome != WasFrozen || done[1].Outcome != NotThawed {
		t.Fatalf("%+v, %v", done, err)
	}
	time.AfterFunc(100*time.Millisecond, func() { thawPath(under.path) })
	done, err = ThawOwned(t.Context(), v.owned, false)
	if err != nil || len(done) != 2 || done[0].Outcome != WasNotFrozen || done[1].Outcome == NotThawed {
		t.Errorf("%+v, %v", done, err) // the first call's thaw still waits in this process and may be the one that did it
	}
	if errno := thawPath(slow.path); errno != syscall.EINVAL {
		t.Errorf("the late freeze stayed (%v)", errno)
	}
}

func TestThawOwnedLeavesALiveFreezeAlone(t *testing.T) {
	disks := makeDisks(t, "ext4", 1)
	owned := t.TempDir()
	g := startGuard(t, asMounts(disks), Options{OwnedDir: owned})
	if err := g.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	done, err := ThawOwned(t.Context(), owned, false)
	if err != nil || len(done) != 1 || done[0].Outcome != IsLive {
		t.Errorf("%+v, %v", done, err)
	}
	if !frozenNow(t, disks[0].path) {
		t.Error("it thawed a live run's freeze")
	}
	done, err = ThawOwned(t.Context(), owned, true)
	if err != nil || len(done) != 1 || done[0].Outcome != WasFrozen {
		t.Errorf("by force: %+v, %v", done, err)
	}
	if h, err := g.Thaw(t.Context()); err != nil || h.Held {
		t.Errorf("after a forced thaw: %+v, %v", h, err)
	}
}

func TestThawOwnedOfAStoppedGuardWithoutParent(t *testing.T) {
	disks := makeDisks(t, "ext4", 1)
	v := startVictim(t, disks)
	if l := v.line(); l != "frozen" {
		t.Fatal(l)
	}
	parent := v.identity()
	_ = syscall.Kill(v.guard.PID, syscall.SIGSTOP)
	v.kill()
	eventually(t, 5*time.Second, "the parent dies", func() bool { return !parent.alive() })
	done, err := ThawOwned(t.Context(), v.owned, false)
	if err != nil || len(done) != 1 || done[0].Outcome != WasFrozen {
		t.Errorf("%+v, %v", done, err)
	}
	_ = syscall.Kill(v.guard.PID, syscall.SIGCONT)
	eventually(t, 5*time.Second, "the guard leaves", v.guard.gone)
}

func TestThawOwnedFindsTheFileSystemWhereverItIsMounted(t *testing.T) {
	d := makeDisks(t, "ext4", 1)[0]
	other := t.TempDir()
	command(t, "mount", d.loop, other)
	unmounted := false
	t.Cleanup(func() {
		thawPath(other)
		if !unmounted {
			command(t, "umount", other)
		}
	})
	owned := t.TempDir()
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	write := func(boot string, m ownedMount) {
		t.Helper()
		o, err := createOwned(owned, "run", "s")
		if err != nil {
			t.Fatal(err)
		}
		dead := identity{PID: os.Getpid(), Start: 1}
		if err := o.write(ownedRecord{Schema: 1, Boot: boot, Parent: dead, Guard: dead, Mounts: []ownedMount{m}}); err != nil {
			t.Fatal(err)
		}
		o.file.Close()
	}
	gone := ownedMount{Path: "/no/longer/there", Dev: d.dev}
	write(boot, gone)
	freezePath(t, d.path)
	done, err := ThawOwned(t.Context(), owned, false)
	if err != nil || len(done) != 1 || done[0].Outcome != WasFrozen || (done[0].Path != other && done[0].Path != d.path) {
		t.Errorf("mounted elsewhere: %+v, %v", done, err)
	}
	unmounted = unix.Unmount(other, 0) == nil

	write("another boot", gone)
	freezePath(t, d.path)
	if done, err := ThawOwned(t.Context(), owned, false); err != nil || len(done) != 0 || len(ownedFiles(t, owned)) != 0 {
		t.Errorf("of another boot: %+v, %v", done, err)
	}
	if errno := thawPath(d.path); errno != 0 {
		t.Errorf("it thawed for another boot's file (%v)", errno)
	}

	write(boot, ownedMount{Path: d.path, Dev: "1:99"})
	freezePath(t, d.path)
	if done, err := ThawOwned(t.Context(), owned, false); err != nil || len(done) != 1 || done[0].Outcome != WasRemoved {
		t.Errorf("of another device: %+v, %v", done, err)
	}
	if errno := thawPath(d.path); errno != 0 {
		t.Errorf("it thawed another device (%v)", errno)
	}
}
