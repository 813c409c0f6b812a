package main

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
)

// What an operator is told to type works when it is typed: with the state folder, settings and sandbox of this
// invocation, which another one would not look at by itself.
func TestASuggestedCommandWorksAsItIsPrinted(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.setFaults(sandbox.Fault{Action: "AttachVolume", Error: "AttachmentLimitExceeded", Count: 1})
	code, out, _ := r.apart(r.command("run", "mount", "db"))
	if code != exitSomeLanes {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	suggested := ""
	for line := range strings.Lines(out) {
		if _, command, found := strings.Cut(line, "finish it:"); found {
			suggested = strings.TrimSpace(command)
		}
	}
	if !strings.HasPrefix(suggested, "snaptastic resume ") {
		t.Fatalf("no command is suggested:\n%s", out)
	}
	var shown struct {
		Next []struct{ Command string }
	}
	if err := json.Unmarshal([]byte(r.must("--log-level", "off", "show", r.unfinished()[0], "-o", "json")), &shown); err != nil || len(shown.Next) == 0 || shown.Next[0].Command != suggested {
		t.Errorf("%v: show suggests %+v, want %q", err, shown.Next, suggested)
	}
	cmd := exec.Command("sh", "-c", strings.Replace(suggested, "snaptastic", r.bin, 1))
	cmd.Env = r.command().Env
	if body, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%q: %v\n%s", suggested, err, body)
	}
	if got := len(r.mounted()); got != 2 {
		t.Errorf("%d are mounted after %q", got, suggested)
	}
}

// The environment may name the state folder, and a flag goes before it.
func TestTheEnvironmentNamesTheStateFolder(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	with := func(env string, args ...string) string {
		cmd := exec.Command(r.bin, args...)
		cmd.Env = append(r.command().Env, env)
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if out := with("SNAPTASTIC_STATE_DIR="+r.state(), "runs"); !strings.Contains(out, "mount") {
		t.Errorf("the run is not listed:\n%s", out)
	}
	if out := with("SNAPTASTIC_STATE_DIR=/nowhere", "--state-dir", r.state(), "runs"); !strings.Contains(out, "mount") {
		t.Errorf("the flag does not go before the environment:\n%s", out)
	}
}
