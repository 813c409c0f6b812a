package ec2

import (
	"context"
	"slices"
	"sync"
	"time"
)

// gatherFor is how long a look waits for company: until nobody came for so long, and gatherMost at most. Lanes that reach
// the same step come one commit of the journal after the other, which takes about a millisecond.
const (
	gatherFor  = 5 * time.Millisecond
	gatherMost = 25 * time.Millisecond
)

// looks let those who ask at about the same time share one describe. A look that arrives after the call was sent starts
// another one: what it is told is never older than its question.
type looks[T any] struct {
	describe func(ctx context.Context, filter string, values []string) ([]T, error)

	mu   sync.Mutex
	open map[string]*gathering[T] // by filter: calls not yet sent
}

// Shared lets those who ask the same at about the same time share one answer, which nobody may change.
type Shared[T any] struct {
	looks looks[T]
}

// NewShared makes one from what asks. Equal questions are the same question.
func NewShared[T any](ask func(ctx context.Context, question string) (T, error)) *Shared[T] {
	s := &Shared[T]{}
	s.looks.describe = func(ctx context.Context, question string, _ []string) ([]T, error) {
		answer, err := ask(ctx, question)
		return []T{answer}, err
	}
	return s
}

// Ask returns an answer that is not older than the question. doing says what for, should it fail.
func (s *Shared[T]) Ask(ctx context.Context, doing, question string) (answer T, err error) {
	found, err := s.looks.ask(ctx, doing, question, "")
	if err != nil {
		return answer, err
	}
	return found[0], nil
}

// gathering is one call on behalf of several.
type gathering[T any] struct {
	values []string
	asking int                // who still waits for the answer
	cancel context.CancelFunc // called when nobody does any more
	came   chan struct{}      // holds one: somebody joined
	done   chan struct{}      // closed when found and err are set
	found  []T
	err    error
}

// ask returns everything that the shared call found; the caller picks what it asked for. The call outlives the context
// of any one of those who share it, and ends with the last.
func (l *looks[T]) ask(ctx context.Context, doing, filter, value string) ([]T, error) {
	if ctx.Err() != nil {
		return nil, canceled(ctx, "Describe", doing, "")
	}
	g := l.join(ctx, filter, value)
	select {
	case <-g.done:
		if fault, ok := g.err.(*Fault); ok {
			return nil, fault.as(doing)
		}
		return g.found, g.err
	case <-ctx.Done():
		l.leave(filter, g)
		return nil, canceled(ctx, "Describe", doing, "")
	}
}

func (l *looks[T]) join(ctx context.Context, filter, value string) *gathering[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.open[filter]
	if g == nil || len(g.values) >= mostFilterValues {
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		g = &gathering[T]{cancel: cancel, came: make(chan struct{}, 1), done: make(chan struct{})}
		if l.open == nil {
			l.open = make(map[string]*gathering[T])
		}
		l.open[filter] = g
		go l.send(shared, filter, g)
	}
	if !slices.Contains(g.values, value) {
		g.values = append(g.values, value)
	}
	g.asking++
	select {
	case g.came <- struct{}{}:
	default:
	}
	return g
}

func (l *looks[T]) send(ctx context.Context, filter string, g *gathering[T]) {
	defer close(g.done)
	defer g.cancel()
	g.gather(ctx)
	l.mu.Lock()
	l.close(filter, g)
	values := g.values
	l.mu.Unlock()
	g.found, g.err = l.describe(ctx, filter, values)
}

// gather waits until the company is complete, as far as can be told.
func (g *gathering[T]) gather(ctx context.Context) {
	begun := time.Now()
	company := time.NewTimer(gatherFor)
	defer company.Stop()
	for {
		select {
		case <-company.C:
			return
		case <-ctx.Done():
			return
		case <-g.came:
			company.Reset(min(gatherFor, gatherMost-time.Since(begun)))
		}
	}
}

// leave takes one who gave up out of the count. The last one ends the call and sees it gone.
func (l *looks[T]) leave(filter string, g *gathering[T]) {
	l.mu.Lock()
	g.asking--
	last := g.asking == 0
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
func (l *looks[T]) close(filter string, g *gathering[T]) {
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
