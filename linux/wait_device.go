package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Polling runs beside the events, because sysfs sends none: quick at first, since most devices come within a second.
const minPoll, maxPoll = 20 * time.Millisecond, time.Second

// WaitDevice waits until the device that q describes is there. It wakes on changes under Dev and polls besides. When ctx
// ends first, the error says what was seen instead.
func (h *Host) WaitDevice(ctx context.Context, q DeviceQuery) (Device, error) {
	events, stop := watch(h.dev, filepath.Join(h.dev, "disk/by-id"))
	defer stop()
	poll := minPoll
	timer := time.NewTimer(poll)
	defer timer.Stop()
	for {
		dev, found, saw, err := h.find(q)
		if found {
			return dev, nil
		}
		// A node that is being made or torn down can fail to open for a moment; two devices that match will not heal.
		if errors.Is(err, ErrAmbiguous) {
			return Device{}, fmt.Errorf("cannot find the device of %s: %w", q, err)
		}
		select {
		case <-ctx.Done():
			if err != nil {
				saw = append(saw, err.Error())
			}
			if len(saw) == 0 {
				saw = []string{"no NVMe devices"}
			}
			return Device{}, fmt.Errorf("the device of %s did not appear (saw %s): %w", q, strings.Join(saw, "; "), context.Cause(ctx))
		case <-events:
		case <-timer.C:
			poll = min(poll*2, maxPoll)
			timer.Reset(poll)
		}
	}
}

// watch sends whenever something is made, moved or changed in one of the directories. Where inotify is not to be had
// the channel stays silent and polling alone does the work. stop waits for the reading goroutine.
func watch(folders ...string) (events <-chan struct{}, stop func()) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, func() {}
	}
	for _, folder := range folders {
		// A directory that does not exist (no by-id on this host) simply gives no events.
		_, _ = unix.InotifyAddWatch(fd, folder, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB|unix.IN_DELETE)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	changed, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			if _, err := f.Read(buf); err != nil {
				return
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return changed, func() {
		f.Close()
		<-done
	}
}
