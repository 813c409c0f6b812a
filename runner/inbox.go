package runner

import "sync"

// An inbox takes closures for the scheduler to run. It is unbounded: a worker
// or the journal's writer never waits for the scheduler, so neither can wait
// for the other in a ring.
type inbox struct {
	mu   sync.Mutex
	some sync.Cond
	fs   []func()
}

func newInbox() *inbox {
	i := &inbox{}
	i.some.L = &i.mu
	return i
}

func (i *inbox) put(f func()) {
	i.mu.Lock()
	i.fs = append(i.fs, f)
	i.mu.Unlock()
	i.some.Signal()
}

// take waits for at least one and returns all.
func (i *inbox) take() []func() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(i.fs) == 0 {
		i.some.Wait()
	}
	fs := i.fs
	i.fs = nil
	return fs
}

func (i *inbox) empty() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.fs) == 0
}
