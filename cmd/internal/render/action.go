package render

import (
	"fmt"
	"strings"

	"snaptastic/plan"
)

// An Action is what a step would do, as seen now.
type Action string

const (
	Create   Action = "create"   // makes something new
	Adopt    Action = "adopt"    // is there already and is taken as it is
	Change   Action = "change"   // changes what is there: attach, mount, detach
	Skip     Action = "skip"     // leaves it out, on purpose
	Look     Action = "look"     // only looks
	Run      Action = "run"      // runs a user's program
	None     Action = "none"     // nothing to do
	Unknown  Action = "unknown"  // depends on a step that has not run
	Conflict Action = "conflict" // something is in the way
)

// A Preview is what one step would do. Text says it in words; Problem is why
// it could not be told or will fail.
type Preview struct {
	Step    plan.StepID `json:"step"`
	Action  Action      `json:"action"`
	Text    string      `json:"text,omitempty"`
	Problem string      `json:"problem,omitempty"`

	Warnings []string `json:"warnings,omitempty"`
}

// actions in the order a summary counts them, with their glyphs. Steps that
// only look, and steps with nothing to do, are not worth a count.
var actions = []struct {
	action         Action
	unicode, ascii string
	c              colour
	counted        string
}{
	{Create, "+", "+", green, "to create"},
	{Adopt, "=", "=", cyan, "to adopt"},
	{Change, "~", "~", yellow, "to change"},
	{Run, "▸", ">", blue, "to run"},
	{Skip, "-", "-", dim, "to skip"},
	{Unknown, "?", "?", yellow, "known later"},
	{Conflict, "✗", "!", red, "in conflict"},
	{Look, "◦", "o", dim, ""},
	{None, "·", ".", dim, ""},
}

func (o Style) glyph(a Action) span {
	for _, x := range actions {
		if x.action == a {
			return span{o.pick(x.unicode, x.ascii), x.c}
		}
	}
	return span{"?", yellow}
}

// actionOf is a step's action; one that nobody previewed is unknown.
func actionOf(previews map[plan.StepID]Preview, s *plan.Step) Action {
	if a := previews[s.ID].Action; a != "" {
		return a
	}
	return Unknown
}

// counts counts the steps of each action.
func counts(p *plan.Plan, previews map[plan.StepID]Preview) map[Action]int {
	n := map[Action]int{}
	for i := range p.Steps {
		n[actionOf(previews, &p.Steps[i])]++
	}
	return n
}

// tally is the summary line: "+ 3 to create, = 1 to adopt". With its glyphs it
// is the legend too.
func (o Style) tally(n map[Action]int) []span {
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
		return []span{{text: "nothing to do"}}
	}
	return spans
}

// shortName is a step's name inside its lane: the lane need not be said again.
func shortName(s *plan.Step) string {
	if s.Lane != "" {
		if name, ok := strings.CutSuffix(string(s.ID), ":"+s.Lane); ok && name != "" {
			return clean(name)
		}
	}
	return clean(string(s.ID))
}
