package flow

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// check looks before the first host is restored for what would stop a later one, when others have lost what they had: a set that is not
// whole or has nothing for a shard, and a host that refuses.
func (h *hosts) check(ctx workflow.Context) error {
	if h.req.Operation != "restore" && h.req.Operation != "mount" {
		return nil
	}
	h.phase = "checking"
	defer func() { h.phase = h.req.Operation }()
	if err := h.whole(ctx); err != nil {
		return err
	}
	return joined(h.req.Hosts, each(ctx, len(h.req.Hosts), h.allows))
}

func (h *hosts) whole(ctx workflow.Context) error {
	req := WholeRequest{Set: h.req.Set}
	for _, host := range h.req.Hosts {
		req.Shards = append(req.Shards, host.Shard)
	}
	var there WholeResult
	if err := workflow.ExecuteActivity(onControl(ctx, 10*time.Minute), ActWhole, req).Get(ctx, &there); err != nil {
		return fmt.Errorf("cannot look whether set %s is whole: %s", req.Set, cause(err))
	}
	switch {
	case there.Members == 0:
		return fmt.Errorf("there is no set %s of a fleet in the account and region of control. `snaptastic snapshots %s` on any host lists the sets", req.Set, h.req.Snapshotter)
	case there.Labelled < there.Members:
		return fmt.Errorf("set %s is not whole: %d of its %d snapshots are labelled. If its snapshot is not under way, try `snaptastic label --set %s`, or choose another set",
			req.Set, there.Labelled, there.Members, req.Set)
	case len(there.Missing) > 0:
		return fmt.Errorf("set %s has no part for shard %s: none of its snapshots has that in a tag. Compare fleet.hcl with the filter tags of the hosts, or choose another set",
			req.Set, strings.Join(there.Missing, ", "))
	}
	return nil
}

// allows fails for a host that says no. One that does not answer, or is of a build that does not know the question, is left to its turn.
func (h *hosts) allows(ctx workflow.Context, i int) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              HostQueue(h.req.Hosts[i].Name),
		ScheduleToStartTimeout: 30 * time.Second,
		StartToCloseTimeout:    30 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
	})
	err := workflow.ExecuteActivity(ctx, ActAllows, AllowsRequest{Operation: h.req.Operation, Snapshotter: h.req.Snapshotter, Probe: h.req.Probe}).Get(ctx, nil)
	if kind(err) == Refused {
		return err
	}
	return nil
}
