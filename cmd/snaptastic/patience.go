package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
)

const (
	// defaultPatience is for how long what runs unattended asks on for what comes late to a machine that boots.
	defaultPatience = 5 * time.Minute
	// lookPatience is the same for what a person or a monitor waits for.
	lookPatience = 10 * time.Second
	// lookTime bounds such a command as a whole: a large account behind a throttled API takes its time.
	lookTime = 2 * time.Minute
	// checkTime leaves a monitor time to hear the answer.
	checkTime = 50 * time.Second
	// silentFor is how long such a command waits for EC2's first answer.
	silentFor = lookPatience + 5*time.Second
)

// patience is how long this command asks on for metadata, credentials and EC2.
type patience struct {
	unattended bool
	flag       string    // --patience
	until      time.Time // once it is known
	budget     *bootBudget

	bound  time.Duration           // --timeout
	cutOff context.CancelCauseFunc // ends a command that looks; nil where --timeout was given, or for another command
}

// patienceFlag makes a command one that runs unattended.
func (a *app) patienceFlag(c *cobra.Command) {
	c.Flags().StringVar(&a.patience.flag, "patience", "", "how long to ask on for metadata, credentials and EC2 that do not answer yet, such as `5m`; 0s: ask once (default: the settings', or 5m, shared by the commands of one boot)")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		a.patience.unattended = true
		if a.patience.flag != "" {
			if _, err := settings.ParseDuration(a.patience.flag); err != nil {
				return usageError("--patience %q: %w", a.patience.flag, err)
			}
		}
		return run(c, args)
	}
}

// errTimeUp is why a command that looks was ended.
var (
	errTimeUp = errors.New("its time is up")
	errSilent = errors.New("EC2 has not answered at all")
)

// timeoutFlag bounds a command that only looks.
func (a *app) timeoutFlag(c *cobra.Command, standard time.Duration) {
	var text string
	c.Flags().StringVar(&text, "timeout", spoken(standard), "give up after this `time`, such as 30s or 5m")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		bound, err := settings.ParseDuration(text)
		if err == nil && bound <= 0 {
			err = errors.New("expected more than nothing")
		}
		if err != nil {
			return usageError("--timeout %q: %w", text, err)
		}
		ctx, cutOff := context.WithCancelCause(c.Context())
		defer cutOff(nil)
		ctx, cancel := context.WithTimeoutCause(ctx, bound, errTimeUp)
		defer cancel()
		if c.Flags().Changed("timeout") {
			a.patience.until = time.Now().Add(bound)
		} else {
			a.patience.until, a.patience.cutOff = time.Now().Add(min(bound, lookPatience)), cutOff
		}
		a.patience.bound = bound
		c.SetContext(ctx)
		return a.timeUp(ctx, run(c, args))
	}
}

// timeUp says of an error that it came of the end of the command's time.
func (a *app) timeUp(ctx context.Context, err error) error {
	ce, _ := errors.AsType[*codeError](err)
	cause := context.Cause(ctx)
	if err == nil || ce != nil && (ce.said || ce.code == exitUsage) {
		return err
	}
	hint := ""
	if fault, ok := errors.AsType[*ec2.Fault](err); ok {
		hint = fault.Hint
	}
	switch {
	case errors.Is(err, errTimeUp) && ce != nil:
		return err // it was said
	case errors.Is(cause, errSilent):
		return hinted("check the region, the endpoint URL, and the way to it; --timeout gives it more time", "no answer came from EC2 within %s: %w", silentFor, cutShort{err})
	case errors.Is(cause, errTimeUp):
		if hint == "" {
			hint = "--timeout gives it more time"
		}
		return hinted(hint, "gave up after %s: %w", spoken(a.patience.bound), cutShort{err})
	}
	return err
}

// cutShort is an error of something that ran out of time: it counts as that, and not as an interruption.
type cutShort struct{ err error }

func (c cutShort) Error() string        { return c.err.Error() }
func (c cutShort) Is(target error) bool { return target == errTimeUp }

// spoken writes a duration as settings and flags take it.
func spoken(d time.Duration) string {
	if d >= time.Minute && d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// patientUntil is until when this command asks on. It is settled at the first question, once the settings are known.
func (a *app) patientUntil() time.Time {
	w := &a.patience
	if !w.until.IsZero() {
		return w.until
	}
	bound := lookPatience
	if w.unattended {
		bound = defaultPatience
		if a.file != nil && a.file.AWS().Patience != nil {
			bound = *a.file.AWS().Patience
		}
		if d, err := settings.ParseDuration(w.flag); err == nil {
			bound = d
		} else if boot, err := a.bootID(); err == nil {
			w.budget = budgetOf(a.stateDir, boot)
			bound = w.budget.left(bound)
		}
	}
	w.until = time.Now().Add(bound)
	return w.until
}

// patiently asks until there is an answer, for as long as this command may.
func (a *app) patiently(ctx context.Context, question func(context.Context) error) error {
	return ec2.Patience{Until: a.patientUntil(), Say: a.sayWaiting}.Ask(ctx, question)
}

// sayWaiting is told at the first failure, and every 15 s.
func (a *app) sayWaiting(waiting *ec2.Fault, left time.Duration) {
	if !a.patience.unattended {
		a.log.Debug("waiting", "for", waiting.Error(), "left", left.Round(time.Second))
		return
	}
	a.patience.budget.begin(time.Now().Add(left))
	a.log.Warn("waiting: "+waiting.Error(), "still_for", left.Round(time.Second))
}

// answered ends the budget of this boot: EC2 is there, and whoever waits next time waits for something new.
func (a *app) answered() { a.patience.budget.end() }

// reach asks EC2 something, so that no run begins or goes on while it cannot be reached.
func (a *app) reach(ctx context.Context) error {
	c, err := a.cloud(ctx)
	if err != nil {
		return err
	}
	if err := a.patiently(ctx, c.Warm); err != nil {
		return err
	}
	a.answered()
	return nil
}

// mustAnswer ends a command that looks when EC2 has not answered at all for a while.
func (a *app) mustAnswer(c *ec2.Client) {
	if cutOff := a.patience.cutOff; cutOff != nil {
		time.AfterFunc(silentFor, func() {
			if !c.Heard() {
				cutOff(errSilent)
			}
		})
	}
}
