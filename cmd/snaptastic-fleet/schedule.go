package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"snaptastic-fleet/flow"
)

func (a *app) scheduleCommand() *cobra.Command {
	var cron, zone string
	var remove bool
	c := &cobra.Command{
		Use: "schedule CLUSTER snapshot|verify|clean", Short: "Have the server begin it by itself", Args: cobra.ExactArgs(2),
		Example: "  snaptastic fleet schedule shards snapshot --cron '0 3 * * *' --timezone Europe/Berlin\n  snaptastic fleet schedule shards snapshot --delete",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, conn, err := a.cluster(args[0])
			if err != nil {
				return err
			}
			defer conn.Close()
			id := "schedule/" + flowID(args[1], cl.Name)
			if remove {
				if err := conn.ScheduleClient().GetHandle(cmd.Context(), id).Delete(cmd.Context()); err != nil {
					return fmt.Errorf("cannot delete the schedule: %w", err)
				}
				fmt.Fprintln(cmd.OutOrStdout(), "deleted")
				return nil
			}
			if cron == "" {
				return usage{errors.New("--cron is missing, such as --cron '0 3 * * *'")}
			}
			action := client.ScheduleWorkflowAction{ID: flowID(args[1], cl.Name), TaskQueue: flow.ControlQueue}
			switch args[1] {
			case "snapshot":
				// The set's identity follows from the time at which the server begins it.
				action.Workflow, action.Args = "Snapshot", []any{snapshotRequest(cl, "", 0)}
			case "verify":
				action.Workflow, action.Args = "Hosts", []any{hostsRequest(cl, "verify", "")}
			case "clean":
				action.Workflow, action.Args = "Clean", []any{flow.SetRequest{Snapshotter: cl.Snapshotter}}
			default:
				return usage{fmt.Errorf("%q cannot be scheduled: snapshot, verify or clean", args[1])}
			}
			spec := client.ScheduleSpec{CronExpressions: []string{cron}, TimeZoneName: zone}
			_, err = conn.ScheduleClient().Create(cmd.Context(), client.ScheduleOptions{
				ID: id, Spec: spec, Action: &action, Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
			})
			if there := (*serviceerror.WorkflowExecutionAlreadyStarted)(nil); errors.As(err, &there) || errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
				err = conn.ScheduleClient().GetHandle(cmd.Context(), id).Update(cmd.Context(), client.ScheduleUpdateOptions{
					DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
						s := in.Description.Schedule
						s.Spec, s.Action = &spec, &action
						return &client.ScheduleUpdate{Schedule: &s}, nil
					},
				})
			}
			if err != nil {
				return fmt.Errorf("cannot schedule: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s of %s: %s\n", args[1], cl.Name, cron)
			return nil
		},
	}
	c.Flags().StringVar(&cron, "cron", "", "five fields: minute, hour, day of month, month, day of week")
	c.Flags().StringVar(&zone, "timezone", "UTC", "time zone of --cron")
	c.Flags().BoolVar(&remove, "delete", false, "no longer begin it")
	return c
}
