package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BusyError names who keeps a mount or a device in use. It is ErrBusy or ErrDeviceBusy.
type BusyError struct {
	Target  string // mount point or device
	Holders []Holder
	kind    error
}

func (e *BusyError) Error() string {
	who := "unknown: not visible in /proc (an NFS export, or the kernel)"
	if len(e.Holders) > 0 {
		var words []string
		for i, holder := range e.Holders {
			if i == 5 {
				words = append(words, fmt.Sprintf("and %d more", len(e.Holders)-i))
				break
			}
			words = append(words, holder.String())
		}
		who = strings.Join(words, "; ")
	}
	return fmt.Sprintf("%s: %v: %s", e.Target, e.Unwrap(), who)
}

func (e *BusyError) Unwrap() error {
	if e.kind == nil {
		return ErrBusy
	}
	return e.kind
}

// InUse is the error of a mount point that has users (see Users).
func InUse(target string, users []Holder) error { return &BusyError{Target: target, Holders: users} }

// momentaryUse is how long a mount or a device that is busy is tried again while no user of it can be found: a statfs by a
// monitoring agent holds it for an instant, and is over by the time somebody looks for it.
const momentaryUse = 3 * time.Second

// outlast calls try again for momentaryUse while it returns a *BusyError that names nobody.
func outlast(ctx context.Context, try func() error) error {
	for end := time.Now().Add(momentaryUse); ; time.Sleep(50 * time.Millisecond) {
		err := try()
		busy, is := errors.AsType[*BusyError](err)
		if !is || len(busy.Holders) > 0 || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
	}
}

// Unmount takes the topmost mount at target away: never lazily, never by force. ErrNotMountPoint; *BusyError names the
// processes, mounts and files that hold it. The kernel writes everything out first, which can take a while and cannot be
// interrupted.
func (h *Host) Unmount(ctx context.Context, target string) error {
	fail := func(err error) error { return fmt.Errorf("cannot unmount %s: %w", target, err) }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	m, ok, err := h.MountAt(target)
	if err != nil {
		return fail(err)
	}
	if !ok {
		return fail(ErrNotMountPoint)
	}
	err = outlast(ctx, func() error {
		err := unix.Unmount(m.Target, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			users, _ := h.Users([]string{m.Target}) // what could be found is better than nothing
			return &BusyError{Target: m.Target, Holders: users[m.Target]}
		}
		return err
	})
	if errors.Is(err, unix.EPERM) {
		return fail(fmt.Errorf("unmounting needs root: %w", err))
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// DeviceFree reports whether nobody has the device in use: it can be opened exclusively. Otherwise a *BusyError that is
// ErrDeviceBusy and names who; a mount in another mount namespace (a container) is the usual surprise.
func (h *Host) DeviceFree(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := outlast(ctx, func() error { return h.checkExclusive(path, os.O_RDONLY) })
	if err != nil && !errors.Is(err, ErrDeviceBusy) {
		return fmt.Errorf("cannot determine whether %s is in use: %w", path, err)
	}
	return err
}

func (h *Host) deviceBusy(path string) error {
	holders, _ := h.deviceHolders(path)
	return &BusyError{Target: path, Holders: holders, kind: ErrDeviceBusy}
}
