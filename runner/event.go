package runner

import (
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// EventKind says what happened to a step.
type EventKind string

const (
	Observing   EventKind = "observing"
	Starting    EventKind = "started"
	Progressing EventKind = "progress"
	Retrying    EventKind = "retry"
	Finished    EventKind = "done"
	Failing     EventKind = "failed"
	Skipping    EventKind = "skipped"
	Undoing     EventKind = "undoing"
	Undone      EventKind = "undone"
)

// An Event is something that happened to a step, for people and for `status`.
type Event struct {
	At       time.Time
	Step     *plan.Step
	Kind     EventKind
	Record   journal.Record
	Progress plan.Progress
	Wait     time.Duration // Retrying: until the next try
	Err      error
}

// emit tells the observer, or withholds it while an atomic section is open: a
// terminal or a log may sit behind the frozen file system.
func (r *run) emit(n *node, what EventKind, more ...func(*Event)) {
	e := Event{At: time.Now(), Step: n.step, Kind: what, Record: n.rec}
	for _, f := range more {
		f(&e)
	}
	if r.windows > 0 {
		r.buffered = append(r.buffered, e)
		return
	}
	r.Observe(e)
}

func at(t time.Time) func(*Event)               { return func(e *Event) { e.At = t } }
func withErr(err error) func(*Event)            { return func(e *Event) { e.Err = err } }
func withWait(d time.Duration) func(*Event)     { return func(e *Event) { e.Wait = d } }
func withProgress(p plan.Progress) func(*Event) { return func(e *Event) { e.Progress = p } }

// openWindow and closeWindow bracket an atomic section.
func (r *run) openWindow() {
	if r.windows++; r.windows == 1 {
		r.Window(true)
	}
}

func (r *run) closeWindow() {
	if r.windows--; r.windows > 0 {
		return
	}
	r.Window(false)
	for _, e := range r.buffered {
		r.Observe(e)
	}
	r.buffered = nil
}
