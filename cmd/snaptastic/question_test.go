package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal returns both ends of a new pseudo terminal.
func terminal(t *testing.T) (control, end *os.File) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() { control.Close() })
	n, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	end, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() { end.Close() })
	return control, end
}

// asked runs the program on a terminal of its own, and types at its question.
func (r *rig) asked(keys string, args ...string) (code int, out string) {
	r.t.Helper()
	return r.askedThen(func() {}, keys, args...)
}

// askedThen does something while the question is open.
func (r *rig) askedThen(meanwhile func(), keys string, args ...string) (code int, out string) {
	r.t.Helper()
	control, end := terminal(r.t)
	cmd := r.bare(append([]string{"--state-dir", r.state(), "--sandbox=" + r.sandboxDir(), "--endpoint-url", r.url, "--settings", r.settings}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = end, end, end
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	end.Close()
	var all bytes.Buffer
	typed, buf := false, make([]byte, 4096)
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for {
		n, err := control.Read(buf)
		all.Write(buf[:n])
		if !typed && bytes.Contains(all.Bytes(), []byte("[y/N]")) {
			typed = true
			meanwhile()
			if _, err := control.WriteString(keys); err != nil {
				r.t.Fatal(err)
			}
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode(), all.String()
}

// Ctrl-C at a question ends it with 130, whatever is typed after it, before
// there is a run: nothing is claimed and nothing has changed.
func TestCtrlCAtAQuestionEndsItBeforeThereIsARun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	before, calls := r.unfinished(), len(mutating(r.calls()))
	for _, keys := range []string{"\x03", "\x03y\n", "y\x03", "\x03\x03"} {
		if code, out := r.asked(keys, "run", "unmount", "db"); code != 130 {
			t.Errorf("%q: exit %d\n%s", keys, code, out)
		}
	}
	if got := r.unfinished(); !slices.Equal(got, before) || len(mutating(r.calls())) != calls || len(r.mounted()) != 1 {
		t.Errorf("unfinished are %v; mounted %v", got, r.mounted())
	}
	for _, keys := range []string{"n\n", "\n", "\x04"} { // the last is the end of the input
		if code, out := r.asked(keys, "run", "unmount", "db"); code != 1 {
			t.Errorf("%q: exit %d\n%s", keys, code, out)
		}
	}
	if code, out := r.asked("y\n", "run", "unmount", "db"); code != 0 || len(r.mounted()) != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
}
