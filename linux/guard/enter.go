package guard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"snaptastic/linux"
	"snaptastic/plan/units"
)

const (
	marker   = "SNAPTASTIC_FREEZE_GUARD" // set in the guard's environment, which holds nothing else
	argv0    = "snaptastic-guard"
	socketFD = 3
	mountFD  = 4
)

// parentDied is the parent-death signal. The kernel sends it when the thread that started the guard dies, even if
// other threads of a killed parent hang in a write to a frozen file system and keep the socket open.
const parentDied = syscall.SIGUSR1

// Enter runs the guard in a process that Start made, and then never returns; in any other process it returns at once.
// main calls it first.
func Enter() {
	if os.Getenv(marker) == "" || len(os.Args) == 0 || os.Args[0] != argv0 {
		return
	}
	if t, err := unix.GetsockoptInt(socketFD, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || t != unix.SOCK_SEQPACKET {
		return
	}
	os.Exit(serve())
}

// serve is the guard process. Exit codes: 0 released, or thawed after the parent's death; 1 never became ready.
func serve() int {
	debug.SetGCPercent(-1)
	commands := make(chan kind, 16)
	ignoreSignals(commands)

	cfg, err := receiveConfig()
	if err != nil {
		tell(message{kind: isReady, errno: syscall.EINVAL, text: err.Error()})
		return 1
	}
	// A thread in an ioctl keeps its P until sysmon notices: with fewer Ps than threads the freezes would queue.
	runtime.GOMAXPROCS(len(cfg.Paths) + 4)
	counters := openCounters(cfg.Counters)
	h := &stateMachine{
		mounts:  len(cfg.Paths),
		maxHold: cfg.MaxHold,
		freeze: func(i int) syscall.Errno {
			errno := freezeFS(mountFD + i)
			counters.froze(i)
			return errno
		},
		thaw: func(i int) syscall.Errno {
			counters.thaws(i)
			return thawFS(mountFD + i)
		},
		sectorsWritten: counters.between,
		now:            monotonic,
		tell:           tell,
		beforeFreeze:   cfg.Expedite.begin,
		afterThaw:      cfg.Expedite.end,
	}
	if cfg.NotAfter != 0 {
		h.late = func() bool { return realtime() > cfg.NotAfter }
	}
	h.prepare()
	go listen(commands)
	tell(message{kind: isReady, text: strings.Join(harden(), "; ")})

	if orphaned := h.run(commands); orphaned && cfg.Owned != "" {
		_ = os.Remove(cfg.Owned) // left behind it costs one FITHAW that says "not frozen"
	}
	cfg.Expedite.end() // never frozen, but claimed
	return 0
}

// receiveConfig reads the first packet.
func receiveConfig() (config, error) {
	var cfg config
	buf := make([]byte, maxPacket)
	n, err := readPacket(buf)
	if err != nil {
		return cfg, fmt.Errorf("cannot read the guard's request: %w", err)
	}
	if err := json.Unmarshal(buf[:n], &cfg); err != nil {
		return cfg, fmt.Errorf("internal error: the guard's request is not JSON: %w", err)
	}
	if len(cfg.Paths) == 0 || cfg.MaxHold <= 0 {
		return cfg, fmt.Errorf("internal error: a guard of %d mounts for %s", len(cfg.Paths), units.Took(cfg.MaxHold))
	}
	return cfg, nil
}

// listen forwards the parent's commands. End of file on the socket, for whatever reason, means that the parent is
// dead.
func listen(commands chan<- kind) {
	buf := make([]byte, maxPacket)
	for {
		n, err := readPacket(buf)
		if err != nil || n == 0 {
			commands <- parentGone
			return
		}
		commands <- kind(buf[0])
	}
}

func readPacket(buf []byte) (int, error) {
	for {
		n, err := unix.Read(socketFD, buf)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// tell sends without blocking: a parent that hangs must not keep the guard from thawing.
func tell(m message) {
	_ = unix.Sendto(socketFD, m.encode(), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
}

// ignoreSignals ignores every signal that would end or stop the guard and can be ignored. Signals that report a fault
// of the process itself, and those that the Go runtime needs, keep their handlers.
func ignoreSignals(commands chan<- kind) {
	for s := syscall.Signal(1); s < 32; s++ {
		switch s {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCONT, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPROF,
			syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGABRT, syscall.SIGSYS,
			parentDied:
		default:
			signal.Ignore(s)
		}
	}
	died := make(chan os.Signal, 1)
	signal.Notify(died, parentDied)
	go func() {
		<-died
		commands <- parentGone
	}()
}

// harden protects the guard from memory reclaim, the OOM killer, and whatever else wants the processor. What fails is returned as warnings: an
// unprotected guard is still better than a freeze without a guard.
func harden() (warnings []string) {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil {
		warnings = append(warnings, fmt.Sprintf("cannot protect the guard from the OOM killer: %v", err))
	}
	// ONFAULT, since Go reserves address space by the hundred MiB that it never touches.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		warnings = append(warnings, fmt.Sprintf("cannot lock the guard's memory: %v", err))
	} else {
		lockCode()
	}
	if _, err := linux.Hasten(); err != nil {
		warnings = append(warnings, fmt.Sprintf("cannot give the guard priority: %v", err))
	}
	return warnings
}

// lockCode faults in the program's own code and constants, which ONFAULT would leave on disk until they are used.
func lockCode() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		f := strings.Fields(string(line))
		if len(f) < 6 || !strings.HasPrefix(f[1], "r") || strings.Join(f[5:], " ") != exe {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		a, err1 := strconv.ParseUint(from, 16, 64)
		b, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil {
			_, _, _ = unix.Syscall(unix.SYS_MLOCK, uintptr(a), uintptr(b-a), 0)
		}
	}
}
