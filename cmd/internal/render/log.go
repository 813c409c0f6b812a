package render

import (
	"log/slog"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
	"snaptastic/runner"
)

// NewLog writes one line per event that is worth one: started, done, failed,
// retry, skipped, undone. Looks and progress are for debugging.
// Every line names the run: several may write to one log.
func NewLog(log *slog.Logger, run plan.RunID) Progress {
	return &logProgress{log: log.With("run", string(run)), began: map[plan.StepID]time.Time{}}
}

type logProgress struct {
	log   *slog.Logger
	watch bool                      // for somebody who watches, who wants to know what a run waits for
	began map[plan.StepID]time.Time // in this process: a record's start may be days old
}

// Window has nothing to hold: the runner tells no events while a section is
// open, and the logger writes through a Buffer.
func (l *logProgress) Window(bool) {}

func (l *logProgress) Close() {}

func (l *logProgress) Event(e runner.Event) {
	if e.Kind == runner.Stopping {
		l.log.Warn(stoppingLine(e))
	}
	if e.Step.ID == "" {
		return
	}
	id := e.Step.ID
	if _, ok := l.began[id]; !ok {
		l.began[id] = e.At
	}
	args := []any{"step", string(id)}
	add := func(key string, value any) { args = append(args, key, value) }
	if e.Step.Lane != "" {
		add("lane", e.Step.Lane)
	}
	if e.Record.Attempts > 1 {
		add("attempt", e.Record.Attempts)
	}
	if e.Err != nil {
		add("error", clean(e.Err.Error()))
	}
	switch e.Kind {
	case runner.Observing:
		l.log.Debug("observing", args...)
	case runner.Starting:
		if e.Step.Title != "" {
			add("title", clean(e.Step.Title))
		}
		if e.Step.ReadOnly { // its outcome is worth a line, its start is not
			l.log.Debug("started", args...)
			return
		}
		l.log.Info("started", args...)
	case runner.Progressing:
		if e.Progress.Percent >= 0 {
			add("percent", e.Progress.Percent)
		}
		if e.Progress.Text != "" {
			add("text", clean(e.Progress.Text))
		}
		if e.Progress.Retry > 0 {
			add("wait", units.Logged(e.Progress.Retry))
			add("throttled", e.Progress.Throttled)
		}
		if l.watch && e.Progress.Retry >= time.Second {
			l.log.Info("waiting to try again", args...)
			return
		}
		l.log.Debug("progress", args...)
	case runner.Retrying:
		add("wait", units.Logged(e.Wait))
		l.log.Warn("retry", args...)
	case runner.WindowOpening:
		if l.watch {
			l.log.Info("freeze window opens", args...)
			return
		}
		l.log.Debug("freeze window opens", args...)
	case runner.WindowClosed:
		add("open_for", units.Logged(e.Wait))
		l.log.Info("freeze window closed", args...)
	case runner.Undoing:
		l.log.Info("undoing", args...)
	default:
		l.settled(e, args)
	}
}

// settled logs the event that ends a step.
func (l *logProgress) settled(e runner.Event, args []any) {
	add := func(key string, value any) { args = append(args, key, value) }
	took := e.At.Sub(l.began[e.Step.ID]).Round(time.Millisecond)
	delete(l.began, e.Step.ID)
	if took > 0 {
		add("duration", units.Logged(took))
	}
	if e.Record.Note != "" {
		add("note", clean(e.Record.Note))
	}
	if f := e.Record.Facts; f != nil {
		for _, x := range []struct{ key, value string }{
			{"volume_id", f.VolumeID}, {"snapshot_id", f.SnapshotID}, {"device", f.Device}, {"path", f.Path}, {"mount_point", f.MountPoint},
		} {
			if x.value != "" {
				add(x.key, x.value)
			}
		}
	}
	switch e.Kind {
	case runner.Finished:
		if e.Record.Adopted() {
			add("adopted", true)
		}
		l.log.Info("done", args...)
	case runner.Failing:
		if e.Record.Hint != "" {
			add("hint", clean(e.Record.Hint))
		}
		if e.Step.Tolerated {
			l.log.Warn("failed; ignored", args...)
			return
		}
		l.log.Error("failed", args...)
	case runner.Skipping:
		l.log.Info("skipped", args...)
	case runner.Undone:
		if e.Record.Undo == journal.Kept {
			l.log.Warn("kept", args...)
			return
		}
		l.log.Info("undone", args...)
	default:
		l.log.Info(string(e.Kind), args...)
	}
}
