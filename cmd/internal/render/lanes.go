package render

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// A laneView is how one lane of a run stands. The lane "" holds the steps that
// belong to the whole plan.
type laneView struct {
	Lane string `json:"lane"`
	plan.Facts
	State   string      `json:"state"` // one of laneStates, "unfinished" or "interrupted"
	Step    plan.StepID `json:"step,omitempty"`
	Note    string      `json:"note,omitempty"`
	at      string      // Step's name inside the lane
	Seconds float64     `json:"seconds"` // in which any of its steps was under way
	Steps   []timeView  `json:"steps"`
}

type timeView struct {
	Step    plan.StepID `json:"step"`
	Seconds float64     `json:"seconds"`
	name    string
}

// lanesOf reads the lanes' states out of the records; steps of the whole plan
// come last. now is zero for a run that no process is at. back: the run is rolled back, or on its way there.
func lanesOf(p *plan.Plan, records map[plan.StepID]journal.Record, now time.Time, back bool) []laneView {
	known := laneFacts(p, records)
	var views []laneView
	for _, lane := range p.Lanes {
		v := laneView{Lane: lane.ID, Facts: *known[lane.ID]}
		v.read(p, records, now, back && !stands(p, records, lane.ID))
		views = append(views, v)
	}
	whole := laneView{}
	whole.read(p, records, now, back)
	if whole.State != "" {
		views = append(views, whole)
	}
	return views
}

// stands: each lane of such a run is for itself, and what is done of this one was not undone with others.
func stands(p *plan.Plan, records map[plan.StepID]journal.Record, lane string) bool {
	all := p.ResumePolicy == plan.ResumeFirst
	each(p, records, lane, func(_ *plan.Step, r journal.Record) {
		all = all && r.State == journal.Done && (r.Undo == "" || r.Undo == journal.Kept)
	})
	return all
}

// atRest: no process works on the run, so nothing in it is running.
func atRest(views []laneView) []laneView {
	for i := range views {
		if views[i].State == "running" {
			views[i].State = "interrupted"
		}
	}
	return views
}

func (v *laneView) read(p *plan.Plan, records map[plan.StepID]journal.Record, now time.Time, back bool) {
	v.Steps = []timeView{}
	var began []journal.Record
	worst := -1
	each(p, records, v.Lane, func(s *plan.Step, r journal.Record) {
		state, note := stateOf(s, r, back)
		if rank := slices.Index(laneStates, state); rank > worst {
			worst, v.State, v.Step, v.at, v.Note = rank, state, s.ID, shortName(s), clean(note)
		}
		if r.StartedAt.IsZero() {
			return
		}
		began = append(began, r)
		v.Steps = append(v.Steps, timeView{Step: s.ID, Seconds: seconds(active(r, now)), name: shortName(s)})
	})
	v.Seconds = seconds(journal.Active(slices.Values(began), now))
	switch v.State {
	case "done", "undone", "unchanged", "left alone", "":
		v.Step, v.Note = "", ""
	case "pending": // some of its steps are done, or none
		if len(v.Steps) > 0 {
			v.State = "unfinished"
		}
	}
}

// laneStates from the best to the worst; a lane is as its worst step.
var laneStates = []string{"unchanged", "left alone", "done", "undone", "kept", "pending", "running", "skipped", "failed", "needs operator"}

func stateOf(s *plan.Step, r journal.Record, back bool) (state, note string) {
	switch r.Undo {
	case journal.UndoStarted:
		if r.Error != "" {
			return "failed", r.Error
		}
		return "running", "undo"
	case journal.Undone:
		return "undone", ""
	case journal.Kept:
		return "kept", r.Note
	}
	if back && r.Adopted() { // it was so before the run
		return "left alone", r.Note
	}
	if back { // nothing of the step had to be undone
		return "unchanged", ""
	}
	switch r.State {
	case "":
		return "pending", ""
	case journal.Started:
		if r.Note != "" { // it found that it is not needed: a hook that only a rollback has to run
			return "unchanged", ""
		}
		return "running", ""
	case journal.Failed:
		if s.Tolerated {
			return "done", ""
		}
		return "failed", r.Error
	case journal.Uncertain:
		return "needs operator", r.Error
	case journal.Skipped:
		return "skipped", r.Note
	default:
		return "done", ""
	}
}

