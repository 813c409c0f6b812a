package render

import (
	"fmt"
	"io"
	"strings"

	"snaptastic/plan"
)

// PlanDot writes the plan as a Graphviz digraph. An edge points from a step to
// one that waits for it, dashed where it waits whatever the result. Edges that
// follow from others are left out.
func PlanDot(w io.Writer, p *plan.Plan) error {
	g := newDrawing(p)
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];\n", dotString(p.Operation+" "+p.Snapshotter))
	for i, group := range g.groups {
		indent := "  "
		if group.title != "" {
			style := "rounded"
			if group.atomic {
				style = "bold"
			}
			fmt.Fprintf(&b, "  subgraph cluster_%d {\n    label=%s; style=%s;\n", i, dotString(group.title), style)
			indent = "    "
		}
		for _, n := range group.steps {
			shape := ""
			if p.Steps[n].ReadOnly {
				shape = ", style=dashed"
			}
			fmt.Fprintf(&b, "%ss%d [label=%s%s];\n", indent, n, dotString(labelOf(&p.Steps[n])), shape)
		}
		if group.title != "" {
			b.WriteString("  }\n")
		}
	}
	for _, e := range g.edges {
		style := ""
		if e.settled {
			style = " [style=dashed]"
		}
		fmt.Fprintf(&b, "  s%d -> s%d%s;\n", e.from, e.to, style)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// PlanMermaid writes the same drawing as a Mermaid flowchart.
func PlanMermaid(w io.Writer, p *plan.Plan) error {
	g := newDrawing(p)
	var b strings.Builder
	b.WriteString("flowchart TB\n")
	for i, group := range g.groups {
		indent := "  "
		if group.title != "" {
			fmt.Fprintf(&b, "  subgraph g%d[%s]\n", i, mermaidString(group.title))
			indent = "    "
		}
		for _, n := range group.steps {
			left, right := "[", "]"
			if p.Steps[n].ReadOnly {
				left, right = "([", "])"
			}
			fmt.Fprintf(&b, "%ss%d%s%s%s\n", indent, n, left, mermaidString(labelOf(&p.Steps[n])), right)
		}
		if group.title != "" {
			b.WriteString("  end\n")
		}
	}
	for _, e := range g.edges {
		arrow := "-->"
		if e.settled {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "  s%d %s s%d\n", e.from, arrow, e.to)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// labelOf is a step's id, with the hooks that are held from there on.
func labelOf(s *plan.Step) string {
	label := string(s.ID)
	for _, h := range s.Held {
		label += " + held " + heldName(h)
	}
	return label
}

func dotString(s string) string {
	s = strings.ReplaceAll(clean(s), `\`, `\\`)
	return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"`
}

// mermaidString quotes with entity codes, the only escape Mermaid knows
// (https://mermaid.js.org/syntax/flowchart.html, "Entity codes to escape characters").
func mermaidString(s string) string {
	s = strings.NewReplacer("#", "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "`", "#96;").Replace(clean(s))
	return `"` + s + `"`
}

// A drawing is the plan as boxes, groups and the edges worth drawing.
type drawing struct {
	groups []group
	edges  []edge
}

type group struct {
	title  string // "" for steps that stand alone
	atomic bool
	steps  []int // indexes into the plan's steps
}

type edge struct {
	from, to int
	settled  bool
}

func newDrawing(p *plan.Plan) drawing {
	var d drawing
	places := sectionsOf(p)
	at := map[string]int{}
	index := map[plan.StepID]int{}
	for i := range p.Steps {
		s := &p.Steps[i]
		index[s.ID] = i
		g := group{title: s.Lane}
		if pl := places[s.ID]; pl.section != nil && pl.section.Kind == plan.Atomic {
			g = group{title: pl.section.ID + " (atomic)", atomic: true}
		}
		n, ok := at[g.title]
		if !ok {
			n = len(d.groups)
			at[g.title] = n
			d.groups = append(d.groups, g)
		}
		d.groups[n].steps = append(d.groups[n].steps, i)
	}
	d.edges = reduce(p, index)
	return d
}

// reduce finds the edges that no longer way implies. Steps are in topological
// order, so a step's predecessors are complete when it is reached.
func reduce(p *plan.Plan, index map[plan.StepID]int) []edge {
	before := make([]map[int]bool, len(p.Steps)) // all steps a step stands on
	var edges []edge
	for i := range p.Steps {
		s := &p.Steps[i]
		var direct []edge
		for _, id := range s.Needs {
			direct = append(direct, edge{index[id], i, false})
		}
		for _, id := range s.Settled {
			direct = append(direct, edge{index[id], i, true})
		}
		before[i] = map[int]bool{}
		for _, e := range direct {
			for far := range before[e.from] {
				before[i][far] = true
			}
		}
		for _, e := range direct {
			if !before[i][e.from] {
				edges = append(edges, e)
			}
		}
		for _, e := range direct {
			before[i][e.from] = true
		}
	}
	return edges
}
