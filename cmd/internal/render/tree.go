package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"snaptastic/plan"
	"snaptastic/runner"
)

// PlanTree prints the plan as a tree: lanes with their steps, atomic sections
// with what is held together, one glyph per action, and a line that counts.
func PlanTree(w io.Writer, p *plan.Plan, previews map[plan.StepID]runner.Preview, o Style) error {
	out := page{style: o}
	out.line(span{clean(p.Operation + " " + p.Snapshotter), bold}, span{" on " + clean(p.Instance), dim})
	t := tree{plan: p, previews: previews, style: o, sections: sectionsOf(p)}
	t.add("", t.grow())
	t.print(&out)
	t.warn(&out)
	out.text("")
	out.full(o.tally(counts(p, previews))...)
	return out.writeTo(w)
}

// A node is a lane, an atomic section or a step.
type node struct {
	title string // of a lane or section
	note  string
	step  *plan.Step
	nodes []*node
}

type tree struct {
	plan     *plan.Plan
	previews map[plan.StepID]runner.Preview
	style    Style
	sections map[plan.StepID]place
	rows     []row
}

// A row is one line of the tree, before the columns are aligned.
type row struct {
	branch string
	name   []span
	text   []span
}

// A place is a step's place in a section; the innermost one where it is in
// several.
type place struct {
	section *plan.Section
	role    string // "open", "body" or "close"
}

// sectionsOf finds each step's place. An atomic section is always inside, and
// opening or closing one says more than being in another's body.
func sectionsOf(p *plan.Plan) map[plan.StepID]place {
	places := map[plan.StepID]place{}
	put := func(id plan.StepID, pl place) {
		old, ok := places[id]
		if id == "" || ok && (old.section.Kind == plan.Atomic || pl.role == "body" && pl.section.Kind != plan.Atomic) {
			return
		}
		places[id] = pl
	}
	for i := range p.Sections {
		sec := &p.Sections[i]
		put(sec.Open, place{sec, "open"})
		for _, id := range sec.Close {
			put(id, place{sec, "close"})
		}
		for _, id := range sec.Body {
			put(id, place{sec, "body"})
		}
	}
	return places
}

// grow arranges the steps: each stands in its lane where the lane first
// appears, those of an atomic section together. A look that lanes go by stands
// before them.
func (t *tree) grow() []*node {
	root := &node{}
	lanes, atomics := map[string]*node{}, map[string]*node{}
	parent := func(lane string) *node {
		if lane == "" {
			return root
		}
		if lanes[lane] == nil {
			lanes[lane] = &node{title: clean(lane), note: t.laneNote(lane)}
			root.nodes = append(root.nodes, lanes[lane])
		}
		return lanes[lane]
	}
	for i := range t.plan.Steps {
		s := &t.plan.Steps[i]
		in := parent(s.Lane)
		if pl := t.sections[s.ID]; pl.section != nil && pl.section.Kind == plan.Atomic {
			if atomics[pl.section.ID] == nil {
				group := &node{title: clean(pl.section.ID), note: "atomic: always closed"}
				atomics[pl.section.ID] = group
				home := parent(t.commonLane(pl.section))
				home.nodes = append(home.nodes, group)
			}
			in = atomics[pl.section.ID]
		}
		in.nodes = append(in.nodes, &node{step: s})
	}
	slices.SortStableFunc(root.nodes, func(a, b *node) int { return t.rank(a) - t.rank(b) })
	return root.nodes
}

// rank puts before the lanes what precedes them, and looks that they go by.
func (t *tree) rank(n *node) int {
	if n.step == nil {
		return 1
	}
	lanes := false // seen so far
	for i := range t.plan.Steps {
		s := &t.plan.Steps[i]
		switch {
		case s.ID == n.step.ID && !lanes:
			return 0
		case s.Lane == "":
			continue
		}
		lanes = true
		if n.step.ReadOnly && (slices.Contains(s.Needs, n.step.ID) || slices.Contains(s.Settled, n.step.ID)) {
			return 0
		}
	}
	return 1
}

// commonLane is the lane all members of a section share, "" without one.
func (t *tree) commonLane(sec *plan.Section) string {
	lane, first := "", true
	for i := range t.plan.Steps {
		s := &t.plan.Steps[i]
		if t.sections[s.ID].section != sec {
			continue
		}
		if first {
			lane, first = s.Lane, false
		}
		if s.Lane != lane {
			return ""
		}
	}
	return lane
}

// laneNote names the lanes this one waits for (a mount point inside another).
func (t *tree) laneNote(lane string) string {
	laneOf := map[plan.StepID]string{}
	var after []string
	seen := map[string]bool{"": true, lane: true}
	for i := range t.plan.Steps {
		s := &t.plan.Steps[i]
		laneOf[s.ID] = s.Lane
		if s.Lane != lane {
			continue
		}
		for _, id := range append(append([]plan.StepID{}, s.Needs...), s.Settled...) {
			if l := laneOf[id]; !seen[l] {
				seen[l] = true
				after = append(after, clean(l))
			}
		}
	}
	if len(after) == 0 {
		return ""
	}
	return "after " + strings.Join(after, ", ")
}

