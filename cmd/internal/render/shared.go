package render

import (
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

// What follows is for the HTML pages, which say the same as the tables.

// RunState is a run's state in a word or two.
func RunState(s journal.Summary) string { return runState(s).text }

// StepState is a step's state in words. back says that the run is rolled back, or on its way there.
func StepState(r journal.Record, back bool) string { return stepState(r, back).text }

// Back says that the run is rolled back, or on its way there.
func (s Details) Back() bool { return s.back() }

// Lanes are how the lanes of the run stand; steps of the whole run come last, under "".
func (s Details) Lanes(now time.Time) []laneView { return s.lanes(now) }

// Next are the commands that go on with the run.
func (s Details) Next() []nextCommand {
	if s.Live || s.Damaged {
		return nil
	}
	return commandsFor(s.Run, s.Plan, s.Outcome, s.RollingBack, s.Flags)
}

// ShortName is a step's name inside its lane.
func ShortName(s *plan.Step) string { return shortName(s) }

// IDs are the ids and names of what a step is about.
func IDs(f *plan.Facts) string { return ids(f) }

// DeviceOf are a device's names: EC2's, and the kernel's behind it.
func DeviceOf(f plan.Facts) string { return device(f) }

// Printable returns what to show for a character, or -1 for one that is not to be shown.
func Printable(r rune) rune { return printable(r) }

// WarningsOf are those of all steps of a plan.
func WarningsOf(p *plan.Plan, previews map[plan.StepID]runner.Preview) []string {
	return warningsOf(p, previews)
}

// Tally is the line that counts what a plan would do.
func Tally(p *plan.Plan, previews map[plan.StepID]runner.Preview) string {
	var text string
	for _, s := range (Style{}).tally(counts(p, previews)) {
		text += s.text
	}
	return text
}

// Glyph is the mark of an action.
func Glyph(a plan.PreviewAction) string { return Style{}.glyph(a).text }

// Problem is why a step would fail, and what to do about it; "" if it would not.
func Problem(v runner.Preview) string { return problem(v) }
