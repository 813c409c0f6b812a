package flow

import (
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
)

func TestASetIsLabelledWhenAllStoodStillTogether(t *testing.T) {
	w := &world{}
	e := w.env(t)
	e.ExecuteWorkflow(Snapshot, request(3))
	r, err := snapshotResult(t, e)
	if err != nil || !r.Labelled || r.Snapshots != 6 || len(w.labelled) != 1 || len(w.undone) != 0 {
		t.Fatalf("%+v %v, labelled %v, undone %v", r, err, w.labelled, w.undone)
	}
	// 2 s of hold, less 5 ms of freezing and the error of two clocks
	if got := r.Instant.OverlapSeconds; got < 1.974 || got > 1.976 {
		t.Errorf("overlap %v", got)
	}
}

func TestNothingIsArmedUnlessAllAreReady(t *testing.T) {
	w := &world{prepare: func(h string) (Ready, error) {
		if h == "h2" {
			return Ready{}, temporal.NewNonRetryableApplicationError("/mnt/data is not mounted", "NotReady", nil)
		}
		return Ready{Members: 2}, nil
	}}
	e := w.env(t)
	e.ExecuteWorkflow(Snapshot, request(3))
	_, err := snapshotResult(t, e)
	if err == nil || !strings.Contains(err.Error(), "nothing was frozen: h2: /mnt/data is not mounted") {
		t.Errorf("%v", err)
	}
	if w.armed != 0 || len(w.undone)+len(w.labelled) != 0 {
		t.Errorf("%d armed, undone %v, labelled %v", w.armed, w.undone, w.labelled)
	}
}

// A name that has snapshots already would label or delete those of an earlier order with its own.
func TestANameThatHasSnapshotsIsNotUsedAgain(t *testing.T) {
	for want, there := range map[string]SetResult{
		"there is a set s, which can be restored":   {Labelled: 6},
		"(snaptastic undo --set s) or choose":       {Unlabelled: 2},
		"a set s, which can be restored. Choose an": {Labelled: 5, Unlabelled: 1},
	} {
		w := &world{look: there}
		e := w.env(t)
		e.ExecuteWorkflow(Snapshot, request(3))
		if _, err := snapshotResult(t, e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if w.armed != 0 || len(w.undone)+len(w.labelled) != 0 {
			t.Errorf("%d armed, undone %v, labelled %v", w.armed, w.undone, w.labelled)
		}
	}
}

// An order has the same key whenever it is sent; an order for another instant has another one, also where the server does not know the first.
func TestTheKeyIsOfOneOrder(t *testing.T) {
	keys := map[string]bool{}
	for range 2 {
		w := &world{}
		w.window = func(h string, r WindowRequest) (WindowResult, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			keys[r.Key] = true
			if len(keys) == 1 {
				return WindowResult{}, temporal.NewApplicationError("killed", "Again")
			}
			return w.good(h, r), nil
		}
		e := w.env(t)
		e.SetStartTime(time.Now().Add(time.Duration(len(keys)) * time.Hour))
		e.ExecuteWorkflow(Snapshot, request(1))
	}
	if len(keys) != 2 {
		t.Errorf("%d keys of two orders: %v", len(keys), keys)
	}
}

// Whatever goes wrong from the window on, the set is undone, and only when no host can be in its window any more.
func TestAnUnprovenSetIsUndone(t *testing.T) {
	for name, change := range map[string]func(*world){
		"a host is late": func(w *world) {
			w.window = func(h string, r WindowRequest) (WindowResult, error) {
				if h == "h1" {
					return WindowResult{}, temporal.NewNonRetryableApplicationError("251 ms late", "Failed", nil)
				}
				return w.good(h, r), nil
			}
		},
		"a clock is two seconds off": func(w *world) {
			w.window = func(h string, r WindowRequest) (WindowResult, error) {
				g := w.good(h, r)
				if h == "h1" {
					g.FrozenAt, g.ThawedAt = g.FrozenAt.Add(2*time.Second), g.ThawedAt.Add(2*time.Second)
				}
				return g, nil
			}
		},
		"a clock may be wrong by more than the hold": func(w *world) {
			w.window = func(h string, r WindowRequest) (WindowResult, error) {
				g := w.good(h, r)
				if h == "h3" {
					g.ClockErrorSeconds = 2
				}
				return g, nil
			}
		},
		"a snapshot is missing": func(w *world) {
			w.window = func(h string, r WindowRequest) (WindowResult, error) {
				g := w.good(h, r)
				if h == "h3" {
					g.Snapshots = g.Snapshots[:1]
				}
				return g, nil
			}
		},
		"a host does not say when it froze": func(w *world) {
			w.window = func(h string, r WindowRequest) (WindowResult, error) {
				return WindowResult{Host: h, Snapshots: []string{"a", "b"}}, nil
			}
		},
		"the set cannot be labelled": func(w *world) {
			w.label = func() error {
				return temporal.NewNonRetryableApplicationError("snap-7 has failed", "Failed", nil)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			change(w)
			e := w.env(t)
			e.ExecuteWorkflow(Snapshot, request(3))
			_, err := snapshotResult(t, e)
			if err == nil || len(w.undone) != 1 || len(w.labelled) != 0 {
				t.Fatalf("%v, labelled %v, undone %v", err, w.labelled, w.undone)
			}
		})
	}
}

// A host that is not heard is asked again for its result, for as long as the others' snapshots are kept.
func TestAHostThatIsNotHeardIsAskedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		unheard int // how often h2 is not heard
		then    error
		want    string
	}{
		"it is heard then":              {unheard: 1},
		"it is heard no more":           {unheard: 100, want: "h2: no worker took the order in time"},
		"it had not begun, and is late": {unheard: 1, then: temporal.NewNonRetryableApplicationError("too late to freeze", "Failed", nil), want: "h2: too late to freeze"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			w.window = func(h string, r WindowRequest) (WindowResult, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				if h != "h2" {
					return w.good(h, r), nil
				}
				if c.unheard--; c.unheard >= 0 {
					return WindowResult{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
				}
				return w.good(h, r), c.then
			}
			e := w.env(t)
			e.ExecuteWorkflow(Snapshot, request(3))
			_, err := snapshotResult(t, e)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || (len(w.labelled) == 1) != (c.want == "") {
				t.Fatalf("%v, want %q; labelled %v", err, c.want, w.labelled)
			}
			if err != nil && w.undoneAt.Before(w.until.Add(afterWindow)) != (c.then != nil) {
				t.Errorf("undone at %s; if that host is not heard it may be in its window until %s", w.undoneAt, w.until.Add(afterWindow))
			}
		})
	}
}

