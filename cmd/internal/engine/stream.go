package engine

import (
	"os"
	"time"

	"snaptastic/journal"
	"snaptastic/runner"
)

// A stream tells whoever is interested what happens in a run: who called the use case, and who connects to the status socket.
// It is called from the scheduler's goroutine alone.
type stream struct {
	run   *journal.Run
	shown Observer
	sink  EventSink // nil where the observer is none
	live  *statusServer
	seq   uint64
}

func (e *Engine) newStream(store *journal.Store, run *journal.Run, conf runner.Config, act action) *stream {
	details := detailsOf(run.Meta(), run.Plan(), conf.Records)
	now, pid := time.Now(), os.Getpid()
	s := &stream{run: run, live: serveStatus(store.Socket(details.Run), status{Meta: details.Meta, Plan: details.Plan, Records: details.Records,
		PID: pid, Since: now.UTC(), Rollback: act.rollback})}
	s.shown = e.Frontend.Observe(details)
	s.sink, _ = s.shown.(EventSink)
	s.tell(startedEvent(details, act.rollback, pid, now), journal.Record{})
	return s
}

func (s *stream) event(ev runner.Event) {
	s.shown.Event(ev)
	s.tell(EventOf(s.run.Meta().Run, ev), ev.Record)
}

func (s *stream) tell(e Event, rec journal.Record) {
	s.seq++
	e.Seq = s.seq
	s.live.event(e, rec)
	if s.sink != nil {
		s.sink.Take(e)
	}
}

// window keeps everybody silent while it is open.
func (s *stream) window(open bool) {
	s.shown.Window(open)
	s.live.window(open)
}

func (s *stream) end(end RunResult) {
	s.tell(endedEvent(end, time.Now()), journal.Record{})
}

func (s *stream) close() { s.live.end() }
