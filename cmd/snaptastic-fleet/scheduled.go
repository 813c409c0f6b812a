package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"snaptastic-fleet/flow"
)

// scheduled is a schedule of an operation, as `fleet status` shows it.
type scheduled struct {
	Cron     string     `json:"cron"`
	Timezone string     `json:"timezone"`
	Rolling  int        `json:"rolling,omitempty"` // hosts of a cell
	Paused   bool       `json:"paused,omitempty"`
	Next     *time.Time `json:"next,omitempty"` // absent while it is paused
	Last     *lastTime  `json:"last,omitempty"` // absent when it has begun nothing yet
	// Missed counts times at which nothing was begun, since the one before was still under way or the server away.
	Missed int `json:"missed,omitempty"`
}

// lastTime is what a schedule began last.
type lastTime struct {
	At    time.Time `json:"at"`
	State string    `json:"state"`           // as of work; skipped: one begun by hand was under way; unknown: too long ago for the server
	Error string    `json:"error,omitempty"` // why it failed or was skipped, or is done and not locked
}

// lookAtSchedule returns the schedule of an operation; nil for none.
func lookAtSchedule(ctx context.Context, c client.Client, dc converter.DataConverter, operation, cluster string) (*scheduled, error) {
	d, err := c.ScheduleClient().GetHandle(ctx, scheduleID(operation, cluster)).Describe(ctx)
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &scheduled{Paused: d.Schedule.State != nil && d.Schedule.State.Paused, Missed: d.Info.NumActionsMissedCatchupWindow + d.Info.NumActionsSkippedOverlap}
	if next := d.Info.NextActionTimes; len(next) > 0 && !s.Paused {
		s.Next = &next[0]
	}
	if action, ok := d.Schedule.Action.(*client.ScheduleWorkflowAction); ok && len(action.Args) == 1 {
		var req flow.ScheduledRequest
		if p, ok := action.Args[0].(*commonpb.Payload); ok && dc.FromPayload(p, &req) == nil {
			s.Cron, s.Timezone = req.Cron, req.Timezone
			if req.Snapshot != nil {
				s.Rolling = req.Snapshot.Cell
			}
		}
	}
	if n := len(d.Info.RecentActions); n > 0 {
		s.Last = lookAtLast(ctx, c, d.Info.RecentActions[n-1])
	}
	return s, nil
}

func lookAtLast(ctx context.Context, c client.Client, begun client.ScheduleActionResult) *lastTime {
	last := &lastTime{At: begun.ActualTime, State: "unknown"}
	id := begun.StartWorkflowResult
	if id == nil {
		return last
	}
	d, err := c.DescribeWorkflow(ctx, id.WorkflowID, id.FirstExecutionRunID)
	if err != nil {
		return last
	}
	info := d.RawResponse.GetWorkflowExecutionInfo()
	last.State = stateName(info.GetStatus())
	if info.GetCloseTime() == nil {
		return last
	}
	var r flow.ScheduledResult
	if err := wait(ctx, c.GetWorkflow(ctx, id.WorkflowID, id.FirstExecutionRunID), &r); err != nil {
		last.Error = err.Error()
	}
	if r.NotLocked != "" {
		last.Error = "not all locked: " + r.NotLocked
	}
	if r.Skipped != "" {
		last.State, last.Error = "skipped", r.Skipped
	}
	return last
}

// String is the schedule in one line.
func (s *scheduled) String() string {
	text := fmt.Sprintf("schedule %s %s: ", s.Cron, s.Timezone)
	if s.Rolling > 0 {
		text = fmt.Sprintf("schedule %s %s, %d hosts at an instant: ", s.Cron, s.Timezone, s.Rolling)
	}
	switch {
	case s.Paused:
		text += "paused"
	case s.Next == nil:
		text += "never again"
	default:
		text += "next " + stamped(*s.Next)
	}
	if s.Missed > 0 {
		text += fmt.Sprintf(", missed %d times", s.Missed)
	}
	if s.Last == nil {
		return text + ", not begun yet"
	}
	text += fmt.Sprintf(", last %s %s", stamped(s.Last.At), s.Last.State)
	if s.Last.Error != "" {
		text += ": " + s.Last.Error
	}
	return text
}

func stamped(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
