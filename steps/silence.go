package steps

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"snaptastic/plan"
	"snaptastic/plan/units"
)

const (
	// SilentTime is for how long a region may answer nothing until the steps there fail. They wait for days for one that answers.
	SilentTime = time.Hour
	// leastTry is for how long a step asks a region that has been silent for that long already: it may answer by now.
	leastTry = 5 * time.Second
)

// A SilentError says that EC2 in a region, which may be lost, has not answered for too long. What became of the step is not known.
type SilentError struct {
	Region string
	For    time.Duration
	Last   string // what became of the last request
}

func (s *SilentError) Error() string {
	return fmt.Sprintf("EC2 in %s has not answered for %s; last: %s", s.Region, units.Took(s.For.Round(time.Second)), cmp.Or(s.Last, "no response"))
}

// Hint says how it goes on.
func (s *SilentError) Hint() string {
	return "the next `run copy` copies to the other regions meanwhile, and cleans up in " + s.Region + " and copies again once it answers"
}

// whileAnswers bounds what a kind does by the silence of the regions that it asks.
type whileAnswers struct {
	plan.Handler
	env *Env
}

// regions are those that a step asks: find-source has two, and wait-copied that of its copy.
func (h whileAnswers) regions(in json.RawMessage) []string {
	var names struct {
		Region, From string
		Copied       struct{ Region string }
	}
	_ = json.Unmarshal(in, &names) // the handler says it
	if names.Copied.Region != "" {
		return []string{names.Copied.Region}
	}
	if names.From != "" && names.From != names.Region {
		return []string{names.Region, names.From}
	}
	return []string{names.Region}
}

func (h whileAnswers) Observe(ctx context.Context, a plan.Attempt, in json.RawMessage) (seen plan.Observation, err error) {
	err = h.env.untilSilent(ctx, h.regions(in), func(ctx context.Context) (err error) {
		seen, err = h.Handler.Observe(ctx, a, in)
		return err
	})
	return seen, err
}

func (h whileAnswers) Do(ctx context.Context, a plan.Attempt, in json.RawMessage) (out plan.Output, err error) {
	err = h.env.untilSilent(ctx, h.regions(in), func(ctx context.Context) (err error) {
		out, err = h.Handler.Do(ctx, a, in)
		return err
	})
	return out, err
}

func (h whileAnswers) Undo(ctx context.Context, a plan.Attempt, in, out json.RawMessage) error {
	return h.env.untilSilent(ctx, h.regions(in), func(ctx context.Context) error { return h.Handler.Undo(ctx, a, in, out) })
}

func (h whileAnswers) Preview(in json.RawMessage) plan.Preview {
	if p, ok := h.Handler.(plan.Previewer); ok {
		return p.Preview(in)
	}
	return plan.Preview{}
}

// untilSilent does something with regions, and ends it with a SilentError when one of them has answered nothing for too long.
func (w *Env) untilSilent(ctx context.Context, regions []string, act func(context.Context) error) error {
	if w.PreviewOnly {
		return act(ctx)
	}
	watched, stop := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	for _, name := range regions {
		watching.Go(func() { w.watchSilence(watched, name, stop) })
	}
	err := act(watched)
	found, silent := context.Cause(watched).(*SilentError)
	stop(nil)
	watching.Wait()
	if err == nil || ctx.Err() != nil {
		return err
	}
	for i := 0; !silent && i < len(regions) && plan.ActionOf(err).Action == plan.ActRetry; i++ { // it would be tried again
		found = w.silentIn(ctx, regions[i])
		silent = found != nil
	}
	if silent {
		return plan.Terminal("", found)
	}
	return err
}

// watchSilence stops what goes on with the context once a region has been silent for too long.
func (w *Env) watchSilence(ctx context.Context, region string, stop context.CancelCauseFunc) {
	for wait := leastTry; ; wait = leastTry {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if found := w.silentIn(ctx, region); found != nil {
			stop(found)
			return
		}
	}
}

// silentIn is that a region has been silent for too long; nil: it has not.
func (w *Env) silentIn(ctx context.Context, region string) *SilentError {
	c, err := w.in(ctx, region)
	if err != nil {
		return nil // who asks it says so
	}
	bound := SilentTime
	if w.SilentTime != nil {
		bound = w.SilentTime(region)
	}
	if quiet, last := c.Silence(); quiet >= bound {
		return &SilentError{region, quiet, last}
	}
	return nil
}
