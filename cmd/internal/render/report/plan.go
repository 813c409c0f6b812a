package report

import (
	"fmt"
	"io"

	"snaptastic/cmd/internal/render"
	"snaptastic/plan"
	"snaptastic/runner"
)

// Plan writes what an operation would do.
func Plan(w io.Writer, p *plan.Plan, previews map[plan.StepID]runner.Preview) error {
	out := &writer{}
	title := p.Operation + " " + p.Snapshotter
	out.open("plan "+title, "Snaptastic plan")
	out.f(`<header><div class="hd"><h1>plan {} <small>{}</small></h1></div><p class="sub">`, p.Operation, p.Snapshotter)
	if p.Instance != "" {
		out.f(`On `)
		out.id(p.Instance)
		out.f(`. `)
	}
	out.f(`Nothing was changed.</p><dl class="tiles">`)
	out.tile("volumes", fmt.Sprint(len(p.Lanes)), "")
	out.tile("steps", fmt.Sprint(len(p.Steps)), "")
	out.tile("would do", render.Tally(p, previews), "")
	out.f(`</dl></header><main>`)
	if warnings := render.WarningsOf(p, previews); len(warnings) > 0 {
		out.f(`<section id="failures"><h2>Warnings</h2>`)
		for _, text := range warnings {
			out.f(`<p class="note">{}</p>`, text)
		}
		out.f(`</section>`)
	}
	out.graph(newGraph(p, func(i int) (lit, string) {
		pv := previews[p.Steps[i].ID]
		return previewClass(pv), pv.Text
	}))
	out.planTable(p, previews)
	out.f(`<p class="note">Digest of the plan: `)
	out.id(p.Digest())
	out.f(`</p></main>`)
	out.close()
	return out.writeTo(w)
}

func previewClass(v runner.Preview) lit {
	switch v.Action {
	case plan.PreviewAdopt:
		return "a"
	case plan.PreviewRead:
		return "r"
	case plan.PreviewNone, plan.PreviewSkip:
		return "s"
	case plan.PreviewConflict:
		return "f"
	case plan.PreviewDelete:
		return "u"
	case plan.PreviewCreate, plan.PreviewChange, plan.PreviewRun:
		return "d"
	}
	return "p"
}

func (w *writer) planTable(p *plan.Plan, previews map[plan.StepID]runner.Preview) {
	w.f(`<section id="steps"><h2>Steps</h2>`)
	w.table("Steps of the plan, in an order in which they can run", "Step", "Lane", "Action", "What it would do")
	for i := range p.Steps {
		s := &p.Steps[i]
		v := previews[s.ID]
		action := v.Action
		if action == "" {
			action = plan.PreviewUnknown
		}
		text := v.Text
		if text == "" {
			text = s.Title
		}
		w.f(`<tr><th scope="row">{}</th><td>{}</td><td>{} {}</td><td class="wide">{}</td></tr>`, render.ShortName(s), s.Lane, render.Glyph(action), string(action), text)
		if problem := render.Problem(v); problem != "" {
			w.f(`<tr class="more"><td colspan="4">{}</td></tr>`, problem)
		}
	}
	w.f(`</tbody></table></div></section>`)
}
