package flow

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
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
	when     func() When // the cluster was restored; nil: never
	locks    SetResult   // of the label
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
	register(ActWhen, func(context.Context, WhenRequest) (When, error) {
		if w.when == nil {
			return When{}, nil
		}
		return w.when(), nil
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
