package ec2

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"snaptastic/plan/units"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Patience is how long a request is retried that may fail only because the machine has just booted: the metadata
// service may hang or answer 401 or 404, the role may have no credentials yet or EC2 may not accept them yet, and
// clock and network may not be up. The zero value tries once.
type Patience struct {
	Until time.Time
	// Notify is called with what is waited for and the time left: at the first failure and then every 15 s. It may be
	// nil.
	Notify func(waiting *Fault, left time.Duration)
}

const (
	notifyInterval = 15 * time.Second
	baseTimeout    = 20 * time.Second // bound of the first try of a question; doubles
	maxTimeout     = time.Minute
	maxPause       = 5 * time.Second // between two tries
)

// Retry repeats the request until it succeeds, fails permanently, or time is up; then it returns the last error.
// Canceling the context ends it at once.
func (p Patience) Retry(ctx context.Context, request func(context.Context) error) error {
	begun := time.Now()
	notifier := &waitNotifier{patience: p, stop: make(chan struct{})}
	defer notifier.close()
	var last *Fault
	for try := 0; ; try++ {
		err := tryOnce(ctx, try, time.Until(p.Until), request)
		fault, isFault := errors.AsType[*Fault](err)
		cutOff := isFault && fault.Class == Canceled || errors.Is(err, context.DeadlineExceeded)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return stopped(ctx, last, err)
		case cutOff && last != nil: // says less than the try before
		case cutOff && !isFault:
			last = &Fault{Op: "Describe", Doing: "ask", Class: Transient, Message: "no response in time"}
		case !isFault || !cutOff && !fault.IsTemporary():
			return err
		default:
			last = fault
		}
		left := time.Until(p.Until)
		if left <= 0 && try == 0 {
			return last
		}
		if left <= 0 {
			return timedOut(last, time.Since(begun))
		}
		notifier.notify(last)
		pause := min(baseRetryDelay<<min(try, 10), maxPause)
		timer := time.NewTimer(min(left, pause/2+rand.N(pause)/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return stopped(ctx, last, err)
		}
	}
}

type attemptKey struct{}

// tryOnce bounds one attempt, so that one that hangs leaves time for the next. The last attempt gets the time that is
// left. An attempt without a retry gets the time of a first one, unless the caller's context has a deadline.
func tryOnce(ctx context.Context, try int, left time.Duration, request func(context.Context) error) error {
	if _, bounded := ctx.Deadline(); left <= 0 && try == 0 && bounded {
		return request(ctx)
	}
	if left <= 0 && try == 0 {
		left = baseTimeout
	}
	bound := min(baseTimeout<<min(try, 10), maxTimeout)
	bounded, cancel := context.WithTimeout(context.WithValue(ctx, attemptKey{}, try), max(min(bound, left), time.Second))
	defer cancel()
	return request(bounded)
}

// attemptOf returns the number of the current attempt of Retry, from 0.
func attemptOf(ctx context.Context) int {
	try, _ := ctx.Value(attemptKey{}).(int)
	return try
}

// stopped returns the error of a Retry whose context ended: after a time-out the last failure, which says more.
func stopped(ctx context.Context, last *Fault, err error) error {
	switch {
	case last != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return last
	case last != nil && !errors.Is(err, context.Canceled): // it was between two tries
		return canceled(ctx, last.Op, last.Doing, "")
	}
	return err
}

func timedOut(last *Fault, asked time.Duration) error {
	fault := *last
	if asked >= time.Second {
		fault.Message += fmt.Sprintf("; retried for %s", units.Took(asked))
	}
	return &fault
}

// IsTemporary reports whether the same request may succeed soon.
func (f *Fault) IsTemporary() bool {
	return f.Late || f.Class == Transient || f.Class == Throttled || f.Class == SettleLater
}

// waitNotifier calls Patience.Notify from its own goroutine, since an attempt can hang longer than the interval.
type waitNotifier struct {
	patience Patience
	mu       sync.Mutex
	fault    *Fault
	once     sync.Once
	stop     chan struct{}
	done     sync.WaitGroup
}

func (s *waitNotifier) notify(about *Fault) {
	s.mu.Lock()
	s.fault = about
	s.mu.Unlock()
	if s.patience.Notify == nil {
		return
	}
	s.once.Do(func() {
		s.patience.Notify(about, time.Until(s.patience.Until))
		s.done.Go(func() {
			tick := time.NewTicker(notifyInterval)
			defer tick.Stop()
			for {
				select {
				case <-s.stop:
					return
				case <-tick.C:
					s.mu.Lock()
					about := s.fault
					s.mu.Unlock()
					s.patience.Notify(about, max(0, time.Until(s.patience.Until)))
				}
			}
		})
	})
}

func (s *waitNotifier) close() {
	close(s.stop)
	s.done.Wait()
}

// lateCodes are errors about credentials or the clock that can occur shortly after a boot or after a role was
// created: IAM is eventually consistent, and the clock is set once the network is up.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
var lateCodes = []string{"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidSecurity",
	"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestInTheFuture"}

func isLateCode(code string) bool { return slices.Contains(lateCodes, code) }

// fromRole reports whether the credentials come from the instance role: then a failure to get them may be temporary.
func (c *Client) fromRole() bool {
	cache, ok := c.loaded.Credentials.(*aws.CredentialsCache)
	return ok && slices.Contains(cache.ProviderSources(), aws.CredentialSourceIMDS) && os.Getenv("AWS_EC2_METADATA_DISABLED") != "true"
}

// credentials returns the provider for every request. It marks the failures that may be temporary.
func (c *Client) credentials() namedCredentials {
	return namedCredentials{c.loaded.Credentials, c.fromRole()}
}

// invalidateCredentials makes the next request fetch new credentials, after EC2 rejected these.
func (c *Client) invalidateCredentials() {
	if cache, ok := c.loaded.Credentials.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
}

// reclassifyLate makes a boot-time error transient until PatientUntil.
func (c *Client) reclassifyLate(fault *Fault) *Fault {
	if isLateCode(fault.Code) {
		c.invalidateCredentials()
	}
	if fault.Late && (fault.Class == Denied || fault.Class == Invalid) && time.Now().Before(c.config.PatientUntil) {
		fault.Class, fault.RetryAfter = Transient, pause[Transient]
	}
	return fault
}
