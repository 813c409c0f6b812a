package flow

import (
	"strings"
	"testing"
	"time"

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

// A thousand hosts in cells against EC2's bucket, in virtual time: no call is throttled, and it takes hardly longer than the bucket allows.
func TestAThousandHostsKeepToEC2sLimit(t *testing.T) {
	const hosts, bucket = 1000, 100.0
	w := &world{}
	e := w.env(t)
	tokens, last := bucket, time.Time{}
	var first, end time.Time
	throttled := 0
	w.window = func(h string, r WindowRequest) (WindowResult, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !last.IsZero() && r.At.After(last) {
			tokens = min(bucket, tokens+r.At.Sub(last).Seconds()*refill)
		}
		if last, end = r.At, r.HoldUntil; first.IsZero() {
			first = r.At
		}
		if tokens < 1 {
			throttled++
		}
		tokens--
		return w.good(h, r), nil
	}
	req := request(hosts)
	req.Cell = MostInOneWindow
	e.ExecuteWorkflow(Snapshot, req)
	r, err := snapshotResult(t, e)
	if err != nil || !r.Labelled || len(r.Cells) != 13 || throttled != 0 {
		t.Fatalf("%v, %d cells, %d calls throttled", err, len(r.Cells), throttled)
	}
	took, limit := end.Sub(first).Seconds(), (hosts-bucket)/refill
	t.Logf("%.0f s, EC2 allows it in %.0f s: %.2f", took, limit, took/limit)
	if took > 1.15*limit {
		t.Errorf("%.0f s, and EC2 allows it in %.0f s", took, limit)
	}
}
