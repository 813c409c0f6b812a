package runner

import (
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// What an Event tells.
type What string

const (
	Looking   What = "looking"
	Starting  What = "started"
	Advancing What = "progress"
	Retrying  What = "retry"
	Finished  What = "done"
	Failing   What = "failed"
	Skipping  What = "skipped"
	Undoing   What = "undoing"
	UndidStep What = "undone"
)

// An Event is something that happened to a step, for people and for `status`.
type Event struct {
	At       time.Time
	Step     *plan.Step
	What     What
	Record   journal.Record
	Progress plan.Progress
	Wait     time.Duration // Retrying: until the next try
	Err      error
}

// emit tells the observer, or withholds it while an atomic section is open: a
// terminal or a log may sit behind the frozen file system.
func (r *run) emit(n *node, what What, more ...func(*Event)) {
	e := Event{At: time.Now(), Step: n.step, What: what, Record: n.rec}
	for _, f := range more {
		f(&e)
	}
	if r.windows > 0 {
		r.withheld = append(r.withheld, e)
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
	for _, e := range r.withheld {
		r.Observe(e)
	}
	r.withheld = nil
}
