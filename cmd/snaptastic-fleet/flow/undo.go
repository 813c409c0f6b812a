package flow

import (
	"errors"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// afterWindow is how long after the last thaw a host that cannot be reached could still have called EC2: max_hold's own limit and a margin.
const afterWindow = time.Minute

// outwait waits until no host can be in its window any more. One that cannot be reached may be, and what it makes there must
// be there when all is undone. Those that have answered are through with it.
func (s *snapshot) outwait(ctx workflow.Context, errs []error, until time.Time) {
	known := workflow.GetVersion(ctx, "answered", workflow.DefaultVersion, 1) != workflow.DefaultVersion // an earlier build always waited
	if known && !slices.ContainsFunc(errs, func(err error) bool { return err != nil && !answered(err) }) {
		return
	}
	if wait := until.Add(afterWindow).Sub(workflow.Now(ctx)); wait > 0 {
		s.phase = "waiting for the window's end"
		_ = workflow.Sleep(ctx, wait)
	}
}

// answered says whether an error is what a run on the host ended with, by its key whichever process asked. What is tried again may be
// of a run that another process is at, and a worker that refuses knows nothing of what an earlier one began.
func answered(err error) bool {
	var app *temporal.ApplicationError
	return errors.As(err, &app) && app.NonRetryable() && app.Type() == Failed
}

// undone ends a snapshot of which something failed. labelled is how many snapshots the set has if EC2 may have labelled it all the
// same, and 0 otherwise.
func (s *snapshot) undone(ctx workflow.Context, r SnapshotResult, failure error, labelled int) (SnapshotResult, error) {
	undone, err := s.undo(ctx)
	r.Error, r.Undone = failure.Error(), undone.Deleted
	switch {
	case err != nil:
		return r, failed(r, "%v. The unlabelled snapshots could not be deleted: %v. Run: snaptastic undo --set %s", failure, err, s.req.Set)
	case undone.Labelled > 0 && undone.Labelled == labelled && len(undone.Deleted) == 0:
		r.Error = ""
		l, err := s.label(ctx, labelled) // for its locks
		if err != nil {
			l = SetResult{NotLocked: cause(err)}
		}
		return s.labelled(r, l), nil
	case undone.Labelled > 0:
		return r, failed(r, "%v. %d snapshots of set %s are labelled and were kept, %d were deleted: somebody else labels it. See: snaptastic snapshots %s",
			failure, undone.Labelled, s.req.Set, len(undone.Deleted), s.req.Snapshotter)
	}
	s.phase = "undone"
	return r, failed(r, "%v. No snapshot of the set is left: %d were deleted", failure, len(undone.Deleted))
}

func (s *snapshot) undo(ctx workflow.Context) (SetResult, error) {
	s.phase = "undoing"
	ctx = onControl(ctx, 24*time.Hour)
	var r SetResult
	err := workflow.ExecuteActivity(ctx, ActUndo, SetRequest{Set: s.req.Set}).Get(ctx, &r)
	return r, err
}
