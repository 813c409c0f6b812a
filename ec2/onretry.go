package ec2

import (
	"context"
	"sync"
	"time"
)

// A RetryNotice says that a call failed, or has to wait for its turn, and when it is sent again.
type RetryNotice struct {
	Action    string        // EC2's name of it
	In        time.Duration // until it is sent again
	Throttled bool          // EC2 asked for fewer requests
	Message   string        // what EC2 or the network said; empty for a call that waits for its turn
}

// minNotice is the shortest wait for a turn that is worth a notice.
const minNotice = time.Second

type onRetryKey struct{}

// OnRetry returns a context whose calls tell notify about each retry. Callers that share a call are all told. notify is
// called from other goroutines, must not block, and may come late: after its caller gave up.
func OnRetry(ctx context.Context, notify func(RetryNotice)) context.Context {
	return context.WithValue(ctx, onRetryKey{}, notify)
}

// notifierOf is what OnRetry was given, or a function that drops the notice.
func notifierOf(ctx context.Context) func(RetryNotice) {
	if notify, ok := ctx.Value(onRetryKey{}).(func(RetryNotice)); ok {
		return notify
	}
	return func(RetryNotice) {}
}

// audience are the callers of a shared call.
type audience struct {
	mu      sync.Mutex
	members map[*func(RetryNotice)]bool
}

// join adds the caller with this context; the function returned takes it off.
func (a *audience) join(ctx context.Context) (leave func()) {
	notify, ok := ctx.Value(onRetryKey{}).(func(RetryNotice))
	if !ok {
		return func() {}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.members == nil {
		a.members = make(map[*func(RetryNotice)]bool)
	}
	a.members[&notify] = true
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.members, &notify)
	}
}

func (a *audience) notify(n RetryNotice) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for notify := range a.members {
		(*notify)(n)
	}
}
