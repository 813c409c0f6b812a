package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Clock is what the kernel knows of how right its CLOCK_REALTIME is.
type Clock struct {
	Synchronized bool          // something such as chronyd keeps it right, and did so lately
	MaxError     time.Duration // bound of the error
	Error        time.Duration // estimate of the error
}

const (
	staUnsync = 0x40 // include/uapi/linux/timex.h
	timeError = 5
)

// Clock asks the kernel (adjtimex(2)). The bound grows by 500 ppm for as long as nobody sets the clock right, and from 16 s on
// the kernel calls it not synchronized.
func (h *Host) Clock() (Clock, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Clock{}, fmt.Errorf("cannot ask the kernel about its clock: %w", err)
	}
	return Clock{Synchronized: state != timeError && t.Status&staUnsync == 0, MaxError: time.Duration(t.Maxerror) * time.Microsecond,
		Error: time.Duration(t.Esterror) * time.Microsecond}, nil
}

// AwaitInstant waits until CLOCK_REALTIME shows the time, or has passed it. A clock that is set meanwhile is noticed at once:
// stepped counts how often, and the wait goes on by the new time.
func (h *Host) AwaitInstant(ctx context.Context, at time.Time) (stepped int, err error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("cannot make a timer: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "timer")
	defer timer.Close()
	defer context.AfterFunc(ctx, func() { _ = timer.SetReadDeadline(time.Unix(1, 0)) })()
	value := unix.ItimerSpec{Value: unix.NsecToTimespec(at.UnixNano())}
	for {
		if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &value, nil); err != nil {
			return stepped, fmt.Errorf("cannot arm a timer: %w", err)
		}
		_, err := timer.Read(make([]byte, 8))
		switch {
		case err == nil:
			return stepped, nil
		case ctx.Err() != nil:
			return stepped, context.Cause(ctx)
		case errors.Is(err, unix.ECANCELED): // somebody set the clock
			stepped++
		default:
			return stepped, fmt.Errorf("cannot wait for a timer: %w", err)
		}
	}
}
