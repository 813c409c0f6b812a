package flow

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// longestCopy is how long copies may take: terabytes into another region take days.
const longestCopy = 14 * 24 * time.Hour

// Copy copies the sets that the regions of control's copy blocks lack, once for the whole cluster. When control is lost, the next one finds
// the copies under way, or goes on with them.
func Copy(ctx workflow.Context, req SetRequest) (SetResult, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              ControlQueue,
		ScheduleToStartTimeout: 10 * time.Minute,
		StartToCloseTimeout:    longestCopy,
		HeartbeatTimeout:       30 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: time.Minute},
	})
	var r SetResult
	err := workflow.ExecuteActivity(ctx, ActCopy, req).Get(ctx, &r)
	return r, err
}

// Clean deletes what the retention rules let go, once for the whole cluster.
func Clean(ctx workflow.Context, req SetRequest) (SetResult, error) {
	ctx = onControl(ctx, time.Hour)
	var r SetResult
	err := workflow.ExecuteActivity(ctx, ActClean, req).Get(ctx, &r)
	return r, err
}
