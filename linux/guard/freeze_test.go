package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func asMounts(disks []disk) (all []Mount) {
	for _, d := range disks {
		all = append(all, Mount{Path: d.path, Dev: d.dev})
	}
	return all
}

// startGuard starts a guard and, whatever the test does, thaws and releases it before the disks go.
func startGuard(t testing.TB, mounts []Mount, o Options) *Guard {
	t.Helper()
	g, err := Start(t.Context(), mounts, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if _, err := g.Thaw(ctx); err != nil {
			t.Error(err)
		}
		if err := g.Release(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func ownedFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+ownedSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestWritersBlockExactlyWhileFrozen(t *testing.T) {
	disks := append(makeDisks(t, "ext4", 2), makeDisks(t, "xfs", 1)...)
	var writers []*writer
	for _, d := range disks {
		writers = append(writers, startWriter(t, d))
	}
	owned := t.TempDir()
	g := startGuard(t, asMounts(disks), Options{MaxHold: longFreeze, OwnedDir: owned, Run: "run-1", Section: "freeze"})
	if len(ownedFiles(t, owned)) != 1 {
		t.Fatal("no owned file before the freeze")
	}
	if err := g.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, w := range writers {
		w.isBlocked() // a write that returned before its file system froze may be noted late
	}
	held := make([]int, len(writers))
	for i, w := range writers {
		held[i] = len(w.moments())
	}
	time.Sleep(300 * time.Millisecond) // not to wait for something: time in which a writer could write
	for i, w := range writers {
		if len(w.moments()) != held[i] {
			t.Errorf("%s was written while frozen", disks[i].path)
		}
	}
	thaw := monotonic()
	h, err := g.Thaw(t.Context())
	if err != nil || !h.Unbroken {
		t.Fatalf("hold %+v, %v", h, err)
	}
	for i, w := range writers {
		if late := time.Duration(w.after(thaw) - thaw); late > slowly {
			t.Errorf("%s: the writer went on %s after the thaw was asked for", disks[i].path, late)
		}
	}
	if h.Frozen < 300*time.Millisecond || h.Frozen > longFreeze || len(h.Mounts) != 3 {
		t.Errorf("hold %+v", h)
	}
	if again, err := g.Thaw(t.Context()); err != nil || again.Frozen != h.Frozen || !again.Unbroken {
		t.Errorf("a second thaw says %+v, %v", again, err)
	}
	if err := g.Release(); err != nil {
		t.Fatal(err)
	}
	if left := ownedFiles(t, owned); len(left) != 0 {
		t.Errorf("left behind: %s", left)
	}
	if err := g.Release(); err != nil {
		t.Errorf("a second release: %v", err)
	}
}

func TestNothingStaysFrozenWhenOneCannotFreeze(t *testing.T) {
	disks := makeDisks(t, "ext4", 2)
	tmpfs := filepath.Join(t.TempDir(), "tmpfs")
	if err := os.Mkdir(tmpfs, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-t", "tmpfs", "none", tmpfs)
	t.Cleanup(func() { command(t, "umount", tmpfs) })
	g := startGuard(t, append(asMounts(disks), Mount{Path: tmpfs}), Options{})
	err := g.Freeze(t.Context())
	if !errors.Is(err, syscall.EOPNOTSUPP) || !strings.Contains(err.Error(), tmpfs) {
		t.Errorf("freezing a tmpfs: %v", err)
	}
	for _, d := range disks {
		if errno := thawPath(d.path); errno != syscall.EINVAL {
			t.Errorf("%s was left frozen (%v)", d.path, errno)
		}
	}
	if h, err := g.Thaw(t.Context()); err != nil || h.Unbroken || h.Reason == "" {
		t.Errorf("hold %+v, %v", h, err)
	}
}

func TestWhatAnotherProcessFrozeStaysFrozen(t *testing.T) {
	disks := makeDisks(t, "ext4", 2)
	freezePath(t, disks[1].path)
	g := startGuard(t, asMounts(disks), Options{})
	err := g.Freeze(t.Context())
	if !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), disks[1].path) {
		t.Errorf("freezing what is frozen: %v", err)
	}
	if _, err := g.Thaw(t.Context()); err != nil {
		t.Error(err)
	}
	if err := g.Release(); err != nil {
		t.Error(err)
	}
	if errno := thawPath(disks[0].path); errno != syscall.EINVAL {
		t.Errorf("the other one was left frozen (%v)", errno)
	}
	if errno := thawPath(disks[1].path); errno != 0 {
		t.Errorf("somebody else's freeze was thawed (%v)", errno)
	}
}

func TestMaxHoldThawsThoughTheParentHangs(t *testing.T) {
	disks := makeDisks(t, "ext4", 2)
	w := startWriter(t, disks[0])
	g := startGuard(t, asMounts(disks), Options{MaxHold: time.Second})
	before := monotonic()
	if err := g.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-g.Broken():
	case <-time.After(slowly):
		t.Fatal("the broken hold was not told")
	}
	w.after(monotonic()) // though nobody calls Thaw
	if stall, until := w.longest(before); time.Duration(until-before) < time.Second || stall > slowly {
		t.Errorf("the writer was held up for %s with a MaxHold of 1s", stall)
	}
	h, err := g.Thaw(t.Context())
	if err != nil || h.Unbroken || !strings.Contains(h.Reason, "longer than 1 s") {
		t.Errorf("hold %+v, %v", h, err)
	}
}

func TestParentThawsWhenTheGuardIsKilled(t *testing.T) {
	disks := makeDisks(t, "ext4", 3)
	w := startWriter(t, disks[0])
	owned := t.TempDir()
	g := startGuard(t, asMounts(disks), Options{MaxHold: longFreeze, OwnedDir: owned})
	if err := g.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.isBlocked()
	killed := monotonic()
	if err := syscall.Kill(g.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-g.Broken()
	if blocked := time.Duration(w.after(killed) - killed); blocked > slowly {
		t.Errorf("the writer was blocked for %s after the guard's death", blocked)
	} else {
		t.Logf("the writer went on %s after the guard's death", blocked)
	}
	h, err := g.Thaw(t.Context())
	if err != nil || h.Unbroken || !strings.Contains(h.Reason, "guard died") {
		t.Errorf("hold %+v, %v", h, err)
	}
	if err := g.Release(); err != nil {
		t.Error(err)
	}
	for _, d := range disks {
		if errno := thawPath(d.path); errno != syscall.EINVAL {
			t.Errorf("%s was left frozen (%v)", d.path, errno)
		}
	}
	if left := ownedFiles(t, owned); len(left) != 0 {
		t.Errorf("left behind: %s", left)
	}
}

func TestFreezeFailsWhenTheGuardIsAlreadyDead(t *testing.T) {
	g := startGuard(t, asMounts(makeDisks(t, "ext4", 1)), Options{})
	_ = syscall.Kill(g.PID(), syscall.SIGKILL)
	<-g.reaped
	if err := g.Freeze(t.Context()); err == nil || !strings.Contains(err.Error(), "guard died") {
		t.Errorf("freezing without a guard: %v", err)
	}
}

func TestSignalsDoNotDisturbTheGuard(t *testing.T) {
	disks := makeDisks(t, "ext4", 1)
	g := startGuard(t, asMounts(disks), Options{})
	if session, err := unix.Getsid(g.PID()); err != nil || session != g.PID() {
		t.Errorf("the guard is in session %d, %v", session, err)
	}
	ignored := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR2,
		syscall.SIGALRM, syscall.SIGPIPE, syscall.SIGTSTP, syscall.SIGTTOU, syscall.SIGPWR, syscall.SIGXCPU}
	for _, s := range ignored {
		_ = syscall.Kill(g.PID(), s)
	}
	if err := g.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range ignored {
		_ = syscall.Kill(g.PID(), s)
	}
	if !frozenNow(t, disks[0].path) {
		t.Error("a signal broke the freeze")
	}
	if h, err := g.Thaw(t.Context()); err != nil || !h.Unbroken {
		t.Errorf("hold %+v, %v", h, err)
	}
}

func TestAStoppedGuardIsWokenByTheThaw(t *testing.T) {
	disks := makeDisks(t, "ext4", 1)
	g := startGuard(t, asMounts(disks), Options{})
	if err := g.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(g.PID(), syscall.SIGSTOP)
	if h, err := g.Thaw(t.Context()); err != nil || !h.Unbroken {
		t.Errorf("hold %+v, %v", h, err)
	}
}

func TestAStoppedGuardStillKeepsMaxHold(t *testing.T) {
	disks := makeDisks(t, "ext4", 1)
	g := startGuard(t, asMounts(disks), Options{MaxHold: time.Second})
	before := time.Now()
	if err := g.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(g.PID(), syscall.SIGSTOP)
	select {
	case <-g.Broken():
	case <-time.After(slowly):
		t.Fatal("a stopped guard kept its freeze")
	}
	if h, err := g.Thaw(t.Context()); err != nil || h.Unbroken {
		t.Errorf("hold %+v, %v", h, err)
	}
	if d := time.Since(before); d > slowly {
		t.Errorf("held for %s with a MaxHold of 1s", d)
	}
}

func TestAThawByAnotherProcessBreaksTheFreeze(t *testing.T) {
	disks := makeDisks(t, "ext4", 2)
	g := startGuard(t, asMounts(disks), Options{})
	if err := g.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ThawMount(disks[1].path); err != nil {
		t.Fatal(err)
	}
	h, err := g.Thaw(t.Context())
	if err != nil || h.Unbroken || !strings.Contains(h.Reason, disks[1].path) {
		t.Errorf("hold %+v, %v", h, err)
	}
	if err := ThawMount(disks[1].path); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "not frozen") {
		t.Errorf("thawing what is not frozen: %v", err)
	}
}

