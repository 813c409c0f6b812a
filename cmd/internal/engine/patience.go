package engine

import (
	"cmp"
	"context"
	"errors"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

const (
	// defaultPatience is for how long what runs unattended asks on for what comes late to a machine that boots.
	defaultPatience = 5 * time.Minute
	// readTimeout is the same for what a person or a monitor waits for.
	readTimeout = 10 * time.Second
	// silentFor is how long such a command waits for EC2's first answer.
	silentFor = readTimeout + 5*time.Second
)

// patience is how long this command asks on for metadata, credentials and EC2.
type patience struct {
	unattended bool
	asked      *time.Duration
	until      time.Time // once it is known
	budget     *bootBudget

	bound  time.Duration           // --timeout
	cutOff context.CancelCauseFunc // ends a command that looks; nil where --timeout was given, or for another command
}

// Unattended makes the engine ask on for minutes: for bound, or where that is nil for as long as the settings say and this
// boot has left.
func (e *Engine) Unattended(bound *time.Duration) {
	e.patience.unattended, e.patience.asked = true, bound
}

// errTimeUp is why a command that looks was ended.
var (
	errTimeUp = errors.New("the timeout expired")
	errSilent = errors.New("EC2 has not answered at all")
)

// Within bounds a use case that only looks. asked says that somebody asked for just this bound; then EC2 may be silent for
// all of it.
func (e *Engine) Within(ctx context.Context, bound time.Duration, asked bool, look func(context.Context) error) error {
	ctx, cutOff := context.WithCancelCause(ctx)
	defer cutOff(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, bound, errTimeUp)
	defer cancel()
	e.patience.bound = bound
	if asked {
		e.patience.until = time.Now().Add(bound)
	} else {
		e.patience.until, e.patience.cutOff = time.Now().Add(min(bound, readTimeout)), cutOff
	}
	return e.TimeUp(ctx, look(ctx))
}

// TimeUp says of an error that it came of the end of the command's time.
func (e *Engine) TimeUp(ctx context.Context, err error) error {
	ce, _ := errors.AsType[*Error](err)
	cause := context.Cause(ctx)
	if err == nil || ce != nil && (ce.InResult || ce.Code == Usage) {
		return err
	}
	switch {
	case errors.Is(err, errTimeUp) && ce != nil:
		return err // it was said
	case errors.Is(cause, errSilent):
		return hinted("check the region, the endpoint URL and the network path, or use a longer --timeout", "no response from EC2 within %s: %w", units.Took(silentFor), timeUpError{err})
	case errors.Is(cause, errTimeUp):
		return hinted(cmp.Or(plan.HintOf(err), "use a longer --timeout"), "gave up after %s: %w", units.Limit(e.patience.bound), timeUpError{err})
	}
	return err
}

// timeUpError is an error of something that ran out of time: it counts as that, and not as an interruption.
type timeUpError struct{ err error }

func (c timeUpError) Error() string        { return c.err.Error() }
func (c timeUpError) Is(target error) bool { return target == errTimeUp }

// patientUntil is until when this command asks on. It is settled at the first question, once the settings are known.
func (e *Engine) patientUntil() time.Time {
	w := &e.patience
	if !w.until.IsZero() {
		return w.until
	}
	bound := readTimeout
	if w.unattended {
		bound = defaultPatience
		if e.file != nil && e.file.AWS().Patience != nil {
			bound = *e.file.AWS().Patience
		}
		if w.asked != nil {
			bound = *w.asked
		} else if boot, err := e.bootID(); err == nil {
			w.budget = budgetOf(e.StateDir, boot)
			bound = w.budget.left(bound)
		}
	}
	w.until = time.Now().Add(bound)
	return w.until
}

// retry asks until there is an answer, for as long as this command may.
func (e *Engine) retry(ctx context.Context, question func(context.Context) error) error {
	return ec2.Patience{Until: e.patientUntil(), Notify: e.notifyWaiting}.Retry(ctx, question)
}

// notifyWaiting is told at the first failure, and every 15 s.
func (e *Engine) notifyWaiting(waiting *ec2.Fault, left time.Duration) {
	if !e.patience.unattended {
		e.log.Debug("waiting", "for", waiting.Error(), "left", units.Logged(left.Round(time.Second)))
		return
	}
	e.patience.budget.begin(time.Now().Add(left))
	e.log.Warn("waiting: "+waiting.Error(), "still_for", units.Logged(left.Round(time.Second)))
}

// endWait ends the budget of this boot: EC2 is there, and whoever waits next time waits for something new.
func (e *Engine) endWait() { e.patience.budget.end() }

// reach asks EC2 something, so that no run begins or goes on while it cannot be reached.
func (e *Engine) reach(ctx context.Context) error {
	c, err := e.cloud(ctx)
	if err != nil {
		return err
	}
	if err := e.retry(ctx, c.Warm); err != nil {
		return err
	}
	e.endWait()
	return nil
}

// failIfSilent ends a command that looks when EC2 has not answered at all for a while.
func (e *Engine) failIfSilent(c *ec2.Client) {
	if cutOff := e.patience.cutOff; cutOff != nil {
		time.AfterFunc(silentFor, func() {
			if !c.Reached() {
				cutOff(errSilent)
			}
		})
	}
}
