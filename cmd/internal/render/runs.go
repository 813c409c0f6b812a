package render

import (
	"cmp"
	"io"
	"strconv"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
	"snaptastic/plan/units"
)

// runState is a run's state in a word. A run without an outcome whose journal
// nobody holds was cut off.
func runState(s journal.Summary) span {
	switch {
	case s.Damaged:
		return span{"damaged", red}
	case s.Live && s.RollingBack:
		return span{"live, rolling back", yellow}
	case s.Live:
		return span{"live", yellow}
	case s.RollingBack && !s.Outcome.Ended():
		return span{"interrupted while rolling back", yellow}
	}
	switch s.Outcome {
	case journal.Unfinished, journal.Interrupted:
		return span{"interrupted", yellow}
	case journal.RunDone:
		return span{"done", green}
	case journal.RunFailed:
		return span{"failed", red}
	case journal.RolledBack:
		if len(s.Kept) > 0 {
			return span{"rolled back, kept some", dim}
		}
		return span{"rolled back", dim}
	}
	return span{string(s.Outcome), dim}
}

// runTook is how long processes were at work on a run that came to rest.
func runTook(m journal.Meta) string {
	switch {
	case m.Ended.IsZero() || m.Created.IsZero():
		return "-"
	case m.ActiveSeconds > 0:
		return units.Took(duration(m.ActiveSeconds))
	}
	return units.Took(m.Ended.Sub(m.Created)) // of a build that did not write it down
}

// nextByResume says in a word what the next `resume`, such as that of a boot, does with an unfinished run.
var nextByResume = map[engine.Action]string{
	engine.Continue: "continue",
	engine.Undo:     "roll back",
	engine.Wait:     "operator",
	engine.EndAsIs:  "end",
	engine.SetAside: "set aside",
}

// Runs lists runs in the order given.
func Runs(w io.Writer, runs []engine.RunState, now time.Time, o Style) error {
	p := page{style: o}
	if len(runs) == 0 {
		p.text("no runs")
		return p.writeTo(w)
	}
	var rows [][]string
	for _, s := range runs {
		age, note := "-", s.Error
		if !s.Created.IsZero() {
			if age = units.Age(now.Sub(s.Created)); s.Created.After(now) {
				age = "in the future" // a clock was wrong
			}
		}
		if s.Problem != "" && !s.Live {
			note = s.Problem
		}
		rows = append(rows, []string{string(s.Run), s.Operation, s.Snapshotter, runState(s.Summary).text, age, runTook(s.Meta), nextByResume[s.Action], note})
	}
	const state = 3
	header := []string{"RUN", "OPERATION", "SNAPSHOTTER", "STATE", "AGE", "TOOK", "NEXT", "ERROR"}
	for i, r := range rows {
		for c := range r[:len(r)-1] {
			if r[c] == "" {
				rows[i][c] = "-"
			}
		}
	}
	p.table("", header, rows, func(r, c int) colour {
		if c == state {
			return runState(runs[r].Summary).c
		}
		return plain
	})
	return p.writeTo(w)
}

type runView struct {
	journal.Summary
	State string           `json:"state"`
	Next  *engine.Decision `json:"next,omitempty"` // what resume does with it
}

// inUTC has the summary's times in UTC, whatever the zone of who wrote them.
func inUTC(s journal.Summary) journal.Summary {
	s.Created, s.Ended = s.Created.UTC(), s.Ended.UTC()
	return s
}

// RunsJSON writes the same list for programs.
func RunsJSON(w io.Writer, runs []engine.RunState) error {
	views := []runView{}
	for _, s := range runs {
		v := runView{Summary: inUTC(s.Summary), State: runState(s.Summary).text}
		if s.Action != engine.Leave {
			v.Next = &s.Decision
		}
		views = append(views, v)
	}
	return JSON(w, views)
}

// History prints every record of a run in order.
func History(w io.Writer, records []engine.HistoryRecord, o Style) error {
	rows := make([][]string, len(records))
	for i, r := range records {
		at, what := "-", string(r.State)
		if !r.At.IsZero() {
			at = r.At.Format("2006-01-02T15:04:05.000Z")
		}
		switch {
		case r.Step == "":
			what = "run " + string(r.Outcome)
		case r.Undo != "":
			what += ", undo: " + string(r.Undo)
		}
		rows[i] = []string{strconv.FormatUint(r.Seq, 10), at, cmp.Or(string(r.Step), "-"), what, strconv.Itoa(r.Generation), cmp.Or(r.Error, "-")}
	}
	return Table(w, []string{"RECORD", "TIME", "STEP", "STATE", "GENERATION", "ERROR"}, rows, o)
}
