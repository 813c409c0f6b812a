package host

import (
	"context"
	"errors"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"

	"snaptastic-fleet/flow"
)

// When asks the server when some work was begun last, and has ended.
func (c *Control) When(ctx context.Context, req flow.WhenRequest) (w flow.When, err error) {
	d, err := activity.GetClient(ctx).DescribeWorkflow(ctx, req.ID, "")
	if errors.As(err, new(*serviceerror.NotFound)) {
		return w, nil
	}
	if err != nil {
		return w, err
	}
	info := d.RawResponse.GetWorkflowExecutionInfo()
	w.Begun = info.GetStartTime().AsTime()
	if t := info.GetCloseTime(); t != nil {
		w.Ended = t.AsTime()
	}
	return w, nil
}
