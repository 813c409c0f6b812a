package ec2

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A batch is sent when no caller has joined for batchIdle, and batchMax after it was opened at the latest. Lanes
// reach the same step about a millisecond apart, one journal commit after the other.
const (
	batchIdle = 5 * time.Millisecond
	batchMax  = 25 * time.Millisecond
)

// coalescer merges describes that are requested at about the same time into one call. A caller that arrives after the
// call was sent gets a new one, so a result is never older than the request for it.
type coalescer[T any] struct {
	describe func(ctx context.Context, filter string, values []string) ([]T, error)

	mu   sync.Mutex
	open map[string]*batch[T] // by filter: calls not yet sent
}

// Shared merges equal concurrent requests into one. All callers get the same result and must not modify it.
type Shared[T any] struct {
	calls coalescer[T]
}

// NewShared returns a Shared that calls ask. Requests with the same text are equal.
func NewShared[T any](ask func(ctx context.Context, request string) (T, error)) *Shared[T] {
	s := &Shared[T]{}
	s.calls.describe = func(ctx context.Context, request string, _ []string) ([]T, error) {
		answer, err := ask(ctx, request)
		return []T{answer}, err
	}
	return s
}

// Ask returns a result that is not older than the request. doing describes its purpose, for the error.
func (s *Shared[T]) Ask(ctx context.Context, doing, request string) (answer T, err error) {
	found, err := s.calls.do(ctx, doing, request, "")
	if err != nil {
		return answer, err
	}
	return found[0], nil
}

// batch is one call on behalf of several callers.
type batch[T any] struct {
	values  []string
	callers int                // who still waits for the answer
	cancel  context.CancelFunc // called when nobody does any more
	told    audience           // the callers
	joined  chan struct{}      // holds one: somebody joined
	done    chan struct{}      // closed when found and err are set
	found   []T
	err     error
}

// do returns everything that the merged call found; the caller picks its own. The call survives the context of any
// single caller and is canceled when the last one leaves.
func (l *coalescer[T]) do(ctx context.Context, doing, filter, value string) ([]T, error) {
	if ctx.Err() != nil {
		return nil, canceled(ctx, "Describe", doing, "")
	}
	g := l.join(ctx, filter, value)
	defer g.told.join(ctx)()
	select {
	case <-g.done:
		if fault, ok := g.err.(*Fault); ok {
			return nil, fault.withDoing(doing)
		}
		return g.found, g.err
	case <-ctx.Done():
		fault := canceled(ctx, "Describe", doing, "")
		if cut, ok := l.leave(filter, g).(*Fault); ok && cut.before != nil {
			fault.saysBefore(cut.before, cut.attempts)
		}
		return nil, fault
	}
}

func (l *coalescer[T]) join(ctx context.Context, filter, value string) *batch[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.open[filter]
	if g == nil || len(g.values) >= maxFilterValues {
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		g = &batch[T]{cancel: cancel, joined: make(chan struct{}, 1), done: make(chan struct{})}
		if l.open == nil {
			l.open = make(map[string]*batch[T])
		}
		l.open[filter] = g
		go l.send(OnRetry(shared, g.told.notify), filter, g)
	}
	if !slices.Contains(g.values, value) {
		g.values = append(g.values, value)
	}
	g.callers++
	select {
	case g.joined <- struct{}{}:
	default:
	}
	return g
}

func (l *coalescer[T]) send(ctx context.Context, filter string, g *batch[T]) {
	defer close(g.done)
	defer g.cancel()
	g.collect(ctx)
	l.mu.Lock()
	l.close(filter, g)
	values := g.values
	l.mu.Unlock()
	g.found, g.err = l.describe(ctx, filter, values)
}

// collect waits for more callers.
func (g *batch[T]) collect(ctx context.Context) {
	begun := time.Now()
	company := time.NewTimer(batchIdle)
	defer company.Stop()
	for {
		select {
		case <-company.C:
			return
		case <-ctx.Done():
			return
		case <-g.joined:
			company.Reset(min(batchIdle, batchMax-time.Since(begun)))
		}
	}
}

// leave removes a caller that gave up. The last one cancels the call, waits for it and gets its error; others get none.
func (l *coalescer[T]) leave(filter string, g *batch[T]) error {
	l.mu.Lock()
	g.callers--
	last := g.callers == 0
	if last {
		l.close(filter, g)
	}
	l.mu.Unlock()
	if !last {
		return nil
	}
	g.cancel()
	<-g.done
	return g.err
}

// close stops callers from joining. The caller holds the lock.
func (l *coalescer[T]) close(filter string, g *batch[T]) {
	if l.open[filter] == g {
		delete(l.open, filter)
	}
}

// canceled returns the fault of a caller whose context ended before the answer.
func canceled(ctx context.Context, op, doing, detail string) *Fault {
	message := "canceled"
	if ctx.Err() == context.DeadlineExceeded {
		message = "timed out"
	}
	return &Fault{Op: op, Doing: doing, Class: Canceled, Message: message + detail, cause: context.Cause(ctx)}
}
