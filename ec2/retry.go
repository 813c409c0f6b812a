package ec2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"snaptastic/plan/units"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	baseRetryDelay = 250 * time.Millisecond // before the second attempt, on average
	maxRetryDelay  = 5 * time.Second        // between two attempts
	maxAttempts    = 5                      // of a request that fails for another reason than throttling
	maxDials       = 3                      // of a connection that cannot be made
)

// retryer is the SDK retryer of one call. A throttled request is retried until the context ends, since it had no
// effect; another failure a few times; a request that EC2 would carry out twice, never.
type retryer struct {
	op        string
	observe   *func(Call) // of each attempt; nil for nobody
	limiter   *rateLimiter
	silence   *silence
	log       *slog.Logger
	notify    func(RetryNotice)
	attempts  int
	last      error // why the last attempt failed
	uncertain bool  // an attempt before may have had its effect
}

var _ aws.RetryerV2 = (*retryer)(nil)

// MaxAttempts returns 0, no limit: RetryDelay limits the attempts by the kind of error.
func (t *retryer) MaxAttempts() int {
	if sentOnce[t.op] {
		return 1
	}
	return 0
}

func (t *retryer) IsErrorRetryable(err error) bool {
	t.attempts++
	if !isCanceled(err) { // the end of the context says less
		t.last = err
	}
	if sentOnce[t.op] {
		return false
	}
	class := Classify(t.op, err).Class
	t.uncertain = t.uncertain || class == Transient && !isUnsent(err)
	if skewed, ok := errors.AsType[interface {
		error
		RetryableError() bool
	}](err); ok && skewed.RetryableError() {
		return true // the SDK found out that the clock is wrong, and signs the next attempt with EC2's time
	}
	return class == Throttled || class == Transient
}

// RetryDelay doubles from baseRetryDelay to maxRetryDelay, half of it random. When the attempts are used up it
// returns the error.
func (t *retryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	fault := Classify(t.op, err)
	limit := maxAttempts
	switch {
	case fault.Class == Throttled:
		limit = 0
	case isUnsent(err):
		limit = maxDials
	}
	if limit > 0 && t.attempts >= limit {
		return 0, err
	}
	wait := min(maxRetryDelay, baseRetryDelay<<min(t.attempts, 10))
	wait = wait/2 + rand.N(wait/2)
	t.notify(RetryNotice{Action: t.op, In: wait, Throttled: fault.Class == Throttled, Message: fault.Message})
	t.log.Debug("retrying the EC2 call", "action", t.op, "attempt", t.attempts+1, "in", units.Logged(wait), "because", fault.Message, "code", fault.Code)
	return wait, nil
}

// GetAttemptToken waits for the rate limiter and reports the result to it. Actions that are sent once are not
// delayed: they may run inside a freeze.
func (t *retryer) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	once := sentOnce[t.op]
	if !once {
		if err := t.limiter.wait(ctx, func(in time.Duration) { t.notify(RetryNotice{Action: t.op, In: in, Throttled: true}) }); err != nil {
			return nil, err
		}
	}
	sent := time.Now()
	t.silence.asked(sent)
	return func(err error) error {
		var fault *Fault
		if err != nil {
			fault = Classify(t.op, err)
		}
		t.silence.ended(fault)
		if t.observe != nil {
			(*t.observe)(callOf(t.op, sent, fault))
		}
		if !once {
			t.limiter.update(fault != nil && fault.Class == Throttled)
		}
		return nil
	}, nil
}

// GetRetryToken never refuses: RetryDelay sets the limit.
func (t *retryer) GetRetryToken(context.Context, error) (func(error) error, error) {
	return release, nil
}

// GetInitialToken is required by the interface; a RetryerV2 never gets the call.
func (t *retryer) GetInitialToken() func(error) error { return release }

func release(error) error { return nil }

// fault classifies the final error. If the context ended during retries, the fault contains EC2's last answer.
func (t *retryer) fault(ctx context.Context, err error) *Fault {
	fault := Classify(t.op, err)
	fault.repeated = t.uncertain
	if _, ok := errors.AsType[*credentialsError](err); ok && ctx.Err() != nil {
		fault.Class, fault.hint = Canceled, ""
	}
	if ctx.Err() == nil || fault.Class != Canceled || t.last == nil || isCanceled(t.last) {
		return fault
	}
	fault.saysBefore(Classify(t.op, t.last), t.attempts)
	return fault
}

// saysBefore adds to a fault of a context that ended what the last of the attempts before that answered.
func (f *Fault) saysBefore(last *Fault, attempts int) {
	f.Message = fmt.Sprintf("%s after %d attempts, the last one answered: %s", f.Message, attempts, last.Message)
	f.Code, f.hint, f.before, f.attempts = last.Code, last.hint, last, attempts
}
