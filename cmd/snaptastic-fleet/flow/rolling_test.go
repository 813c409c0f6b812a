package flow

import (
	"strings"
	"testing"

	"go.temporal.io/sdk/temporal"
)

func TestTooManyHostsAreRefused(t *testing.T) {
	w := &world{}
	e := w.env(t)
	e.ExecuteWorkflow(Snapshot, request(81))
	if _, err := snapshotResult(t, e); err == nil || !strings.Contains(err.Error(), "--rolling 80") || w.armed != 0 {
		t.Errorf("%v, %d armed", err, w.armed)
	}
}

func TestACellThatFailsDoesNotStopTheNext(t *testing.T) {
	w := &world{}
	w.window = func(h string, r WindowRequest) (WindowResult, error) {
		if h == "h3" {
			return WindowResult{}, temporal.NewNonRetryableApplicationError("no", "Failed", nil)
		}
		return w.good(h, r), nil
	}
	e := w.env(t)
	req := request(5)
	req.Cell = 2
	e.ExecuteWorkflow(Snapshot, req)
	_, err := snapshotResult(t, e)
	if err == nil || !strings.Contains(err.Error(), "1 of 3 cells failed: s.2") {
		t.Errorf("%v", err)
	}
	if got := strings.Join(w.labelled, " "); got != "s.1 s.3" {
		t.Errorf("labelled %s", got)
	}
	if got := strings.Join(w.undone, " "); got != "s.2" {
		t.Errorf("undone %s", got)
	}
}
