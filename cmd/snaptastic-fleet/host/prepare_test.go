package host

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"golang.org/x/sys/unix"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
)

// prepared runs the activity with a shell script as the program. Each line of asked is a command line that it was called with.
func prepared(t *testing.T, script string, change func(*Worker), req flow.PrepareRequest) (r flow.Ready, asked []string, err error) {
	t.Helper()
	dir := t.TempDir()
	program, calls := filepath.Join(dir, "snaptastic"), filepath.Join(dir, "calls")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\" >>"+calls+"\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	w := &Worker{Program: Program{Path: program}, Config: config.Worker{Allow: []string{"snapshot db"}}, Now: time.Now,
		Kernel: func(c *unix.Timex) (int, error) { c.Maxerror = 20000; return unix.TIME_OK, nil }}
	if change != nil {
		change(w)
	}
	var suite testsuite.WorkflowTestSuite
	e := suite.NewTestActivityEnvironment()
	e.RegisterActivity(w.Prepare)
	value, err := e.ExecuteActivity(w.Prepare, req)
	if err == nil {
		err = value.Get(&r)
	}
	text, _ := os.ReadFile(calls)
	return r, strings.Split(strings.TrimSpace(string(text)), "\n"), err
}

const goodPlan = `case $1 in
version) echo '{"version": "1.2.3"}' ;;
*) echo '{"lanes": [{"id": "/a"}, {"id": "/b"}], "steps": [{"action": "create"}]}' ;;
esac
`

func TestAHostIsAskedWhatItWillBeTold(t *testing.T) {
	trusted := func(w *Worker) { w.Config.TrustClock = true }
	r, asked, err := prepared(t, goodPlan, trusted, flow.PrepareRequest{Snapshotter: "db", Set: "s-1", Hold: 2500 * time.Millisecond})
	if err != nil || r.Members != 2 || r.Version != "1.2.3" || r.ClockErrorSeconds != 0.02 {
		t.Errorf("%+v, %v", r, err)
	}
	words := strings.Fields(asked[0])
	for _, want := range []string{"plan snapshot db", "--set s-1 --members 1000 --defer-label", "--trust-clock -o json"} {
		if !strings.Contains(asked[0], want) {
			t.Errorf("%q is not in %s", want, asked[0])
		}
	}
	times := map[string]time.Time{}
	for _, flag := range []string{"--at", "--hold-until"} {
		if i := slices.Index(words, flag); i > 0 {
			times[flag], _ = time.Parse(time.RFC3339Nano, words[i+1])
		}
	}
	limit := time.Duration(0)
	if i := slices.Index(words, "--timeout"); i > 0 {
		limit, _ = time.ParseDuration(words[i+1])
	}
	if ahead := time.Until(times["--at"]); times["--hold-until"].Sub(times["--at"]) != 2500*time.Millisecond || ahead < limit || ahead > time.Hour || limit < 10*time.Second {
		t.Errorf("an instant in %s, limit %s: %s", ahead, limit, asked[0])
	}
	// An order of an earlier build.
	if _, asked, err := prepared(t, goodPlan, trusted, flow.PrepareRequest{Snapshotter: "db"}); err != nil || asked[0] != "plan snapshot db -o json" {
		t.Errorf("%v, %v", asked, err)
	}
}

// What may pass is asked again, what will not is not.
func TestWhatIsNotReadyIsNotAskedAgain(t *testing.T) {
	fails := func(code string) string { return "echo 'error: it is so' >&2\nexit " + code + "\n" }
	for script, want := range map[string]string{
		fails("1"): "Failed", fails("2"): "Failed", fails("4"): "Failed", fails("5"): "Again", fails("130"): "Again", "kill -9 $$\n": "Again",
		`echo '{"lanes": [{}], "steps": [{"problem": "it is so"}]}'; exit 3` + "\n": "NotReady",
	} {
		_, _, err := prepared(t, script, nil, flow.PrepareRequest{Snapshotter: "db", Set: "s", Hold: time.Second})
		var app *temporal.ApplicationError
		if !errors.As(err, &app) || app.Type() != want || app.NonRetryable() != (want != "Again") || !strings.HasPrefix(script, "kill") && app.Message() != "it is so" {
			t.Errorf("%q: %v", script, err)
		}
	}
}

// A clock of which the kernel does not say that it is right is not ready, and nothing is asked of the host.
func TestAClockThatIsNotSynchronizedIsNotReady(t *testing.T) {
	request := flow.PrepareRequest{Snapshotter: "db", Set: "s", Hold: time.Second}
	for name, kernel := range map[string]func(*unix.Timex) (int, error){
		"by its state":  func(*unix.Timex) (int, error) { return unix.TIME_ERROR, nil },
		"by its status": func(c *unix.Timex) (int, error) { c.Status = unix.STA_UNSYNC; return unix.TIME_OK, nil },
	} {
		_, asked, err := prepared(t, goodPlan, func(w *Worker) { w.Kernel = kernel }, request)
		var app *temporal.ApplicationError
		if !errors.As(err, &app) || app.Type() != "NotReady" || !app.NonRetryable() || !strings.Contains(app.Message(), "start chrony") || asked[0] != "" {
			t.Errorf("%s: %v, asked %v", name, err, asked)
		}
		if r, _, err := prepared(t, goodPlan, func(w *Worker) { w.Kernel, w.Config.TrustClock = kernel, true }, request); err != nil || r.ClockErrorSeconds != 0 {
			t.Errorf("%s, trusted: %+v, %v", name, r, err)
		}
	}
}
