package flow

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
)

// wantsCancelled fails unless it ended as cancelled, with nothing frozen, and tells of its hosts.
func (w *world) wantsCancelled(t *testing.T, err error, hosts int) SnapshotResult {
	t.Helper()
	var r SnapshotResult
	stopped := (*temporal.CanceledError)(nil)
	if !errors.As(err, &stopped) || stopped.Details(&r) != nil || len(r.Hosts) != hosts || r.Labelled {
		t.Fatalf("%v %+v", err, r)
	}
	if w.armed != 0 || len(w.labelled)+len(w.undone) != 0 {
		t.Errorf("%d armed, labelled %v, undone %v", w.armed, w.labelled, w.undone)
	}
	return r
}

// Cancelled while it waits for EC2's limit, nothing is armed: not of a whole fleet, and not of a cell.
func TestASnapshotThatWaitsForEC2CanBeCancelled(t *testing.T) {
	w := &world{}
	e := w.env(t)
	e.RegisterDelayedCallback(e.CancelWorkflow, 3*time.Second) // it has prepared, and the instant is 16 s after that
	e.ExecuteWorkflow(Snapshot, request(80))
	_, err := snapshotResult(t, e)
	if r := w.wantsCancelled(t, err, 80); r.Hosts[0].State != "ready" || !r.At.IsZero() {
		t.Errorf("%+v", r.Hosts[0])
	}
	w = &world{}
	e = w.env(t)
	e.RegisterDelayedCallback(e.CancelWorkflow, 3*time.Second)
	req := request(90)
	req.Cell = 80
	e.ExecuteWorkflow(Snapshot, req)
	_, err = snapshotResult(t, e)
	r := w.wantsCancelled(t, err, 90)
	if len(r.Cells) != 1 || r.Cells[0].Error != "it was cancelled: nothing was frozen" || r.Hosts[0].State != "ready" || r.Hosts[89].State != "not begun" {
		t.Errorf("%+v", r)
	}
}

func TestASnapshotThatIsCancelledWhileItPreparesIsCancelled(t *testing.T) {
	w := &world{}
	e := w.env(t)
	w.prepare = func(string) (Ready, error) {
		e.CancelWorkflow()
		return Ready{}, temporal.NewApplicationError("busy", "Again")
	}
	e.ExecuteWorkflow(Snapshot, request(2))
	_, err := snapshotResult(t, e)
	if r := w.wantsCancelled(t, err, 2); !strings.Contains(r.Error, "nothing was frozen") {
		t.Errorf("%+v", r)
	}
}
