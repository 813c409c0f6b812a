package render

import (
	"strings"

	"snaptastic/plan"
	"snaptastic/runner"
)

// Previews puts what the runner foresees into words and actions. It knows no
// step kind: a step that leaves a token creates, one that goes by state
// changes, a blind one runs a program.
func Previews(p *plan.Plan, seen map[plan.StepID]runner.Preview) map[plan.StepID]Preview {
	out := make(map[plan.StepID]Preview, len(p.Steps))
	for i := range p.Steps {
		s := &p.Steps[i]
		v := seen[s.ID]
		pv := Preview{Step: s.ID, Action: previewAction(s, v), Text: v.Text, Warnings: v.Warnings}
		switch {
		case v.Err != nil && !v.Skip:
			pv.Text, pv.Problem = "", v.Err.Error()
			if hint := plan.VerdictOf(v.Err).Hint; hint != "" {
				pv.Problem += " (" + hint + ")"
			}
		case v.Text == "" && v.After != "":
			pv.Text = "known after " + string(v.After)
		case v.Text == "" && pv.Action == Adopt:
			pv.Text = "is so already"
		}
		out[s.ID] = pv
	}
	return out
}

func previewAction(s *plan.Step, v runner.Preview) Action {
	switch {
	case v.Skip:
		return Skip
	case v.Err != nil:
		return Conflict
	case s.ReadOnly:
		return Look
	case v.Sight == plan.AsWanted:
		return Adopt
	case v.Sight == plan.Ours:
		return None
	case s.Look == plan.Blind:
		return Run
	case strings.HasPrefix(v.Text, "skip"): // how a step foresees that it will do nothing
		return Skip
	case v.After != "" && v.Text == "":
		return Unknown
	case s.Look == plan.ByToken:
		return Create
	}
	return Change
}
