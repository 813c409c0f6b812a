package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"snaptastic/plan"
	"snaptastic/runner"
)

// actions in the order a summary counts them, with their glyphs. Steps that
// only look, and steps with nothing to do, are not worth a count.
var actions = []struct {
	action         plan.PreviewAction
	unicode, ascii string
	c              colour
	counted        string
}{
	{plan.PreviewCreate, "+", "+", green, "to create"},
	{plan.PreviewAdopt, "=", "=", cyan, "to adopt"},
	{plan.PreviewChange, "~", "~", yellow, "to change"},
	{plan.PreviewDelete, "×", "x", red, "to delete"},
	{plan.PreviewRun, "▸", ">", blue, "to run"},
	{plan.PreviewSkip, "-", "-", dim, "to skip"},
	{plan.PreviewUnknown, "?", "?", yellow, "known later"},
	{plan.PreviewConflict, "✗", "!", red, "in conflict"},
	{plan.PreviewRead, "◦", "o", dim, ""},
	{plan.PreviewNone, "·", ".", dim, ""},
}

func (o Style) glyph(a plan.PreviewAction) span {
	for _, x := range actions {
		if x.action == a {
			return span{o.pick(x.unicode, x.ascii), x.c}
		}
	}
	return span{"?", yellow}
}

// actionOf is a step's action; one that nobody previewed is unknown.
func actionOf(v runner.Preview) plan.PreviewAction { return cmp.Or(v.Action, plan.PreviewUnknown) }

// counts counts the steps of each action.
func counts(p *plan.Plan, previews map[plan.StepID]runner.Preview) map[plan.PreviewAction]int {
	n := map[plan.PreviewAction]int{}
	for i := range p.Steps {
		n[actionOf(previews[p.Steps[i].ID])]++
	}
	return n
}

// problem is why a step would fail, and what to do about it.
func problem(v runner.Preview) string {
	if v.Err == nil {
		return ""
	}
	if hint := plan.HintOf(v.Err); hint != "" {
		return v.Err.Error() + " (" + hint + ")"
	}
	return v.Err.Error()
}

// warningsOf are those of all steps. One that several steps give is said once.
func warningsOf(p *plan.Plan, previews map[plan.StepID]runner.Preview) (all []string) {
	for i := range p.Steps {
		for _, w := range previews[p.Steps[i].ID].Warnings {
			if !slices.Contains(all, w) {
				all = append(all, w)
			}
		}
	}
	return all
}

// tally is the summary line: "+ 3 to create, = 1 to adopt". With its glyphs it
// is the legend too.
func (o Style) tally(n map[plan.PreviewAction]int) []span {
	var spans []span
	for _, x := range actions {
		if x.counted == "" || n[x.action] == 0 {
			continue
		}
		if len(spans) > 0 {
			spans = append(spans, span{text: ", "})
		}
		spans = append(spans, o.glyph(x.action), span{text: fmt.Sprintf(" %d %s", n[x.action], x.counted)})
	}
	if len(spans) == 0 {
		return []span{{text: "nothing to change"}}
	}
	return spans
}

// shortName is a step's name inside its lane: the lane need not be said again.
func shortName(s *plan.Step) string {
	if s.Lane != "" {
		if name, ok := strings.CutSuffix(string(s.ID), ":"+s.Lane); ok && name != "" {
			return clean(name)
		}
		if kind, rest, ok := strings.Cut(string(s.ID), ":"+s.Lane+":"); ok { // one of several of its kind in the lane
			return clean(kind + ":" + rest)
		}
	}
	return clean(string(s.ID))
}