func TestReleaseThawsWhatIsStillFrozen(t *testing.T) {
	disks := makeDisks(t, "ext4", 1)
	owned := t.TempDir()
	g := startGuard(t, asMounts(disks), Options{OwnedDir: owned})
	if err := g.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.Release(); err == nil || !strings.Contains(err.Error(), disks[0].path) {
		t.Errorf("releasing a frozen file system: %v", err)
	}
	<-g.reaped
	if errno := thawPath(disks[0].path); errno != syscall.EINVAL {
		t.Errorf("left frozen (%v)", errno)
	}
}

func TestAThawBeforeAnyFreezeDoesNothing(t *testing.T) {
	disks := makeDisks(t, "ext4", 1)
	g := startGuard(t, asMounts(disks), Options{})
	if h, err := g.Thaw(t.Context()); err != nil || h.Unbroken || h.Frozen != 0 {
		t.Errorf("hold %+v, %v", h, err)
	}
	if err := g.Freeze(t.Context()); err == nil {
		t.Error("a freeze after the thaw went through")
	}
}

func TestFreezeEndsWithItsContext(t *testing.T) {
	disks := makeDisks(t, "ext4", 1)
	g := startGuard(t, asMounts(disks), Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond) // a freeze takes several RCU grace periods
	defer cancel()
	if err := g.Freeze(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Skipf("the freeze was faster than its context: %v", err)
	}
	if errno := thawPath(disks[0].path); errno != syscall.EINVAL {
		t.Errorf("left frozen (%v)", errno)
	}
}

