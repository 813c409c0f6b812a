package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
	"snaptastic-fleet/host"
)

// operations that a cluster may have under way, in the order of their lines.
var operations = []string{"snapshot", "restore", "verify", "warm", "copy", "clean"}

// work is one workflow of a cluster, as `fleet status` shows it.
type work struct {
	Cluster   string           `json:"cluster"`
	Operation string           `json:"operation"`
	State     string           `json:"state"` // running, done, failed, cancelled, terminated, timed out; none, where no run is on record and there is a schedule
	Started   time.Time        `json:"started,omitzero"`
	Ended     *time.Time       `json:"ended,omitempty"`
	Phase     string           `json:"phase,omitempty"`
	Set       string           `json:"set,omitempty"`
	Hosts     []flow.HostState `json:"hosts,omitempty"`
	Error     string           `json:"error,omitempty"` // why it failed
	// BySchedule says that its schedule has begun it, Schedule when it does next.
	BySchedule bool       `json:"by_schedule,omitempty"`
	Schedule   *scheduled `json:"schedule,omitempty"`
}

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "status [CLUSTER]", Short: "Show what each cluster's hosts are doing", Args: arguments("[CLUSTER]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.file()
			if err != nil {
				return err
			}
			var names []string
			for _, cl := range f.Clusters {
				if len(args) == 0 || cl.Name == args[0] {
					names = append(names, cl.Name)
				}
			}
			switch {
			case len(f.Clusters) == 0: // as on a host whose fleet.hcl has its worker alone
				return usage{errors.New(config.NoCluster)}
			case len(names) == 0:
				_, err := f.Cluster(args[0])
				return usage{err}
			}
			conn, err := a.dial(cmd.Context(), f)
			if err != nil {
				return err
			}
			defer conn.Close()
			for {
				list, err := look(cmd.Context(), conn.Client, conn.payloads, names)
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

const noRun = "none"

func anyRunning(list []work) bool {
	for _, w := range list {
		if w.State == "running" {
			return true
		}
	}
	return false
}

// patience is how long the server, or control through it, is waited for.
const patience = 5 * time.Second

// look asks about many operations at once: where control does not answer, each takes as long as all of them. Each has a limit of its own.
func look(ctx context.Context, c client.Client, dc converter.DataConverter, clusters []string) ([]work, error) {
	found, errs := make([]*work, len(clusters)*len(operations)), make([]error, len(clusters)*len(operations))
	var all sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i := range found {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, 4*patience)
			defer cancel()
			found[i], errs[i] = lookAtOperation(ctx, c, dc, operations[i%len(operations)], clusters[i/len(operations)])
		})
	}
	all.Wait()
	list := []work{}
	for i, w := range found {
		if errs[i] != nil {
			return nil, fmt.Errorf("cannot ask Temporal: %w. Check server.address and server.namespace in fleet.hcl, and that the server runs", errs[i])
		}
		if w != nil {
			list = append(list, *w)
		}
	}
	return list, nil
}

// lookAtOperation returns an operation of a cluster with its schedule; nil for one that has none and never was.
func lookAtOperation(ctx context.Context, c client.Client, dc converter.DataConverter, operation, cluster string) (*work, error) {
	var schedule *scheduled
	var err error
	if slices.Contains(schedulable, operation) {
		if schedule, err = lookAtSchedule(ctx, c, dc, operation, cluster); err != nil {
			return nil, err
		}
	}
	w, err := lookAtWork(ctx, c, dc, operation, cluster)
	if err != nil || w == nil && schedule == nil {
		return nil, err
	}
	if w == nil {
		w = &work{Cluster: cluster, Operation: operation, State: noRun}
	}
	w.Schedule = schedule
	return w, nil
}

// lookAtWork returns an operation of a cluster as it is under way, or was last; nil for one that never was.
func lookAtWork(ctx context.Context, c client.Client, dc converter.DataConverter, operation, cluster string) (*work, error) {
	id := flowID(operation, cluster)
	described, err := c.DescribeWorkflow(ctx, id, "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := described.RawResponse
	info := d.GetWorkflowExecutionInfo()
	w := &work{Cluster: cluster, Operation: operation, State: stateName(info.GetStatus()), Started: info.GetStartTime().AsTime(),
		BySchedule: strings.HasPrefix(info.GetParentExecution().GetWorkflowId(), scheduledPrefix)}
	if info.GetCloseTime() != nil {
		t := info.GetCloseTime().AsTime()
		w.Ended = &t
	}
	if w.State == "failed" {
		w.Error = why(ctx, c.GetWorkflow(ctx, id, info.GetExecution().GetRunId()))
	}
	p, err := ask(ctx, c, id)
	if err != nil && w.State == "running" {
		w.Phase = "control does not answer: is snaptastic-fleet-control running? Has it the key of fleet.hcl?"
	}
	if err != nil {
		return w, nil // the rest is shown
	}
	w.Phase, w.Set, w.Hosts = p.Phase, p.Set, p.Hosts
	w.beats(dc, d)
	if p.Cell != "" {
		w.lookAtCell(ctx, c, dc, p.Cell)
	}
	return w, nil
}

// why tells why a workflow failed.
func why(ctx context.Context, run client.WorkflowRun) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var result any
	if err := wait(ctx, run, &result); err != nil && !errors.Is(err, errInterrupted) {
		return err.Error()
	}
	return ""
}

