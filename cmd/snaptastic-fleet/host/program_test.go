package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
)

func TestTheProgramsOwnSentenceIsTold(t *testing.T) {
	for stderr, want := range map[string]string{
		"error: no set \"x\"\n  hint: list the sets\n":                       `no set "x". List the sets`,
		"2026 [INFO] begins\nerror: cannot freeze: busy\n2026 [INFO] ends\n": "cannot freeze: busy",
		"Error: Invalid userdata\n":                                          "Invalid userdata",
		"Error: Unsupported argument\n\n  on /a.hcl line 7, in snapshotter \"db\":\n   7:     x = 1\n\nAn argument named \"x\" is not expected here.\n\n": "Unsupported argument: on /a.hcl line 7, in snapshotter \"db\": 7: x = 1 An argument named \"x\" is not expected here.",
		"Killed\n":                            "Killed",
		"error: " + strings.Repeat("x", 5000): strings.Repeat("x", 1000) + "…",
		"error: no set\n  hint: `snaptastic snapshots db --state-dir /var/x --settings '/a b'\\''c.hcl' --sandbox=/y --region eu-west-1` lists them\n": "no set. `snaptastic snapshots db --region eu-west-1` lists them",
		"error: run R stopped (snaptastic resume R --state-dir /var/x)\n":                                                                              "run R stopped (snaptastic resume R)",
		"error: cannot\n  hint: \n": "cannot",
		"":                          "",
	} {
		if got := lastError(stderr); got != want {
			t.Errorf("%.60q: %.80q, want %.80q", stderr, got, want)
		}
	}
}

// With rules that keep sets, a lane of a clean-up is a set. What is not done is not counted.
func TestWhatACleanUpDeletedIsCounted(t *testing.T) {
	program := filepath.Join(t.TempDir(), "snaptastic")
	if err := os.WriteFile(program, []byte(`#!/bin/sh
[ "$1 $2 $3 $4 $5" = "clean snapshots db --larger-sets --yes" ] || exit 2
echo '{"outcome": "done", "lanes": [
  {"lane": "20261128T165536402-d448/f949", "size_gib": 1, "remarks": ["deleted 1 set (1 snapshot of 1 GiB)"], "state": "done"},
  {"lane": "snap-1", "snapshot_id": "snap-1", "state": "done"}, {"lane": "snap-2", "snapshot_id": "snap-2", "state": "skipped"}]}'
`), 0o700); err != nil {
		t.Fatal(err)
	}
	var suite testsuite.WorkflowTestSuite
	e := suite.NewTestActivityEnvironment()
	c := &Control{Program: Program{Path: program}}
	e.RegisterActivity(c.Clean)
	value, err := e.ExecuteActivity(c.Clean, flow.SetRequest{Snapshotter: "db"})
	if err != nil {
		t.Fatal(err)
	}
	var got flow.SetResult
	if err := value.Get(&got); err != nil || strings.Join(got.Deleted, " ") != "snap-1" || strings.Join(got.DeletedSets, " ") != "20261128T165536402-d448/f949" {
		t.Errorf("%+v, %v", got, err)
	}
}

// A copy that goes on with one that was cut off has two results.
func TestSeveralResultsAreRead(t *testing.T) {
	program := filepath.Join(t.TempDir(), "snaptastic")
	if err := os.WriteFile(program, []byte(`#!/bin/sh
echo '{"lanes": [{"state": "done"}, {"state": "failed"}], "failures": [{"error": "no key"}]}'
echo '{"lanes": [{"state": "done"}]}'
exit ${CODE:-0}
`), 0o755); err != nil {
		t.Fatal(err)
	}
	c := &Control{Program: Program{Path: program}}
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(c.Copy)
	var got flow.SetResult
	value, err := env.ExecuteActivity(c.Copy, flow.SetRequest{Snapshotter: "db"})
	if err == nil {
		err = value.Get(&got)
	}
	if err != nil || got.Copied != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	t.Setenv("CODE", "3")
	if _, err := env.ExecuteActivity(c.Copy, flow.SetRequest{Snapshotter: "db"}); err == nil || !strings.Contains(err.Error(), "no key") {
		t.Errorf("%v", err)
	}
}

