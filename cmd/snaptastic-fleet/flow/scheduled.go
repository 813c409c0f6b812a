package flow

import (
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// ScheduledRequest is what a schedule begins: one of these requests.
type ScheduledRequest struct {
	Cluster   string           `json:"cluster"`
	Operation string           `json:"operation"`
	ID        string           `json:"id"`   // of the workflow that does it, the same as when somebody begins it by hand
	Cron      string           `json:"cron"` // as the schedule was made with it; the server keeps it in another form
	Timezone  string           `json:"timezone"`
	Snapshot  *SnapshotRequest `json:"snapshot,omitempty"`
	Hosts     *HostsRequest    `json:"hosts,omitempty"`
	Clean     *SetRequest      `json:"clean,omitempty"`
	Copy      *SetRequest      `json:"copy,omitempty"`
}

// ScheduledResult says what became of it, if it was begun.
type ScheduledResult struct {
	Skipped   string `json:"skipped,omitempty"`    // why it was not
	NotLocked string `json:"not_locked,omitempty"` // of a snapshot that succeeded
}

// Scheduled begins an operation under its own id and waits for its end. The server gives what a schedule begins an id with the
// time in it; so that there is one of its kind at a time, and `fleet status` and `fleet cancel` find it, the work has the id
// that it always has. If it is under way already, nothing is begun.
func Scheduled(ctx workflow.Context, req ScheduledRequest) (ScheduledResult, error) {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: req.ID,
		// Whoever terminates this one must not end a snapshot between its freeze and its label.
		ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON,
	})
	var work workflow.ChildWorkflowFuture
	switch {
	case req.Snapshot != nil:
		work = workflow.ExecuteChildWorkflow(ctx, Snapshot, *req.Snapshot)
	case req.Hosts != nil:
		work = workflow.ExecuteChildWorkflow(ctx, Hosts, *req.Hosts)
	case req.Clean != nil:
		work = workflow.ExecuteChildWorkflow(ctx, Clean, *req.Clean)
	case req.Copy != nil:
		work = workflow.ExecuteChildWorkflow(ctx, Copy, *req.Copy)
	default:
		return ScheduledResult{}, refused(fmt.Sprintf("this version of control cannot begin %q by a schedule", req.Operation))
	}
	var r ScheduledResult // NotLocked is a snapshot's own; the others have none
	err := work.Get(ctx, &r)
	switch {
	case temporal.IsWorkflowExecutionAlreadyStartedError(err):
		return ScheduledResult{Skipped: fmt.Sprintf("another %s of %s was under way", req.Operation, req.Cluster)}, nil
	case err == nil || ctx.Err() != nil:
		return r, err
	case temporal.IsCanceledError(err):
		return ScheduledResult{}, temporal.NewNonRetryableApplicationError("it was cancelled", "Cancelled", nil)
	}
	return ScheduledResult{}, temporal.NewNonRetryableApplicationError(cause(err), Failed, nil)
}
