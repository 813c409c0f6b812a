package flow

import (
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
)

// Where every host has answered, none can call EC2 any more, and the set is undone at once.
func TestAnUndoWaitsForHostsThatHaveNotAnswered(t *testing.T) {
	late := temporal.NewNonRetryableApplicationError("251 ms late", "Failed", nil)
	for name, c := range map[string]struct {
		err   error // of h1; h2 is late
		waits bool
	}{
		"all have answered":             {late, false},
		"one was killed, each time":     {temporal.NewApplicationError("it was killed", "Again"), true},
		"one's worker is heard no more": {temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT, nil), true},
		"another worker refuses":        {temporal.NewNonRetryableApplicationError("this host does not allow it", "Refused", nil), true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			w.window = func(h string, r WindowRequest) (WindowResult, error) {
				switch h {
				case "h1":
					return WindowResult{}, c.err
				case "h2":
					return WindowResult{}, late
				}
				return w.good(h, r), nil
			}
			e := w.env(t)
			req := request(3)
			req.Lead = 10 * time.Minute // longer than all attempts take
			e.ExecuteWorkflow(Snapshot, req)
			if _, err := snapshotResult(t, e); err == nil || len(w.undone) != 1 || len(w.labelled) != 0 {
				t.Fatalf("%v, labelled %v, undone %v", err, w.labelled, w.undone)
			}
			if end := w.until.Add(afterWindow); w.undoneAt.Before(end) == c.waits {
				t.Errorf("undone at %s; a host that is not heard may be in its window until %s", w.undoneAt, end)
			}
		})
	}
}