// active is how long a step was under way.
func active(r journal.Record, now time.Time) time.Duration {
	return journal.Active(slices.Values([]journal.Record{r}), now)
}

func (v laneView) took() time.Duration { return duration(v.Seconds) }

func duration(seconds float64) time.Duration { return time.Duration(math.Round(seconds * 1e9)) }

func seconds(d time.Duration) float64 {
	return float64(max(d, 0).Round(time.Millisecond)) / float64(time.Second)
}

// notable names the steps that took the time: the three longest, without those
// that are lost in the total.
func (v laneView) notable() string {
	steps := slices.Clone(v.Steps)
	sort.SliceStable(steps, func(i, j int) bool {
		a, b := &steps[i], &steps[j]
		return cmp.Compare(b.Seconds, a.Seconds) < 0
	})
	var out []string
	for _, s := range steps {
		if len(out) == 3 || s.Seconds < 0.1 || s.Seconds < v.Seconds/20 {
			break
		}
		out = append(out, s.name+" "+units.Took(duration(s.Seconds)))
	}
	return strings.Join(out, ", ")
}

// state is the lane's state, with the step that it is about.
func (v laneView) state() span {
	at := v.State
	if v.Step != "" {
		at += " at " + v.at
	}
	switch v.State {
	case "done":
		return span{v.State, green}
	case "failed", "needs operator":
		return span{at, red}
	case "running", "interrupted":
		return span{at, yellow}
	case "unfinished", "kept":
		return span{v.State, yellow}
	}
	return span{v.State, dim}
}

// volumeTable adds the lanes as a table. Columns nobody knows anything for are
// left out; what an operator needs most comes first.
func (p *page) volumeTable(views []laneView) {
	header := []string{"MOUNT POINT", "STATE", "TOOK", "VOLUME", "SNAPSHOT", "DEVICE", "SLOWEST STEPS"}
	var rows [][]string
	var colours []colour
	for _, v := range views {
		if v.Lane == "" {
			continue
		}
		device := device(v.Facts)
		if p.style.Width > 0 && p.style.Width < 100 {
			device = v.Device
		}
		state := v.state()
		colours = append(colours, state.c)
		rows = append(rows, []string{cmp.Or(v.MountPoint, v.Lane), state.text, units.Took(v.took()), v.VolumeID, v.SnapshotID, device, v.notable()})
	}
	if !slices.ContainsFunc(views, func(v laneView) bool { return v.MountPoint != "" }) {
		header[0] = "SET"
	}
	header, rows = withoutEmpty(header, rows)
	if len(rows) == 0 {
		return
	}
	state := slices.Index(header, "STATE")
	p.table("", header, rows, func(r, c int) colour {
		if c == state {
			return colours[r]
		}
		return plain
	})
}

// withoutEmpty drops columns that are empty in all rows, and marks the empty
// cells that remain.
func withoutEmpty(header []string, rows [][]string) ([]string, [][]string) {
	var keep []int
	for c := range header {
		for _, r := range rows {
			if r[c] != "" {
				keep = append(keep, c)
				break
			}
		}
	}
	choose := func(row []string) []string {
		out := make([]string, len(keep))
		for i, c := range keep {
			if out[i] = row[c]; out[i] == "" {
				out[i] = "-"
			}
		}
		return out
	}
	out := make([][]string, len(rows))
	for i, r := range rows {
		out[i] = choose(r)
	}
	return choose(header), out
}

func each(p *plan.Plan, records map[plan.StepID]journal.Record, lane string, f func(*plan.Step, journal.Record)) {
	for i := range p.Steps {
		if s := &p.Steps[i]; s.Lane == lane {
			f(s, records[s.ID])
		}
	}
}