// What the server says is held against the host's own settings, and can be no flag, path or command.
func TestNothingFromOutsideIsRun(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	program := filepath.Join(t.TempDir(), "snaptastic")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\" >> "+ran+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := &Worker{Name: "h", Program: Program{Path: program}, Config: config.Worker{Allow: []string{"snapshot db"}, TrustClock: true}, Now: time.Now}
	refused := func(what string, err error) {
		t.Helper()
		var app *temporal.ApplicationError
		if !errors.As(err, &app) || app.Type() != "Refused" || !app.NonRetryable() {
			t.Errorf("%s: %v", what, err)
		}
	}
	ctx := context.Background()
	now := time.Now()
	for _, req := range []flow.WindowRequest{
		{Snapshotter: "other", Set: "s", Key: "k", At: now, HoldUntil: now},
		{Snapshotter: "db --yes", Set: "s", Key: "k", At: now, HoldUntil: now},
		{Snapshotter: "db", Set: "--settings=/tmp/x", Key: "k", At: now, HoldUntil: now},
		{Snapshotter: "db", Set: "s", Key: "-k", At: now, HoldUntil: now},
		{Snapshotter: "db", Set: "s\nx", Key: "k", At: now, HoldUntil: now},
		{Snapshotter: "db", Set: strings.Repeat("s", 500), Key: "k", At: now, HoldUntil: now},
	} {
		_, err := w.Window(ctx, req)
		refused(req.Snapshotter+" "+req.Set, err)
	}
	for _, op := range []string{"restore", "clean", "snapshot db; rm", "--help", ""} {
		_, err := w.Run(ctx, flow.RunRequest{Operation: op, Snapshotter: "db", Set: "s", Key: "k"})
		refused("run "+op, err)
	}
	for _, probe := range []string{"", "/bin/ls", "x"} {
		refused("probe "+probe, w.Probe(ctx, flow.ProbeRequest{Name: probe}))
	}
	_, err := w.Prepare(ctx, flow.PrepareRequest{Snapshotter: "other"})
	refused("prepare", err)
	_, err = w.Prepare(ctx, flow.PrepareRequest{Snapshotter: "db", Set: "--settings=/tmp/x", Hold: time.Second})
	refused("prepare", err)
	if b, err := os.ReadFile(ran); err == nil {
		t.Errorf("something was run: %s", b)
	}
}

func TestWhatIsAskedAgain(t *testing.T) {
	for code, again := range map[int]bool{1: false, 2: false, 3: false, 4: false, 5: true, 130: true, -1: true} {
		var app *temporal.ApplicationError
		if err := verdict(&Exit{Code: code}); !errors.As(err, &app) || app.NonRetryable() == again {
			t.Errorf("exit code %d: %v", code, err)
		}
	}
}

// A labelled set is never undone. That is told, and not asked again for a day; what else was kept is.
func TestWhatAnUndoKeepsIsTold(t *testing.T) {
	for kept, want := range map[string]int{
		`{"snapshot_id": "snap-1", "labelled": true}, {"snapshot_id": "snap-2", "labelled": true}`:          2,
		`{"snapshot_id": "snap-1", "labelled": true}, {"snapshot_id": "snap-2", "reason": "EC2 throttles"}`: 0,
		`{"snapshot_id": "snap-1", "reason": "of a program that does not tell"}`:                            0,
	} {
		program := filepath.Join(t.TempDir(), "snaptastic")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n[ \"$1 $2 $3\" = \"undo --set s\" ] || exit 2\necho '{\"deleted\": [], \"kept\": ["+kept+"]}'\nexit 1\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		c := &Control{Program: Program{Path: program}}
		var suite testsuite.WorkflowTestSuite
		e := suite.NewTestActivityEnvironment()
		e.RegisterActivity(c.Undo)
		value, err := e.ExecuteActivity(c.Undo, flow.SetRequest{Set: "s"})
		var got flow.SetResult
		if err == nil {
			err = value.Get(&got)
		}
		if (err == nil) != (want > 0) || got.Labelled != want {
			t.Errorf("%s: %+v, %v", kept, got, err)
		}
	}
}
