package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"go.temporal.io/sdk/client"
)

// untaken is how long nothing is said while no control has looked at what was begun.
const untaken = 10 * time.Second

// saysUntaken says once that no control takes the work, if so. The returned function ends it.
func saysUntaken(ctx context.Context, c client.Client, run client.WorkflowRun, to io.Writer) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-ctx.Done():
			return
		case <-time.After(untaken):
		}
		const taken = 3 // events: it was begun, control was asked, and control has it
		d, err := c.DescribeWorkflow(ctx, run.GetID(), run.GetRunID())
		if err != nil {
			return
		}
		if info := d.RawResponse.GetWorkflowExecutionInfo(); info.GetCloseTime() == nil && info.GetHistoryLength() < taken {
			fmt.Fprintln(to, "waiting: no control has taken it yet. Check that snaptastic-fleet-control runs, on the machine that is to decide")
		}
	}()
	return func() { cancel(); <-ended }
}
