package linux

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A test of what dies with a program needs a program: this binary in that role.
const hookRunnerRole = "SNAPTASTIC_TEST_RUNS_HOOK"

// runAsHookRunner plays that role where it is asked for.
func runAsHookRunner() {
	if as := os.Getenv(hookRunnerRole); as != "" {
		os.Unsetenv(hookRunnerRole)
		q := HookRequest{Run: "run-1", Env: []string{"SNAPTASTIC_RUN=run-1"}}
		if err := json.Unmarshal([]byte(as), &q.Command); err != nil {
			panic(err)
		}
		q.RecordDir, q.Command = q.Command[0], q.Command[1:]
		if q.Command[0] == "held" {
			q.Command, q.Timeout = q.Command[1:], 2*time.Second
			if _, err := New(Roots{}).StartHeldHook(context.Background(), q); err != nil {
				panic(err)
			}
			select {}
		}
		_, err := New(Roots{}).RunHook(context.Background(), q)
		panic(err)
	}
}

// hookRunner is a program that waits in a hook, which wrote its pids into a file.
type hookRunner struct {
	t       *testing.T
	program *exec.Cmd
	dir     string
	records string
}

func startHookRunner(t *testing.T, command ...string) *hookRunner {
	t.Helper()
	dir, err := os.MkdirTemp("", "hook") // whose parents a hook that changes its user may pass, unlike t.TempDir's
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o777))
	r := &hookRunner{t: t, dir: dir}
	r.records = filepath.Join(r.dir, "hooks")
	for i := range command {
		command[i] = strings.ReplaceAll(command[i], "DIR", r.dir)
	}
	as, err := json.Marshal(append([]string{r.records}, command...))
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	r.program = exec.Command(self)
	r.program.Env = append(os.Environ(), hookRunnerRole+"="+string(as))
	must(t, r.program.Start())
	t.Cleanup(func() { _ = r.program.Process.Kill(); _ = r.program.Wait() })
	r.eventually("the hook's pids", func() bool { return len(r.pids()) > 0 })
	t.Cleanup(func() { // only what still belongs to the hook
		for _, pid := range r.pids() {
			if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil && strings.Contains(string(env), "SNAPTASTIC_RUN=run-1") {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	})
	return r
}

// pids are complete once "ready" is among them.
func (r *hookRunner) pids() (all []int) {
	b, _ := os.ReadFile(filepath.Join(r.dir, "pids"))
	if !strings.Contains(string(b), "ready") {
		return nil
	}
	for f := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

func (r *hookRunner) eventually(what string, is func() bool) {
	r.t.Helper()
	for began := time.Now(); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			r.t.Fatalf("no %s", what)
		}
	}
}

func (r *hookRunner) ended() bool {
	return !slices.ContainsFunc(r.pids(), alive)
}

func (r *hookRunner) kill() {
	must(r.t, r.program.Process.Kill())
	_ = r.program.Wait()
}

// killWatcher kills what watches the hook, so that nothing is left that would end it.
func (r *hookRunner) killWatcher() {
	r.t.Helper()
	group, err := unix.Getpgid(r.pids()[0])
	must(r.t, err)
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && strings.HasPrefix(string(b), fmt.Sprintf("%s\x00%d\x00", watcherName, group)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			must(r.t, unix.Kill(pid, unix.SIGKILL))
			return
		}
	}
	r.t.Fatal("the hook has no watcher")
}

const twoSleeps = `sleep 1000 & echo $! $$ >>DIR/pids; echo ready >>DIR/pids; wait`

func TestAHookDiesWithItsProgram(t *testing.T) {
	for name, command := range map[string][]string{
		"with its child":                {"sh", "-c", twoSleeps},
		"though it ignores TERM":        {"sh", "-c", "trap '' TERM; " + twoSleeps + "; wait; sleep 1000"},
		"as another user":               {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", twoSleeps},
		"held, when it does not let go": {"held", "sh", "-c", "echo ready; " + twoSleeps},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if command[0] == "setpriv" && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			r := startHookRunner(t, command...)
			r.kill()
			r.eventually("end of the hook", r.ended)
		})
	}
}

// A held hook lets go by itself when its input ends, and has its time to do so.
func TestAHeldHookOfAKilledProgramReleasesWhatItHolds(t *testing.T) {
	r := startHookRunner(t, "held", "sh", "-c", `echo ready; echo $$ ready >>DIR/pids; trap 'echo cut >>DIR/pids' TERM; cat >/dev/null; sleep 0.5; echo unlocked >>DIR/unlocked`)
	r.kill()
	r.eventually("end of the hook", r.ended)
	if _, err := os.Stat(filepath.Join(r.dir, "unlocked")); err != nil {
		t.Error("it was ended before it had let go")
	}
}

