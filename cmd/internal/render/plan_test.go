package render

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"snaptastic/plan"
	"snaptastic/runner"
)

func TestPlanTreeShowsLanesSectionsAndWhatEachStepWouldDo(t *testing.T) {
	mount, snap := mountPlan(t), snapshotPlan(t)
	for name, c := range map[string]struct {
		p        *plan.Plan
		previews map[plan.StepID]runner.Preview
		style    Style
	}{
		"plan-mount.txt":        {mount, foreseen(mount), pretty},
		"plan-mount-ascii.txt":  {mount, foreseen(mount), Style{}},
		"plan-mount-narrow.txt": {mount, foreseen(mount), Style{Unicode: true, Width: 48}},
		"plan-mount-colour.txt": {mount, foreseen(mount), Style{Unicode: true, Width: 60, Color: true}},
		"plan-snapshot.txt":     {snap, nil, pretty},
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name, func(w io.Writer) error { return PlanTree(w, c.p, c.previews, c.style) })
		})
	}
}

func TestNoLineOfAPlanIsWiderThanTheTerminal(t *testing.T) {
	p := mountPlan(t)
	for columns := 1; columns < 100; columns++ {
		for _, color := range []bool{false, true} {
			var b bytes.Buffer
			if err := PlanTree(&b, p, foreseen(p), Style{Unicode: true, Width: columns, Color: color}); err != nil {
				t.Fatal(err)
			}
			tree, _, _ := strings.Cut(unpainted(b.String()), "\n\n") // the line that counts is read in full
			for line := range strings.Lines(tree) {
				if w := width(strings.TrimSuffix(line, "\n")); w > columns {
					t.Fatalf("%d columns, width %d: %q", w, columns, line)
				}
			}
		}
	}
}

// unpainted drops escape sequences.
func unpainted(s string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(s, "\x1b[") {
		if b.Len() > 0 || strings.HasPrefix(s, "\x1b[") {
			if i := strings.IndexByte(part, 'm'); i >= 0 {
				part = part[i+1:]
			}
		}
		b.WriteString(part)
	}
	return b.String()
}

func TestPlanDrawings(t *testing.T) {
	mount, snap := mountPlan(t), snapshotPlan(t)
	golden(t, "plan-mount.dot", func(w io.Writer) error { return PlanDot(w, mount) })
	golden(t, "plan-snapshot.dot", func(w io.Writer) error { return PlanDot(w, snap) })
	golden(t, "plan-mount.mmd", func(w io.Writer) error { return PlanMermaid(w, mount) })
	golden(t, "plan-snapshot.mmd", func(w io.Writer) error { return PlanMermaid(w, snap) })
}

