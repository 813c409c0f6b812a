package flow

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"
)

// ID is of the work on a cluster. It is the same for the same work: whoever asks for it while it is under way joins it.
func ID(operation, cluster string) string { return operation + "/" + cluster }

// WhenRequest asks when some work was begun last, by its id.
type WhenRequest struct {
	ID string `json:"id"`
}

// When is when it was begun, and has ended. Never begun: neither; under way: no end.
type When struct {
	Begun time.Time `json:"begun,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
}

// meanwhile says whether it was under way at any time from one to another.
func (w When) meanwhile(from, to time.Time) bool {
	return !w.Begun.IsZero() && w.Begun.Before(to) && (w.Ended.IsZero() || w.Ended.After(from))
}

// restored refuses a snapshot of a cluster that is restored, a few hosts at a time, since the snapshot began and until some time: some
// hosts would be in the set with what was restored, and others with what they had before. A restore is never refused: it may be urgent.
func (s *snapshot) restored(ctx workflow.Context, until time.Time) error {
	if workflow.GetVersion(ctx, "restored", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return nil
	}
	var restore When
	if err := workflow.ExecuteActivity(onControl(ctx, 10*time.Minute), ActWhen, WhenRequest{ID("restore", s.req.Cluster)}).Get(ctx, &restore); err != nil {
		return fmt.Errorf("cannot tell whether the cluster is restored: %s", cause(err))
	}
	if restore.meanwhile(workflow.GetInfo(ctx).WorkflowStartTime, until) {
		return errors.New("the cluster is restored, and the set would have some hosts as they were before that. " +
			"When the restore has ended (snaptastic fleet status " + s.req.Cluster + "), begin the snapshot again")
	}
	return nil
}
