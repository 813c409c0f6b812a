package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/cmd/internal/engine"
)

const (
	maxEvents  = 4096        // that wait to be written
	closeWait  = time.Second // for a reader that takes nothing
	writeAhead = 64          // events encoded at once
)

// An EventFile writes events to a file or a pipe, one JSON document a line. The run never waits for it: what the file does not
// take is kept, up to a bound, and then dropped and counted. Nothing is written while a freeze window is open.
type EventFile struct {
	f    *os.File
	own  bool // it is closed at the end
	warn func(error)

	mu      sync.Mutex
	queue   []engine.Event
	dropped int  // since the last one that was queued
	silent  bool // a window is open
	writing bool // a write is under way
	closed  bool
	changed *sync.Cond // any of these

	done chan struct{}
}

// OpenEventFile opens a file for events, which are added at its end; it never waits for the reader of a pipe.
func OpenEventFile(path string, warn func(error)) (*EventFile, error) {
	how := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if fi, err := os.Stat(path); err == nil && fi.Mode()&fs.ModeNamedPipe != 0 {
		how = os.O_RDWR // for writing alone it would wait for a reader, or fail without one: fifo(7)
	}
	f, err := os.OpenFile(path, how|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot write events: %w", err)
	}
	return newEventFile(f, true, warn), nil
}

// NewEventFile writes events to a file that is open, such as stdout.
func NewEventFile(f *os.File, warn func(error)) *EventFile { return newEventFile(f, false, warn) }

func newEventFile(f *os.File, own bool, warn func(error)) *EventFile {
	e := &EventFile{f: f, own: own, warn: warn, done: make(chan struct{})}
	e.changed = sync.NewCond(&e.mu)
	go e.run()
	return e
}

// Take queues an event.
func (e *EventFile) Take(ev engine.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) >= maxEvents {
		e.dropped++
		return
	}
	if e.dropped > 0 {
		e.queue = append(e.queue, droppedEvents(ev, e.dropped))
		e.dropped = 0
	}
	e.queue = append(e.queue, ev)
	e.changed.Broadcast()
}

func droppedEvents(next engine.Event, n int) engine.Event {
	return engine.Event{At: next.At, Event: engine.EventsDropped, Run: next.Run, Dropped: n}
}

// Window keeps silent while it is open. Opening waits for a write that had begun, for a bounded time.
func (e *EventFile) Window(open bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silent = open
	e.changed.Broadcast()
	if !open {
		return
	}
	_ = e.f.SetWriteDeadline(time.Now()) // a pipe that is full
	over := time.AfterFunc(windowWait, func() { e.changed.Broadcast() })
	defer over.Stop()
	for until := time.Now().Add(windowWait); e.writing && time.Now().Before(until); {
		e.changed.Wait()
	}
}

// Close writes what is left and waits for that for a bounded time.
func (e *EventFile) Close() {
	e.mu.Lock()
	if e.dropped > 0 {
		e.queue = append(e.queue, droppedEvents(engine.Event{At: time.Now().UTC()}, e.dropped))
	}
	e.closed = true
	e.changed.Broadcast()
	e.mu.Unlock()
	over := time.NewTimer(closeWait)
	defer over.Stop()
	select {
	case <-e.done:
	case <-over.C:
	}
}

// run is the goroutine that writes. A line that was cut off is ended before the next one.
func (e *EventFile) run() {
	defer close(e.done)
	if e.own {
		defer e.f.Close()
	}
	cutOff, warned := false, false
	for {
		events := e.next()
		if events == nil {
			return
		}
		var b bytes.Buffer
		if cutOff {
			b.WriteByte('\n')
		}
		for _, ev := range events {
			line, _ := json.Marshal(ev) // of plain values
			b.Write(append(line, '\n'))
		}
		left, err := e.write(b.Bytes())
		cutOff = err != nil && len(left) < b.Len() && len(left) > 0
		if err == nil {
			continue
		}
		if !warned {
			warned = true
			e.warn(fmt.Errorf("cannot write events: %w", err))
		}
		if errors.Is(err, unix.EPIPE) || errors.Is(err, os.ErrClosed) {
			e.giveUp()
			return
		}
		e.mu.Lock()
		e.dropped += max(bytes.Count(left, []byte("\n")), 1)
		e.mu.Unlock()
	}
}

// next waits for events and for leave to write; nil at the end.
func (e *EventFile) next() []engine.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writing = false
	e.changed.Broadcast()
	for e.silent || len(e.queue) == 0 {
		if e.closed && len(e.queue) == 0 {
			return nil
		}
		e.changed.Wait()
	}
	n := min(len(e.queue), writeAhead)
	events := e.queue[:n:n]
	e.queue = e.queue[n:]
	e.writing = true
	return events
}

// write writes all, and pauses while a window is open. left is what was not written.
func (e *EventFile) write(b []byte) (left []byte, err error) {
	for len(b) > 0 {
		n, err := e.f.Write(b)
		b = b[n:]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			e.pause()
			continue
		}
		if err != nil {
			return b, err
		}
	}
	return nil, nil
}

// pause ends a write that a window has cut off, and waits until the window is closed.
func (e *EventFile) pause() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writing = false
	e.changed.Broadcast()
	for e.silent {
		e.changed.Wait()
	}
	e.writing = true
	_ = e.f.SetWriteDeadline(time.Time{})
}

// giveUp drops what is queued and what comes.
func (e *EventFile) giveUp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writing, e.queue = false, make([]engine.Event, 0)
	e.changed.Broadcast()
}
