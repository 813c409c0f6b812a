package flow

import (
	"context"
	"strings"
	"testing"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// What a schedule begins has the id that the same work has when somebody begins it.
func TestAScheduleBeginsTheWorkUnderItsOwnID(t *testing.T) {
	for what, c := range map[string]struct {
		window func(*world) func(string, WindowRequest) (WindowResult, error)
		want   string
	}{
		"it succeeds": {want: ""},
		"it fails": {window: func(w *world) func(string, WindowRequest) (WindowResult, error) {
			return func(h string, r WindowRequest) (WindowResult, error) {
				return WindowResult{}, temporal.NewNonRetryableApplicationError("too late", "Failed", nil)
			}
		}, want: "h1: too late"},
	} {
		w := &world{}
		if c.window != nil {
			w.window = c.window(w)
		}
		e := w.env(t)
		e.RegisterWorkflow(Scheduled)
		begun := ""
		e.SetOnChildWorkflowStartedListener(func(i *workflow.Info, _ workflow.Context, _ converter.EncodedValues) { begun = i.WorkflowExecution.ID })
		req := request(2)
		e.ExecuteWorkflow(Scheduled, ScheduledRequest{Cluster: "c", Operation: "snapshot", ID: "snapshot/c", Snapshot: &req})
		err := e.GetWorkflowError()
		if begun != "snapshot/c" || c.want == "" && (err != nil || len(w.labelled) != 1) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: begun %s, labelled %v, %v", what, begun, w.labelled, err)
		}
	}
}

func TestASchedulesOtherOperationsAreBegun(t *testing.T) {
	set := &SetRequest{Snapshotter: "db"}
	for want, req := range map[string]ScheduledRequest{
		ActCopy:  {Operation: "copy", ID: "copy/c", Copy: set},
		ActClean: {Operation: "clean", ID: "clean/c", Clean: set},
		ActRun:   {Operation: "verify", ID: "verify/c", Hosts: &HostsRequest{Operation: "verify", Key: "k", Hosts: request(1).Hosts}},
	} {
		w := &world{}
		e := w.env(t)
		for _, f := range []any{Scheduled, Hosts, Copy, Clean} {
			e.RegisterWorkflow(f)
		}
		done := func(context.Context, SetRequest) (SetResult, error) { return SetResult{}, nil }
		for _, name := range []string{ActCopy, ActClean} {
			e.RegisterActivityWithOptions(done, activity.RegisterOptions{Name: name})
		}
		var begun []string
		e.SetOnActivityStartedListener(func(i *activity.Info, _ context.Context, _ converter.EncodedValues) {
			begun = append(begun, i.ActivityType.Name)
		})
		e.ExecuteWorkflow(Scheduled, req)
		if err := e.GetWorkflowError(); err != nil || len(begun) != 1 || begun[0] != want {
			t.Errorf("%s: %v, begun %v", req.Operation, err, begun)
		}
	}
}

func TestAScheduleThatThisVersionDoesNotKnowIsRefused(t *testing.T) {
	w := &world{}
	e := w.env(t)
	e.RegisterWorkflow(Scheduled)
	e.ExecuteWorkflow(Scheduled, ScheduledRequest{Operation: "defragment", ID: "defragment/c"})
	if err := e.GetWorkflowError(); err == nil || !strings.Contains(err.Error(), "defragment") {
		t.Errorf("%v", err)
	}
}
