package flow

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
)

// A world is what the hosts and the account do in these tests, in virtual time.
type world struct {
	mu       sync.Mutex
	prepare  func(host string) (Ready, error)
	window   func(host string, r WindowRequest) (WindowResult, error)
	run      func(host string, r RunRequest) (RunResult, error)
	look     SetResult
	whole    WholeResult      // empty: it is
	refusals map[string]error // of hosts, before anything is begun
	label    func() error
	kept     int // labelled snapshots that an undo finds
	members  func() ([]Host, error)
	locks    SetResult // of the label
	labelled []string
	undone   []string
	begun    []string
	armed    int
	now      func() time.Time
	undoneAt time.Time
	until    time.Time
}

func (w *world) env(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var s testsuite.WorkflowTestSuite
	e := s.NewTestWorkflowEnvironment()
	e.SetTestTimeout(time.Minute)
	w.now = e.Now
	register := func(name string, f any) { e.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name}) }
	e.RegisterWorkflow(Snapshot)
	register(ActPrepare, func(ctx context.Context, r PrepareRequest) (Ready, error) {
		if w.prepare == nil {
			return Ready{Members: 2}, nil
		}
		return w.prepare(hostOf(ctx))
	})
	register(ActWindow, func(ctx context.Context, r WindowRequest) (WindowResult, error) {
		w.mu.Lock()
		w.armed++
		w.until = r.HoldUntil
		w.mu.Unlock()
		if w.window == nil {
			return w.good(hostOf(ctx), r), nil
		}
		return w.window(hostOf(ctx), r)
	})
	register(ActRun, func(ctx context.Context, r RunRequest) (RunResult, error) {
		w.mu.Lock()
		w.begun = append(w.begun, hostOf(ctx))
		w.mu.Unlock()
		if w.run == nil {
			return RunResult{Outcome: "done"}, nil
		}
		return w.run(hostOf(ctx), r)
	})
	register(ActProbe, func(context.Context, ProbeRequest) error { return nil })
	register(ActAllows, func(ctx context.Context, _ AllowsRequest) error { return w.refusals[hostOf(ctx)] })
	register(ActWhole, func(_ context.Context, r WholeRequest) (WholeResult, error) {
		if w.whole.Members == 0 {
			return WholeResult{Members: len(r.Shards), Labelled: len(r.Shards)}, nil
		}
		return w.whole, nil
	})
	register(ActMembers, func(context.Context, Tagged) (Members, error) {
		hosts, err := w.members()
		return Members{Hosts: hosts}, err
	})
	register(ActLook, func(context.Context, SetRequest) (SetResult, error) { return w.look, nil })
	register(ActLabel, func(_ context.Context, r SetRequest) (SetResult, error) {
		if w.label != nil {
			if err := w.label(); err != nil {
				return SetResult{}, err
			}
		}
		w.labelled = append(w.labelled, r.Set)
		return w.locks, nil
	})
	register(ActUndo, func(_ context.Context, r SetRequest) (SetResult, error) {
		w.undone, w.undoneAt = append(w.undone, r.Set), w.now()
		if w.kept > 0 {
			return SetResult{Labelled: w.kept}, nil
		}
		return SetResult{Deleted: []string{"snap-1"}}, nil
	})
	return e
}

func hostOf(ctx context.Context) string {
	return strings.TrimPrefix(activity.GetInfo(ctx).TaskQueue, "snaptastic-host-")
}

func (w *world) good(host string, r WindowRequest) WindowResult {
	return WindowResult{
		Host: host, Snapshots: []string{host + "-a", host + "-b"}, ClockErrorSeconds: 0.01,
		FrozenAt: r.At.Add(5 * time.Millisecond), ThawedAt: r.HoldUntil,
	}
}

func request(n int) SnapshotRequest {
	r := SnapshotRequest{Cluster: "c", Snapshotter: "db", Set: "s", Lead: 10 * time.Second, Hold: 2 * time.Second}
	for i := range n {
		r.Hosts = append(r.Hosts, Host{Name: fmt.Sprintf("h%d", i+1), Shard: fmt.Sprint(i + 1)})
	}
	return r
}

func snapshotResult(t *testing.T, e *testsuite.TestWorkflowEnvironment) (SnapshotResult, error) {
	t.Helper()
	if !e.IsWorkflowCompleted() {
		t.Fatal("the workflow has not ended")
	}
	var r SnapshotResult
	err := e.GetWorkflowError()
	if err == nil {
		err = e.GetWorkflowResult(&r)
	}
	return r, err
}

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

// There is proof exactly when one moment lies inside every host's freeze, whatever the clocks' errors are.
func TestJudgeAgreesWithTrueTime(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	t0 := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	proven := 0
	for range 2000 {
		var all []WindowResult
		var from, until time.Time // in true time
		for h := range 1 + r.IntN(6) {
			bound := r.IntN(60)
			off := r.IntN(2*bound+1) - bound // the clock's true error, within its bound
			frozen := t0.Add(ms(r.IntN(150)))
			thawed := frozen.Add(ms(r.IntN(400)))
			if h == 0 || frozen.After(from) {
				from = frozen
			}
			if h == 0 || thawed.Before(until) {
				until = thawed
			}
			all = append(all, WindowResult{
				Host: fmt.Sprint(h), FrozenAt: frozen.Add(ms(off)), ThawedAt: thawed.Add(ms(off)), ClockErrorSeconds: float64(bound) / 1000,
			})
		}
		in, err := Judge(all, apart{})
		if err == nil && !until.After(from) {
			t.Fatalf("proven, and there was no such instant: %+v %+v", in, all)
		}
		if err == nil {
			proven++
		}
	}
	if proven < 100 {
		t.Errorf("only %d cases were proven: this test proves nothing", proven)
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
