package engine

import (
	"encoding/json"
	"maps"
	"net"
	"os"
	"sync"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

const (
	maxWatchers = 64              // at once; another one is turned away
	maxBacklog  = 16 << 20        // bytes that a watcher has not read yet, beside a first status
	slowAfter   = 2 * time.Second // a watcher that reads nothing for so long is dropped
	retryWrite  = 20 * time.Millisecond
	pauseWait   = time.Second // bounds how long an opening window waits for what the server is at
	sendBuffer  = 1 << 20     // bytes
)

// A status is how a live run stands: the first line that whoever connects to its socket reads. Events follow, one a line, until
// the run ends. Its journal is locked meanwhile.
type status struct {
	Meta    journal.Meta                   `json:"meta"`
	Plan    *plan.Plan                     `json:"plan"`
	Records map[plan.StepID]journal.Record `json:"records"`
	// The process that is at it: since when, and in which way.
	PID      int       `json:"pid"`
	Since    time.Time `json:"since"`
	Rollback bool      `json:"rollback,omitempty"`
	// Running are, for each step under way, the event that began it and the newest one. Stopping is the news of a stop.
	Running  []Event `json:"running,omitempty"`
	Stopping *Event  `json:"stopping,omitempty"`
}

// statusServer tells whoever connects to a socket beside the journal how the run stands and what happens in it. One goroutine
// owns all of it; the run hands it events and goes on at once. It writes without ever waiting: what a watcher does not take
// is kept for it, up to a bound, and then the watcher is dropped. While a freeze window is open it does nothing.
type statusServer struct {
	queue serverQueue // what the goroutine is to do
	l     *net.UnixListener
	path  string
	over  sync.WaitGroup

	// Of the goroutine.
	status   status
	running  map[plan.StepID][]Event
	watchers []*watcher
	waiting  []*net.UnixConn // connected while paused
	paused   bool
	ended    bool
}

// serverQueue is unbounded, so that the run never waits.
type serverQueue struct {
	mu   sync.Mutex
	fs   []func()
	some chan struct{} // holds one
}

func (q *serverQueue) put(f func()) {
	q.mu.Lock()
	q.fs = append(q.fs, f)
	q.mu.Unlock()
	select {
	case q.some <- struct{}{}:
	default:
	}
}

func (q *serverQueue) take() []func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	fs := q.fs
	q.fs = nil
	return fs
}

// serveStatus answers until end. A socket that cannot be made costs the answers and nothing else.
func serveStatus(path string, s status) *statusServer {
	s.Records = maps.Clone(s.Records)
	v := &statusServer{path: path, status: s, running: map[plan.StepID][]Event{}, queue: serverQueue{some: make(chan struct{}, 1)}}
	l, err := listenAt(path)
	if err != nil {
		return v
	}
	v.l = l
	v.over.Go(v.accept)
	v.over.Go(v.run)
	return v
}

func (v *statusServer) accept() {
	for {
		c, err := v.l.AcceptUnix()
		if err != nil {
			return
		}
		v.queue.put(func() { v.join(c) })
	}
}

// run is the goroutine.
func (v *statusServer) run() {
	tick := time.NewTimer(time.Hour)
	defer tick.Stop()
	for !v.ended {
		select {
		case <-v.queue.some:
		case <-tick.C:
		}
		for _, f := range v.queue.take() {
			f()
		}
		if !v.paused && v.flush() {
			tick.Reset(retryWrite)
		}
	}
	for _, w := range v.watchers {
		_ = w.c.Close()
	}
	for _, c := range v.waiting {
		_ = c.Close()
	}
}

// event takes what happened. rec is the step's record, where it has one.
func (v *statusServer) event(e Event, rec journal.Record) {
	if v.l != nil {
		v.queue.put(func() { v.take(e, rec) })
	}
}

func (v *statusServer) take(e Event, rec journal.Record) {
	if e.Event == string(runner.Stopping) {
		v.status.Stopping = &e
	}
	if e.Step != "" {
		v.keep(e, rec)
	}
	if len(v.watchers) == 0 {
		return
	}
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	line = append(line, '\n')
	for _, w := range v.watchers {
		w.add(line)
	}
}

// keep keeps what a watcher that comes later is told.
func (v *statusServer) keep(e Event, rec journal.Record) {
	if rec.State != "" {
		v.status.Records[e.Step] = rec
	}
	switch runner.EventKind(e.Event) {
	case runner.Finished, runner.Failing, runner.Skipping, runner.Undone:
		delete(v.running, e.Step)
	case runner.Observing, runner.Starting, runner.Undoing:
		v.running[e.Step] = []Event{e}
	default:
		v.running[e.Step] = append(v.running[e.Step][:min(1, len(v.running[e.Step]))], e)
	}
}

// window pauses the server while a freeze window is open. It returns once nothing is written any more, or soon.
func (v *statusServer) window(open bool) {
	if v.l == nil {
		return
	}
	done := make(chan struct{})
	v.queue.put(func() {
		if open {
			v.flush()
		}
		v.pause(open)
		close(done)
	})
	if !open {
		return
	}
	over := time.NewTimer(pauseWait)
	defer over.Stop()
	select {
	case <-done:
	case <-over.C:
	}
}

func (v *statusServer) pause(open bool) {
	v.paused = open
	if open {
		return
	}
	for _, w := range v.watchers {
		w.moved = time.Now()
	}
	for _, c := range v.waiting {
		v.join(c)
	}
	v.waiting = nil
}

// join takes a new watcher and begins to tell it how the run stands.
func (v *statusServer) join(c *net.UnixConn) {
	if v.paused {
		v.waiting = append(v.waiting, c)
		return
	}
	v.drop(func(w *watcher) bool { return w.gone() })
	if len(v.watchers) >= maxWatchers {
		_ = c.Close()
		return
	}
	s := v.status
	for i := range s.Plan.Steps {
		s.Running = append(s.Running, v.running[s.Plan.Steps[i].ID]...)
	}
	body, err := json.Marshal(s)
	if err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetWriteBuffer(sendBuffer)
	v.watchers = append(v.watchers, &watcher{c: c, backlog: append(body, '\n'), most: len(body) + maxBacklog, moved: time.Now()})
}

// flush writes what the watchers take, drops those that are gone or too slow, and says whether any has something left.
func (v *statusServer) flush() (left bool) {
	v.drop(func(w *watcher) bool { return !w.write() })
	for _, w := range v.watchers {
		left = left || len(w.backlog) > 0
	}
	return left
}

func (v *statusServer) drop(is func(*watcher) bool) {
	kept := v.watchers[:0]
	for _, w := range v.watchers {
		if is(w) {
			_ = w.c.Close()
		} else {
			kept = append(kept, w)
		}
	}
	clear(v.watchers[len(kept):])
	v.watchers = kept
}

// end closes the socket. Watchers have what the kernel takes at once.
func (v *statusServer) end() {
	if v.l == nil {
		return
	}
	v.queue.put(func() {
		v.pause(false)
		v.flush()
		v.ended = true
	})
	_ = v.l.Close()
	_ = os.Remove(v.path)
	v.over.Wait()
}
