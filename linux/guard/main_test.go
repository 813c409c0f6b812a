package guard

import (
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

// TestMain: this binary is its own guard, and its own parent to be killed.
func TestMain(m *testing.M) {
	Enter()
	if role := os.Getenv("GUARD_TEST_ROLE"); role != "" {
		os.Exit(roles[role]())
	}
	os.Exit(m.Run())
}

// disk is a loop device with a file system, mounted for one test.
type disk struct {
	path, dev, loop string
}

// watchdogAfter is how long a test's file systems may stay frozen before a child process thaws them, so that a test
// that hangs does not leave processes asleep for good.
const watchdogAfter = time.Minute

// makeDisks makes n file systems of a kind. On every way out each is thawed before it is unmounted.
func makeDisks(t testing.TB, kind string, n int) []disk {
	t.Helper()
	return makeDisksIn(t, t.TempDir(), kind, n)
}

func makeDisksIn(t testing.TB, dir, kind string, n int) []disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount and freeze")
	}
	for _, tool := range []string{"losetup", "mount", "umount", "mkfs." + kind} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	var disks []disk
	for i := range n {
		image := filepath.Join(dir, fmt.Sprintf("%s%d.img", kind, i))
		f, err := os.Create(image)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(320 << 20); err != nil { // the least that mkfs.xfs takes is 300 MiB
			t.Fatal(err)
		}
		f.Close()
		args := []string{"-q", image}
		if kind == "ext4" {
			args = []string{"-q", "-F", image}
		}
		command(t, "mkfs."+kind, args...)
		d := disk{path: filepath.Join(dir, fmt.Sprintf("%s %d", kind, i))} // with a blank, which mountinfo escapes
		if err := os.Mkdir(d.path, 0o755); err != nil {
			t.Fatal(err)
		}
		loop, err := exec.Command("losetup", "-f", "--show", image).CombinedOutput()
		if err != nil {
			t.Skipf("needs loop devices: %v: %s", err, loop)
		}
		d.loop = strings.TrimSpace(string(loop))
		t.Cleanup(func() { command(t, "losetup", "-d", d.loop) })
		command(t, "mount", d.loop, d.path)
		t.Cleanup(func() {
			thawPath(d.path)
			for range 500 { // a writer that was just thawed may still be leaving
				if unix.Unmount(d.path, 0) == nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Errorf("cannot unmount %s", d.path)
		})
		var st unix.Stat_t
		if err := unix.Stat(d.path, &st); err != nil {
			t.Fatal(err)
		}
		d.dev = fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
		disks = append(disks, d)
	}
	watchdog(t, disks)
	t.Cleanup(func() { // runs before everything above: writers sleep until it did
		for _, d := range disks {
			thawPath(d.path)
		}
	})
	return disks
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func thawPath(path string) syscall.Errno {
	f, err := os.Open(path)
	if err != nil {
		return syscall.ENOENT
	}
	defer f.Close()
	return thawFS(int(f.Fd()))
}

func freezePath(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if errno := freezeFS(int(f.Fd())); errno != 0 {
		t.Fatal(errno)
	}
}

// watchdog starts a child that thaws the disks when the test takes too long, or its process is gone.
func watchdog(t testing.TB, disks []disk) {
	t.Helper()
	paths := make([]string, len(disks))
	for i, d := range disks {
		paths[i] = d.path
	}
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), "GUARD_TEST_ROLE=watchdog", "GUARD_TEST_MOUNTS="+strings.Join(paths, "\n"))
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.Dir = "/"
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
}

var roles = map[string]func() int{
	"watchdog": func() int {
		parent := os.Getppid()
		for end := time.Now().Add(watchdogAfter); time.Now().Before(end) && os.Getppid() == parent; {
			time.Sleep(100 * time.Millisecond)
		}
		for range 50 {
			for p := range strings.SplitSeq(os.Getenv("GUARD_TEST_MOUNTS"), "\n") {
				thawPath(p)
			}
			time.Sleep(100 * time.Millisecond)
		}
		return 0
	},
	"writer": writerRole,
	"parent": parentRole,
}

// frozenNow tells for a test whether a file system is frozen: by freezing it, which answers EBUSY when it is, and
// thawing it again at once.
func frozenNow(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	switch errno := freezeFS(int(f.Fd())); errno {
	case 0:
		thawFS(int(f.Fd()))
		return false
	case syscall.EBUSY:
		return true
	default:
		t.Fatal(errno)
		return false
	}
}

// writer is a child process that appends the time to a file, over and over, and reports each moment after the write
// returned.
type writer struct {
	t    *testing.T
	cmd  *exec.Cmd
	path string
}

func startWriter(t *testing.T, d disk) *writer {
	t.Helper()
	w := &writer{t: t, path: filepath.Join(t.TempDir(), "writes")} // on the root file system, never frozen
	w.cmd = exec.Command("/proc/self/exe")
	w.cmd.Env = append(os.Environ(), "GUARD_TEST_ROLE=writer", "GUARD_TEST_MOUNTS="+d.path, "GUARD_TEST_OUT="+w.path)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		thawPath(d.path)
		_ = w.cmd.Process.Kill()
		_ = w.cmd.Wait()
	})
	w.waitFor(func(moments []int64) bool { return len(moments) > 10 })
	return w
}

// writerRole writes every millisecond and notes the monotonic moments at which a write to the disk had returned.
func writerRole() int {
	f, err := os.Create(filepath.Join(os.Getenv("GUARD_TEST_MOUNTS"), "log"))
	if err != nil {
		return 1
	}
	out, err := os.Create(os.Getenv("GUARD_TEST_OUT"))
	if err != nil {
		return 1
	}
	for {
		if _, err := fmt.Fprintln(f, monotonic()); err != nil {
			return 1
		}
		fmt.Fprintln(out, monotonic())
		time.Sleep(time.Millisecond)
	}
}

func (w *writer) moments() (all []int64) {
	b, err := os.ReadFile(w.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for _, line := range lines[:len(lines)-1] {
		var n int64
		if _, err := fmt.Sscan(line, &n); err == nil {
			all = append(all, n)
		}
	}
	return all
}

func (w *writer) waitFor(condition func([]int64) bool) []int64 {
	w.t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if m := w.moments(); condition(m) {
			return m
		}
	}
	w.t.Fatal("the writer got nowhere")
	return nil
}

// longest is the longest span between two writes, of which the second was after the moment, and when that was.
func (w *writer) longest(since int64) (longest time.Duration, until int64) {
	var last int64
	for _, m := range w.moments() {
		if span := time.Duration(m - last); m > since && last != 0 && span > longest {
			longest, until = span, m
		}
		last = m
	}
	return longest, until
}

// isBlocked waits until the writer has not written for a while.
func (w *writer) isBlocked() {
	w.t.Helper()
	w.waitFor(func(all []int64) bool { return monotonic()-all[len(all)-1] > int64(200*time.Millisecond) })
}

// after returns the first write that returned after the moment, waiting for it.
func (w *writer) after(moment int64) int64 {
	w.t.Helper()
	var first int64
	w.waitFor(func(all []int64) bool {
		for _, m := range all {
			if m > moment {
				first = m
				return true
			}
		}
		return false
	})
	return first
}
