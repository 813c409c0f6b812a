package guard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// identity identifies a process even if its pid is reused: by its start time in clock ticks since boot
// (proc_pid_stat(5)).
type identity struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// identify reads the identity of a running process.
func identify(pid int) (identity, error) {
	st, err := processStat(pid)
	if err != nil {
		return identity{}, fmt.Errorf("cannot identify process %d: %w", pid, err)
	}
	return identity{PID: pid, Start: st.start}, nil
}

// alive reports whether the process can still run. A killed process whose threads hang in the kernel, as in a write
// to a frozen file system, counts as dead. The signal is looked for first: a process that takes it between the two
// looks is seen to end by the second.
func (p identity) alive() bool {
	if killPending(p.PID) {
		return false
	}
	st, err := processStat(p.PID)
	return err == nil && st.start == p.Start && !st.dead()
}

// stopped reports whether a signal or a debugger has stopped the process.
func (p identity) stopped() bool {
	st, err := processStat(p.PID)
	return err == nil && st.start == p.Start && (st.state == 'T' || st.state == 't')
}

// gone reports whether the process has left the kernel altogether, including threads that hung. Only then can none of
// its freezes take effect any more.
func (p identity) gone() bool {
	st, err := processStat(p.PID)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return true
	}
	if err != nil {
		return false
	}
	if st.start != p.Start || st.state == 'X' {
		return true
	}
	return st.state == 'Z' && st.threads <= 1 // a zombie that nobody has reaped
}

// processState is what /proc/PID/stat says of a process's main thread.
type processState struct {
	state   byte
	flags   uint64
	threads int // of the whole process; the kernel counts a thread until it has released it
	start   uint64
}

// dead says that the thread has ended or is ending. The flags are include/linux/sched.h PF_EXITING and PF_SIGNALED.
func (s processState) dead() bool {
	const exiting, signaled = 0x4, 0x400
	return s.state == 'Z' || s.state == 'X' || s.flags&(exiting|signaled) != 0
}

// processStat reads /proc/PID/stat. The command's name may hold blanks and brackets: fields count from the last
// bracket on.
func processStat(pid int) (st processState, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return st, err
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 20 {
		return st, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	st.state = f[0][0]
	if st.flags, err = strconv.ParseUint(f[6], 10, 64); err != nil {
		return st, err
	}
	if st.threads, err = strconv.Atoi(f[17]); err != nil {
		return st, err
	}
	st.start, err = strconv.ParseUint(f[19], 10, 64)
	return st, err
}

// killPending reports whether SIGKILL is pending: for the process, where it stays until the process has ended, or for
// its main thread, which takes it off its list when it begins to end.
func killPending(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return true
	}
	const sigkill = 1 << (9 - 1)
	for line := range strings.Lines(string(b)) {
		name, v, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		if mask, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64); err == nil && mask&sigkill != 0 {
			return true
		}
	}
	return false
}

// bootID changes with every boot. A file system that an earlier boot froze is not frozen any more.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
