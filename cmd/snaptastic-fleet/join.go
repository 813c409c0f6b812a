package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"snaptastic-fleet/flow"
)

var (
	errInterrupted = errors.New("no longer waiting; the work goes on. See: snaptastic fleet status")
	errCancelled   = errors.New("it was cancelled")
)

// notBegun is why nothing was begun or joined: there is no result to print.
type notBegun struct{ error }

func (n notBegun) Unwrap() error { return n.error }

// ended says whether there is a result, of work that succeeded or failed.
func ended(err error) bool { return !errors.Is(err, errInterrupted) && !errors.As(err, new(notBegun)) }

func flowID(operation, cluster string) string { return flow.ID(operation, cluster) }

// An order is a request that says what another one, for the same operation and cluster, asks for that it does not.
type order[T any] interface{ Other(begun T) string }

// start begins a workflow, or joins the one under way if it is what the request asks for, and waits for its end.
func start[T order[T]](ctx context.Context, c *connection, operation, cluster, name string, out any, req T) error {
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: flowID(operation, cluster), TaskQueue: flow.ControlQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
	}, name, req)
	if err != nil {
		return notBegun{fmt.Errorf("cannot begin: %w", err)}
	}
	var begun T
	by, err := c.request(ctx, run, &begun)
	if err != nil {
		if ctx.Err() != nil {
			return errInterrupted
		}
		return notBegun{fmt.Errorf("cannot tell what the %s of %s that is under way was begun as: %w", operation, cluster, err)}
	}
	if other := req.Other(begun); other != "" {
		return notBegun{underWay{fmt.Errorf("another %s of %s is under way: %s. Wait for its end (snaptastic fleet status %s --watch) or stop it (snaptastic fleet cancel %s %s)",
			operation, cluster, other, cluster, cluster, operation)}}
	}
	if by != c.identity {
		fmt.Fprintf(os.Stderr, "the same %s of %s is under way already: waiting for its end\n", operation, cluster)
	}
	defer saysUntaken(ctx, c, run, os.Stderr)()
	err = wait(ctx, run, out)
	if operation == "restore" && errors.Is(err, errCancelled) {
		return fmt.Errorf("%w. The same restore again goes on with the hosts that are not done", err)
	}
	return err
}

// request reads what a workflow was begun with, and by which process.
func (c *connection) request(ctx context.Context, run client.WorkflowRun, out any) (by string, err error) {
	first, err := c.GetWorkflowHistory(ctx, run.GetID(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT).Next()
	if err != nil {
		return "", err
	}
	begun := first.GetWorkflowExecutionStartedEventAttributes()
	if err := c.payloads.FromPayloads(begun.GetInput(), out); err != nil {
		return "", errors.New("it was encrypted with another key. Set server.key_file or key_command in fleet.hcl as it is on control")
	}
	return begun.GetIdentity(), nil
}

// wait returns the workflow's failure in our own words, and its result in out either way.
func wait(ctx context.Context, run client.WorkflowRun, out any) error {
	err := run.Get(ctx, out)
	if ctx.Err() != nil {
		return errInterrupted
	}
	flow.Details(err, out)
	var app *temporal.ApplicationError
	switch {
	case errors.As(err, &app):
		return errors.New(keyed(app.Message()))
	case temporal.IsCanceledError(err):
		return errCancelled
	}
	if errors.As(err, new(*serviceerror.NotFound)) || errors.As(err, new(*serviceerror.NamespaceNotFound)) {
		return errors.New("the server does not know any more what was begun: its database or its namespace was lost or replaced. " +
			"Hosts thaw as they were told. Delete what is not labelled (snaptastic undo --set SET; snaptastic snapshots NAME on any host lists the sets), and begin again")
	}
	return err
}

// keyed says of what the SDK writes where keys differ what to do about it.
func keyed(message string) string {
	switch {
	case message == "Encoded failure":
		return "the answer is encrypted, and cannot be read without the key: set server.key_file or key_command in fleet.hcl as on the hosts"
	case strings.HasPrefix(message, "unable to decode the workflow function input payload"):
		return "control cannot read what it is asked: it has no key, or another one. Set server.key_file or key_command in its fleet.hcl as in this one, and restart it"
	}
	return message
}
