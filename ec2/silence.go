package ec2

import (
	"sync"
	"time"
)

// silence is for how long a region has answered nothing. It counts from the first request after the last answer, so that a time in which
// nothing was asked is none.
type silence struct {
	mu          sync.Mutex
	since, sent time.Time // of the first request without an answer, zero for none; of the newest one
	last        string    // what became of the newest request that failed
}

// longestTry is more than one attempt may take: whoever asks on has asked again by then.
const longestTry = 2 * time.Minute

func (s *silence) asked(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() || at.Sub(s.sent) > longestTry {
		s.since, s.last = at, ""
	}
	s.sent = at
}

func (s *silence) ended(fault *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case fault == nil || fault.answers():
		s.since, s.last = time.Time{}, ""
	case fault.Class != Canceled:
		s.last = fault.Message
	}
}

// answers: EC2 said something of the request, if only that it takes no more of them at the moment.
func (f *Fault) answers() bool {
	return f.Code != "" && f.Class != Transient && f.Class != Ambiguous
}

// Silence returns for how long EC2 has answered nothing in the client's region, and what became of the last request; 0 when the last
// one was answered. A refusal is an answer, and so is throttling; that the service is unavailable is none.
func (c *Client) Silence() (time.Duration, string) {
	s := &c.silence
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return 0, ""
	}
	return time.Since(s.since), s.last
}
