package linux

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRunHook(t *testing.T) {
	h := New(Roots{})
	var lines []string
	r, err := h.RunHook(t.Context(), HookRequest{
		Command: []string{"sh", "-c", `read -r in; echo "$in $SNAPTASTIC_VOLUME"; echo err >&2; pwd; printf unfinished`},
		Env:     []string{"SNAPTASTIC_VOLUME=vol-1"}, Stdin: []byte("{}\nmore"),
		Output: func(l string) { lines = append(lines, l) },
	})
	want := []string{"{} vol-1", "err", "/", "unfinished"}
	if err != nil || r.ExitCode != 0 || !slices.Equal(lines, want) || !slices.Equal(r.Tail, want) {
		t.Errorf("RunHook = %+v, %v; lines %q; want %q", r, err, lines, want)
	}
}

func TestRunHookErrors(t *testing.T) {
	h := New(Roots{})
	r, err := h.RunHook(t.Context(), HookRequest{Command: []string{"sh", "-c", "seq 1 100; echo no database; exit 7"}, Stdin: make([]byte, 1<<20)})
	wantError(t, err, "hook sh", "exit status 7", "no database")
	if r.ExitCode != 7 || len(r.Tail) != tailLines || r.Tail[tailLines-1] != "no database" {
		t.Errorf("RunHook = %+v", r)
	}
	_, err = h.RunHook(t.Context(), HookRequest{Command: []string{"/no/such/hook"}})
	wantError(t, err, "cannot run hook /no/such/hook", "no such file")
	_, err = h.RunHook(t.Context(), HookRequest{Command: []string{"no-such-hook-anywhere"}})
	wantError(t, err, "no-such-hook-anywhere", "not found")
}

// alive tells whether a process runs; a zombie does not.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(b), ") Z")
}

func TestAHangingHookIsKilledWithItsGrandchildren(t *testing.T) {
	setGracePeriods(t, time.Minute, 5*time.Second) // far longer than the hook has to take
	h := New(Roots{})
	var pids []int
	start := time.Now()
	_, err := h.RunHook(t.Context(), HookRequest{
		// The hook ends on SIGTERM; the sleeping grandchild does too, and both have the pipe.
		Command: []string{"sh", "-c", `sleep 1000 & echo $!; echo $$; wait`},
		Timeout: 2 * time.Second,
		Output: func(l string) {
			if pid, err := strconv.Atoi(l); err == nil {
				pids = append(pids, pid)
			}
		},
	})
	if !errors.Is(err, ErrHookTimedOut) || time.Since(start) > termGrace {
		t.Errorf("RunHook = %v after %s", err, time.Since(start))
	}
	wantError(t, err, "timed out after 2 s")
	if len(pids) != 2 || alive(pids[0]) || alive(pids[1]) {
		t.Errorf("still alive, or never seen: %v", pids)
	}
}

// setGracePeriods shortens what a stopped hook gets.
func setGracePeriods(t *testing.T, term, kill time.Duration) {
	oldTerm, oldKill := termGrace, killGrace
	termGrace, killGrace = term, kill
	t.Cleanup(func() { termGrace, killGrace = oldTerm, oldKill })
}

func TestAHookThatIgnoresSIGTERMIsKilled(t *testing.T) {
	setGracePeriods(t, 300*time.Millisecond, 5*time.Second)
	h := New(Roots{})
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the operator stopped the run")
	var pid int
	start := time.Now()
	_, err := h.RunHook(ctx, HookRequest{
		Command: []string{"sh", "-c", `trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $!; wait; wait`},
		Output: func(l string) {
			pid, _ = strconv.Atoi(l)
			cancel(stop)
		},
	})
	if took := time.Since(start); !errors.Is(err, stop) || took < termGrace || took > termGrace+20*time.Second {
		t.Errorf("RunHook = %v after %s", err, took)
	}
	if pid == 0 || alive(pid) {
		t.Errorf("grandchild %d still lives", pid)
	}
}

