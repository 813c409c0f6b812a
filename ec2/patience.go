package ec2

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Patience is for how long a question is asked again whose answer may come late. A machine that has just booted is ahead
// of much: its metadata service may hang or say 401 or 404, its role may have no credentials yet, EC2 may not know these
// yet, the clock may not be set, and the network may not be up. The zero value asks once.
type Patience struct {
	Until time.Time
	// Say is told what is waited for, and for how long still: at the first failure, and then every 15 s. Nil: nobody.
	Say func(waiting *Fault, left time.Duration)
}

const (
	sayEvery      = 15 * time.Second
	firstQuestion = 20 * time.Second // bound of the first try of a question; doubles
	lastQuestion  = time.Minute
	mostPause     = 5 * time.Second // between two tries
)

// Ask asks until there is an answer, a refusal that will not pass, or no time left; then it returns the last failure. It
// ends at once with the context.
func (p Patience) Ask(ctx context.Context, question func(context.Context) error) error {
	begun := time.Now()
	speaker := &speaker{p: p, over: make(chan struct{})}
	defer speaker.end()
	var last *Fault
	for try := 0; ; try++ {
		err := askOnce(ctx, try, time.Until(p.Until), question)
		fault, isFault := errors.AsType[*Fault](err)
		cutOff := isFault && fault.Class == Canceled || errors.Is(err, context.DeadlineExceeded)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return stopped(ctx, last, err)
		case cutOff && last != nil: // says less than the try before
		case cutOff && !isFault:
			last = &Fault{Op: "Describe", Doing: "ask", Class: Transient, Message: "no answer came in time"}
		case !isFault || !cutOff && !fault.Passes():
			return err
		default:
			last = fault
		}
		left := time.Until(p.Until)
		if left <= 0 && try == 0 {
			return last
		}
		if left <= 0 {
			return gaveUp(last, time.Since(begun))
		}
		speaker.say(last)
		pause := min(firstPause<<min(try, 10), mostPause)
		timer := time.NewTimer(min(left, pause/2+rand.N(pause)/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return stopped(ctx, last, err)
		}
	}
}

type tryKey struct{}

// askOnce bounds one try, so that one that hangs leaves time for another. The last one may have what is left; a question that
// may be asked only once has the time of a first one, unless its caller bounds it.
func askOnce(ctx context.Context, try int, left time.Duration, question func(context.Context) error) error {
	if _, bounded := ctx.Deadline(); left <= 0 && try == 0 && bounded {
		return question(ctx)
	}
	if left <= 0 && try == 0 {
		left = firstQuestion
	}
	bound := min(firstQuestion<<min(try, 10), lastQuestion)
	bounded, cancel := context.WithTimeout(context.WithValue(ctx, tryKey{}, try), max(min(bound, left), time.Second))
	defer cancel()
	return question(bounded)
}

// tryOf is which try of a patient question this is, from 0.
func tryOf(ctx context.Context) int {
	try, _ := ctx.Value(tryKey{}).(int)
	return try
}

// stopped is what a question ends with whose context ended: where that was a time-out, the last failure says more.
func stopped(ctx context.Context, last *Fault, err error) error {
	switch {
	case last != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return last
	case last != nil && !errors.Is(err, context.Canceled): // it was between two tries
		return canceled(ctx, last.Op, last.Doing, "")
	}
	return err
}

func gaveUp(last *Fault, asked time.Duration) error {
	fault := *last
	if asked >= time.Second {
		fault.Message += fmt.Sprintf("; asked for %s", asked.Round(time.Second))
	}
	return &fault
}

// Passes says whether the same question may well be answered soon.
func (f *Fault) Passes() bool {
	return f.Late || f.Class == Transient || f.Class == Throttled || f.Class == SettleLater
}

// speaker tells what is waited for. It has a goroutine of its own, since a question may hang for longer than it is silent.
type speaker struct {
	p     Patience
	mu    sync.Mutex
	about *Fault
	once  sync.Once
	over  chan struct{}
	gone  sync.WaitGroup
}

func (s *speaker) say(about *Fault) {
	s.mu.Lock()
	s.about = about
	s.mu.Unlock()
	if s.p.Say == nil {
		return
	}
	s.once.Do(func() {
		s.p.Say(about, time.Until(s.p.Until))
		s.gone.Go(func() {
			tick := time.NewTicker(sayEvery)
			defer tick.Stop()
			for {
				select {
				case <-s.over:
					return
				case <-tick.C:
					s.mu.Lock()
					about := s.about
					s.mu.Unlock()
					s.p.Say(about, max(0, time.Until(s.p.Until)))
				}
			}
		})
	})
}

func (s *speaker) end() {
	close(s.over)
	s.gone.Wait()
}

// lateCodes are refusals of the credentials or of the clock that a machine may get shortly after it booted, or shortly
// after its role was made: IAM is eventually consistent, and the clock is set once the network is up.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
var lateCodes = []string{"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidSecurity",
	"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestInTheFuture"}

func isLateCode(code string) bool { return slices.Contains(lateCodes, code) }

// fromRole says whether the credentials are to come from the instance's role: then a failure to get them may pass.
func (c *Client) fromRole() bool {
	cache, ok := c.loaded.Credentials.(*aws.CredentialsCache)
	return ok && slices.Contains(cache.ProviderSources(), aws.CredentialSourceIMDS) && os.Getenv("AWS_EC2_METADATA_DISABLED") != "true"
}

// credentials are those of every request. Which failure to get them may pass only their source can tell.
func (c *Client) credentials() namedCredentials {
	return namedCredentials{c.loaded.Credentials, c.fromRole()}
}

// forgetCredentials makes the next request ask for credentials anew: EC2 refused these.
func (c *Client) forgetCredentials() {
	if cache, ok := c.loaded.Credentials.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
}

// lenient takes a refusal that may pass for a passing failure, for as long as this client is patient.
func (c *Client) lenient(fault *Fault) *Fault {
	if isLateCode(fault.Code) {
		c.forgetCredentials()
	}
	if fault.Late && (fault.Class == Denied || fault.Class == Invalid) && time.Now().Before(c.config.PatientUntil) {
		fault.Class, fault.RetryAfter = Transient, pause[Transient]
	}
	return fault
}
