package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
)

// Whether a host that has an order done under its key does it again follows from what has become of it since.
func TestWhatWasDoneIsDoneAgainWhereItIsNotThereAnyMore(t *testing.T) {
	const (
		done    = `{"run": "r1", "outcome": "done", "repeated": true}`
		partly  = `{"run": "r1", "outcome": "done", "repeated": true, "failures": [{"error": "volume b was left out"}]}`
		undone  = `{"run": "r1", "outcome": "rolled-back", "repeated": true}`
		own     = `{"run": "r1", "outcome": "done", "asked": "restore db --set=a"}`
		another = `, {"run": "r2", "outcome": "%s", "asked": "%s"}`
	)
	newer := func(outcome, asked string) string { return "[" + own + fmt.Sprintf(another, outcome, asked) + "]" }
	for name, c := range map[string]struct {
		operation, first string // what the first generation of the key says
		code             int
		runs, want       string // the run that is told of; or the type of the error
	}{
		"nothing since":             {"restore", done, 0, "[" + own + "]", "r1 repeated"},
		"one before it":             {"restore", done, 0, `[{"run": "r0", "outcome": "done", "asked": "restore db --set=b"}, ` + own + "]", "r1 repeated"},
		"another set since":         {"restore", done, 0, newer("done", "restore db --set=b"), "new"},
		"somebody by hand since":    {"restore", done, 0, newer("done", ""), "new"},
		"half of another set since": {"restore", done, 0, newer("failed", "restore db --set=b"), "new"},
		"it is under way now":       {"restore", done, 0, newer("", "restore db --set=b"), "new"},
		"the other was undone":      {"restore", done, 0, newer("rolled-back", "restore db --set=b"), "r1 repeated"},
		"the other began nothing":   {"restore", done, 0, newer("aborted", "restore db --set=b"), "r1 repeated"},
		"the same set since":        {"restore", done, 0, newer("done", "restore db --set=a"), "r1 repeated"},
		"it was undone":             {"restore", undone, 1, "[]", "new"},
		"a volume is left out":      {"restore", partly, 3, "[" + own + "]", "Partly"},
		"a mount":                   {"mount", done, 0, "", "new"},
		"a mount but for a volume":  {"mount", partly, 3, "", "new"},
		"a drill":                   {"verify", done, 0, "", "r1 repeated"},
	} {
		program := filepath.Join(t.TempDir(), "snaptastic")
		script := fmt.Sprintf(`#!/bin/sh
case "$*" in
runs*) echo '%s' ;;
*"--key k/1 "*) echo '%s'; exit %d ;;
*"--key k/2 "*) echo '{"run": "new", "outcome": "done"}' ;;
*) exit 2 ;;
esac
`, c.runs, c.first, c.code)
		if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		w := &Worker{Name: "h", Program: Program{Path: program}, Config: config.Worker{Allow: []string{c.operation + " db"}}}
		var suite testsuite.WorkflowTestSuite
		e := suite.NewTestActivityEnvironment()
		e.RegisterActivity(w.Run)
		value, err := e.ExecuteActivity(w.Run, flow.RunRequest{Operation: c.operation, Snapshotter: "db", Set: "a", Key: "k"})
		got := ""
		var r flow.RunResult
		if err == nil {
			err = value.Get(&r)
		}
		if app, is := err.(*temporal.ActivityError); is {
			got = app.Unwrap().(*temporal.ApplicationError).Type()
		} else if got = r.Run; r.Repeated {
			got += " repeated"
		}
		if got != c.want && !strings.HasPrefix(got, c.want+":") {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
	}
}

// A worker that was lost finds its own run again: that is no order of somebody else.
func TestARunThatThisOrderHasBegunIsNotAnEarlierOne(t *testing.T) {
	program := filepath.Join(t.TempDir(), "snaptastic")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n[ $1 = runs ] && echo '[]' || echo '{\"run\": \"r1\", \"outcome\": \"done\", \"repeated\": true}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := &Worker{Name: "h", Program: Program{Path: program}, Config: config.Worker{Allow: []string{"restore db"}}}
	for run, want := range map[string]bool{"r1": false, "r0": true, "": true} {
		var suite testsuite.WorkflowTestSuite
		e := suite.NewTestActivityEnvironment()
		e.SetHeartbeatDetails(Beat{Run: run})
		e.RegisterActivity(w.Run)
		value, err := e.ExecuteActivity(w.Run, flow.RunRequest{Operation: "restore", Snapshotter: "db", Set: "a", Key: "k"})
		var r flow.RunResult
		if err == nil {
			err = value.Get(&r)
		}
		if err != nil || r.Repeated != want {
			t.Errorf("%q: %+v, %v", run, r, err)
		}
	}
}
