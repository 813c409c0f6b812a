package flow

import (
	"strings"
	"testing"

	"go.temporal.io/sdk/temporal"
)

func TestNoFurtherHostIsBegunAfterFailures(t *testing.T) {
	w := &world{}
	w.run = func(h string, r RunRequest) (RunResult, error) {
		if h == "h2" || h == "h3" {
			return RunResult{}, temporal.NewNonRetryableApplicationError("no space", "Failed", nil)
		}
		return RunResult{Run: "r-" + h}, nil
	}
	for stop, want := range map[int]string{1: "h1 h2", 2: "h1 h2 h3", 3: "h1 h2 h3 h4 h5"} {
		w.begun = nil
		e := w.env(t)
		e.RegisterWorkflow(Hosts)
		e.ExecuteWorkflow(Hosts, HostsRequest{Operation: "restore", Key: "k", Hosts: request(5).Hosts, AtOnce: 1, StopAfter: stop})
		if err := e.GetWorkflowError(); err == nil || !strings.Contains(err.Error(), "h2: no space") {
			t.Errorf("%v", err)
		}
		if got := strings.Join(w.begun, " "); got != want {
			t.Errorf("stop after %d: begun %s, want %s", stop, got, want)
		}
	}
}

// What the failure says of the same command is so.
func TestWhatToDoAfterAHostHasFailed(t *testing.T) {
	for _, c := range []struct{ key, kind, want string }{
		{"k", "Failed", "Run the same command again: hosts that are done are left as they are"},
		{"k", Partly, "order it under another word, with --again WORD"},
		{"", "Failed", "The same command begins again with all hosts"},
		{"", Partly, "The same command begins again with all hosts"},
	} {
		w := &world{run: func(string, RunRequest) (RunResult, error) {
			return RunResult{}, temporal.NewNonRetryableApplicationError("a volume was left out", c.kind, nil)
		}}
		e := w.env(t)
		e.RegisterWorkflow(Hosts)
		e.ExecuteWorkflow(Hosts, HostsRequest{Operation: "verify", Key: c.key, Hosts: request(2).Hosts, AtOnce: 1, StopAfter: 1})
		if err := e.GetWorkflowError(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %s: %v, want %s", c.key, c.kind, err, c.want)
		}
	}
}
