package render

import (
	"encoding/json"
	"io"
	"log/slog"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
	"snaptastic/runner"
)

// WatchLines tells of live runs line by line, as their own logs do.
type WatchLines struct {
	log   *slog.Logger
	flags Flags
	runs  map[plan.RunID]*linedRun
}

type linedRun struct {
	engine.LiveRun
	Progress
	ended *engine.Event
}

// NewWatchLines writes to log. flags are repeated in the commands that it names.
func NewWatchLines(log *slog.Logger, flags Flags) *WatchLines {
	return &WatchLines{log: log, flags: flags, runs: map[plan.RunID]*linedRun{}}
}

func (w *WatchLines) Joined(l engine.LiveRun) {
	r := &linedRun{LiveRun: l, Progress: &logProgress{log: w.log.With("run", string(l.Run)), watch: true, began: map[plan.StepID]time.Time{}}}
	w.runs[l.Run] = r
	done := 0
	for _, rec := range l.Records {
		if rec.State == journal.Done {
			done++
		}
	}
	w.log.Info("watching", "run", l.Run, "operation", clean(l.Plan.Operation), "snapshotter", clean(l.Plan.Snapshotter), "pid", l.PID,
		"since", l.Since.UTC().Format(time.RFC3339), "rolling_back", l.Rollback, "steps_done", done, "steps", len(l.Plan.Steps))
	for _, e := range l.Running {
		r.Event(e)
	}
	if l.Stopping != nil {
		r.Event(*l.Stopping)
	}
}

func (w *WatchLines) Event(run plan.RunID, e runner.Event) {
	if r := w.runs[run]; r != nil {
		r.Progress.Event(e)
	}
}

func (w *WatchLines) Told(e engine.Event) {
	if r := w.runs[e.Run]; r != nil && e.Event == engine.RunEnded {
		r.ended = &e
	}
}

func (w *WatchLines) Left(id plan.RunID, s *engine.RunState) {
	r := w.runs[id]
	if r == nil {
		return
	}
	delete(w.runs, id)
	outcome, args := journal.Interrupted, []any{"run", id}
	switch {
	case r.ended != nil:
		outcome = r.ended.Outcome
		args = append(args, "outcome", string(outcome), "duration", units.Logged(duration(r.ended.Seconds)))
		if r.ended.Error != "" {
			args = append(args, "error", clean(r.ended.Error))
		}
	case s != nil:
		outcome = s.Outcome
		args = append(args, "outcome", runState(s.Summary).text, "because", "its process is gone", "pid", r.PID)
	}
	if r.ended == nil || !r.ended.UndoFollows {
		for _, c := range commandsFor(id, r.Plan, outcome, r.Rollback, w.flags) {
			args = append(args, map[string]string{"finish it": "finish", "undo it": "undo", "abandon it": "abandon", "continue": "continue"}[c.What], c.Command)
		}
	}
	w.log.Info("run ends", args...)
}

func (w *WatchLines) Unfinished(rest []engine.RunState) {
	if len(w.runs) == 0 && len(rest) == 0 {
		w.log.Info("no live runs; waiting for one")
	}
	for _, r := range rest {
		w.log.Info("unfinished", "run", r.Run, "operation", clean(r.Operation), "snapshotter", clean(r.Snapshotter), "state", runState(r.Summary).text,
			"next", nextByResume[r.Action], "show", w.flags.After("snaptastic status "+clean(string(r.Run))))
	}
}

// WatchEvents writes the events of live runs for programs, one JSON document a line.
type WatchEvents struct{ w io.Writer }

// NewWatchEvents writes to w.
func NewWatchEvents(w io.Writer) WatchEvents { return WatchEvents{w} }

func (w WatchEvents) Joined(l engine.LiveRun) {
	for _, e := range l.Events() {
		w.Told(e)
	}
}

func (w WatchEvents) Event(plan.RunID, runner.Event) {}

func (w WatchEvents) Told(e engine.Event) { _ = EventLine(w.w, e) }

func (w WatchEvents) Left(id plan.RunID, s *engine.RunState) {
	if s != nil {
		w.Told(engine.Event{At: time.Now().UTC(), Event: engine.RunLost, Run: id, Outcome: s.Was()})
	}
}

func (w WatchEvents) Unfinished([]engine.RunState) {}

// EventLine writes one event, compact, with a line break at its end.
func EventLine(w io.Writer, e engine.Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
