package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A hook must not outlive the program that runs it, however that dies: the run that goes on would start a second one beside it.
// Pdeathsig does not do: only the first process of a group gets it, and a program that changes its user (runuser) loses it.
//
//	program                      launcher                     watcher
//	start ─────────────────────▶ its group's leader, waits
//	record on disk: pid, start
//	start ───────────────────────────────────────────────────▶ reads its pipe
//	go ────────────────────────▶ becomes the hook (execve)
//	   (the hook ends)
//	done ────────────────────────────────────────────────────▶ leaves
//	remove the record
//
// When the program dies the pipes end: a launcher that waits leaves, the watcher ends the hook's group. When the watcher is
// killed as well, the record is left, and EndHooks ends the group. Both are this same program, started under another name.
const (
	launcherName = "snaptastic-hook"
	watcherName  = "snaptastic-hook-watch"
	fenceMarker  = "SNAPTASTIC_HOOK_FENCE"      // set in the environment of both, and not in the hook's
	idleMarker   = "SNAPTASTIC_HOOK_FENCE_IDLE" // set besides where the hook is to stay out of the way
	fenceFD      = 3
)

// init, and no call in main, since each test binary that runs a hook must know these names, too: one that did not would run its
// tests once more instead.
func init() {
	if os.Getenv(fenceMarker) == "" || len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case launcherName:
		os.Exit(execHook(os.Args[1:]))
	case watcherName:
		os.Exit(watchHook(os.Args[1:]))
	}
}

// execHook becomes the hook once it is told to: args are its program, its directory and its argv.
func execHook(args []string) int {
	runtime.LockOSThread()
	unix.CloseOnExec(fenceFD)
	// A signal that is caught has its default again after execve, one that is ignored stays ignored (execve(2)); what this
	// program or its parent ignores is nothing to a hook.
	signal.Notify(make(chan os.Signal, 1))
	defaultInternalSignals()
	if len(args) < 3 || !awaitStart() {
		return 1
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil); err != nil {
		return refuse("sigprocmask", err)
	}
	if err := os.Chdir(args[1]); err != nil {
		return refuse("chdir "+args[1], err)
	}
	if os.Getenv(idleMarker) != "" {
		stayOutOfTheWay()
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, fenceMarker) })
	return refuse("exec "+args[0], syscall.Exec(args[0], args[2:], env))
}

// idleNice is the niceness of a program that stays out of the way.
const idleNice = 10

// stayOutOfTheWay gives this thread, which becomes the hook, idle I/O priority and a low CPU priority; what the hook starts
// inherits both. Where the kernel or the I/O scheduler does not know them it runs like any other.
func stayOutOfTheWay() {
	idleIO()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, idleNice)
}

// idleIO gives this thread idle I/O priority, where the kernel and the I/O scheduler know it.
func idleIO() {
	const whoProcess, classIdle, classShift = 1, 3, 13 // ioprio_set(2)
	_, _, _ = unix.RawSyscall(unix.SYS_IOPRIO_SET, whoProcess, 0, classIdle<<classShift)
}

// defaultInternalSignals gives the two signals that belong to the C library their defaults. Go leaves them alone, and a parent that
// used glibc's posix_spawn (make does) has left them ignored.
// Source: glibc, sysdeps/unix/sysv/linux/spawni.c
func defaultInternalSignals() {
	var action [4]uintptr // struct sigaction of the kernel: handler SIG_DFL, flags, restorer, mask
	for _, sig := range []uintptr{32, 33} {
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, unsafe.Sizeof(action[3]), 0, 0)
	}
}

// awaitStart waits for the program's one word; false when it is gone.
func awaitStart() bool {
	var b [1]byte
	for {
		n, err := unix.Read(fenceFD, b[:])
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n == 1
		}
	}
}

// refuse tells the program why there is no hook.
func refuse(doing string, err error) int {
	var errno syscall.Errno
	errors.As(err, &errno)
	_ = unix.Sendto(fenceFD, append(binary.BigEndian.AppendUint32(nil, uint32(errno)), doing...), unix.MSG_NOSIGNAL, nil)
	return 127
}

