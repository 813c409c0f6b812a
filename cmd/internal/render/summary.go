package render

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// RunResult is a run that came to rest, with what it takes to print it.
type RunResult struct {
	engine.RunResult
	Records map[plan.StepID]journal.Record // nil for the result's own
	Now     time.Time
	Flags   Flags // to be repeated in the commands that go on with it
}

func (e RunResult) records() map[plan.StepID]journal.Record {
	if e.Records != nil {
		return e.Records
	}
	return e.Result.Records
}

func (e RunResult) back() bool { return e.Rollback || e.Result.Outcome == journal.RolledBack }

// kept lists what remains and is billed: what a rollback did not delete, or
// what the operation detached.
func (e RunResult) kept() []string {
	out := slices.Clone(e.Result.Kept)
	if e.back() {
		return out
	}
	for i := range e.Plan.Steps {
		r := e.records()[e.Plan.Steps[i].ID]
		if f := r.Facts; r.State == journal.Done && f != nil && f.Remains != "" && !slices.Contains(out, f.Remains) {
			out = append(out, f.Remains)
		}
	}
	return out
}

// Summary prints what a run came to: its volumes, the failures with what to do
// about them, what remains and is billed, the run's id, and the commands that
// go on with it or undo it.
func Summary(w io.Writer, e RunResult, o Style) error {
	p := page{style: o}
	views := atRest(lanesOf(e.Plan, e.records(), e.Now, e.back()))
	if e.Plan.Irreversible {
		p.removals(e)
	} else {
		p.volumeTable(views)
	}
	for _, v := range views {
		if s := v.notable(); v.Lane == "" && s != "" {
			p.line(span{"whole run: " + s, dim})
		}
	}
	p.remarks(e, views)
	p.drill(engine.DrillOf(e.records()))
	p.failures(e)
	if again := engine.BackInPlace(e.Plan, e.records()); len(again) > 0 {
		p.lines("", "\nThe previous volumes are mounted again:")
		for _, m := range again {
			p.lines("  ", clean(m.VolumeID+" on "+m.MountPoint))
		}
	}
	if kept := e.kept(); len(kept) > 0 {
		p.lines("", "\nThese remain and are billed:")
		for _, k := range kept {
			p.lines("  ", cleanLines(k))
		}
	}
	for i, n := range e.Notes {
		if i == 0 {
			p.text("")
		}
		p.lines("", p.style.paint(yellow, "note")+"  "+cleanLines(n))
	}
	if e.Run == "" { // there was nothing to do
		return p.writeTo(w)
	}
	if p.Len() > 0 {
		p.text("")
	}
	p.outcome(e)
	return p.writeTo(w)
}

// remarks say what is no failure and yet worth knowing: lanes left alone,
// failures that do not count, what a step chose and why.
func (p *page) remarks(e RunResult, views []laneView) {
	gap := p.Len() > 0
	remark := func(word, about, text string) {
		if text = clean(text); text != "" {
			if gap {
				p.text("")
				gap = false
			}
			p.lines("", p.style.paint(yellow, word)+"  "+clean(about)+": "+text)
		}
	}
	for _, v := range views {
		if v.Lane == "" {
			continue
		}
		if v.State == "skipped" {
			remark("skipped", v.Lane, v.Note)
		}
		if !e.back() {
			remark("note", v.Lane, strings.Join(v.Remarks, "; "))
			remark("warning", v.Lane, strings.Join(v.Warnings, "; "))
		}
	}
	for i := range e.Plan.Steps {
		s := &e.Plan.Steps[i]
		r := e.records()[s.ID]
		if s.Tolerated && r.State == journal.Failed {
			remark("warning", string(s.ID), r.Error+" (failure ignored)")
		}
		if r.State == journal.Done && r.Discarded != "" && r.Undo == "" {
			remark("note", cmp.Or(s.Lane, string(s.ID)), "the first volume was unusable and was replaced: "+r.Discarded)
		}
		if f := r.Facts; r.State == journal.Done && f != nil {
			if f.FrozenSeconds > 0 {
				remark("frozen", cmp.Or(s.Lane, "all file systems"), units.Took(duration(f.FrozenSeconds)))
			}
			if s.Lane == "" {
				remark("note", string(s.ID), strings.Join(f.Remarks, "; "))
				remark("warning", string(s.ID), strings.Join(f.Warnings, "; "))
			}
		}
	}
}

