package flow

import (
	"errors"
	"strings"
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

// EC2 may label a set and its answer be lost. Then nothing is there to be undone, and the set is what was wanted.
func TestASetThatIsLabelledAfterAllIsNotUndone(t *testing.T) {
	silent := errors.New("EC2 does not answer")
	for name, c := range map[string]struct {
		kept   int
		again  error // of the label after the undo
		proven bool
		want   string // of the error
		locked string // why it is not
	}{
		"labelled":                     {kept: 6, proven: true},
		"labelled, and locks are open": {kept: 6, again: silent, proven: true, locked: "EC2 does not answer"},
		"labelled in part":             {kept: 2, proven: true, want: "2 snapshots of set s are labelled and were kept"},
		"by somebody, without a proof": {kept: 6, want: "6 snapshots of set s are labelled and were kept"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{kept: c.kept}
			w.label = func() error {
				if len(w.undone) == 0 {
					return silent
				}
				return c.again
			}
			if !c.proven {
				w.window = func(h string, r WindowRequest) (WindowResult, error) {
					g := w.good(h, r)
					g.ClockErrorSeconds = 2
					return g, nil
				}
			}
			e := w.env(t)
			e.ExecuteWorkflow(Snapshot, request(3))
			r, err := snapshotResult(t, e)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if err == nil && (!r.Labelled || r.Error != "" || r.Snapshots != 6 || r.NotLocked != c.locked) {
				t.Errorf("%+v", r)
			}
			if len(w.undone) != 1 {
				t.Errorf("undone %v", w.undone)
			}
		})
	}
}
