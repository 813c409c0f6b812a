package ec2

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// poller serves all waits for one kind of resource with one describe per poll. Its goroutine starts with the first
// wait and ends with the last one.
//
// The interval is a tenth of the time since the last event (a new wait or a change of state), between min and max,
// with 25 % jitter: it prolongs a wait by about 5 % on average and keeps a fleet that boots at once out of step.
// Throttling doubles the interval.
type poller[T any] struct {
	describe func(ctx context.Context, ids []string) ([]T, error)
	name     func(T) string
	phase    func(T) string // what counts as a change
	min, max time.Duration
	log      *slog.Logger

	mu      sync.Mutex
	waiters map[*waiter[T]]bool
	told    audience // who waits
	running *polling
}

// waiter is one wait. Its channel holds the latest result only.
type waiter[T any] struct {
	id   string
	news chan pollResult[T]
	away func() // leaves the audience
}

// pollResult is the result of a poll for one id: the resource, that EC2 does not show it, or the error.
type pollResult[T any] struct {
	thing T
	shown bool
	err   error // nil, or the describe's fault
}

// polling is one run of the poller's goroutine.
type polling struct {
	cancel context.CancelFunc
	done   chan struct{}
	wake   chan struct{} // holds one: somebody new waits
}

func (p *poller[T]) join(ctx context.Context, id string) *waiter[T] {
	w := &waiter[T]{id: id, news: make(chan pollResult[T], 1), away: p.told.join(ctx)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiters == nil {
		p.waiters = make(map[*waiter[T]]bool)
	}
	p.waiters[w] = true
	if p.running == nil {
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		p.running = &polling{cancel: cancel, done: make(chan struct{}), wake: make(chan struct{}, 1)}
		go p.run(OnRetry(shared, p.told.notify), p.running)
		return w
	}
	select {
	case p.running.wake <- struct{}{}:
	default:
	}
	return w
}

func (p *poller[T]) leave(w *waiter[T]) {
	w.away()
	p.mu.Lock()
	delete(p.waiters, w)
	var ended *polling
	if len(p.waiters) == 0 {
		ended, p.running = p.running, nil
	}
	p.mu.Unlock()
	if ended != nil {
		ended.cancel()
		<-ended.done
	}
}

// run polls until it is canceled.
func (p *poller[T]) run(ctx context.Context, self *polling) {
	defer close(self.done)
	defer self.cancel()
	var (
		phases = make(map[string]string)
		event  = time.Now() // when something last happened
		ticked time.Time    // when the last describe came back
		slower int          // how many throttled ticks there were, less the good ones since
	)
	timer := time.NewTimer(batchIdle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-self.wake:
			event = time.Now()
			timer.Reset(max(batchIdle, p.min-time.Since(ticked)))
			continue
		case <-timer.C:
		}
		changed, err := p.tick(ctx, phases)
		ticked = time.Now()
		if changed {
			event = ticked
		}
		if err != nil {
			slower = min(slower+1, 5)
			p.log.Debug("polling failed", "error", err)
		} else {
			slower = max(slower-1, 0)
		}
		timer.Reset(p.pause(ticked.Sub(event), slower))
	}
}

func (p *poller[T]) pause(quiet time.Duration, slower int) time.Duration {
	pause := min(max(quiet/10, p.min)<<slower, p.max)
	return pause*3/4 + rand.N(pause/2+1)
}

// tick describes everything that is waited for and notifies the waiters. Waiters that joined after the call was sent
// are notified by the next tick.
func (p *poller[T]) tick(ctx context.Context, phases map[string]string) (changed bool, err error) {
	p.mu.Lock()
	told := make([]*waiter[T], 0, len(p.waiters))
	ids := make([]string, 0, len(p.waiters))
	for w := range p.waiters {
		told = append(told, w)
		ids = append(ids, w.id)
	}
	p.mu.Unlock()
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) == 0 {
		return false, nil // the last one is just leaving
	}
	things, err := p.describe(ctx, ids)
	if ctx.Err() != nil {
		return false, nil
	}
	seen := make(map[string]T, len(things))
	for _, thing := range things {
		id := p.name(thing)
		seen[id] = thing
		if phase := p.phase(thing); phases[id] != phase {
			phases[id], changed = phase, true
		}
	}
	for _, w := range told {
		thing, shown := seen[w.id]
		w.notify(pollResult[T]{thing: thing, shown: shown, err: err})
	}
	return changed, err
}

// notify replaces the result that the waiter has not read yet. Only the poller sends, so it never blocks.
func (w *waiter[T]) notify(s pollResult[T]) {
	select {
	case <-w.news:
	default:
	}
	w.news <- s
}
