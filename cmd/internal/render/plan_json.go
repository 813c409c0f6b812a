package render

import (
	"bytes"
	"encoding/json"
	"io"
	"time"

	"snaptastic/plan"
	"snaptastic/runner"
)

// A planView is the plan with what each step would do.
type planView struct {
	Operation   string                     `json:"operation"`
	Snapshotter string                     `json:"snapshotter"`
	Instance    string                     `json:"instance"`
	Digest      string                     `json:"digest"`
	Lanes       []plan.Lane                `json:"lanes"`
	Sections    []plan.Section             `json:"sections"`
	Steps       []stepView                 `json:"steps"`
	Summary     map[plan.PreviewAction]int `json:"summary"`
	Warnings    []string                   `json:"warnings,omitempty"` // of all steps
}

type stepView struct {
	plan.Step
	Timeout *struct{}          `json:"timeout,omitempty"` // hides the step's own, which is text
	Seconds float64            `json:"timeout_seconds,omitempty"`
	Action  plan.PreviewAction `json:"action"`
	Text    string             `json:"text,omitempty"`
	Problem string             `json:"problem,omitempty"`
}

// PlanJSON writes the plan and its previews for programs.
func PlanJSON(w io.Writer, p *plan.Plan, previews map[plan.StepID]runner.Preview) error {
	v := planView{
		Operation: p.Operation, Snapshotter: p.Snapshotter, Instance: p.Instance, Digest: p.Digest(),
		Lanes: list(p.Lanes), Sections: list(p.Sections), Steps: make([]stepView, len(p.Steps)), Summary: counts(p, previews), Warnings: warningsOf(p, previews),
	}
	for i, s := range p.Steps {
		pv := previews[s.ID]
		s.In = inSeconds(s.In)
		v.Steps[i] = stepView{Step: s, Seconds: time.Duration(s.Timeout).Seconds(), Action: actionOf(pv), Text: pv.Text, Problem: problem(pv)}
	}
	return JSON(w, v)
}

// JSON writes one value for programs: indented, a line break at its end, and
// nothing at all when it cannot be encoded.
func JSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // a mount point is not HTML
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// list makes a missing list an empty one: programs loop over it either way.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
