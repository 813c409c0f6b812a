package flow

import (
	"fmt"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// cells is a snapshot in cells of so many hosts, one cell after the other.
type cells struct {
	req    SnapshotRequest
	states *states
	done   int    // hosts
	now    string // the id of the workflow of the cell that is under way
	all    SnapshotResult
	failed []string
}

func (c *cells) progress() (Progress, error) {
	return Progress{Phase: fmt.Sprintf("%d of %d hosts", c.done, len(c.req.Hosts)), Set: c.req.Set, Hosts: c.states.list(), Cell: c.now}, nil
}

// rolling snapshots cell after cell, each a set of its own. One that fails does not stop the next: the others' data is no worse for it.
// Cancelled, it waits until the cell under way has labelled or undone its set, and begins no further one.
func rolling(ctx workflow.Context, req SnapshotRequest) (SnapshotResult, error) {
	c := &cells{req: req, states: newStates(req.Hosts), all: SnapshotResult{Set: req.Set, Labelled: true}}
	if err := workflow.SetQueryHandler(ctx, "progress", c.progress); err != nil {
		return c.all, err
	}
	// Before, a cell was lost with this workflow, armed or not.
	waits := workflow.GetVersion(ctx, "cells", workflow.DefaultVersion, 1) != workflow.DefaultVersion
	var notLocked []string
	for n := 1; c.done < len(req.Hosts); n++ {
		r := c.cell(ctx, n, waits)
		if r.NotLocked != "" {
			notLocked = append(notLocked, fmt.Sprintf("%s: %s", r.Set, r.NotLocked))
		}
		if ctx.Err() != nil {
			break
		}
	}
	c.now = ""
	c.all.NotLocked = strings.Join(notLocked, "; ")
	return c.result(ctx)
}

// cell snapshots the next hosts, as the set of that number.
func (c *cells) cell(ctx workflow.Context, n int, waits bool) SnapshotResult {
	cell := c.req
	cell.Hosts = c.req.Hosts[c.done:min(c.done+c.req.Cell, len(c.req.Hosts))]
	cell.Cell, cell.Set = 0, fmt.Sprintf("%s.%d", c.req.Set, n)
	c.now = workflow.GetInfo(ctx).WorkflowExecution.ID + "/" + cell.Set
	options := workflow.ChildWorkflowOptions{
		WorkflowID: c.now,
		// Whoever terminates this workflow must not end a cell between its freeze and its label: asked to stop, it undoes what is armed.
		ParentClosePolicy:   enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		WaitForCancellation: waits,
	}
	child := workflow.WithChildOptions(ctx, options)
	var r SnapshotResult
	if err := workflow.ExecuteChildWorkflow(child, Snapshot, cell).Get(child, &r); err != nil {
		Details(err, &r)
		if r.Set = cell.Set; r.Error == "" || !temporal.IsCanceledError(err) {
			r.Error = cause(err)
		}
		if len(r.Hosts) == 0 {
			r.Hosts = failedHosts(cell.Hosts, r.Error)
		}
		c.failed = append(c.failed, fmt.Sprintf("%s: %s", cell.Set, r.Error))
		c.all.Labelled = false
	}
	c.done += len(cell.Hosts)
	if ec2 := (bucket{c.req.Full}); r.At.IsZero() {
		c.req.Full = ec2.took(len(cell.Hosts), workflow.Now(ctx)).full
	} else {
		c.req.Full = ec2.afterCell(len(cell.Hosts), r.At).full
	}
	c.states.take(r.Hosts)
	c.all.Cells = append(c.all.Cells, r)
	c.all.Snapshots, c.all.Locked = c.all.Snapshots+r.Snapshots, c.all.Locked+r.Locked
	return r
}

func (c *cells) result(ctx workflow.Context) (SnapshotResult, error) {
	c.states.notBegun()
	c.all.Hosts = c.states.list()
	c.all.Error = strings.Join(c.failed, "; ")
	if ctx.Err() != nil {
		c.all.Labelled = false
		return c.all, temporal.NewCanceledError(c.all)
	}
	if len(c.failed) > 0 {
		return c.all, failed(c.all, "%d of %d cells failed: %s", len(c.failed), len(c.all.Cells), c.all.Error)
	}
	return c.all, nil
}

func failedHosts(hosts []Host, why string) []HostState {
	list := make([]HostState, 0, len(hosts))
	for _, h := range hosts {
		list = append(list, HostState{Host: h.Name, Shard: h.Shard, State: "failed", Error: why})
	}
	return list
}
