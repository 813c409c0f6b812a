package engine

import (
	"cmp"
	"errors"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// A HistoryRecord is one record that a run's journal ever held: what a step, or the run itself, came to.
type HistoryRecord struct {
	Seq        uint64          `json:"seq"` // from 1
	At         time.Time       `json:"at,omitzero"`
	Step       plan.StepID     `json:"step,omitempty"` // empty for the run itself
	State      journal.State   `json:"state,omitempty"`
	Generation int             `json:"generation,omitempty"`
	Undo       journal.Undo    `json:"undo,omitempty"`
	Outcome    journal.Outcome `json:"outcome,omitempty"` // of the run
	Error      string          `json:"error,omitempty"`
}

// History lists every record of a run in the order in which they were written. A live run keeps its journal locked.
func (e *Engine) History(word plan.RunID) ([]HistoryRecord, error) {
	store, id, err := e.stateOf(word)
	if err != nil {
		return nil, err
	}
	j, err := store.Read(id)
	if errors.Is(err, journal.ErrLive) {
		return nil, hinted("wait until the run has ended, or leave out --history", "run %s is live: its journal is locked", id)
	}
	if err != nil {
		return nil, err
	}
	defer j.Close()
	records := []HistoryRecord{}
	err = j.Events(func(seq uint64, e journal.Entry) error {
		h := HistoryRecord{Seq: seq, Step: e.Step}
		if m := e.Meta; m != nil {
			h.At, h.Outcome, h.Error = later(m.Created, m.Ended), cmp.Or(m.Outcome, "started"), m.Error
		} else {
			r := e.Record
			h.At, h.State, h.Generation, h.Undo, h.Error = later(r.StartedAt, r.EndedAt), r.State, r.Generation, r.Undo, r.Error
		}
		records = append(records, h)
		return nil
	})
	return records, err
}

// later is the end where there is one.
func later(start, end time.Time) time.Time {
	if end.IsZero() {
		return start.UTC()
	}
	return end.UTC()
}
