package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"snaptastic/plan/units"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// HookRequest is a program to run. There is no shell: Command is argv.
type HookRequest struct {
	Command []string
	Env     []string // NAME=value, added to this process's environment
	Stdin   []byte
	Timeout time.Duration     // 0 is none
	Output  func(line string) // gets each line of stdout and stderr as it comes; may be nil; called by one goroutine at a time
	Dir     string            // working directory; "" is /

	Run       string // the run it belongs to, for its record
	RecordDir string // directory for the record of a running hook, which EndHooks reads; "" for none

	Idle   bool // at idle I/O priority, and nice
	Errors bool // keep the last line of stderr apart: see HookResult.LastError

	bound time.Duration // of a held hook: how long its release may take
}

// HookResult tells how a program ended.
type HookResult struct {
	ExitCode int // -1 when it was killed
	Duration time.Duration
	Tail     []string // its last lines

	LastError string // the last line on stderr that is not blank, where HookRequest.Errors asks for it
}

// Variables only so that a test need not wait as long as an operator would want a database to have.
var (
	// termGrace is what a process group gets between SIGTERM and SIGKILL.
	termGrace = 5 * time.Second
	// killGrace is how long a killed group is waited for.
	killGrace = 5 * time.Second
)

// pipeGrace is how long output is awaited after the program has ended: a grandchild (a daemon that was started) may keep the pipe
// open for ever.
const pipeGrace = time.Second

// tailLines is how many of its last lines a result keeps.
const tailLines = 10

// ErrHookTimedOut: the program ran longer than its time-out and was killed with its process group.
var ErrHookTimedOut = errors.New("timed out")

// RunHook runs a program in a process group of its own and waits for it. The group ends with this process, however that ends;
// each signal has its default for it, whatever this process ignores. When its time-out passes or ctx ends the whole group
// gets SIGTERM, and SIGKILL five seconds later. An exit code other than 0 is an error that carries the last lines. What the
// program leaves running in the background after it ended well is left alone.
func (h *Host) RunHook(ctx context.Context, q HookRequest) (HookResult, error) {
	start := time.Now()
	p, err := startHook(q, bytes.NewReader(q.Stdin))
	if err != nil {
		return HookResult{ExitCode: -1}, err
	}
	var timeout <-chan time.Time
	if q.Timeout > 0 {
		t := time.NewTimer(q.Timeout)
		defer t.Stop()
		timeout = t.C
	}
	var stopped error
	select {
	case <-p.exited:
	case <-timeout:
		stopped = fmt.Errorf("%w after %s", ErrHookTimedOut, units.Took(q.Timeout))
	case <-ctx.Done():
		stopped = context.Cause(ctx)
	}
	result, err := p.finish(stopped)
	result.Duration = time.Since(start)
	if err != nil {
		return result, fmt.Errorf("hook %s: %w%s", q.Command[0], err, result.tailText())
	}
	return result, nil
}

func (r HookResult) tailText() string {
	if len(r.Tail) == 0 {
		return ""
	}
	return ": " + strings.Join(r.Tail[max(0, len(r.Tail)-3):], " | ")
}

// hookProcess is a started program. Its exit is noticed without reaping it, so that its number, which names its process
// group, stays its own until the group has been signalled.
type hookProcess struct {
	cmd    *exec.Cmd
	fence  *hookFence
	lines  *lineWriter
	errors *lineWriter // of stderr, where that is kept apart; nil otherwise
	exited chan struct{}
}

// hookEnviron is ours without what systemd gave to us alone: a database that a hook starts would tell systemd that this unit
// is ready, or that it stops. Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
func hookEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return name == "NOTIFY_SOCKET" || name == "WATCHDOG_PID" || name == "WATCHDOG_USEC"
	})
}