func TestStartRefuses(t *testing.T) {
	d := makeDisks(t, "ext4", 1)[0]
	inside := filepath.Join(d.path, "inside")
	bind := filepath.Join(t.TempDir(), "bind")
	for _, dir := range []string{inside, bind} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "mount", "--bind", inside, bind)
	t.Cleanup(func() { command(t, "umount", bind) })
	for _, c := range []struct {
		name   string
		mounts []Mount
		want   string
	}{
		{"the root file system", []Mount{{Path: "/"}}, "it is the root file system"},
		{"a folder inside", []Mount{{Path: inside}}, "not a mount point (it is on " + d.path + ")"},
		{"another device", []Mount{{Path: d.path, Dev: "1:2"}}, "it is on device " + d.dev + ", not on 1:2"},
		{"one file system twice", []Mount{{Path: d.path}, {Path: bind}}, "it is the same file system as " + d.path},
		{"nothing there", []Mount{{Path: d.path + "/none"}}, "no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := Start(t.Context(), c.mounts, Options{})
			if err == nil {
				_ = g.Release()
				t.Fatal("it was not refused")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want %q in it", err, c.want)
			}
		})
	}
}

func TestStartFailsWithoutAGuardProgram(t *testing.T) {
	d := makeDisks(t, "ext4", 1)[0]
	owned := t.TempDir()
	for exe, want := range map[string]string{"/no/such/program": "no such file", "/bin/true": "exited at once"} {
		if _, err := Start(t.Context(), []Mount{{Path: d.path}}, Options{Executable: exe, OwnedDir: owned}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a guard of %s: %v", exe, err)
		}
	}
	if left := ownedFiles(t, owned); len(left) != 0 {
		t.Errorf("left behind: %s", left)
	}
}

// mountsOfAnyDevice leaves out the device: of a btrfs stat(2) tells another than the mount table.
func mountsOfAnyDevice(disks []disk) (all []Mount) {
	for _, d := range disks {
		all = append(all, Mount{Path: d.path})
	}
	return all
}

// Another tool thaws and freezes again inside our window: our thaw succeeds as if nothing had been, and what was written in
// between tells.
func TestAThawAndAFreezeByAnotherProcessBreakTheFreeze(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			disks := makeDisks(t, kind, 2)
			g := startGuard(t, mountsOfAnyDevice(disks), Options{})
			if err := g.Freeze(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := ThawMount(disks[1].path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(disks[1].path, "written"), []byte("in between"), 0o600); err != nil {
				t.Fatal(err)
			}
			freezePath(t, disks[1].path)
			h, err := g.Thaw(t.Context())
			if err != nil || h.Unbroken || !h.FrozenByOthers || !strings.Contains(h.Reason, disks[1].path) || !strings.Contains(h.Reason, "froze it again") {
				t.Errorf("hold %+v, %v", h, err)
			}
		})
	}
}

// Nothing that a busy file system does by itself is taken for somebody else's thaw.
func TestNoFreezeUnderLoadIsTakenForBroken(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			disks := makeDisks(t, kind, 1)
			over := make(chan struct{})
			var writers sync.WaitGroup
			defer writers.Wait()
			defer close(over)
			for n := range 3 {
				writers.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-over:
							return
						default:
						}
						name := filepath.Join(disks[0].path, fmt.Sprintf("%d-%d", n, i%20))
						if f, err := os.Create(name); err == nil {
							_, _ = f.Write(make([]byte, 64<<10))
							if i%3 == 0 {
								_ = f.Sync()
							}
							f.Close()
						}
					}
				})
			}
			for range 15 {
				g := startGuard(t, mountsOfAnyDevice(disks), Options{})
				if err := g.Freeze(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(20 * time.Millisecond) // as long as a call to EC2
				if h, err := g.Thaw(t.Context()); err != nil || !h.Unbroken {
					t.Errorf("hold %+v, %v", h, err)
				}
				if err := g.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
