package guard

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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
			v := startChild(t, disks, env)
			if l := v.line(); l != "frozen" {
				t.Fatal(l)
			}
			w.isBlocked()
			frozeBy := len(w.moments())
			v.killBoth()
			time.Sleep(50 * time.Millisecond)
			if len(w.moments()) != frozeBy {
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

func TestThawOwnedFreesWhatBothLeftInMidFreeze(t *testing.T) {
	disks := makeDisks(t, "ext4", 3)
	for _, delay := range []time.Duration{0, 1, 3, 6, 10, 15, 20, 30, 40} {
		v := startChild(t, disks)
		time.Sleep(delay * time.Millisecond)
		v.killBoth()
		done, err := ThawOwned(t.Context(), v.owned, false)
		if err != nil || len(done) != len(disks) {
			t.Errorf("killed after %d ms: %+v, %v", delay, done, err)
		}
		if !v.guard.gone() {
			_ = v.cmd.Wait()
			waitUntil(t, slowly, "the guard is gone", v.guard.gone)
		}
		for _, d := range disks {
			if errno := thawPath(d.path); errno != syscall.EINVAL {
				t.Errorf("killed after %d ms: %s was left frozen (%v)", delay, d.path, errno)
			}
		}
	}
}

func TestThawOwnedWaitsForTheDeadGuardsLateFreeze(t *testing.T) {
	under, slow := makeSlowDisk(t)
	quick := makeDisks(t, "ext4", 1)[0]
	w := startWriter(t, quick)
	dirty(t, slow)
	freezePath(t, under.path)
	t.Cleanup(func() { thawPath(under.path) })
	v := startChild(t, []disk{quick, slow})
	t.Cleanup(func() { thawPath(under.path) })
	w.isBlocked()
	v.killBoth()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	done, err := ThawOwned(ctx, v.owned, false)
	if err == nil || len(done) != 2 || done[0].Outcome != WasFrozen || done[1].Outcome != NotThawed {
		t.Fatalf("%+v, %v", done, err)
	}
	time.AfterFunc(500*time.Millisecond, func() { thawPath(under.path) })
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
	if h, err := g.Thaw(t.Context()); err != nil || h.Unbroken {
		t.Errorf("after a forced thaw: %+v, %v", h, err)
	}
}

func TestThawOwnedOfAStoppedGuardWithoutParent(t *testing.T) {
	disks := makeDisks(t, "ext4", 1)
	v := startChild(t, disks)
	if l := v.line(); l != "frozen" {
		t.Fatal(l)
	}
	parent := v.identity()
	_ = syscall.Kill(v.guard.PID, syscall.SIGSTOP)
	v.kill()
	waitUntil(t, slowly, "the parent dies", func() bool { return !parent.alive() })
	done, err := ThawOwned(t.Context(), v.owned, false)
	if err != nil || len(done) != 1 || done[0].Outcome != WasFrozen {
		t.Errorf("%+v, %v", done, err)
	}
	_ = syscall.Kill(v.guard.PID, syscall.SIGCONT)
	waitUntil(t, slowly, "the guard leaves", v.guard.gone)
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

// Parent stopped, guard killed: nobody thaws, and both seem to be there. The deadline in the file tells.
func TestThawOwnedThawsWhatAStoppedParentLeftPastItsDeadline(t *testing.T) {
	for name, stop := range map[string]func(v *child){
		"its guard killed":  func(v *child) { _ = syscall.Kill(v.guard.PID, syscall.SIGKILL) },
		"its guard stopped": func(v *child) { _ = syscall.Kill(v.guard.PID, syscall.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) {
			disks := makeDisks(t, "ext4", 2)
			v := startChild(t, disks, "GUARD_TEST_HOLD=2s")
			if l := v.line(); l != "frozen" {
				t.Fatal(l)
			}
			parent := v.identity()
			_ = syscall.Kill(parent.PID, syscall.SIGSTOP)
			waitUntil(t, 10*time.Second, "the parent stops", parent.stopped)
			stop(v)
			waitUntil(t, 10*time.Second, "the guard does nothing", func() bool { return v.guard.stopped() || !v.guard.alive() })
			done, err := ThawOwned(t.Context(), v.owned, false)
			if err != nil || len(done) != 2 || done[0].Outcome != WasFrozen || done[1].Outcome != WasFrozen || done[0].Parent != parent.PID || done[0].Guard != v.guard.PID {
				t.Fatalf("%+v, %v", done, err)
			}
			for _, d := range disks {
				if frozenNow(t, d.path) {
					t.Errorf("%s is still frozen", d.path)
				}
			}
			// Whoever comes back learns that its freeze was broken.
			_ = syscall.Kill(v.guard.PID, syscall.SIGCONT)
			_ = syscall.Kill(parent.PID, syscall.SIGCONT)
			v.kill()
			_ = v.cmd.Wait()
			waitUntil(t, 10*time.Second, "the guard leaves", v.guard.gone)
			if _, err := ThawOwned(t.Context(), v.owned, false); err != nil || len(ownedFiles(t, v.owned)) != 0 {
				t.Errorf("afterwards: %v, left %v", err, ownedFiles(t, v.owned))
			}
		})
	}
}

// A guard is made while another process cleans up, again and again: its file is never taken for a dead one's.
func TestANewOwnedFileIsNotCleanedUp(t *testing.T) {
	dir := t.TempDir()
	over := make(chan struct{})
	var cleaners sync.WaitGroup
	for range 2 {
		cleaners.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if _, err := ThawOwned(t.Context(), dir, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2000 {
		o, err := createOwned(dir, "run", "freeze")
		if err != nil {
			t.Error(err)
			break
		}
		if !isCurrent(o.file, o.path) {
			t.Error("a newborn file was removed")
			break
		}
		o.drop()
	}
	close(over)
	cleaners.Wait()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}

// What is no regular file is none of ours: it neither hangs a thaw nor is removed, and the others are thawed.
func TestThawOwnedLeavesAloneWhatIsNoFile(t *testing.T) {
	d := makeDisks(t, "ext4", 1)[0]
	owned := t.TempDir()
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	o, err := createOwned(owned, "run", "s")
	if err != nil {
		t.Fatal(err)
	}
	dead := identity{PID: os.Getpid(), Start: 1}
	if err := o.write(ownedRecord{Schema: 1, Boot: boot, Parent: dead, Guard: dead, Mounts: []ownedMount{{Path: d.path, Dev: d.dev}}}); err != nil {
		t.Fatal(err)
	}
	o.file.Close()
	path := func(name string) string { return filepath.Join(owned, name+ownedSuffix) }
	target := filepath.Join(t.TempDir(), "target")
	if err := errors.Join(os.WriteFile(target, nil, 0o600), unix.Mkfifo(path("fifo"), 0o600), unix.Mkfifo(filepath.Join(owned, unnamedPrefix+"fifo"), 0o600),
		os.Mkdir(path("dir"), 0o700), os.Symlink(target, path("link")), os.Symlink(path("fifo"), path("link-to-fifo")),
		unix.Mknod(path("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5)))); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", path("s"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	freezePath(t, d.path)
	t.Cleanup(func() { thawPath(d.path) })
	left, err := ListFrozen(t.Context(), owned)
	if len(left) != 1 || err == nil || strings.Count(err.Error(), "it is not a regular file") != 6 {
		t.Errorf("Left = %+v, %v", left, err)
	}
	done, err := ThawOwned(t.Context(), owned, false)
	if len(done) != 1 || done[0].Outcome != WasFrozen || err == nil || strings.Count(err.Error(), "it is not a regular file") != 6 {
		t.Errorf("ThawOwned = %+v, %v", done, err)
	}
	if entries, _ := os.ReadDir(owned); len(entries) != 7 {
		t.Errorf("left are %v", entries)
	}
	if _, err := os.Stat(target); err != nil {
		t.Error(err)
	}
}