func startHook(q HookRequest, stdin io.Reader) (*hookProcess, error) {
	if len(q.Command) == 0 {
		return nil, errors.New("internal error: hook without a command")
	}
	cmd := exec.Command(q.Command[0], q.Command[1:]...)
	if cmd.Err != nil { // not found
		return nil, fmt.Errorf("cannot run hook %s: %w", q.Command[0], cmd.Err)
	}
	cmd.Env = append(hookEnviron(), q.Env...)
	cmd.Stdin = stdin
	cmd.WaitDelay = pipeGrace
	lines := &lineWriter{output: q.Output}
	cmd.Stdout, cmd.Stderr = lines, lines
	var errorLines *lineWriter
	if q.Errors {
		errorLines = &lineWriter{output: lines.line}
		cmd.Stderr = errorLines
	}
	fence, err := launchHook(cmd, q)
	if err != nil {
		return nil, fmt.Errorf("cannot run hook %s: %w", q.Command[0], err)
	}
	p := &hookProcess{cmd: cmd, fence: fence, lines: lines, errors: errorLines, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		for {
			err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return p, nil
}

// stopGroup ends the process group: SIGTERM, a grace while any member lives, SIGKILL. gone is false when even that did not help: a
// process that waits for a frozen or dead device cannot be killed, and must not hang its caller.
func (p *hookProcess) stopGroup() (gone bool) {
	// The leader is not reaped yet, so the number cannot have become another group's.
	group := -p.cmd.Process.Pid
	_ = unix.Kill(group, unix.SIGTERM)
	if !p.awaitGroupExit(termGrace) {
		_ = unix.Kill(group, unix.SIGKILL)
		if !p.awaitGroupExit(killGrace) {
			return false
		}
	}
	<-p.exited
	return true
}

// awaitGroupExit waits until nothing of the group is left but corpses.
func (p *hookProcess) awaitGroupExit(within time.Duration) bool {
	return waitGone(func() []int { return groupMembers(p.cmd.Process.Pid) }, within)
}

// finish collects how the program ended; with a reason to stop it, it is ended first.
func (p *hookProcess) finish(stop error) (HookResult, error) {
	if stop != nil && !p.stopGroup() {
		p.flush()
		return HookResult{ExitCode: -1, Tail: p.lines.last(), LastError: p.lastError()}, fmt.Errorf("%w; pid %d survives SIGKILL because it waits for a device", stop, p.cmd.Process.Pid)
	}
	p.fence.drop()
	err := p.reap()
	result := HookResult{ExitCode: p.cmd.ProcessState.ExitCode(), Tail: p.lines.last(), LastError: p.lastError()}
	if stop != nil {
		err = stop
	}
	return result, err
}

// reap collects the exit status and the rest of the output. A pipe that somebody else keeps open is no failure.
func (p *hookProcess) reap() error {
	err := p.cmd.Wait()
	p.flush()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// flush passes on what came without an end of line.
func (p *hookProcess) flush() {
	if p.errors != nil {
		p.errors.flush()
	}
	p.lines.flush()
}

func (p *hookProcess) lastError() string {
	if p.errors == nil {
		return ""
	}
	for _, line := range slices.Backward(p.errors.last()) {
		if strings.TrimSpace(line) != "" {
			return line
		}
	}
	return ""
}

// lineWriter cuts output into lines and keeps the last ones. A line longer than maxLine is cut in pieces.
type lineWriter struct {
	mu     sync.Mutex
	output func(string)
	part   []byte
	tail   []string
	done   bool
}

const maxLine = 8 << 10

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return len(b), nil
	}
	w.part = append(w.part, b...)
	for {
		i := bytes.IndexByte(w.part, '\n')
		if i < 0 && len(w.part) < maxLine {
			return len(b), nil
		}
		skip := 1
		if i < 0 || i > maxLine {
			i, skip = maxLine, 0
		}
		w.emit(string(w.part[:i]))
		w.part = w.part[i+skip:]
	}
}

// line takes a whole line of another writer.
func (w *lineWriter) line(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.emit(text)
	}
}

func (w *lineWriter) emit(line string) {
	line = strings.ToValidUTF8(strings.TrimSuffix(line, "\r"), "?")
	if w.tail = append(w.tail, line); len(w.tail) > tailLines {
		w.tail = w.tail[1:]
	}
	if w.output != nil {
		w.output(line)
	}
}

// flush passes an unfinished last line on; what comes later is dropped.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.part) > 0 {
		w.emit(string(w.part))
		w.part = nil
	}
	w.done = true
}

func (w *lineWriter) last() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.tail...)
}
