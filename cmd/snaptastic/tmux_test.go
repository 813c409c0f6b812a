package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
)

// A tmux is a terminal of a size on which the program runs.
type tmux struct {
	t      *testing.T
	socket string
}

func newTmux(t *testing.T) *tmux {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("needs tmux")
	}
	x := &tmux{t, filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", x.socket, "kill-server").Run() })
	return x
}

func (x *tmux) do(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// window runs a command of the rig on a terminal of so many columns, with these variables.
func (x *tmux) window(r *rig, name string, columns int, environ string, args ...string) {
	x.t.Helper()
	var quoted []string
	for _, a := range r.command(args...).Args {
		quoted = append(quoted, "'"+strings.ReplaceAll(a, "'", `'\''`)+"'")
	}
	line := "exec env TERM=xterm-256color " + environ + " " + strings.Join(quoted, " ")
	script := filepath.Join(r.dir, name+".sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"+line+"\n"), 0o700); err != nil {
		x.t.Fatal(err)
	}
	x.do("new-session", "-d", "-s", name, "-x", fmt.Sprint(columns), "-y", "24", script)
	x.do("set-option", "-t", name, "remain-on-exit", "on")
}

// screen is what is on it, with its escape sequences on request.
func (x *tmux) screen(name string, escapes bool) string {
	if escapes {
		return x.do("capture-pane", "-p", "-e", "-t", name)
	}
	return x.do("capture-pane", "-p", "-t", name)
}

// On terminals of three widths, in colour, without, and in ASCII: a whole mount with a throttled and a failing lane, as `run` shows it
// and as others watch it.
func TestAMountOnTerminals(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4", "--attach-time=3s")
	x := newTmux(t)
	r.setFaults(sandbox.Fault{Action: "CreateVolume", Error: "RequestLimitExceeded", Count: 8},
		sandbox.Fault{Action: "AttachVolume", Params: map[string]string{"Device": "/dev/sdg"}, Error: "AttachmentLimitExceeded"})
	x.window(r, "w80", 80, "LANG=C.UTF-8", "status", "--watch")
	x.window(r, "w120", 120, "LANG=C.UTF-8 NO_COLOR=1", "status", "--watch")
	x.window(r, "w200", 200, "LANG=C LC_ALL=C", "status", "--watch")
	r.eventually("watcher", func() bool { return strings.Contains(x.screen("w200", false), "no live runs") })
	x.window(r, "run", 120, "LANG=C.UTF-8", "--log-level", "off", "run", "mount", "db")
	screens := []string{"w80", "w120", "w200", "run"}
	seen := map[string]bool{}
	r.eventually("throttling on all screens", func() bool {
		for _, name := range screens {
			seen[name] = seen[name] || strings.Contains(x.screen(name, false), "EC2 throttled, next try in ")
		}
		return seen["w80"] && seen["w120"] && seen["w200"] && seen["run"]
	})
	x.do("resize-window", "-t", "w120", "-x", "90", "-y", "20")
	r.eventually("failed lane", func() bool { return strings.Contains(x.screen("w200", false), "AttachmentLimitExceeded") })
	for _, name := range []string{"w80", "w120", "w200"} {
		r.eventually("end on "+name, func() bool { return strings.Contains(x.screen(name, false), "ended: failed") })
		r.eventually("what comes next on "+name, func() bool { return strings.Contains(x.screen(name, false), "finish it:") })
	}
	r.eventually("end of the run", func() bool { return strings.Contains(x.screen("run", false), " failed (1 of 2 volumes done)") })
	colour, none, ascii := x.screen("w80", true), x.screen("w120", true), x.screen("w200", true)
	if !strings.Contains(colour, "\x1b[31m") || !strings.Contains(colour, "✗") {
		t.Errorf("in colour:\n%q", colour)
	}
	if strings.Contains(none, "\x1b[") {
		t.Errorf("without colour:\n%q", none)
	}
	for _, c := range ascii {
		if c > 0x7e {
			t.Errorf("%q in ASCII:\n%s", c, ascii)
			break
		}
	}
	if n := strings.Count(x.screen("w120", false), "run 2"); n > 2 { // its board, and the list of unfinished runs
		t.Errorf("a terminal that was resized shows the run %d times:\n%s", n, x.screen("w120", false))
	}
	x.do("send-keys", "-t", "w80", "C-c")
	r.eventually("end of the watch", func() bool { return strings.Contains(x.do("list-panes", "-t", "w80", "-F", "#{pane_dead}"), "1") })
}

// Ctrl-C in a terminal says at once what is finished first.
func TestAStopOnATerminalSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4", "--attach-time=8s")
	x := newTmux(t)
	x.window(r, "run", 140, "LANG=C.UTF-8", "--log-level", "off", "run", "mount", "db")
	r.await("AttachVolume")
	r.eventually("attach", func() bool { return strings.Contains(x.screen("run", false), "attach") })
	x.do("send-keys", "-t", "run", "C-c")
	r.eventually("news of the stop", func() bool {
		return strings.Contains(x.screen("run", false), "stopping: finishing attach of "+r.mounts[0])
	})
	if s := x.screen("run", false); !strings.Contains(s, "(up to ") || !strings.Contains(s, "then, to finish it: snaptastic resume ") {
		t.Errorf("the stop says\n%s", s)
	}
}
