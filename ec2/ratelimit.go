package ec2

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	minInterval    = 100 * time.Millisecond // between requests of one action, after the first throttled one
	maxInterval    = 2 * time.Second
	unlimitedBelow = 20 * time.Millisecond // below this, requests go out as they come
)

// rateLimiters holds one limiter per action, because EC2 has one token bucket per action: a throttled CreateVolume is
// no reason to slow down describes. The SDK's adaptive mode has one limit for all.
// Source: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
type rateLimiters struct {
	mu   sync.Mutex
	byOp map[string]*rateLimiter
}

func (p *rateLimiters) of(op string) *rateLimiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byOp == nil {
		p.byOp = make(map[string]*rateLimiter)
	}
	if p.byOp[op] == nil {
		p.byOp[op] = new(rateLimiter)
	}
	return p.byOp[op]
}

// rateLimiter spaces the requests of one action once EC2 has throttled one. Each throttled request doubles the
// interval and each other one shortens it by a fifth, down to none. Requests are sent in order of arrival, with 25 %
// jitter: hosts in step with the bucket's refill would always win or always lose.
type rateLimiter struct {
	mu       sync.Mutex
	interval time.Duration
	next     time.Time // when the next request may go out
}

// wait waits for the turn of a request. notify is told of a long wait.
func (p *rateLimiter) wait(ctx context.Context, notify func(in time.Duration)) error {
	p.mu.Lock()
	now := time.Now()
	turn := now
	if p.next.After(now) {
		turn = p.next
	}
	p.next = turn.Add(p.interval*3/4 + rand.N(p.interval/2+1))
	p.mu.Unlock()
	if turn == now {
		return ctx.Err()
	}
	if in := turn.Sub(now); in >= minNotice {
		notify(in)
	}
	timer := time.NewTimer(turn.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *rateLimiter) update(throttled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if throttled {
		p.interval = min(max(2*p.interval, minInterval), maxInterval)
		return
	}
	if p.interval = p.interval * 4 / 5; p.interval < unlimitedBelow {
		p.interval = 0
	}
}
