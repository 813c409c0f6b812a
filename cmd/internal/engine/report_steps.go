package engine

import (
	"slices"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// stepReader makes spans of a step's records, in the order in which they were written.
type stepReader struct {
	report *Report
	times  *StepTimes
	open   *Span
}

func (s *stepReader) read(rec journal.Record) {
	if s.open != nil && s.report.partAt(moment(rec)) != s.open.Part {
		s.cut()
	}
	switch {
	case rec.Undo == journal.UndoStarted && rec.Error == "":
		s.cut()
		s.begin(moment(rec), rec)
		s.open.Undo = true
	case s.open != nil && s.open.Undo: // undone, kept, or it could not be undone
		s.open.State, s.open.Undone, s.open.Error = rec.State, rec.Undo, rec.Error
		s.close(moment(rec))
	case rec.State == journal.Started && rec.Undo == "":
		if s.open == nil || s.open.Generation != rec.Generation {
			s.cut()
			s.begin(rec.StartedAt, rec)
		}
		s.open.Retries = rec.Retries
	default:
		s.settle(rec)
	}
}

// settle reads what a step came to. A step that never began leaves no span.
func (s *stepReader) settle(rec journal.Record) {
	repeated := s.open == nil && len(s.times.Spans) > 0 && s.times.Spans[len(s.times.Spans)-1].From.Equal(rec.StartedAt)
	switch {
	case repeated: // the same try again, with more to say about it
		last := &s.times.Spans[len(s.times.Spans)-1]
		last.State, last.Undone = rec.State, rec.Undo
		if rec.Error != "" {
			last.Error = rec.Error
		}
		return
	case s.open == nil && (rec.StartedAt.IsZero() || rec.State == journal.Skipped && rec.Undo == "" && rec.EndedAt.IsZero()):
		return
	case s.open == nil:
		s.begin(rec.StartedAt, rec)
	case rec.StartedAt.IsZero(): // of a section that failed before it came to this step
		s.open = nil
		return
	default:
		s.open.From = rec.StartedAt // a member of an atomic section began later than its intent
	}
	s.open.State, s.open.Undone, s.open.Error, s.open.Retries = rec.State, rec.Undo, rec.Error, rec.Retries
	s.open.Adopted = rec.Adopted() && rec.State == journal.Done
	end := rec.EndedAt
	if end.IsZero() {
		end = moment(rec)
	}
	s.close(end)
}

func (s *stepReader) begin(at time.Time, rec journal.Record) {
	s.open = &Span{From: at, Generation: rec.Generation, State: rec.State, Retries: rec.Retries, Part: s.report.partAt(at)}
}

func (s *stepReader) close(at time.Time) {
	s.open.To = at
	if at.Before(s.open.From) {
		s.open.To = s.open.From
	}
	s.times.Spans = append(s.times.Spans, *s.open)
	s.open = nil
}

// cut ends a span whose process did not record the end: it may have gone on until the process was gone.
func (s *stepReader) cut() {
	if s.open != nil {
		s.close(s.report.Parts[s.open.Part].To)
	}
}

func (s *stepReader) end() { s.cut() }

// moment is when a record was written, as well as it is known.
func moment(r journal.Record) time.Time {
	for _, t := range []time.Time{r.RecordedAt, r.EndedAt, r.StartedAt} {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// sectionReader finds the windows of an atomic section: its records are written together once it is closed.
type sectionReader struct {
	report *Report
	window Window // as the plan has it
	last   plan.StepID
	from   time.Time
	error  string
}

func sectionReaders(r *Report) map[plan.StepID]*sectionReader {
	lanes := map[plan.StepID]string{}
	for i := range r.Plan.Steps {
		lanes[r.Plan.Steps[i].ID] = r.Plan.Steps[i].Lane
	}
	out := map[plan.StepID]*sectionReader{}
	for _, sec := range r.Plan.Sections {
		if sec.Kind != plan.Atomic {
			continue
		}
		s := &sectionReader{report: r, last: sec.Close[len(sec.Close)-1]}
		s.window = Window{Section: sec.ID, Steps: slices.Concat([]plan.StepID{sec.Open}, sec.Body, sec.Close)}
		if lane := lanes[sec.Open]; lane != "" {
			s.window.Lanes = []string{lane}
		} else {
			for _, l := range r.Plan.Lanes {
				s.window.Lanes = append(s.window.Lanes, l.ID)
			}
		}
		for _, id := range s.window.Steps {
			out[id] = s
		}
	}
	return out
}

func (s *sectionReader) read(id plan.StepID, rec journal.Record) {
	switch {
	case rec.State == journal.Started && rec.Undo == "":
		s.from, s.error = time.Time{}, ""
		return
	case rec.StartedAt.IsZero():
		return
	}
	if s.from.IsZero() || rec.StartedAt.Before(s.from) {
		s.from = rec.StartedAt
	}
	if s.error == "" {
		s.error = rec.Error
	}
	if id != s.last || rec.EndedAt.IsZero() {
		return
	}
	w := s.window
	w.From, w.To, w.Error = s.from, rec.EndedAt, s.error
	if n := len(s.report.Windows); slices.ContainsFunc(s.report.Windows[:n], func(o Window) bool { return o.Section == w.Section && o.To.Equal(w.To) }) {
		return // recorded twice
	}
	if f := rec.Facts; f != nil && f.FrozenSeconds > 0 {
		w.FrozenSeconds = f.FrozenSeconds
		if !f.ThawedAt.IsZero() {
			w.FrozenFrom, w.FrozenTo = f.ThawedAt.Add(-seconds(f.FrozenSeconds)), f.ThawedAt
		}
	}
	s.report.Windows = append(s.report.Windows, w)
}
