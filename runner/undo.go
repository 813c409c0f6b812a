package runner

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"snaptastic/plan"
)

// undoState says what is known of a step that is to be undone. again: an undo was cut off before. unsure: its effect may be there
// though a look does not show it yet.
type undoState struct{ again, uncertain bool }

// undoIfOurs finds a step's effect and undoes it when it is ours. An absent
// one counts only after the settle window. After an undo that was cut off, what
// it undid first may be all that a look can see, so it is called whatever is
// seen. adopted says that what is there was not made by this run.
func undoIfOurs(ctx context.Context, c Config, s *plan.Step, a plan.Attempt, in json.RawMessage, u undoState) (adopted bool, _ error) {
	timeout := c.Timeout
	if s.Timeout > 0 {
		timeout = max(time.Duration(s.Timeout), c.Settle*2)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	defer cancel()
	h := c.Handlers[s.Kind]
	began, tries := time.Now(), 0
	for {
		o, err := h.Observe(ctx, a, in)
		present := err == nil && (o.State == plan.Ours || (o.State == plan.Satisfied && s.ObserveBy == plan.ByState))
		if present || u.again && err == nil && s.ObserveBy == plan.ByState && o.State == plan.Absent {
			if err = h.Undo(ctx, a, in, o.Output.Value); err == nil {
				return false, nil
			}
		}
		wait := c.Settle/5 + time.Millisecond
		switch {
		case err != nil:
			v := plan.ActionOf(err)
			if v.Action != plan.ActRetry && v.Action != plan.ActRestart {
				return false, err
			}
			tries++
			wait = max(v.After, min(c.RetryMin<<min(tries-1, 10), c.RetryMax))
		case s.ObserveBy == plan.ByToken && o.State == plan.Satisfied:
			return true, nil
		case o.State == plan.Conflict || time.Since(began) >= c.Settle || s.ObserveBy != plan.ByToken && !u.uncertain:
			return false, nil
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false, errors.Join(context.Cause(ctx), err)
		}
	}
}
