package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"snaptastic/plan"
)

// A Summary is a run in a list.
type Summary struct {
	Meta
	Operation    string            `json:"operation"`
	Snapshotter  string            `json:"snapshotter"`
	Live         bool              `json:"live"`
	Claims       []string          `json:"claims,omitempty"` // still held
	Problem      string            `json:"problem,omitempty"`
	Damaged      bool              `json:"damaged,omitempty"`
	Idle         bool              `json:"-"` // cut off before its first intent: its claims block no other run
	ResumePolicy plan.ResumePolicy `json:"-"` // of its plan; empty where that is not read: of a run that is live or has ended
}

func summarize(j *Journal) Summary {
	return Summary{Meta: j.meta, Operation: j.plan.Operation, Snapshotter: j.plan.Snapshotter, Claims: claimsOf(j), Idle: idle(j), ResumePolicy: j.plan.ResumePolicy}
}

func (s *Store) writeSummary(sum Summary) {
	if body, err := json.Marshal(sum); err == nil {
		path := s.path(sum.Run, ".json")
		_ = os.Remove(path)
		if writeNew(path, body) != nil {
			_ = os.Remove(path) // half of it
		}
	}
}

func writeNew(path string, body []byte) error {
	f, err := openOwn(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	return errors.Join(err, f.Close())
}

// List returns all runs, oldest first: good rows, and rows whose Problem says
// why the journal could not be read.
func (s *Store) List() ([]Summary, error) { return s.list(true) }

// Newest iterates over the runs, newest first, and reads only as many as are asked for: a machine has thousands.
func (s *Store) Newest() iter.Seq[Summary] {
	return func(yield func(Summary) bool) {
		journals, files, err := s.names()
		if err != nil {
			return
		}
		for _, id := range slices.Backward(journals) {
			if sum, there := s.summary(plan.RunID(id), files[id+".json"]); there && !yield(sum) {
				return
			}
		}
	}
}

// IDs returns the ids of all runs, oldest first. It reads no journal.
func (s *Store) IDs() (ids []plan.RunID, err error) {
	journals, _, err := s.names()
	for _, id := range journals {
		ids = append(ids, plan.RunID(id))
	}
	return ids, err
}

// Sockets returns the runs that have a status socket, oldest first: live ones, and those whose process was killed.
func (s *Store) Sockets() (ids []plan.RunID, err error) {
	journals, files, err := s.names()
	for _, id := range journals {
		if files[id+".sock"] {
			ids = append(ids, plan.RunID(id))
		}
	}
	return ids, err
}

// Unfinished is List without the runs that ended, at a cost that does not depend on
// their number: only an ended run has a summary beside its journal.
func (s *Store) Unfinished() ([]Summary, error) { return s.list(false) }

func (s *Store) list(ended bool) ([]Summary, error) {
	journals, files, err := s.names()
	if err != nil {
		return nil, err
	}
	var out []Summary
	for _, id := range journals {
		if !ended && files[id+".json"] && !files[id+".sock"] {
			continue
		}
		sum, there := s.summary(plan.RunID(id), files[id+".json"])
		if there && (ended || !sum.Outcome.Ended()) {
			out = append(out, sum)
		}
		if files[id+".sock"] && (!there || sum.Outcome.Ended()) {
			_ = os.Remove(s.Socket(plan.RunID(id))) // of a process that was killed as it ended
		}
	}
	return out, nil
}

// names returns the ids of all runs, oldest first, and what else is in their directory.
func (s *Store) names() (journals []string, files map[string]bool, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "runs"))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list runs: %w", err)
	}
	files = make(map[string]bool, len(entries))
	for _, e := range entries { // sorted by name
		files[e.Name()] = true
		if id, ok := strings.CutSuffix(e.Name(), ".db"); ok {
			journals = append(journals, id)
		}
	}
	slices.Sort(journals)
	return journals, files, nil
}

// summary is one row; there is none if the file was deleted meanwhile.
func (s *Store) summary(run plan.RunID, cached bool) (sum Summary, there bool) {
	if cached {
		if body, err := readOwn(s.path(run, ".json")); err == nil && json.Unmarshal(body, &sum) == nil && sum.Outcome.Ended() && sum.Run == run {
			return sum, true
		}
	}
	sum = Summary{Meta: Meta{Run: run}}
	j, err := open(s.path(run, ".db"), true)
	if err != nil {
		var d *DamagedError
		sum.Live, sum.Damaged, sum.Problem = errors.Is(err, ErrLive), errors.As(err, &d), err.Error()
		return sum, !errors.Is(err, os.ErrNotExist)
	}
	defer j.Close()
	sum = summarize(j)
	sum.Run = run
	if sum.Outcome.Ended() {
		s.writeSummary(sum)
	}
	return sum, true
}