// watchHook ends a group when the program dies: args are the group, its leader's start, and how long a held hook may take.
func watchHook(args []string) int {
	signal.Notify(make(chan os.Signal, 1)) // what is sent to all of a unit or a terminal is not for it
	if len(args) != 3 {
		return 1
	}
	pid, err1 := strconv.Atoi(args[0])
	start, err2 := strconv.ParseUint(args[1], 10, 64)
	bound, err3 := time.ParseDuration(args[2])
	if errors.Join(err1, err2, err3) != nil {
		return 1
	}
	if awaitStart() {
		return 0
	}
	g := hookGroup{Group: pid, Start: start, Bound: bound}
	if g.leaderAlive() && !g.kill() {
		return 1
	}
	return 0
}

// hookFence is what keeps a hook from outliving the program; the program's end of it.
type hookFence struct {
	launcher *os.File
	watcher  *os.File
	record   string
}

// launchHook starts cmd, whose Path and Args are the hook's, behind a fence. It returns when the hook's program runs.
func launchHook(cmd *exec.Cmd, q HookRequest) (_ *hookFence, err error) {
	f := &hookFence{}
	path := cmd.Path
	dir := q.Dir
	if dir == "" {
		dir = "/" // never a directory that keeps a volume from being unmounted
	}
	cmd.Args = append([]string{launcherName, path, dir}, q.Command...)
	cmd.Path, cmd.Dir = "/proc/self/exe", "/"
	cmd.Env = append(cmd.Env, fenceMarker+"=1")
	if q.Idle {
		cmd.Env = append(cmd.Env, idleMarker+"=1")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if f.launcher, err = startWithPipe(cmd); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.launcher.Close() // if it waits still, it leaves
			_ = cmd.Wait()
			f.drop()
		}
	}()
	g := hookGroup{Group: cmd.Process.Pid, Bound: q.bound, Run: q.Run, Hook: q.Command[0]}
	if g.Start, err = processStart(g.Group); err != nil {
		return nil, err
	}
	if q.RecordDir != "" {
		// On a full disk a hook runs all the same; its watcher is there.
		if f.record, err = g.write(q.RecordDir); err != nil && q.Output != nil {
			q.Output(fmt.Sprintf("warning: cannot record the running hook: %v", err))
		}
	}
	if err = f.startWatcher(g); err != nil {
		return nil, err
	}
	if _, err = f.launcher.Write([]byte{'g'}); err != nil {
		return nil, err
	}
	if err = awaitExec(f.launcher); err != nil {
		return nil, err
	}
	f.launcher.Close()
	return f, nil
}

// awaitExec waits until execve has closed the launcher's end, or its word why it could not.
func awaitExec(pipe *os.File) error {
	b := make([]byte, 4<<10)
	n, err := pipe.Read(b)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return nil // had it died instead, that shows in how it ended
	case err != nil:
		return err
	case n < 4:
		return errors.New("internal error: unexpected message from the hook's launcher")
	}
	return fmt.Errorf("%s: %w", b[4:n], syscall.Errno(binary.BigEndian.Uint32(b)))
}

func (f *hookFence) startWatcher(g hookGroup) (err error) {
	cmd := &exec.Cmd{Path: "/proc/self/exe", Dir: "/", Env: []string{fenceMarker + "=1"}, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		Args: []string{watcherName, strconv.Itoa(g.Group), strconv.FormatUint(g.Start, 10), g.Bound.String()}}
	if f.watcher, err = startWithPipe(cmd); err == nil {
		go func() { _ = cmd.Wait() }() // ends with the fence
	}
	return err
}

// startWithPipe starts a command with one end of a socket pair as its descriptor 3 and returns the other.
func startWithPipe(cmd *exec.Cmd) (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	_ = unix.SetNonblock(pair[0], true) // so that the runtime's poller serves it
	ours, theirs := os.NewFile(uintptr(pair[0]), "hook pipe"), os.NewFile(uintptr(pair[1]), "hook pipe")
	defer theirs.Close()
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	return ours, nil
}

// drop takes the fence away: the hook has ended.
func (f *hookFence) drop() {
	if f.watcher != nil {
		_, _ = f.watcher.Write([]byte{'d'})
		f.watcher.Close()
	}
	if f.record != "" {
		_ = os.Remove(f.record)
	}
}