// A process that writes to a frozen file system cannot be killed: the hook's caller must go on all the same.
func TestAnUnkillableHookDoesNotHangItsCaller(t *testing.T) {
	setGracePeriods(t, 100*time.Millisecond, 100*time.Millisecond)
	h := New(Roots{})
	target := mounted(t, h, formatted(t, h, "ext4", 32*mib), "ext4").Mount.Target
	folder, err := os.Open(target)
	must(t, err)
	thaw := func() { _ = unix.IoctlSetInt(int(folder.Fd()), uint(iowr('X', 120, 4)), 0) } // FITHAW
	t.Cleanup(func() {
		thaw()
		folder.Close()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range 500 { // until the hook has died, the mount is busy
			if h.Unmount(context.Background(), target) == nil {
				return
			}
			<-tick.C
		}
	})
	must(t, unix.IoctlSetInt(int(folder.Fd()), uint(iowr('X', 119, 4)), 0)) // FIFREEZE
	start := time.Now()
	_, err = h.RunHook(t.Context(), HookRequest{Command: []string{"sh", "-c", "echo before; : >" + target + "/file"}, Timeout: 2 * time.Second})
	took := time.Since(start)
	thaw()
	if !errors.Is(err, ErrHookTimedOut) || took > 20*time.Second {
		t.Errorf("RunHook = %v after %s", err, took)
	}
	wantError(t, err, "survives SIGKILL", "before")
}

func TestAGrandchildWithThePipeDoesNotHangTheHook(t *testing.T) {
	h := New(Roots{})
	start := time.Now()
	r, err := h.RunHook(t.Context(), HookRequest{Command: []string{"sh", "-c", `sleep 1000 & echo $!`}})
	if err != nil || time.Since(start) > 20*time.Second {
		t.Fatalf("RunHook = %+v, %v after %s", r, err, time.Since(start))
	}
	pid, _ := strconv.Atoi(r.Tail[0])
	if !alive(pid) {
		t.Error("a daemon that a hook started must live on")
	}
	must(t, unix.Kill(pid, unix.SIGKILL))
}

func TestALongLineIsCut(t *testing.T) {
	var w lineWriter
	if n, err := w.Write([]byte(strings.Repeat("x", 3*maxLine) + "\nend")); n != 3*maxLine+4 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	w.flush()
	got := w.last()
	if len(got) < 4 || got[len(got)-1] != "end" || len(got[0]) != maxLine {
		t.Errorf("%d lines, last %q", len(got), got[len(got)-1])
	}
}

func TestHeldHookHoldsUntilClosed(t *testing.T) {
	h := New(Roots{})
	var lines []string
	mark := filepath.Join(t.TempDir(), "released")
	held, err := h.StartHeldHook(t.Context(), HookRequest{
		Command: []string{"sh", "-c", `read -r in; echo "got $in"; echo ready; cat >/dev/null; echo released >` + mark + `; echo bye`},
		Stdin:   []byte("{}\n"), Timeout: 10 * time.Second, Output: func(l string) { lines = append(lines, l) },
	})
	must(t, err)
	select {
	case <-held.Exited():
		t.Error("the hook ended while it should hold")
	default:
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the hook let go before it was told")
	}
	r, err := held.Close(10 * time.Second)
	if err != nil || r.ExitCode != 0 || !slices.Equal(lines, []string{"got {}", "bye"}) {
		t.Errorf("Close = %+v, %v; lines %q", r, err, lines)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error("Close returned before the hook had let go")
	}
}

func TestHeldHookFailures(t *testing.T) {
	h := New(Roots{})
	_, err := h.StartHeldHook(t.Context(), HookRequest{Command: []string{"sh", "-c", "echo no lock; exit 3"}, Timeout: 10 * time.Second, Stdin: []byte("{}")})
	wantError(t, err, "did not become ready", "it exited", "no lock")
	_, err = h.StartHeldHook(t.Context(), HookRequest{Command: []string{"sh", "-c", "exec sleep 1000"}, Timeout: 100 * time.Millisecond, Stdin: make([]byte, 1<<20)})
	wantError(t, err, "did not become ready", "timed out")
	held, err := h.StartHeldHook(t.Context(), HookRequest{Command: []string{"sh", "-c", "echo ready; exec sleep 1000"}})
	must(t, err)
	if _, err := held.Close(100 * time.Millisecond); !errors.Is(err, ErrHookTimedOut) {
		t.Errorf("Close = %v, want ErrHookTimedOut", err)
	}
}
