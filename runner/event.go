package runner

import (
	"context"
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

	// An atomic section opens, and closed; the step is its opening one. Between the two no event is told.
	WindowOpening EventKind = "window-opened"
	WindowClosed  EventKind = "window-closed"

	// Stopping is about the run: nothing new starts, and effects under way may finish.
	Stopping EventKind = "stopping"
)

// An Event is something that happened to a step, for people and for `status`.
type Event struct {
	At       time.Time
	Step     *plan.Step // never nil; it has no ID in an event of the run
	Kind     EventKind
	Record   journal.Record
	Progress plan.Progress
	Wait     time.Duration // Retrying: until the next try; Stopping: how long effects under way may take; WindowClosed: how long it was open
	Err      error

	Deadline  time.Time    // when the step's time-out is over; zero where that is not known
	Throttled bool         // Retrying: because too many requests were sent
	Finishing []*plan.Step // Stopping: whose effects are under way
}

// emit tells the observer, or withholds it while an atomic section is open: a
// terminal or a log may sit behind the frozen file system.
func (r *run) emit(n *node, what EventKind, more ...func(*Event)) {
	e := Event{At: time.Now(), Step: n.step, Kind: what, Record: n.rec}
	if n.atomic == nil && !n.began.IsZero() {
		e.Deadline = n.began.Add(r.timeout(n))
	}
	for _, f := range more {
		f(&e)
	}
	r.tell(e)
}

func (r *run) tell(e Event) {
	if r.windows > 0 {
		r.buffered = append(r.buffered, e)
		return
	}
	r.Observe(e)
}

func at(t time.Time) func(*Event) { return func(e *Event) { e.At = t } }
func withErr(err error) func(*Event) {
	return func(e *Event) { e.Err, e.Throttled = err, plan.ThrottledBy(err) }
}
func withWait(d time.Duration) func(*Event)     { return func(e *Event) { e.Wait = d } }
func withProgress(p plan.Progress) func(*Event) { return func(e *Event) { e.Progress = p } }

// stop notes that the run is to end, and tells what is finished first.
func (r *run) stop() {
	r.stopped = true
	if r.graph.inFlight == 0 {
		return
	}
	e := Event{At: time.Now(), Step: &plan.Step{}, Kind: Stopping, Wait: r.StopGrace, Err: context.Cause(r.ctx)}
	if r.fatal != nil {
		e.Err = r.fatal
	}
	for _, n := range r.graph.nodes {
		if n.acting {
			e.Finishing = append(e.Finishing, n.step)
		}
	}
	r.tell(e)
}

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
