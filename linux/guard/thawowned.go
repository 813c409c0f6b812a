package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Outcome is what ThawOwned found at a mount point.
type Outcome string

const (
	WasFrozen    Outcome = "thawed"      // it was frozen and is not any more
	WasNotFrozen Outcome = "not frozen"  // nothing to do
	WasRemoved   Outcome = "not mounted" // the file system is mounted nowhere in this mount namespace
	IsLive       Outcome = "live"        // a run that lives holds it; left alone without force
	NotThawed    Outcome = "failed"      // see Err
)

// Thawed is the result for one mount point that an owned file names.
type Thawed struct {
	Run, Section string
	Parent       int    // pid of the process that ordered the freeze, dead or not
	Guard        int    // pid of its guard
	Path         string // where it was thawed: the file system may have been mounted elsewhere meanwhile
	Outcome      Outcome
	Err          error // with NotThawed and WasRemoved
}

// orphanTimeout is how long a guard whose parent is dead may take to thaw by itself.
const orphanTimeout = 2 * time.Second

// ThawOwned thaws what guards left frozen that were killed together with their parents. It reads every owned file in
// dir, leaves those of live runs alone unless force is set or the freeze should have ended long ago (who should have thawed is
// stopped), thaws each file system named that is still the same device
// in the same boot, and removes the file; where one is not mounted any more the file stays for as long as this boot
// lasts, since a file system unmounted while frozen comes back frozen. It is idempotent; a missing dir is nothing to do. It waits, as long as ctx
// allows, for a dying guard whose freeze is still under way, and thaws that even after ctx ends, if the process lasts.
// The error joins what could not be thawed or read.
func ThawOwned(ctx context.Context, dir string, force bool) ([]Thawed, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+ownedSuffix))
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", dir, err)
	}
	perFile := make([][]Thawed, len(names))
	problems := make([]error, len(names))
	var files sync.WaitGroup
	for i, name := range names {
		files.Go(func() {
			done, err := thawFile(ctx, name, force)
			if !errors.Is(err, fs.ErrNotExist) { // else its run has just ended
				problems[i] = err
			}
			perFile[i] = done
		})
	}
	files.Wait()
	all := slices.Concat(perFile...)
	for _, t := range all {
		if t.Outcome == NotThawed {
			problems = append(problems, fmt.Errorf("cannot thaw %s: %w", t.Path, t.Err))
		}
	}
	removeUnnamed(dir)
	if err := clearExpedite(dir); err != nil {
		problems = append(problems, err)
	}
	return all, errors.Join(problems...)
}