func (t *tree) add(prefix string, nodes []*node) {
	o := t.style
	for i, n := range nodes {
		branch, below := o.pick("├─ ", "|- "), o.pick("│  ", "|  ")
		if i == len(nodes)-1 {
			branch, below = o.pick("└─ ", "`- "), "   "
		}
		if n.step != nil {
			t.addHeld(prefix+o.pick("├─ ", "|- "), n.step)
			t.addStep(prefix+branch, prefix+below, n.step)
			continue
		}
		r := row{branch: prefix + branch, name: []span{{n.title, bold}}}
		if n.note != "" {
			r.text = []span{{n.note, dim}}
		}
		t.rows = append(t.rows, r)
		t.add(prefix+below, n.nodes)
	}
}

// addHeld shows the programs that a step starts and that run until its section is closed.
func (t *tree) addHeld(branch string, s *plan.Step) {
	for _, h := range s.Held {
		mayFail := ""
		if h.Tolerated {
			mayFail = " (may fail)"
		}
		text := fmt.Sprintf("held until the section is closed%s: run %q", mayFail, h.Command)
		t.rows = append(t.rows, row{branch: branch, name: []span{t.style.glyph(plan.PreviewRun), {text: " "}, {heldName(h), plain}}, text: []span{{clean(text), plain}}})
	}
}

// heldName is a held hook's, as those of other hooks' steps are.
func heldName(h plan.Held) string {
	if h.Of != "" {
		return clean("hook:" + h.Hook + ":" + h.Of)
	}
	return clean("hook:" + h.Hook)
}

func (t *tree) addStep(branch, below string, s *plan.Step) {
	pv := t.previews[s.ID]
	g := t.style.glyph(actionOf(pv))
	text, problem := clean(pv.Text), clean(problem(pv))
	if text == "" && problem == "" {
		text = clean(s.Title)
	}
	c := plain
	if pv.Action == plan.PreviewRead || pv.Action == plan.PreviewNone || pv.Action == plan.PreviewSkip {
		c = dim
	}
	r := row{branch: branch, name: []span{g, {text: " "}, {shortName(s), c}}, text: []span{{text, c}}}
	if text == "" {
		r.text, problem = []span{{problem, red}}, ""
	}
	if note := t.stepNote(s); note != "" {
		if spanWidth(r.text) > 0 {
			note = "  " + note
		}
		r.text = append(r.text, span{note, dim})
	}
	t.rows = append(t.rows, r)
	if problem != "" {
		t.rows = append(t.rows, row{branch: below, name: []span{{text: "  "}}, text: []span{{problem, red}}})
	}
}

// stepNote says what is special about when the step runs.
func (t *tree) stepNote(s *plan.Step) string {
	var notes []string
	pl := t.sections[s.ID]
	if pl.section != nil && pl.role == "close" && pl.section.Kind == plan.Bracket {
		switch open := pl.section.Open; {
		case open != "":
			notes = append(notes, "always, if "+t.nameIn(s.Lane, open)+" was started")
		default:
			notes = append(notes, "always, if anything before it was started")
		}
	}
	if s.Tolerated {
		notes = append(notes, "may fail")
	}
	if s.Once {
		notes = append(notes, "never repeated")
	}
	if len(notes) == 0 {
		return ""
	}
	return "(" + strings.Join(notes, "; ") + ")"
}

// nameIn is a step's name as a lane calls it: by the short one where the step is in it.
func (t *tree) nameIn(lane string, id plan.StepID) string {
	i := slices.IndexFunc(t.plan.Steps, func(s plan.Step) bool { return s.ID == id })
	if t.plan.Steps[i].Lane == lane {
		return shortName(&t.plan.Steps[i])
	}
	return clean(string(id))
}

// warn prints in full what an operator should know before anything is done.
func (t *tree) warn(out *page) {
	for i, w := range warningsOf(t.plan, t.previews) {
		if i == 0 {
			out.text("")
		}
		out.lines("", out.style.paint(yellow, "warning")+"  "+clean(w))
	}
}

// print aligns the text column.
func (t *tree) print(out *page) {
	names := 0
	for _, r := range t.rows {
		names = max(names, width(r.branch)+spanWidth(r.name))
	}
	names = min(names, 44)
	if t.style.Width > 0 {
		names = min(names, t.style.Width/2)
	}
	for _, r := range t.rows {
		spans := append([]span{{r.branch, dim}}, r.name...)
		if spanWidth(r.text) > 0 {
			blanks := max(names-spanWidth(spans), 0)
			spans = append(spans, span{text: strings.Repeat(" ", blanks+2)})
			spans = append(spans, r.text...)
		}
		out.line(spans...)
	}
}
