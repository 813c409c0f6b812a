package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
)

// scheduleID is the schedule's own id. What it begins has scheduledPrefix, the operation, the cluster and the time, and begins the work.
func scheduleID(operation, cluster string) string { return "schedule/" + flowID(operation, cluster) }

const scheduledPrefix = "scheduled/"

// schedulable operations need no answer of anybody.
var schedulable = []string{"snapshot", "verify", "copy", "clean"}

// scheduleFlags are of one call of `fleet schedule`.
type scheduleFlags struct {
	cron, zone             string
	remove, pause, unpause bool
	cell                   int
	share                  shareFlags
}

func (a *app) scheduleCommand() *cobra.Command {
	var f scheduleFlags
	c := &cobra.Command{
		Use: "schedule CLUSTER snapshot|verify|copy|clean", Short: "Have the server begin it by itself", Args: arguments("CLUSTER", "OPERATION"),
		Example: "  snaptastic fleet schedule shards snapshot --cron '0 3 * * *' --timezone Europe/Berlin\n  snaptastic fleet schedule search snapshot --cron '0 4 * * *' --rolling 20\n" +
			"  snaptastic fleet schedule shards snapshot --pause\n  snaptastic fleet schedule shards snapshot --delete",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[1]); err != nil {
				return usage{err}
			}
			cl, conn, err := a.cluster(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer conn.Close()
			done, err := f.apply(cmd, cl, conn, args[1])
			var missing *serviceerror.NotFound
			if errors.As(err, &missing) {
				return fmt.Errorf("there is no schedule for %s of %s", args[1], cl.Name)
			}
			if err == nil {
				a.print(cmd.OutOrStdout(), request{cl.Name, args[1], f.what()}, func(w io.Writer) { fmt.Fprintln(w, done) })
			}
			return err
		},
	}
	c.Flags().StringVar(&f.cron, "cron", "", "five fields: minute, hour, day of month, month, day of week")
	c.Flags().StringVar(&f.zone, "timezone", "UTC", "time zone of --cron")
	c.Flags().BoolVar(&f.remove, "delete", false, "no longer begin it")
	c.Flags().BoolVar(&f.pause, "pause", false, "begin nothing until --unpause")
	c.Flags().BoolVar(&f.unpause, "unpause", false, "begin it again")
	c.Flags().IntVar(&f.cell, "rolling", 0, "of a snapshot: this many hosts at an instant, one group after the other, each group a set of its own")
	f.share.add(c)
	return c
}

// request is what `fleet schedule` and `fleet cancel` have asked the server for.
type request struct {
	Cluster   string `json:"cluster"`
	Operation string `json:"operation"`
	Asked     string `json:"asked"` // schedule, delete, pause, unpause, stop
}

func (f scheduleFlags) check(operation string) error {
	asked := 0
	for _, is := range []bool{f.cron != "", f.remove, f.pause, f.unpause} {
		if is {
			asked++
		}
	}
	switch {
	case !slices.Contains(schedulable, operation):
		return fmt.Errorf("%q cannot be scheduled: must be one of %s", operation, strings.Join(schedulable, ", "))
	case asked == 0:
		return errors.New("--cron is missing, such as --cron '0 3 * * *'")
	case asked > 1:
		return errors.New("--cron, --pause, --unpause and --delete: must be one of them")
	case f.cron != "" && len(strings.Fields(f.cron)) != 5:
		return fmt.Errorf("--cron %q: must be five fields: minute, hour, day of month, month, day of week, such as '0 3 * * *'", f.cron)
	}
	return f.share.check()
}

// what names what the flags ask for.
func (f scheduleFlags) what() string {
	switch {
	case f.remove:
		return "delete"
	case f.pause:
		return "pause"
	case f.unpause:
		return "unpause"
	}
	return "schedule"
}

// apply does what the flags say, and says what was done.
func (f scheduleFlags) apply(cmd *cobra.Command, cl *config.Cluster, conn client.Client, operation string) (string, error) {
	ctx := cmd.Context()
	h := conn.ScheduleClient().GetHandle(ctx, scheduleID(operation, cl.Name))
	switch {
	case f.remove:
		return "deleted", h.Delete(ctx)
	case f.pause:
		return "paused", h.Pause(ctx, client.SchedulePauseOptions{Note: "by snaptastic fleet schedule --pause"})
	case f.unpause:
		return "no longer paused", h.Unpause(ctx, client.ScheduleUnpauseOptions{Note: "by snaptastic fleet schedule --unpause"})
	}
	req, err := f.request(cl, operation)
	if err != nil {
		return "", usage{err}
	}
	action := client.ScheduleWorkflowAction{ID: scheduledPrefix + req.ID, TaskQueue: flow.ControlQueue, Workflow: "Scheduled", Args: []any{req}}
	spec := client.ScheduleSpec{CronExpressions: []string{f.cron}, TimeZoneName: f.zone}
	_, err = conn.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID: scheduleID(operation, cl.Name), Spec: spec, Action: &action, Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
	})
	if there := (*serviceerror.WorkflowExecutionAlreadyStarted)(nil); errors.As(err, &there) || errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		err = h.Update(ctx, client.ScheduleUpdateOptions{
			DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
				s := in.Description.Schedule
				s.Spec, s.Action = &spec, &action
				return &client.ScheduleUpdate{Schedule: &s}, nil
			},
		})
	}
	if wrong := (*serviceerror.InvalidArgument)(nil); errors.As(err, &wrong) {
		return "", usage{fmt.Errorf("the server refuses --cron or --timezone: %w", err)}
	}
	if err != nil {
		return "", fmt.Errorf("cannot schedule: %w", err)
	}
	return fmt.Sprintf("%s of %s: %s %s", operation, cl.Name, f.cron, f.zone), nil
}

// request is what the schedule begins.
func (f scheduleFlags) request(cl *config.Cluster, operation string) (flow.ScheduledRequest, error) {
	req := flow.ScheduledRequest{Cluster: cl.Name, Operation: operation, ID: flowID(operation, cl.Name), Cron: f.cron, Timezone: f.zone}
	switch {
	case f.cell != 0 && operation != "snapshot":
		return req, fmt.Errorf("--rolling is of a snapshot, and %s has no such flag", operation)
	case f.share != shareFlags{} && operation != "verify":
		return req, fmt.Errorf("--at-once and --stop-after are of verify, and %s has no such flags", operation)
	}
	switch operation {
	case "snapshot":
		if err := checkCells(cl, f.cell); err != nil {
			return req, err
		}
		// The set's identity follows from the time at which the server begins it.
		r := snapshotRequest(cl, "", f.cell)
		req.Snapshot = &r
	case "verify":
		r := hostsRequest(cl, "verify", "")
		f.share.set(&r)
		req.Hosts = &r
	case "copy":
		req.Copy = &flow.SetRequest{Snapshotter: cl.Snapshotter}
	case "clean":
		req.Clean = &flow.SetRequest{Snapshotter: cl.Snapshotter}
	}
	return req, nil
}