// thawFile handles one owned file.
func thawFile(ctx context.Context, name string, force bool) ([]Thawed, error) {
	f, r, free, err := readOwned(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if len(r.Mounts) == 0 { // nothing was frozen yet
		if free {
			return nil, os.Remove(name)
		}
		return nil, nil
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	if r.Boot != boot {
		return nil, os.Remove(name)
	}
	live := false
	if !free {
		if live = r.live(ctx, func() bool { return !isCurrent(f, name) }); !isCurrent(f, name) {
			return nil, fs.ErrNotExist
		}
	}
	all := make([]Thawed, len(r.Mounts))
	var mounts sync.WaitGroup
	for i, m := range r.Mounts {
		all[i] = r.thawedOf(m, IsLive)
		if !live || force {
			mounts.Go(func() { all[i].thaw(ctx, m, r.Guard) })
		}
	}
	mounts.Wait()
	if live || !free && r.Parent.alive() { // its file goes with it
		return all, nil
	}
	for _, t := range all {
		if t.Outcome == NotThawed || t.Outcome == WasRemoved {
			return all, nil // the file stays for the next try
		}
	}
	return all, os.Remove(name)
}

func (r ownedRecord) thawedOf(m ownedMount, outcome Outcome) Thawed {
	return Thawed{Run: r.Run, Section: r.Section, Parent: r.Parent.PID, Guard: r.Guard.PID, Path: m.Path, Outcome: outcome}
}

// custody says which process is there to thaw what a record names.
type custody int

const (
	noGuard    custody = iota // both dead, or the freeze should have ended long ago: somebody stopped them
	healthy                   // the parent lives, and its guard does its work, or nothing is frozen yet
	parentDead                // the parent is dead; its guard thaws, which takes a moment
	stuck                     // the parent lives, its guard is dead or stopped: it thaws, if it is not stopped itself
)

func (r ownedRecord) custody() custody {
	parent, guard := r.Parent.alive(), r.Guard.alive()
	switch {
	case !parent && !guard, r.overdue():
		return noGuard
	case !parent:
		return parentDead
	case guard && !r.Guard.stopped(), r.deadline() == 0:
		return healthy
	}
	return stuck
}

// live reports whether a process is there that will thaw: the parent, which thaws when the guard dies, or the guard,
// which thaws when the parent dies and gets a moment to do so. If both may hang it waits, until the deadline at most.
func (r ownedRecord) live(ctx context.Context, gone func() bool) bool {
	patience := time.NewTimer(orphanTimeout)
	defer patience.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	tired, well := false, 0
	for {
		c := r.custody()
		if well++; c != healthy {
			well = 0
		}
		switch {
		case c == noGuard:
			return false
		case well == 2 || gone(): // twice, since a process that is being killed looks well for an instant
			return true
		case c == parentDead && (tired || ctx.Err() != nil): // stopped, perhaps: nobody wants the freeze any more
			return false
		case ctx.Err() != nil:
			return true
		}
		select {
		case <-tick.C:
		case <-patience.C:
			tired = true
		case <-ctx.Done():
		}
	}
}

// thaw thaws one recorded mount.
func (t *Thawed) thaw(ctx context.Context, m ownedMount, guard identity) {
	dir, where, err := findMount(m)
	if err != nil {
		t.Outcome, t.Err = WasRemoved, err
		return
	}
	t.Path = where
	answer := make(chan syscall.Errno, 1)
	go func() { // the ioctl cannot be interrupted
		defer dir.Close()
		answer <- thawUntilDone(ctx, int(dir.Fd()), guard)
	}()
	var errno syscall.Errno
	select {
	case errno = <-answer:
	case <-ctx.Done():
		select {
		case errno = <-answer:
		case <-time.After(lateThawTimeout):
			errno = syscall.EINPROGRESS
		}
	}
	switch errno {
	case 0:
		t.Outcome = WasFrozen
	case syscall.EINVAL:
		t.Outcome = WasNotFrozen
	case syscall.EINPROGRESS:
		t.Outcome, t.Err = NotThawed, fmt.Errorf("guard %d is still freezing it: %w", guard.PID, ctx.Err())
	default:
		t.Outcome, t.Err = NotThawed, explain(errno, isThawed)
	}
}

// lateThawTimeout is the time for a thaw when the context has already ended.
const lateThawTimeout = 200 * time.Millisecond

// thawUntilDone repeats FITHAW while the killed guard hangs in the kernel: a FITHAW waits for a FIFREEZE in progress
// or, in other phases of it, fails with EINVAL although the freeze still takes effect.
func thawUntilDone(ctx context.Context, fd int, guard identity) syscall.Errno {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		last := guard.gone() || guard.alive() // looked at before the FITHAW, so that nothing slips in between
		if errno := thawFS(fd); errno != syscall.EINVAL || last {
			return errno
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return syscall.EINPROGRESS
		}
	}
}

// findMount opens the recorded file system: at the recorded path, or wherever else it is mounted now.
func findMount(m ownedMount) (*os.File, string, error) {
	table, err := mountTable()
	if err != nil {
		return nil, "", err
	}
	if dir, e, err := openMount(m.Path, table); err == nil {
		if e.dev == m.Dev {
			return dir, m.Path, nil
		}
		dir.Close()
	}
	for _, e := range table {
		if e.dev != m.Dev {
			continue
		}
		dir, found, err := openMount(e.point, table)
		if err != nil {
			continue
		}
		if found.dev == m.Dev {
			return dir, e.point, nil
		}
		dir.Close()
	}
	return nil, "", fmt.Errorf("device %s is no longer mounted here; if it hangs, mount it again and thaw it", m.Dev)
}
