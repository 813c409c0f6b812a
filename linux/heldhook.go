package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"snaptastic/plan/units"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// HeldHook is a program that holds something while it runs, such as a database's backup mode: it is started before a freeze,
// says "ready" on a line of its own when it holds, lets go when its standard input ends, and exits 0. Any other end means
// that it did not hold: an exit code other than 0 at any time, an exit before its input ended whatever the code, and an input
// that it closed itself.
type HeldHook struct {
	process *hookProcess
	stdin   *os.File
	command string
	started time.Time
}

// StartHeldHook starts the program and waits until it says "ready". q.Stdin is written to it first and its input stays open;
// q.Timeout bounds the wait for "ready" only. If that fails, the program's group is ended and the error carries its last
// lines. The caller must Close the hook on every way out.
func (h *Host) StartHeldHook(ctx context.Context, q HookRequest) (*HeldHook, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	ready := make(chan struct{})
	output, said := q.Output, false
	q.Output = func(line string) {
		if line == "ready" && !said {
			said = true
			close(ready)
			return
		}
		if output != nil {
			output(line)
		}
	}
	if q.bound = q.Timeout; q.bound == 0 {
		q.bound = time.Minute
	}
	p, err := startHook(q, in)
	if err != nil {
		out.Close()
		return nil, err
	}
	held := &HeldHook{process: p, stdin: out, command: q.Command[0], started: time.Now()}
	// A pipe takes 64 KiB at once; a hook that reads nothing must not stall us beyond the time-out.
	if q.Timeout > 0 {
		_ = out.SetWriteDeadline(time.Now().Add(q.Timeout))
	}
	if err := held.awaitReady(ctx, q, ready); err != nil {
		out.Close()
		result, err := p.finish(err)
		return nil, fmt.Errorf("hook %s did not become ready: %w%s", q.Command[0], err, result.tailText())
	}
	_ = out.SetWriteDeadline(time.Time{})
	return held, nil
}

func (held *HeldHook) awaitReady(ctx context.Context, q HookRequest, ready <-chan struct{}) error {
	// A hook may close its input unread, or leave more than a pipe takes unread: both are its own business.
	if _, err := held.stdin.Write(q.Stdin); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	var timeout <-chan time.Time
	if q.Timeout > 0 {
		t := time.NewTimer(q.Timeout)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-ready:
		return nil
	case <-held.process.exited:
		return errors.New("it exited")
	case <-timeout:
		return fmt.Errorf("%w after %s", ErrHookTimedOut, units.Took(q.Timeout))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ErrNotHeld: a held hook ended before it was released, or closed its input, so that it held nothing to the end.
var ErrNotHeld = errors.New("it ended before it was released")

// Exited is closed when the program has ended, asked or not: then nothing is held any more.
func (held *HeldHook) Exited() <-chan struct{} { return held.process.exited }

// exitedEarly says how the hold ended before its release, nil while it holds.
func (held *HeldHook) exitedEarly() error {
	select {
	case <-held.process.exited:
		return fmt.Errorf("%w: it ended before", ErrNotHeld)
	default:
	}
	if readersClosed(held.stdin) {
		return fmt.Errorf("%w: it closed its stdin, which signals the release", ErrNotHeld)
	}
	return nil
}

// readersClosed reports whether every reader of a pipe has closed it: poll(2) reports that as POLLERR on the writing end.
func readersClosed(pipe *os.File) bool {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	_ = raw.Control(func(fd uintptr) {
		ask := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(ask, 0)
		gone = err == nil && n > 0 && ask[0].Revents&unix.POLLERR != 0
	})
	return gone
}

// Close releases the program: its input ends, and it has timeout to exit; then its group is killed. The error says that the
// hold did not hold: the program had ended before (ErrNotHeld), even with exit code 0, or its exit code is not 0. Close must be
// called once.
func (held *HeldHook) Close(timeout time.Duration) (HookResult, error) {
	lost := held.exitedEarly()
	held.stdin.Close()
	t := time.NewTimer(timeout)
	defer t.Stop()
	var stopped error
	select {
	case <-held.process.exited:
	case <-t.C:
		stopped = fmt.Errorf("%w: it did not exit within %s of its release", ErrHookTimedOut, units.Took(timeout))
	}
	result, err := held.process.finish(stopped)
	result.Duration = time.Since(held.started)
	switch {
	case lost != nil && err != nil:
		err = fmt.Errorf("%w (%w)", lost, err)
	case lost != nil:
		err = fmt.Errorf("%w (exit code %d)", lost, result.ExitCode)
	}
	if err != nil {
		return result, fmt.Errorf("hook %s: %w%s", held.command, err, result.tailText())
	}
	return result, nil
}
