package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A hook that was running when the program was killed never runs beside the one that a resume, a rollback or the next
// run starts, whatever was killed with the program.
func TestAResumeStartsNoSecondHookBesideTheOldOne(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		watcher bool // killed as well
		then    []string
	}{
		{"resume", false, []string{"resume"}},
		{"resume, the watcher was killed too", true, []string{"resume"}},
		{"the next run, the watcher was killed too", true, []string{"run", "mount", "db"}},
		{"rollback, the watcher was killed too", true, []string{"rollback", "RUN"}},
		{"abandon, the watcher was killed too", true, []string{"abandon", "RUN"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			diary := filepath.Join(r.dir, "diary")
			// The first one stays, and takes its time when it is told to end; the second one looks whether it is still there.
			hook := r.script("hook", fmt.Sprintf(`if [ -e %[1]s ]; then grep -qs '^State:.[^ZX]' /proc/$(head -1 %[1]s)/status && echo beside >>%[1]s; echo second >>%[1]s; exit; fi
trap 'sleep 1; exit 1' TERM
echo $$ >>%[1]s
while :; do sleep 0.1; done
`, diary))
			r.hooked(fmt.Sprintf("  hook \"pre_mounts\" { command = [%q] }\n", hook))
			cmd := r.background("run", "mount", "db")
			var pid int
			r.eventually("hook", func() bool {
				b, _ := os.ReadFile(diary)
				_, err := fmt.Sscan(string(b), &pid)
				return err == nil
			})
			if tt.watcher {
				killWatcher(t, pid)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			args := tt.then
			if args[len(args)-1] == "RUN" {
				args = []string{args[0], r.only()}
			}
			r.must(args...)
			b, err := os.ReadFile(diary)
			if err != nil || strings.Contains(string(b), "beside") {
				t.Errorf("%q, %v", b, err)
			}
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(b), ") Z") {
				t.Errorf("the first hook still runs: %s", b)
			}
			if again := args[0] == "resume" || args[0] == "run"; again != strings.Contains(string(b), "second") {
				t.Errorf("the hook's diary after %v is %q", args, b)
			}
			if left, _ := os.ReadDir(filepath.Join(r.state(), "hooks")); len(left) != 0 {
				t.Errorf("left are %v", left)
			}
		})
	}
}

// killWatcher kills what would end the hook of this group when the program dies.
func killWatcher(t *testing.T, group int) {
	t.Helper()
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && strings.HasPrefix(string(b), fmt.Sprintf("snaptastic-hook-watch\x00%d\x00", group)) {
			var pid int
			if _, err := fmt.Sscan(filepath.Base(filepath.Dir(name)), &pid); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the hook has no watcher")
}

// `show RUN -o json | head -1` ends like any other program of a pipeline, and says nothing. A run over data goes on.
func TestOnlyARunOverDataSurvivesABrokenPipe(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.hooked("")
	broken := func(args ...string) (state *os.ProcessState, stderr string) {
		t.Helper()
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		read.Close()
		cmd := r.command(args...)
		var said strings.Builder
		cmd.Stdout, cmd.Stderr = write, &said
		_ = cmd.Run()
		write.Close()
		return cmd.ProcessState, said.String()
	}
	if state, said := broken("run", "mount", "db"); state.ExitCode() != exitDone || len(r.mounted()) != 1 {
		t.Errorf("run mount: %v, mounted %v\n%s", state, r.mounted(), said)
	}
	all := r.must("--log-level", "off", "runs", "-o", "json")
	id := r.field(all, "run")
	for _, args := range [][]string{{"show", id, "-o", "json"}, {"show", id}, {"runs"}, {"status", "-o", "json"}, {"plan", "mount", "db"}, {"volumes", "db"}, {"check"}, {"version"}} {
		state, said := broken(args...)
		if status := state.Sys().(syscall.WaitStatus); said != "" || !status.Signaled() || status.Signal() != syscall.SIGPIPE {
			t.Errorf("%v: %v, it said %q", args, state, said)
		}
	}
}

// field is the first value of a name in JSON.
func (r *rig) field(text, name string) string {
	r.t.Helper()
	_, rest, found := strings.Cut(text, `"`+name+`":`)
	if !found {
		r.t.Fatalf("no %s in %s", name, text)
	}
	value, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(rest), `"`), `"`)
	return value
}
