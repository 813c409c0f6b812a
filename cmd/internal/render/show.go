package render

import (
	"fmt"
	"io"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// Details are a run with all that its journal knows, and what it takes to print it.
type Details struct {
	engine.RunDetails
	Flags Flags // to be repeated in the commands that go on with it
}

// left is what an abandoned run leaves behind, and what an unfinished copy has in other regions.
func (s Details) left() []string {
	switch {
	case s.Outcome == journal.Abandoned:
		return engine.LeftBehind(s.Plan, s.Records)
	case !s.Live && !s.Outcome.Ended():
		return engine.CopiesUnfinished(s.Plan, s.Records)
	}
	return nil
}

// Abandoned prints what a run that was just abandoned leaves behind, and then everything about it.
func Abandoned(w io.Writer, s Details, now time.Time, o Style) error {
	p := page{style: o}
	left := s.left()
	if len(left) == 0 {
		p.lines("", fmt.Sprintf("run %s is abandoned. As far as its journal knows, it leaves nothing behind.", clean(string(s.Run))))
	} else {
		p.lines("", fmt.Sprintf("run %s is abandoned. It leaves behind:", clean(string(s.Run))))
	}
	for _, l := range left {
		p.lines("  ", p.style.Flags.Repeat(cleanLines(l)))
	}
	p.text("")
	if err := p.writeTo(w); err != nil {
		return err
	}
	return Show(w, s, now, o)
}

// Show prints everything about one run: its head, its volumes, and each step
// with state, tries, time, ids, token and error.
func Show(w io.Writer, s Details, now time.Time, o Style) error {
	p := page{style: o}
	p.head(s, now)
	p.text("")
	if len(s.Plan.Lanes) > 0 {
		p.volumeTable(s.lanes(now))
		p.text("")
	}
	p.steps(s, now)
	p.next(s)
	return p.writeTo(w)
}

func (s Details) back() bool { return s.RollingBack || s.Outcome == journal.RolledBack }

func (p *page) head(s Details, now time.Time) {
	state := runState(s.Summary)
	field := func(name, value string, c colour) {
		if value != "" {
			p.line(span{pad(name, 12), dim}, span{clean(value), c})
		}
	}
	field("run", string(s.Run), bold)
	field("operation", s.Plan.Operation+" "+s.Plan.Snapshotter, plain)
	field("state", state.text, state.c)
	if !s.Created.IsZero() {
		field("began", s.Created.UTC().Format(time.RFC3339)+" ("+units.Age(now.Sub(s.Created))+" ago)", plain)
	}
	if !s.Ended.IsZero() {
		field("ended", s.Ended.UTC().Format(time.RFC3339)+" (took "+runTook(s.Meta)+")", plain)
	}
	field("instance", s.InstanceID, plain)
	field("boot", s.BootID, plain)
	field("version", s.Version, plain)
	field("plan", s.Digest, plain)
	for _, c := range s.Claims {
		field("claims", c, plain)
	}
	for _, m := range engine.BackInPlace(s.Plan, s.Records) {
		field("mounted", m.VolumeID+" on "+m.MountPoint+" again", plain)
	}
	for _, l := range s.left() {
		field("left", p.style.Flags.Repeat(l), yellow)
	}
	for _, k := range s.Kept {
		field("kept", k, yellow)
	}
	for _, l := range engine.LocksOf(s.Plan, s.Records) {
		field("lock", l, plain)
	}
	if s.Error != "" {
		p.lines("", p.style.paint(dim, pad("error", 12))+p.style.paint(red, clean(s.Error)))
	}
	if s.Problem != "" && !s.Live {
		p.lines("", p.style.paint(dim, pad("problem", 12))+p.style.paint(red, clean(s.Problem)))
	}
}

// steps adds the table of steps, then what went wrong: errors are read in
// full, a table would cut them.
func (p *page) steps(s Details, now time.Time) {
	var rows [][]string
	var colours []colour
	for i := range s.Plan.Steps {
		st := &s.Plan.Steps[i]
		r := s.Records[st.ID]
		state := stepState(r, s.back())
		colours = append(colours, state.c)
		rows = append(rows, []string{string(st.ID), state.text, tries(r), stepTook(r, s.clock(now)), ids(r.Facts), r.Token})
	}
	header, rows := withoutEmpty([]string{"STEP", "STATE", "TRIES", "TOOK", "IDS", "TOKEN"}, rows)
	p.table("", header, rows, func(r, c int) colour {
		if header[c] == "STATE" {
			return colours[r]
		}
		return plain
	})
	for i := range s.Plan.Steps {
		st := &s.Plan.Steps[i]
		r := s.Records[st.ID]
		again := r.Discarded != "" && r.State == journal.Done && r.Undo == ""
		if r.Error == "" && r.Note == "" && !again {
			continue
		}
		p.lines("", "\n"+clean(string(st.ID)))
		if r.Error != "" {
			p.lines("  ", p.style.paint(red, cleanLines(r.Error)))
			p.hint("  ", r.Hint)
		}
		if again {
			p.lines("  ", "the first volume was unusable and was replaced: "+cleanLines(r.Discarded))
		}
		if r.Note != "" {
			p.lines("  ", cleanLines(r.Note))
		}
	}
}

func (p *page) next(s Details) {
	if s.Live || s.Damaged {
		return
	}
	for i, cmd := range commandsFor(s.Run, s.Plan, s.Outcome, s.RollingBack, s.Flags) {
		if i == 0 {
			p.text("")
		}
		p.full(span{text: pad(cmd.What+":", 12)}, span{cmd.Command, cyan})
	}
}

// stepState is a step's state in words, with what came of its undoing.
func stepState(r journal.Record, back bool) span {
	switch {
	case r.State == journal.Started && r.Note != "" && r.Undo == "":
		return span{"not needed", dim}
	case r.State == "":
		return span{"pending", dim}
	case r.Undo == journal.UndoStarted:
		return span{"undoing", dim}
	case r.Undo == journal.Kept:
		return span{string(r.Undo), yellow}
	case r.Undo != "":
		return span{string(r.Undo), dim}
	case back && r.Adopted():
		return span{"left alone", dim}
	case r.State == journal.Done && r.Adopted():
		return span{"done (adopted)", green}
	}
	switch r.State {
	case journal.Done:
		return span{string(r.State), green}
	case journal.Failed, journal.Uncertain:
		return span{string(r.State), red}
	case journal.Started:
		return span{string(r.State), yellow}
	}
	return span{string(r.State), dim}
}

func tries(r journal.Record) string {
	switch {
	case r.Generation > 1:
		return fmt.Sprintf("%d (generation %d)", r.Attempts, r.Generation)
	case r.Attempts > 0:
		return fmt.Sprint(r.Attempts)
	}
	return ""
}

func stepTook(r journal.Record, now time.Time) string {
	if r.StartedAt.IsZero() || r.EndedAt.IsZero() && now.IsZero() { // cut off: nobody knows when
		return ""
	}
	return units.Took(active(r, now))
}

type detailsView struct {
	journal.Summary
	State    string                `json:"state"`
	Instance string                `json:"instance"`
	Lanes    []laneView            `json:"lanes"`
	Freezes  []freezeView          `json:"freezes,omitempty"`
	Again    []engine.MountedAgain `json:"mounted_again,omitempty"`
	Left     []string              `json:"left,omitempty"` // by a run that was abandoned
	Steps    []stepDetails         `json:"steps"`
	Sections []plan.Section        `json:"sections"`
	Next     []nextCommand         `json:"next"`
}

type stepDetails struct {
	ID       plan.StepID `json:"id"`
	Kind     plan.Kind   `json:"kind"`
	Lane     string      `json:"lane,omitempty"`
	Title    string      `json:"title,omitempty"`
	ReadOnly bool        `json:"read_only,omitempty"`
	Seconds  float64     `json:"seconds"`
	journal.Record
	State journal.State `json:"state"` // "pending" without a record
}

// ShowJSON writes the same facts for programs.
func ShowJSON(w io.Writer, s Details, now time.Time) error { return JSON(w, s.view(now)) }

// clock is the time until which steps without an end are under way: none in a run that no process is at.
func (s Details) clock(now time.Time) time.Time {
	if s.Live {
		return now
	}
	return time.Time{}
}

func (s Details) lanes(now time.Time) []laneView {
	views := lanesOf(s.Plan, s.Records, s.clock(now), s.back())
	if s.Live {
		return views
	}
	return atRest(views)
}

func (s Details) view(now time.Time) detailsView {
	v := detailsView{Summary: inUTC(s.Summary), State: runState(s.Summary).text, Instance: s.Plan.Instance,
		Lanes: list(s.lanes(now)), Freezes: freezesOf(s.Plan, s.Records), Again: engine.BackInPlace(s.Plan, s.Records), Left: s.left(), Sections: list(s.Plan.Sections), Steps: []stepDetails{}, Next: []nextCommand{}}
	v.Operation, v.Snapshotter = s.Plan.Operation, s.Plan.Snapshotter
	if !s.Live && !s.Damaged {
		v.Next = list(commandsFor(s.Run, s.Plan, s.Outcome, s.RollingBack, s.Flags))
	}
	for i := range s.Plan.Steps {
		st := &s.Plan.Steps[i]
		r := s.Records[st.ID]
		r.StartedAt, r.EndedAt = r.StartedAt.UTC(), r.EndedAt.UTC()
		r.Input, r.Before, r.Output = inSeconds(r.Input), inSeconds(r.Before), inSeconds(r.Output)
		step := stepDetails{ID: st.ID, Kind: st.Kind, Lane: st.Lane, Title: st.Title, ReadOnly: st.ReadOnly, Record: r, State: r.State}
		if r.State == "" {
			step.State = "pending"
		}
		step.Seconds = seconds(active(r, s.clock(now)))
		v.Steps = append(v.Steps, step)
	}
	return v
}