// Program and watcher killed together: the record names what still runs.
func TestEndHooksEndsWhatAKilledProgramLeft(t *testing.T) {
	r := startHookRunner(t, "sh", "-c", twoSleeps)
	r.killWatcher()
	r.kill()
	if r.ended() {
		t.Fatal("the hook ended by itself")
	}
	if names, err := EndHooks(t.Context(), r.records, "another-run"); len(names) != 0 || err != nil || r.ended() {
		t.Errorf("for another run: %v, %v", names, err)
	}
	names, err := EndHooks(t.Context(), r.records, "run-1")
	if err != nil || len(names) != 1 || names[0] != "sh" || !r.ended() {
		t.Errorf("EndHooks = %v, %v, ended %v", names, err, r.ended())
	}
	if left, _ := os.ReadDir(r.records); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
	if names, err := EndHooks(t.Context(), r.records, "run-1"); len(names) != 0 || err != nil {
		t.Errorf("once more: %v, %v", names, err)
	}
}

// The group's leader is gone, its child goes on: the run in its environment tells that it is the hook's.
func TestEndHooksEndsAGroupWithoutItsLeader(t *testing.T) {
	r := startHookRunner(t, "sh", "-c", twoSleeps)
	r.killWatcher()
	leader := r.pids()[1]
	must(t, r.program.Process.Signal(unix.SIGSTOP))
	must(t, unix.Kill(leader, unix.SIGKILL))
	r.kill()
	if _, err := EndHooks(t.Context(), r.records, "run-1"); err != nil || !r.ended() {
		t.Errorf("%v, ended %v", err, r.ended())
	}
}

// A number that has become a stranger's is left alone, and so is what another boot wrote.
func TestEndHooksKillsNoOtherProcess(t *testing.T) {
	stranger := exec.Command("sleep", "1000")
	stranger.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, stranger.Start())
	defer func() { _ = stranger.Process.Kill(); _ = stranger.Wait() }()
	start, err := processStart(stranger.Process.Pid)
	must(t, err)
	boot, err := New(Roots{}).BootID()
	must(t, err)
	for name, g := range map[string]hookGroup{
		"an older process's number": {Group: stranger.Process.Pid, Start: start - 1, Boot: boot, Run: "run-1"},
		"another boot's":            {Group: stranger.Process.Pid, Start: start, Boot: "another", Run: "run-1"},
	} {
		dir := t.TempDir()
		b, err := json.Marshal(g)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "1"+hookRecordSuffix), b, 0o600))
		must(t, unix.Mkfifo(filepath.Join(dir, "2"+hookRecordSuffix), 0o600))
		names, err := EndHooks(t.Context(), dir, "run-1")
		wantError(t, err, "not a regular file")
		if len(names) != 0 || !alive(stranger.Process.Pid) {
			t.Errorf("%s: ended %v", name, names)
		}
		if _, err := os.Stat(filepath.Join(dir, "1"+hookRecordSuffix)); err == nil {
			t.Errorf("%s: its record stays", name)
		}
	}
}

// Whatever this process ignores, a hook has each signal's default.
func TestAHookHasDefaultSignalDispositions(t *testing.T) {
	ignored := []os.Signal{unix.SIGPIPE, unix.SIGINT, unix.SIGHUP, unix.SIGTSTP, unix.SIGUSR1, unix.SIGTTOU}
	signal.Ignore(ignored...)
	defer signal.Reset(ignored...)
	internal := [4]uintptr{1} // SIG_IGN, as a parent leaves it that used posix_spawn
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, 32, uintptr(unsafe.Pointer(&internal)), 0, 8, 0, 0)
	defer defaultInternalSignals()
	h := New(Roots{})
	var lines []string
	note := func(l string) { lines = append(lines, l) }
	_, err := h.RunHook(t.Context(), HookRequest{Command: []string{"cat", "/proc/self/status"}, Output: note})
	must(t, err)
	seen := 0
	for _, l := range lines {
		if name, mask, _ := strings.Cut(l, ":"); name == "SigIgn" || name == "SigBlk" || name == "SigCgt" {
			seen++
			if strings.Trim(mask, "\t 0") != "" {
				t.Errorf("%s of the hook is %s", name, mask)
			}
		}
	}
	if seen != 3 {
		t.Errorf("status is %q", lines)
	}
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	_, err = h.RunHook(t.Context(), HookRequest{Command: []string{"env"}, Output: func(l string) {
		if strings.HasPrefix(l, fenceMarker) || strings.HasPrefix(l, "NOTIFY_SOCKET") {
			t.Errorf("the hook is told %s", l)
		}
	}})
	must(t, err)
}

func TestAHookThatEndedLeavesNoRecordAndNoWatcher(t *testing.T) {
	dir := t.TempDir()
	_, err := New(Roots{}).RunHook(t.Context(), HookRequest{Command: []string{"sh", "-c", "ls " + dir}, Run: "run-1", RecordDir: dir, Output: func(l string) {
		if !strings.HasSuffix(l, hookRecordSuffix) {
			t.Errorf("beside the record there is %s", l)
		}
	}})
	must(t, err)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}

// A full disk keeps no hook from running.
func TestAHookWhoseRecordCannotBeWrittenRunsWithAWarning(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	var lines []string
	_, err := New(Roots{}).RunHook(t.Context(), HookRequest{Command: []string{"echo", "ran"}, RecordDir: filepath.Join(file, "hooks"), Output: func(l string) { lines = append(lines, l) }})
	if err != nil || len(lines) != 2 || !strings.Contains(lines[0], "cannot record the running hook") || lines[1] != "ran" {
		t.Errorf("%q, %v", lines, err)
	}
}
