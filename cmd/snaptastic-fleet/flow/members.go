package flow

import (
	"time"

	"go.temporal.io/sdk/workflow"
)

// members are the hosts that the work is on: those that are listed, or the instances that have the tags now. What control
// finds is in the history: a replay has the same hosts.
func members(ctx workflow.Context, listed []Host, by *Tagged) ([]Host, error) {
	if by == nil {
		if len(listed) == 0 {
			return nil, refused("the cluster has no host")
		}
		return listed, nil
	}
	if err := workflow.SetQueryHandler(ctx, "progress", func() (Progress, error) { return Progress{Phase: "finding the hosts"}, nil }); err != nil {
		return nil, err
	}
	ctx = onControl(ctx, 5*time.Minute)
	var m Members
	if err := workflow.ExecuteActivity(ctx, ActMembers, *by).Get(ctx, &m); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, refused("nothing was begun: " + cause(err))
	}
	return m.Hosts, nil
}
