package engine

import (
	"errors"
	"sort"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/steps"
)

// A Report is a run as its journal tells it, laid out in time.
type Report struct {
	RunDetails
	Made     time.Time // when it was read
	Parts    []Part    // processes that worked on the run, oldest first; never none
	Steps    []StepTimes
	Windows  []Window // freezes, oldest first
	Calls    []journal.Call
	Dropped  int         // calls that were made and not recorded
	Drill    *plan.Drill // of a run that verified its snapshots
	Unknowns []string    // what the journal does not tell, in sentences
}

// A Part is what one process did of a run.
type Part struct {
	journal.Process
	From, To time.Time // To is the last that is known of it
	Killed   bool      // it did not live to record its end
}

// StepTimes is when a step was under way.
type StepTimes struct {
	Step   *plan.Step
	Record journal.Record // the newest one; zero for a step that never began
	Waits  bool           // it only waits, for EC2 or for the kernel
	Spans  []Span
}

// A Span is a time in which a step was under way in one process.
type Span struct {
	From, To   time.Time
	Undo       bool // it was being undone
	Generation int
	State      journal.State // what it came to; Started where nobody recorded that
	Undone     journal.Undo  // of Undo spans, and of failed tries of a freeze section
	Adopted    bool
	Error      string
	Retries    []journal.Retry // tries within the span that failed
	Part       int             // index into Report.Parts
}

// A Window is one try of an atomic section: freeze, snapshot, thaw.
type Window struct {
	Section       string
	Steps         []plan.StepID // in the order in which they run
	Lanes         []string      // that are frozen
	From, To      time.Time     // of the section: getting ready, frozen, cleaning up
	FrozenFrom    time.Time     // zero where the journal does not tell
	FrozenTo      time.Time
	FrozenSeconds float64 // 0 where nothing was frozen, or nobody measured it
	Error         string
}

// Report reads all that the journal of a run tells. Of a live run it knows what the process that is at it answers.
func (e *Engine) Report(word plan.RunID) (Report, error) {
	now := time.Now()
	store, id, err := e.stateOf(word)
	if err != nil {
		return Report{}, err
	}
	j, err := store.Read(id)
	if errors.Is(err, journal.ErrLive) {
		live, err := e.Show(id)
		if err != nil {
			return Report{}, err
		}
		r := Report{RunDetails: live, Made: now}
		r.Unknowns = append(r.Unknowns, "The run is live: this is how it stands now, with the latest try of each step and without its EC2 calls.")
		r.lay(entriesOf(live))
		return r, nil
	}
	if err != nil {
		return Report{}, err
	}
	defer j.Close()
	r := Report{RunDetails: detailsOf(j.Meta(), j.Plan(), j.Records()), Made: now}
	calls, err := j.Calls()
	if err != nil {
		r.Unknowns = append(r.Unknowns, "The record of the EC2 calls is damaged: "+err.Error()+".")
	}
	r.Calls, r.Dropped = calls.Calls, calls.Dropped
	sort.SliceStable(r.Calls, func(i, j int) bool {
		a, b := &r.Calls[i], &r.Calls[j]
		return a.At.Compare(b.At) < 0
	})
	var entries []journal.Entry
	if err := j.Events(func(_ uint64, e journal.Entry) error {
		if e.Record != nil { // of their contents the newest ones are enough
			e.Record.Input, e.Record.Output, e.Record.Before = nil, nil, nil
		}
		entries = append(entries, e)
		return nil
	}); err != nil {
		return Report{}, err
	}
	r.lay(entries)
	return r, nil
}

// entriesOf makes a history of the newest records alone.
func entriesOf(d RunDetails) (entries []journal.Entry) {
	for i := range d.Plan.Steps {
		id := d.Plan.Steps[i].ID
		if r, ok := d.Records[id]; ok {
			entries = append(entries, journal.Entry{Step: id, Record: &r})
		}
	}
	return entries
}

// lay lays the history out in time.
func (r *Report) lay(entries []journal.Entry) {
	r.Drill = DrillOf(r.Records)
	r.parts(entries)
	at := make(map[plan.StepID]*stepReader, len(r.Plan.Steps))
	r.Steps = make([]StepTimes, len(r.Plan.Steps))
	for i := range r.Plan.Steps {
		s := &r.Plan.Steps[i]
		r.Steps[i] = StepTimes{Step: s, Record: r.Records[s.ID], Waits: steps.Waits(s.Kind)}
		at[s.ID] = &stepReader{report: r, times: &r.Steps[i]}
	}
	sections := sectionReaders(r)
	for _, e := range entries {
		if e.Record == nil || at[e.Step] == nil {
			continue
		}
		at[e.Step].read(*e.Record)
		if s := sections[e.Step]; s != nil {
			s.read(e.Step, *e.Record)
		}
	}
	for _, s := range at {
		s.end()
	}
	sort.SliceStable(r.Windows, func(i, j int) bool {
		a, b := &r.Windows[i], &r.Windows[j]
		return a.From.Compare(b.From) < 0
	})
}

// parts finds when each process was at work.
func (r *Report) parts(entries []journal.Entry) {
	for _, p := range r.Processes {
		r.Parts = append(r.Parts, Part{Process: p, From: p.Began, To: p.Ended})
	}
	if len(r.Parts) == 0 {
		if !r.Live && len(entries) > 0 {
			r.Unknowns = append(r.Unknowns, "The run was made by a version that did not record its processes, retries and EC2 calls: gaps between processes look like waiting.")
		}
		r.Parts = []Part{{Process: journal.Process{Version: r.Version, BootID: r.BootID}, From: r.Created, To: r.Ended}}
	}
	for i := range r.Parts {
		p := &r.Parts[i]
		if !p.To.IsZero() {
			continue
		}
		newest := i == len(r.Parts)-1
		if p.Killed = !newest || !r.Live; !p.Killed {
			p.To = r.Made
			continue
		}
		p.To = r.lastSign(entries, i)
	}
}

// lastSign is the last time that is known of a process that was killed.
func (r *Report) lastSign(entries []journal.Entry, part int) time.Time {
	last := r.Parts[part].From
	var until time.Time
	if part+1 < len(r.Parts) {
		until = r.Parts[part+1].From
	}
	see := func(t time.Time) {
		if t.After(last) && (until.IsZero() || t.Before(until)) {
			last = t
		}
	}
	for _, e := range entries {
		if e.Record != nil {
			see(e.Record.StartedAt)
			see(e.Record.EndedAt)
			see(e.Record.RecordedAt)
		}
	}
	for _, c := range r.Calls {
		see(c.At.Add(seconds(c.Seconds)))
	}
	return last
}

// partAt is the process that was at work at a time.
func (r *Report) partAt(t time.Time) int {
	for i := len(r.Parts) - 1; i > 0; i-- {
		if !t.Before(r.Parts[i].From) {
			return i
		}
	}
	return 0
}
