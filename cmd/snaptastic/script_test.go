package main

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"snaptastic/ec2/sandbox"
	"snaptastic/linux/guard"
)

// TestTranscripts plays what an operator types and sees, in testdata/script.
// Besides testscript's own commands there are:
//
//	exits CODE COMMAND…     run it and want this exit code
//	snap CODE ARGUMENT…     the same for the program with its sandbox, settings and state in $WORK
//	calls N ACTION…         how many calls of these actions the sandbox has answered since the last `calls`
//	changes N               how many calls that change something, likewise
//	lose                    delete the volumes that were detached
//	lines N FILE            how many lines a file or stdout has
func TestTranscripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("SANDBOX", filepath.Join(e.WorkDir, "sandbox"))
			e.Setenv("MNT", filepath.Join(e.WorkDir, "mnt"))
			e.Setenv("TERM", "dumb")
			e.Defer(func() { wipe(t, e.WorkDir) })
			return os.Chmod(e.WorkDir, 0o755)
		},
		Condition: func(cond string) (bool, error) {
			if cond == "real" { // file systems on loop devices
				return os.Geteuid() == 0 && sandbox.Missing() == nil, nil
			}
			return false, errors.New("unknown condition")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "snap": snap, "calls": calls, "changes": changes, "lines": lines, "lose": lose,
		},
	})
}

// wipe takes away what a script left mounted or attached.
func wipe(t *testing.T, work string) {
	points, _ := filepath.Glob(filepath.Join(work, "mnt", "*"))
	for _, p := range points {
		_ = guard.ThawMount(p)
	}
	if err := sandbox.Reset(filepath.Join(work, "sandbox")); err != nil {
		t.Errorf("cannot reset the sandbox: %v", err)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
	for _, goism := range []string{"goroutine ", "panic:", "<nil>", "%!", "&{", "context canceled", "context deadline exceeded"} {
		if out := ts.ReadFile("stdout") + ts.ReadFile("stderr"); strings.Contains(out, goism) {
			ts.Fatalf("the output says %q, which tells an operator nothing:\n%s", goism, out)
		}
	}
}

func snap(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: snap CODE ARGUMENT…")
	}
	work := ts.Getenv("WORK")
	flags := []string{args[0], "snaptastic", "--settings", filepath.Join(work, "snaptastic.hcl"), "--state-dir", filepath.Join(work, "state"),
		"--sandbox=" + ts.Getenv("SANDBOX")}
	exits(ts, neg, append(flags, args[1:]...))
}

// since returns the EC2 calls that the sandbox has answered since it was last
// asked here, without dry runs.
func since(ts *testscript.TestScript) []sandbox.Call {
	all, err := sandbox.Log(ts.Getenv("SANDBOX"))
	ts.Check(err)
	seen, _ := strconv.Atoi(ts.Getenv("CALLS_SEEN"))
	ts.Setenv("CALLS_SEEN", strconv.Itoa(len(all)))
	return slices.DeleteFunc(all[min(seen, len(all)):], func(c sandbox.Call) bool { return c.Service != "ec2" || c.Params["DryRun"] == "true" })
}

func calls(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: calls N ACTION…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := slices.DeleteFunc(since(ts), func(c sandbox.Call) bool { return !slices.Contains(args[1:], c.Action) })
	if len(got) != want {
		ts.Fatalf("%d calls of %v, want %d", len(got), args[1:], want)
	}
}

func changes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: changes N")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := mutating(since(ts)); len(got) != want {
		ts.Fatalf("%d changing calls %v, want %d", len(got), got, want)
	}
}

// mutating lists the actions that change something, each once for every call.
// A dry run changes nothing.
func mutating(calls []sandbox.Call) []string {
	var out []string
	for _, c := range calls {
		if c.Service == "ec2" && !strings.HasPrefix(c.Action, "Describe") && c.Params["DryRun"] != "true" {
			out = append(out, c.Action)
		}
	}
	return out
}

func lose(ts *testscript.TestScript, _ bool, _ []string) {
	all, err := sandbox.Log(ts.Getenv("SANDBOX"))
	ts.Check(err)
	for _, c := range all {
		if c.Action == "DetachVolume" && c.Params["DryRun"] != "true" {
			ts.Check(ts.Exec("snaptastic", "--sandbox="+ts.Getenv("SANDBOX"), "sandbox", "delete-volume", c.Params["VolumeId"]))
		}
	}
}

func lines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines N FILE")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := strings.Count(ts.ReadFile(args[1]), "\n"); got != want {
		ts.Fatalf("%s has %d lines, want %d", args[1], got, want)
	}
}

// count counts calls by action, without dry runs.
func count(calls []sandbox.Call) map[string]int {
	out := map[string]int{}
	for _, c := range calls {
		if c.Service == "ec2" && c.Params["DryRun"] != "true" {
			out[c.Action]++
		}
	}
	return maps.Clone(out)
}