func TestACancelledSnapshotIsUndone(t *testing.T) {
	w := &world{}
	e := w.env(t)
	w.window = func(h string, r WindowRequest) (WindowResult, error) {
		e.CancelWorkflow()
		return w.good(h, r), nil
	}
	e.ExecuteWorkflow(Snapshot, request(2))
	if _, err := snapshotResult(t, e); err == nil || !strings.Contains(err.Error(), "cancelled") || len(w.undone) != 1 || len(w.labelled) != 0 {
		t.Errorf("%v, undone %v, labelled %v", err, w.undone, w.labelled)
	}
}

// What is labelled stays, and whoever asked hears that it is not locked.
func TestASetThatCannotBeLockedStays(t *testing.T) {
	w := &world{locks: SetResult{Locked: []string{"a"}, NotLocked: "no permission"}}
	e := w.env(t)
	e.ExecuteWorkflow(Snapshot, request(2))
	if r, err := snapshotResult(t, e); err != nil || !r.Labelled || r.Locked != 1 || r.NotLocked != "no permission" || len(w.undone) != 0 {
		t.Errorf("%v %+v, undone %v", err, r, w.undone)
	}
	e = w.env(t)
	req := request(4)
	req.Cell = 2
	e.ExecuteWorkflow(Snapshot, req)
	if r, err := snapshotResult(t, e); err != nil || r.Locked != 2 || r.NotLocked != "s.1: no permission; s.2: no permission" {
		t.Errorf("in cells: %v %+v", err, r)
	}
	e = w.env(t)
	e.RegisterWorkflow(Scheduled)
	req = request(2)
	e.ExecuteWorkflow(Scheduled, ScheduledRequest{Operation: "snapshot", ID: "snapshot/c", Snapshot: &req})
	var r ScheduledResult
	if err := e.GetWorkflowResult(&r); err != nil || r.NotLocked != "no permission" {
		t.Errorf("by a schedule: %v %+v", err, r)
	}
}