func TestDrawingsQuoteNames(t *testing.T) {
	p := &plan.Plan{Operation: "mount", Snapshotter: `a"b`, Lanes: []plan.Lane{{ID: `/x"];y\`}},
		Steps: []plan.Step{step(`mount:/x"];y\`, `/x"];y\`)}}
	var dot, mmd strings.Builder
	if PlanDot(&dot, p) != nil || PlanMermaid(&mmd, p) != nil {
		t.Fatal("cannot draw")
	}
	if want := `"mount:/x\"];y\\"`; !strings.Contains(dot.String(), want) {
		t.Errorf("dot lacks %s:\n%s", want, dot.String())
	}
	if want := `"mount:/x#quot;];y\"`; !strings.Contains(mmd.String(), want) {
		t.Errorf("mermaid lacks %s:\n%s", want, mmd.String())
	}
}

func TestPlanJSONCarriesThePlanAndThePreviews(t *testing.T) {
	p := mountPlan(t)
	golden(t, "plan-mount.json", func(w io.Writer) error { return PlanJSON(w, p, foreseen(p)) })
	var b bytes.Buffer
	if err := PlanJSON(&b, p, foreseen(p)); err != nil {
		t.Fatal(err)
	}
	var back struct {
		plan.Plan
		Digest string
		Steps  []struct {
			plan.Step
			Action        plan.PreviewAction
			Text, Problem string
		}
	}
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	back.Plan.Schema, back.ResumePolicy = p.Schema, p.ResumePolicy
	for _, s := range back.Steps {
		if len(s.In) > 0 {
			var compact bytes.Buffer
			if err := json.Compact(&compact, s.In); err != nil {
				t.Fatal(err)
			}
			s.In = compact.Bytes()
		}
		back.Plan.Steps = append(back.Plan.Steps, s.Step)
		if want := foreseen(p)[s.ID]; s.Action != want.Action || s.Text != want.Text || s.Problem != problem(want) {
			t.Errorf("%s: preview is %s %q %q, want %v", s.ID, s.Action, s.Text, s.Problem, want)
		}
	}
	if got := back.Plan.Digest(); got != p.Digest() || back.Digest != p.Digest() {
		t.Errorf("the plan does not come back: digest %s, said %s, want %s", got, back.Digest, p.Digest())
	}
}

func TestOutputThatFailsIsAnErrorAndNoPanic(t *testing.T) {
	p := mountPlan(t)
	e := failedEnd(p)
	s := showRun(p)
	for name, render := range map[string]func(io.Writer) error{
		"tree":    func(w io.Writer) error { return PlanTree(w, p, nil, pretty) },
		"json":    func(w io.Writer) error { return PlanJSON(w, p, nil) },
		"dot":     func(w io.Writer) error { return PlanDot(w, p) },
		"mermaid": func(w io.Writer) error { return PlanMermaid(w, p) },
		"summary": func(w io.Writer) error { return Summary(w, e, pretty) },
		"show":    func(w io.Writer) error { return Show(w, s, t0, pretty) },
		"table":   func(w io.Writer) error { return Table(w, []string{"A"}, [][]string{{"b"}}, pretty) },
		"error":   func(w io.Writer) error { return Error(w, io.EOF, pretty) },
	} {
		if render(&failingWriter{}) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// What is held across a freeze is no step, and is part of the plan all the same, in every form.
func TestAPlanShowsHeldHooksInTheirSection(t *testing.T) {
	p := snapshotPlan(t)
	for i := range p.Steps {
		if p.Steps[i].ID == p.Sections[0].Open {
			p.Steps[i].Held = []plan.Held{{Hook: "pre_snapshots", Command: []string{"mysql", "-e", "FLUSH\nTABLES"}},
				{Hook: "pre_snapshot", Of: "/srv", Command: []string{"lock"}, Tolerated: true}}
		}
	}
	for name, c := range map[string]struct {
		write func(io.Writer) error
		want  []string
	}{
		"tree": {func(w io.Writer) error { return PlanTree(w, p, nil, Style{}) }, []string{
			`hook:pre_snapshots `, `held until the section is closed: run ["mysql" "-e" "FLUSH\nTABLES"]`, `hook:pre_snapshot:/srv`, `(may fail): run ["lock"]`}},
		"dot":     {func(w io.Writer) error { return PlanDot(w, p) }, []string{"freeze + held hook:pre_snapshots + held hook:pre_snapshot:/srv"}},
		"mermaid": {func(w io.Writer) error { return PlanMermaid(w, p) }, []string{"freeze + held hook:pre_snapshots + held hook:pre_snapshot:/srv"}},
		"json":    {func(w io.Writer) error { return PlanJSON(w, p, nil) }, []string{`"held": [`, `"hook": "pre_snapshots"`, `"of": "/srv"`, `"tolerated": true`}},
	} {
		var b bytes.Buffer
		if err := c.write(&b); err != nil {
			t.Fatal(err)
		}
		at := 0
		for _, want := range c.want {
			i := strings.Index(b.String()[at:], want)
			if i < 0 {
				t.Errorf("%s does not say %q, or not in order:\n%s", name, want, b.String())
				break
			}
			at += i
		}
	}
}