// ask returns what the workflow itself tells. Without control running there is no answer.
func ask(ctx context.Context, c client.Client, id string) (p flow.Progress, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	v, err := c.QueryWorkflow(ctx, id, "", "progress")
	if err == nil {
		err = v.Get(&p)
	}
	return p, err
}

// lookAtCell adds what the cell that is under way tells of its hosts.
func (w *work) lookAtCell(ctx context.Context, c client.Client, dc converter.DataConverter, id string) {
	d, err := c.DescribeWorkflow(ctx, id, "")
	if err != nil || d.RawResponse.GetWorkflowExecutionInfo().GetCloseTime() != nil {
		return // not begun, or ended, and the next answer of its parent has it
	}
	p, err := ask(ctx, c, id)
	if err != nil {
		return
	}
	w.Phase += fmt.Sprintf(", set %s: %s", p.Set, p.Phase)
	for _, h := range p.Hosts {
		if i := slices.IndexFunc(w.Hosts, func(o flow.HostState) bool { return o.Host == h.Host }); i >= 0 {
			w.Hosts[i] = h
		}
	}
	w.beats(dc, d.RawResponse)
}

// beats fills in what the hosts' heartbeats say.
func (w *work) beats(dc converter.DataConverter, d *workflowservice.DescribeWorkflowExecutionResponse) {
	for _, p := range d.GetPendingActivities() {
		var b host.Beat
		if dc.FromPayloads(p.GetHeartbeatDetails(), &b) == nil {
			w.beat(p.GetLastWorkerIdentity(), b)
		}
	}
}

func (w *work) beat(identity string, b host.Beat) {
	for i := range w.Hosts {
		if w.Hosts[i].Host == host.Named(identity) {
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
		fmt.Fprintf(w, "%s %s: %s%s", l.Operation, l.Cluster, l.State, l.when())
		if l.Set != "" {
			fmt.Fprintf(w, ", set %s", l.Set)
		}
		if l.Phase != "" && l.Phase != l.Operation {
			fmt.Fprintf(w, ", %s", l.Phase)
		}
		fmt.Fprintln(w)
		if l.Error != "" && !slices.ContainsFunc(l.Hosts, func(h flow.HostState) bool { return h.Error != "" }) {
			fmt.Fprintln(w, "  error:", l.Error)
		}
		printHosts(w, l.Hosts)
		printVersions(w, "  ", l.Hosts)
		if l.Schedule != nil {
			fmt.Fprintln(w, " ", l.Schedule)
		}
	}
}

// when says in brackets when it was, and who began it; nothing for what never was.
func (w *work) when() string {
	if w.State == noRun {
		return " on record"
	}
	when := stamped(w.Started)
	if w.Ended != nil {
		when += fmt.Sprintf(", took %s", w.Ended.Sub(w.Started).Round(100*time.Millisecond))
	}
	if w.BySchedule {
		when += ", by its schedule"
	}
	return " (" + when + ")"
}

func printHosts(w io.Writer, hosts []flow.HostState) {
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, h := range hosts {
		why := h.Error
		if why == "" {
			why = h.Step
		}
		if why == "" && h.Repeated {
			why = "was done already"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", h.Host, h.State, h.Run, why)
	}
	_ = t.Flush()
	for line := range strings.Lines(table.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

func (a *app) cancelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cancel CLUSTER OPERATION", Short: "Stop what is under way: no further host is begun, and an unfinished set is undone", Args: arguments("CLUSTER", "OPERATION"),
		Example: "  snaptastic fleet cancel shards restore",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(operations, args[1]) {
				return usage{fmt.Errorf("%q is no operation of a fleet: must be one of %s", args[1], strings.Join(operations, ", "))}
			}
			cl, conn, err := a.cluster(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer conn.Close()
			id := flowID(args[1], cl.Name)
			d, err := conn.DescribeWorkflow(cmd.Context(), id, "")
			var missing *serviceerror.NotFound
			if errors.As(err, &missing) || err == nil && d.Status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
				return fmt.Errorf("no %s of %s is under way", args[1], cl.Name)
			}
			if err == nil {
				err = conn.CancelWorkflow(cmd.Context(), id, "")
			}
			if err != nil {
				return fmt.Errorf("cannot cancel %s of %s: %w", args[1], cl.Name, err)
			}
			a.print(cmd.OutOrStdout(), request{cl.Name, args[1], "stop"}, func(w io.Writer) {
				fmt.Fprintf(w, "asked to stop. See: snaptastic fleet status %s\n", cl.Name)
			})
			return nil
		},
	}
}
