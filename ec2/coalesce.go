package ec2

import (
	"context"
	"slices"
	"sync"
	"time"
)

// batchIdle is how long a look waits for company: until nobody came for so long, and batchMax at most. Lanes that reach
// the same step come one commit of the journal after the other, which takes about a millisecond.
const (
	batchIdle = 5 * time.Millisecond
	batchMax  = 25 * time.Millisecond
)

// coalescer let those who ask at about the same time share one describe. A look that arrives after the call was sent starts
// another one: what it is told is never older than its question.
type coalescer[T any] struct {
	describe func(ctx context.Context, filter string, values []string) ([]T, error)

	mu   sync.Mutex
	open map[string]*batch[T] // by filter: calls not yet sent
}

// Shared lets those who ask the same at about the same time share one answer, which nobody may change.
type Shared[T any] struct {
	calls coalescer[T]
}

// NewShared makes one from what asks. Equal questions are the same question.
func NewShared[T any](ask func(ctx context.Context, request string) (T, error)) *Shared[T] {
	s := &Shared[T]{}
	s.calls.describe = func(ctx context.Context, request string, _ []string) ([]T, error) {
		answer, err := ask(ctx, request)
		return []T{answer}, err
	}
	return s
}

// Ask returns an answer that is not older than the question. doing says what for, should it fail.
func (s *Shared[T]) Ask(ctx context.Context, doing, request string) (answer T, err error) {
	found, err := s.calls.do(ctx, doing, request, "")
	if err != nil {
		return answer, err
	}
	return found[0], nil
}

// batch is one call on behalf of several.
type batch[T any] struct {
	values  []string
	callers int                // who still waits for the answer
	cancel  context.CancelFunc // called when nobody does any more
	joined  chan struct{}      // holds one: somebody joined
	done    chan struct{}      // closed when found and err are set
	found   []T
	err     error
}

// ask returns everything that the shared call found; the caller picks what it asked for. The call outlives the context
// of any one of those who share it, and ends with the last.
func (l *coalescer[T]) do(ctx context.Context, doing, filter, value string) ([]T, error) {
	if ctx.Err() != nil {
		return nil, canceled(ctx, "Describe", doing, "")
	}
	g := l.join(ctx, filter, value)
	select {
	case <-g.done:
		if fault, ok := g.err.(*Fault); ok {
			return nil, fault.withDoing(doing)
		}
		return g.found, g.err
	case <-ctx.Done():
		l.leave(filter, g)
		return nil, canceled(ctx, "Describe", doing, "")
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
		go l.send(shared, filter, g)
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

// gather waits until the company is complete, as far as can be told.
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

// leave takes one who gave up out of the count. The last one ends the call and sees it gone.
func (l *coalescer[T]) leave(filter string, g *batch[T]) {
	l.mu.Lock()
	g.callers--
	last := g.callers == 0
	if last {
		l.close(filter, g)
	}
	l.mu.Unlock()
	if last {
		g.cancel()
		<-g.done
	}
}

// close lets nobody else join. The caller holds the lock.
func (l *coalescer[T]) close(filter string, g *batch[T]) {
	if l.open[filter] == g {
		delete(l.open, filter)
	}
}

// canceled is the fault of a caller whose context ended before it had its answer.
func canceled(ctx context.Context, op, doing, detail string) *Fault {
	message := "canceled"
	if ctx.Err() == context.DeadlineExceeded {
		message = "ran out of time"
	}
	return &Fault{Op: op, Doing: doing, Class: Canceled, Message: message + detail, cause: context.Cause(ctx)}
}
