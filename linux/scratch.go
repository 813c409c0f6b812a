package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Damaged says of an error of Mount that the file system is to blame, and neither the machine nor the request.
func Damaged(err error) bool {
	return errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIO) || errors.Is(err, unix.EBADMSG)
}

// takeDownPatience is how long TakeDown tries.
const takeDownPatience = 40 * time.Second

// TakeDown unmounts all that is mounted in a directory, the innermost first, and removes the directory with what was in it. Whoever
// uses one of the mounts is ended, with SIGTERM and five seconds later with SIGKILL: a directory of scratch volumes is nobody's
// workplace, and what a probe left running there must not keep them from being taken off. It returns who was ended. Processes of
// another mount namespace are left alone, and then it fails with a *BusyError: they may be anybody's. It never unmounts lazily,
// since the device would stay in use without anything to show for it, and EC2 would detach a volume that is mounted.
// Nothing on another file system is removed. A directory that is not there is taken down.
func (h *Host) TakeDown(ctx context.Context, folder string) (ended []Holder, err error) {
	fail := func(err error) ([]Holder, error) { return ended, fmt.Errorf("cannot take down %s: %w", folder, err) }
	real, err := filepath.EvalSymlinks(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return fail(err)
	}
	told := map[int]time.Time{} // who got SIGTERM, and when
	for end := time.Now().Add(takeDownPatience); ; {
		busy, err := h.unmountIn(real)
		if err != nil {
			return fail(err)
		}
		if len(busy) == 0 {
			break
		}
		users, _ := h.Users(busy) // what could be found is better than nothing
		var all []Holder
		for _, target := range busy {
			all = append(all, users[target]...)
		}
		if ctx.Err() != nil {
			return fail(context.Cause(ctx))
		}
		if time.Now().After(end) {
			return fail(&BusyError{Target: busy[0], Holders: all})
		}
		ended = append(ended, h.endUsers(all, told)...)
		time.Sleep(50 * time.Millisecond)
	}
	if err := removeOwnTree(real); err != nil {
		return fail(err)
	}
	return ended, nil
}

// unmountIn makes one round over what is mounted in a directory or on it, and returns what is in use.
func (h *Host) unmountIn(folder string) (busy []string, err error) {
	mounts, err := h.Mounts()
	if err != nil {
		return nil, err
	}
	var inside []string
	for _, m := range mounts {
		if m.Target == folder || isUnder(m.Target, folder) {
			inside = append(inside, m.Target)
		}
	}
	slices.Reverse(inside) // what was mounted later lies on top, or further in
	slices.SortStableFunc(inside, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	for _, target := range inside {
		switch err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); {
		case errors.Is(err, unix.EBUSY):
			busy = append(busy, target)
		case err != nil && !errors.Is(err, unix.EINVAL): // it is no mount point any more
			return nil, fmt.Errorf("cannot unmount %s: %w", target, err)
		}
	}
	return slices.Compact(busy), nil
}

// endUsers signals the processes among some holders, once with each signal, and returns those that it had not met before.
func (h *Host) endUsers(all []Holder, told map[int]time.Time) (met []Holder) {
	own, _ := os.Readlink(filepath.Join(h.proc, "self/ns/mnt"))
	for _, holder := range all {
		pid := holder.PID
		space, err := os.Readlink(filepath.Join(h.proc, strconv.Itoa(pid), "ns/mnt"))
		if pid <= 1 || pid == os.Getpid() || pid == os.Getppid() || err != nil || space != own {
			continue
		}
		at, known := told[pid]
		switch {
		case !known:
			told[pid] = time.Now()
			met = append(met, holder)
			_ = unix.Kill(pid, unix.SIGTERM)
		case time.Since(at) > termGrace:
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	return met
}

// removeOwnTree removes a directory with what is in it, and refuses at the border of another file system.
func removeOwnTree(folder string) error {
	var st unix.Stat_t
	if err := unix.Lstat(folder, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: folder, Err: err}
	}
	return removeOn(folder, st.Dev)
}

func removeOn(path string, dev uint64) error {
	var st unix.Stat_t
	switch err := unix.Lstat(path, &st); {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	case st.Dev != dev:
		return fmt.Errorf("%s is another file system: not removing what is in it", path)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := removeOn(filepath.Join(path, e.Name()), dev); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
