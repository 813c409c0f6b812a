package engine

import (
	"errors"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

// Names of events beside those of package runner.
const (
	RunStarted    = "run-started"
	RunEnded      = "run-ended"
	RunJoined     = "run-joined"     // of a watch: the run is live already; the events that follow say which steps are under way
	RunLost       = "run-lost"       // of a watch: the run's process ended and did not say how
	EventsDropped = "events-dropped" // whoever takes the events was too slow
)

// An Event is something that happened in a run, as programs get it: with `-o jsonl`, with --events, and on the status socket.
// Its names are documented in docs/json.md. Times are in UTC.
type Event struct {
	Seq   uint64     `json:"seq"` // from 1 in each process that works on the run
	At    time.Time  `json:"at"`
	Event string     `json:"event"` // one of runner's kinds, or of the names above
	Run   plan.RunID `json:"run"`

	// Of a step.
	Step       plan.StepID   `json:"step,omitempty"`
	Kind       plan.Kind     `json:"kind,omitempty"`
	Lane       string        `json:"lane,omitempty"`
	Title      string        `json:"title,omitempty"`
	State      journal.State `json:"state,omitempty"`
	Undo       journal.Undo  `json:"undo,omitempty"`
	Generation int           `json:"generation,omitempty"`
	Attempts   int           `json:"attempts,omitempty"`
	Adopted    bool          `json:"adopted,omitempty"`
	Deadline   time.Time     `json:"deadline,omitzero"`
	Percent    *int          `json:"percent,omitempty"`
	Text       string        `json:"text,omitempty"`
	Retry      float64       `json:"retry_seconds,omitempty"` // until the next try
	Throttled  bool          `json:"throttled,omitempty"`
	Window     float64       `json:"window_seconds,omitempty"`
	Note       string        `json:"note,omitempty"`
	Error      string        `json:"error,omitempty"`
	Hint       string        `json:"hint,omitempty"`
	Facts      *plan.Facts   `json:"facts,omitempty"`

	// Of the run.
	Operation   string          `json:"operation,omitempty"`
	Snapshotter string          `json:"snapshotter,omitempty"`
	PID         int             `json:"pid,omitempty"`
	Rollback    bool            `json:"rollback,omitempty"`
	Finishing   []plan.StepID   `json:"finishing,omitempty"`
	Grace       float64         `json:"grace_seconds,omitempty"`
	Outcome     journal.Outcome `json:"outcome,omitempty"`
	Seconds     float64         `json:"seconds,omitempty"`
	UndoFollows bool            `json:"undo_follows,omitempty"`
	Dropped     int             `json:"dropped,omitempty"`
}

// EventOf is an event of the runner as programs get it.
func EventOf(run plan.RunID, e runner.Event) Event {
	r := e.Record
	out := Event{At: e.At.UTC(), Event: string(e.Kind), Run: run, State: r.State, Undo: r.Undo, Generation: r.Generation, Attempts: r.Attempts,
		Adopted: r.Adopted(), Note: r.Note, Error: r.Error, Hint: r.Hint, Throttled: e.Throttled}
	if e.Step != nil && e.Step.ID != "" {
		out.Step, out.Kind, out.Lane, out.Title = e.Step.ID, e.Step.Kind, e.Step.Lane, e.Step.Title
	}
	if !e.Deadline.IsZero() {
		out.Deadline = e.Deadline.UTC()
	}
	if e.Err != nil {
		out.Error = e.Err.Error()
	}
	switch e.Kind {
	case runner.Retrying:
		out.Retry = e.Wait.Seconds()
	case runner.WindowClosed:
		out.Window = e.Wait.Seconds()
	case runner.Stopping:
		out.Grace = e.Wait.Seconds()
		for _, s := range e.Finishing {
			out.Finishing = append(out.Finishing, s.ID)
		}
	case runner.Progressing:
		p := e.Progress
		out.Text, out.Retry, out.Throttled = p.Text, p.Retry.Seconds(), p.Throttled
		if p.Percent >= 0 {
			out.Percent = &p.Percent
		}
	case runner.Finished, runner.Undone:
		out.Facts = r.Facts
	}
	return out
}

// runner is the runner's event that a program was told of, as far as it says; step finds a step of the plan by its id.
func (e Event) runner(step func(plan.StepID) *plan.Step) runner.Event {
	out := runner.Event{At: e.At, Kind: runner.EventKind(e.Event), Step: step(e.Step), Deadline: e.Deadline, Throttled: e.Throttled,
		Record: journal.Record{State: e.State, Undo: e.Undo, Generation: e.Generation, Attempts: e.Attempts, Note: e.Note, Error: e.Error, Hint: e.Hint, Facts: e.Facts}}
	if out.Step == nil { // of the run
		out.Step = &plan.Step{}
	}
	if e.Adopted {
		out.Record.Seen = plan.Satisfied
	}
	if e.Error != "" {
		out.Err = errors.New(e.Error)
	}
	switch out.Kind {
	case runner.Progressing:
		out.Progress = plan.Progress{Percent: -1, Text: e.Text, Retry: inSeconds(e.Retry), Throttled: e.Throttled}
		if e.Percent != nil {
			out.Progress.Percent = *e.Percent
		}
	case runner.Retrying:
		out.Wait = inSeconds(e.Retry)
	case runner.WindowClosed:
		out.Wait = inSeconds(e.Window)
	case runner.Stopping:
		out.Wait = inSeconds(e.Grace)
		for _, id := range e.Finishing {
			if s := step(id); s != nil {
				out.Finishing = append(out.Finishing, s)
			}
		}
	}
	return out
}

func inSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// startedEvent is the first event of a process that works on a run.
func startedEvent(s RunDetails, rollback bool, pid int, now time.Time) Event {
	return Event{At: now.UTC(), Event: RunStarted, Run: s.Run, Operation: s.Plan.Operation, Snapshotter: s.Plan.Snapshotter, PID: pid, Rollback: rollback}
}

// endedEvent is its last.
func endedEvent(end RunResult, now time.Time) Event {
	e := Event{At: now.UTC(), Event: RunEnded, Run: end.Run, Operation: end.Plan.Operation, Snapshotter: end.Plan.Snapshotter, Rollback: end.Rollback,
		Outcome: end.Result.Outcome, Seconds: end.Took.Seconds(), UndoFollows: end.Undoing}
	switch {
	case end.Result.Err != nil:
		e.Error = end.Result.Err.Error()
	case len(end.Result.Failures) > 0:
		e.Error, e.Hint = end.Result.Failures[0].Err.Error(), plan.HintOf(end.Result.Failures[0].Err)
	}
	return e
}