func (p *page) failures(e RunResult) {
	for _, f := range e.Result.Failures {
		p.text("")
		what := "failed"
		if f.NeedsOperator {
			what = "needs operator"
		}
		where := ""
		if f.Lane != "" {
			where = clean(f.Lane) + ": "
		}
		p.lines("", p.style.paint(red, what)+"  "+where+clean(string(f.Step)))
		if f.Err != nil {
			p.lines("  ", p.style.Flags.Repeat(cleanLines(f.Err.Error())))
		}
		p.hint("  ", plan.HintOf(f.Err))
	}
	if err := e.Result.Err; err != nil {
		p.text("")
		p.lines("", p.style.paint(red, "stopped")+"  "+cleanLines(err.Error()))
	}
}

// outcome is how it ended and what the operator can type next.
func (p *page) outcome(e RunResult) {
	sentence, c := e.sentence()
	if e.Repeated {
		sentence += "; it has the key " + clean(e.Key) + ", so nothing was done now"
	}
	p.full(span{"run " + clean(string(e.Run)), bold}, span{text: " "}, span{sentence, c}, span{", took " + units.Took(e.Took), dim})
	for _, cmd := range e.commands() {
		p.full(span{text: "  " + pad(cmd.What+":", 12)}, span{cmd.Command, cyan})
	}
}

func (e RunResult) sentence() (string, colour) {
	failed := len(e.Result.Failures) > 0
	switch e.Result.Outcome {
	case journal.RunDone:
		if d := engine.DrillOf(e.records()); d != nil && !d.OK {
			return "is done: the set failed the drill", red
		}
		return "is done", green
	case journal.RolledBack:
		if failed && !e.Rollback && len(e.Result.Done) > 0 && e.Plan.ResumePolicy == plan.ResumeFirst {
			return e.howMuchFailed() + "; what failed was rolled back", red
		}
		if failed && !e.Rollback {
			return "failed and was rolled back", red
		}
		if len(e.Result.Kept) > 0 {
			return "is rolled back, except for the kept resources", yellow
		}
		return "is rolled back", green
	case journal.Interrupted:
		if e.Rollback {
			return "was interrupted while rolling back", yellow
		}
		return "was interrupted", yellow
	case journal.Abandoned:
		return "is abandoned", yellow
	case journal.Aborted:
		const unchanged = "; no volume was changed, so there is nothing to resume or roll back"
		if !failed {
			return "was interrupted" + unchanged, yellow
		}
		return e.howMuchFailed() + unchanged, red
	case journal.RunFailed:
		if e.Rollback {
			return "could not be rolled back completely", red
		}
		return e.howMuchFailed(), red
	}
	return "is not finished", yellow
}

func (e RunResult) howMuchFailed() string {
	well := len(e.Result.Done)
	if well == 0 {
		return "failed"
	}
	what := units.Count(len(e.Plan.Lanes), "volume", "volumes")
	switch {
	case e.Plan.Irreversible:
		what = fmt.Sprint(len(e.Plan.Lanes))
	case e.Plan.ResumePolicy == plan.ResumeFirst:
		what = units.Count(len(e.Plan.Lanes), "set", "sets")
	}
	return fmt.Sprintf("failed (%d of %s done)", well, what)
}

// A nextCommand is one thing the operator can do about a run.
type nextCommand struct {
	What    string `json:"what"`
	Command string `json:"command"`
}

