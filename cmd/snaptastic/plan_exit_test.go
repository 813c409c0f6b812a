package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
)

// A plan that shows a conflict exits with 3, in each format that looks, so that a script need not read it.
func TestPlanExitsWith3WhereAStepWouldFail(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	if code, out := r.run("plan", "mount", "db"); code != exitDone {
		t.Fatalf("exit %d of a plan without a conflict:\n%s", code, out)
	}
	if _, err := r.openSandbox().AddVolume("/dev/sdf", 1, nil); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{nil, {"-o", "json"}} {
		code, stdout, stderr := r.apart(r.command(append([]string{"plan", "mount", "db"}, more...)...))
		if code != exitSomeLanes || !strings.Contains(stdout, "tags do not match") {
			t.Errorf("%v: exit %d, want %d and the conflict in the plan:\n%s%s", more, code, exitSomeLanes, stdout, stderr)
		}
		if len(more) > 0 && !json.Valid([]byte(stdout)) {
			t.Errorf("%v: no JSON:\n%s", more, stdout)
		}
	}
	if code, out := r.run("plan", "mount", "db", "--ignore-mounted"); code != exitDone {
		t.Errorf("exit %d where the volume is to be left alone:\n%s", code, out)
	}
	if code, out := r.run("plan", "snapshot", "db"); code != exitSomeLanes {
		t.Errorf("exit %d of a snapshot of what is not mounted:\n%s", code, out)
	}
	if code, out := r.run("clean", "instances", "--dry-run"); code != exitDone {
		t.Errorf("clean instances --dry-run: exit %d\n%s", code, out)
	}
}

// `sandbox serve --faults` takes a list of faults, and the form that the sandbox's own file has.
func TestFaultsAreReadInBothForms(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"list": `[{"action": "DescribeVolumes", "error": "UnauthorizedOperation"}]`,
		"file": `{"faults": [{"action": "DescribeVolumes", "error": "UnauthorizedOperation"}], "latency": {"create": "1ms"}}`,
	} {
		var c sandbox.Config
		if err := c.ReadFaults([]byte(text)); err != nil || len(c.Faults) != 1 || c.Faults[0].Action != "DescribeVolumes" {
			t.Errorf("%s: %v, %+v", name, err, c.Faults)
		}
		file := filepath.Join(t.TempDir(), "faults")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := newRig(t, 1, "ext4", "--faults", file)
		if code, out := r.run("volumes", "db"); code != exitFailed || !strings.Contains(out, "DescribeVolumes") {
			t.Errorf("%s: exit %d\n%s", name, code, out)
		}
	}
	for _, wrong := range []string{`{"fautls": []}`, `[{"acton": "x"}]`, `{"latency": {"creat": "1s"}}`, `nonsense`} {
		if err := new(sandbox.Config).ReadFaults([]byte(wrong)); err == nil {
			t.Errorf("%s was read", wrong)
		}
	}
}
