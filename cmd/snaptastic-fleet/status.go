package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"snaptastic-fleet/flow"
	"snaptastic-fleet/host"
	"snaptastic-fleet/link"
)

// operations that a cluster may have under way, in the order of their lines.
var operations = []string{"snapshot", "restore", "verify", "warm", "copy", "clean"}

// work is one workflow of a cluster, as `fleet status` shows it.
type work struct {
	Cluster   string           `json:"cluster"`
	Operation string           `json:"operation"`
	State     string           `json:"state"` // running, completed, failed, canceled, terminated, timed out
	Started   time.Time        `json:"started"`
	Ended     *time.Time       `json:"ended,omitempty"`
	Phase     string           `json:"phase,omitempty"`
	Set       string           `json:"set,omitempty"`
	Hosts     []flow.HostState `json:"hosts,omitempty"`
}

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "status [CLUSTER]", Short: "Show what each cluster's hosts are doing", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, conn, err := a.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			opts, err := link.Options(f.Server, a.log)
			if err != nil {
				return err
			}
			var names []string
			for _, cl := range f.Clusters {
				if len(args) == 0 || cl.Name == args[0] {
					names = append(names, cl.Name)
				}
			}
			if len(names) == 0 {
				_, err := f.Cluster(args[0])
				return usage{err}
			}
			for {
				list, err := look(cmd.Context(), conn, opts.DataConverter, names)
				if err != nil {
					return err
				}
				a.print(cmd.OutOrStdout(), list, func(w io.Writer) { printWork(w, list) })
				if !watch || !anyRunning(list) {
					return nil
				}
				select {
				case <-time.After(2 * time.Second):
				case <-cmd.Context().Done():
					return errInterrupted
				}
			}
		},
	}
	c.Flags().BoolVar(&watch, "watch", false, "look again every two seconds until nothing is under way")
	return c
}

func anyRunning(list []work) bool {
	for _, w := range list {
		if w.State == "running" {
			return true
		}
	}
	return false
}

func look(ctx context.Context, c client.Client, dc converter.DataConverter, clusters []string) ([]work, error) {
	if dc == nil {
		dc = converter.GetDefaultDataConverter()
	}
	list := []work{}
	for _, cluster := range clusters {
		for _, op := range operations {
			described, err := c.DescribeWorkflow(ctx, flowID(op, cluster), "")
			var missing *serviceerror.NotFound
			if errors.As(err, &missing) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("cannot ask Temporal: %w", err)
			}
			d := described.RawResponse
			info := d.GetWorkflowExecutionInfo()
			w := work{Cluster: cluster, Operation: op, State: stateName(info.GetStatus()), Started: info.GetStartTime().AsTime()}
			if info.GetCloseTime() != nil {
				t := info.GetCloseTime().AsTime()
				w.Ended = &t
			}
			w.ask(ctx, c)
			for _, p := range d.GetPendingActivities() {
				var b host.Beat
				if dc.FromPayloads(p.GetHeartbeatDetails(), &b) == nil {
					w.beat(p.GetLastWorkerIdentity(), b)
				}
			}
			list = append(list, w)
		}
	}
	return list, nil
}

// ask fills in what the workflow itself tells. Without control running there is no answer, and the rest is shown.
func (w *work) ask(ctx context.Context, c client.Client) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	v, err := c.QueryWorkflow(ctx, flowID(w.Operation, w.Cluster), "", "progress")
	if err != nil {
		if w.State == "running" {
			w.Phase = "control does not answer: is snaptastic-fleet-control running?"
		}
		return
	}
	var p flow.Progress
	if v.Get(&p) == nil {
		w.Phase, w.Set, w.Hosts = p.Phase, p.Set, p.Hosts
	}
}

func (w *work) beat(identity string, b host.Beat) {
	for i := range w.Hosts {
		if "host "+w.Hosts[i].Host == identity {
			w.Hosts[i].Step = b.Step
			if w.Hosts[i].Run == "" {
				w.Hosts[i].Run = b.Run
			}
		}
	}
}

func stateName(s enumspb.WorkflowExecutionStatus) string {
	switch s {
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING:
		return "running"
	case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return "done"
	case enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED:
		return "cancelled"
	case enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED:
		return "terminated"
	case enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return "timed out"
	}
	return "failed"
}

func printWork(w io.Writer, list []work) {
	if len(list) == 0 {
		fmt.Fprintln(w, "nothing has been run for these clusters yet")
		return
	}
	for _, l := range list {
		when := l.Started.UTC().Format("2006-01-02 15:04:05Z")
		if l.Ended != nil {
			when += fmt.Sprintf(", took %s", l.Ended.Sub(l.Started).Round(100*time.Millisecond))
		}
		fmt.Fprintf(w, "%s %s: %s (%s)", l.Operation, l.Cluster, l.State, when)
		if l.Set != "" {
			fmt.Fprintf(w, ", set %s", l.Set)
		}
		if l.Phase != "" && l.Phase != l.Operation {
			fmt.Fprintf(w, ", %s", l.Phase)
		}
		fmt.Fprintln(w)
		printHosts(w, l.Hosts)
	}
}

func printHosts(w io.Writer, hosts []flow.HostState) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, h := range hosts {
		why := h.Error
		if why == "" {
			why = h.Step
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", h.Host, h.State, h.Run, why)
	}
	_ = t.Flush()
}

func (a *app) cancelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cancel CLUSTER OPERATION", Short: "Stop what is under way: no further host is begun, and an unfinished set is undone", Args: cobra.ExactArgs(2),
		Example: "  snaptastic fleet cancel shards restore",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, conn, err := a.cluster(args[0])
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := conn.CancelWorkflow(cmd.Context(), flowID(args[1], cl.Name), ""); err != nil {
				return fmt.Errorf("cannot cancel %s of %s: %w", args[1], cl.Name, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "asked to stop. See: snaptastic fleet status %s\n", cl.Name)
			return nil
		},
	}
}