func (e RunResult) commands() []nextCommand {
	if lost := (*journal.LostError)(nil); e.Undoing || errors.As(e.Result.Err, &lost) {
		return nil // there is nothing to go on with
	}
	return commandsFor(e.Run, e.Plan, e.Result.Outcome, e.Rollback, e.Flags)
}

func commandsFor(run plan.RunID, p *plan.Plan, outcome journal.Outcome, rollingBack bool, flags Flags) []nextCommand {
	command := func(what, verb string) nextCommand {
		return nextCommand{what, flags.After("snaptastic " + verb + " " + clean(string(run)))}
	}
	resume, undo := command("finish it", "resume"), command("undo it", "rollback")
	switch {
	case outcome.Ended():
		return nil
	case rollingBack:
		undo.What = "continue"
		return []nextCommand{undo}
	case p != nil && p.ResumePolicy == plan.ResumeUndoes:
		undo.What = "take down"
		return []nextCommand{undo}
	case p != nil && (p.Irreversible || p.ResumePolicy == plan.ResumeNextRun):
		return []nextCommand{resume, command("abandon it", "abandon")}
	}
	return []nextCommand{resume, undo}
}

type endView struct {
	Run         plan.RunID            `json:"run"`
	Operation   string                `json:"operation"`
	Snapshotter string                `json:"snapshotter"`
	Instance    string                `json:"instance"`
	Outcome     journal.Outcome       `json:"outcome"`
	Key         string                `json:"key,omitempty"`
	Repeated    bool                  `json:"repeated,omitempty"` // it had ended before
	Rollback    bool                  `json:"rollback,omitempty"`
	Error       string                `json:"error,omitempty"`
	Seconds     float64               `json:"seconds"`
	Lanes       []laneView            `json:"lanes"`
	Freezes     []freezeView          `json:"freezes,omitempty"`
	Failures    []failureView         `json:"failures"`
	Drill       *plan.Drill           `json:"drill,omitempty"`
	Kept        []string              `json:"kept"`
	Again       []engine.MountedAgain `json:"mounted_again,omitempty"`
	Notes       []string              `json:"notes,omitempty"`
	Next        []nextCommand         `json:"next"`
}

type failureView struct {
	Step          plan.StepID `json:"step"`
	Lane          string      `json:"lane,omitempty"`
	Error         string      `json:"error"`
	Hint          string      `json:"hint,omitempty"`
	NeedsOperator bool        `json:"needs_operator,omitempty"`
}

// SummaryJSON writes the same facts for programs.
func SummaryJSON(w io.Writer, e RunResult) error { return JSON(w, e.view()) }

// SummariesJSON writes those of several runs.
func SummariesJSON(w io.Writer, ends []RunResult) error {
	views := []endView{}
	for _, e := range ends {
		views = append(views, e.view())
	}
	return JSON(w, views)
}

func (e RunResult) view() endView {
	v := endView{
		Run: e.Run, Operation: e.Plan.Operation, Snapshotter: e.Plan.Snapshotter, Instance: e.Plan.Instance,
		Outcome: e.Result.Outcome, Key: e.Key, Repeated: e.Repeated, Rollback: e.Rollback, Seconds: seconds(e.Took),
		Lanes: list(atRest(lanesOf(e.Plan, e.records(), e.Now, e.back()))), Freezes: freezesOf(e.Plan, e.records()), Kept: list(e.kept()), Again: engine.BackInPlace(e.Plan, e.records()), Notes: e.Notes, Next: list(e.commands()),
		Failures: []failureView{}, Drill: engine.DrillOf(e.records()),
	}
	if e.Result.Err != nil {
		v.Error = e.Result.Err.Error()
	}
	for _, f := range e.Result.Failures {
		fv := failureView{Step: f.Step, Lane: f.Lane, Hint: e.Flags.Repeat(plan.HintOf(f.Err)), NeedsOperator: f.NeedsOperator}
		if f.Err != nil {
			fv.Error = f.Err.Error()
		}
		v.Failures = append(v.Failures, fv)
	}
	return v
}
