package report

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// A graph is a plan as a drawing from left to right: lanes are rows, what must come first stands further to the left, and a
// step of the whole plan stands across all rows, so that its edges to the lanes are straight. What is alike and too much to be
// read is one box: steps of the whole plan, and from maxLanes on lanes of the same steps.
type graph struct {
	boxes []*box
	rows  []graphRow
	edges [][2]int // indexes of boxes; without those that others imply
	dash  map[[2]int]bool
	cols  int
	lefts []int // of each column, and behind the last one, in pixels
}

type graphRow struct {
	title string
	lines int // boxes below each other
	top   int // pixels
}

type box struct {
	label, detail string
	class         lit
	row           int // -1: across all rows
	col, line     int
	atomic        string // section
	n             int    // steps that it stands for
	states        map[lit]int
	first         int // index of its first step
}

const (
	maxLanes = 48 // rows before lanes alike are folded
	maxAlike = 6  // boxes of one kind before steps of the whole plan are folded

	boxHeight, lineStep = 24, 32
	letter, padding     = 6.4, 18 // pixels of a label
	between             = 26      // two columns
	longestLabel        = 26
	longestTitle        = 20
)

// runGraph is the plan of a run with what its steps came to.
func runGraph(r engine.Report) *graph {
	return newGraph(r.Plan, func(i int) (lit, string) {
		s := &r.Steps[i]
		if len(s.Spans) == 0 {
			if s.Record.State != "" {
				return "s", string(s.Record.State)
			}
			return "p", "pending"
		}
		last := s.Spans[len(s.Spans)-1]
		return barClass(s, last), spanState(s, last) + " after " + units.Took(last.To.Sub(last.From))
	})
}

func newGraph(p *plan.Plan, look func(i int) (class lit, detail string)) *graph {
	g := &graph{dash: map[[2]int]bool{}}
	rowOf := g.makeRows(p)
	boxOf := make([]int, len(p.Steps))
	index := make(map[plan.StepID]int, len(p.Steps))
	atomic := map[plan.StepID]string{}
	for _, sec := range p.Sections {
		if sec.Kind == plan.Atomic {
			for _, id := range slices.Concat([]plan.StepID{sec.Open}, sec.Body, sec.Close) {
				atomic[id] = sec.ID
			}
		}
	}
	depth := depths(p, index)
	keys := map[string]int{}
	alike := g.alike(p, depth)
	for i := range p.Steps {
		s := &p.Steps[i]
		row, ok := rowOf[s.Lane]
		if !ok {
			row = -1
		}
		name := render.ShortName(s)
		key := fmt.Sprint(row, " ", name)
		if row < 0 && alike[alikeKey(s, depth[i])] > maxAlike {
			name = string(s.Kind)
			key = "folded " + alikeKey(s, depth[i])
		}
		n, known := keys[key]
		if !known {
			n = len(g.boxes)
			keys[key] = n
			g.boxes = append(g.boxes, &box{label: name, row: row, first: i, atomic: atomic[s.ID], states: map[lit]int{}})
		}
		b := g.boxes[n]
		class, detail := look(i)
		b.n++
		b.states[class]++
		if b.n == 1 || worse(class, b.class) {
			b.class = class
		}
		if b.n == 1 {
			b.detail = string(s.ID) + ": " + detail
		}
		boxOf[i] = n
	}
	g.connect(p, index, boxOf)
	g.columns()
	g.lines()
	g.widths()
	return g
}

// worse: of the steps that one box stands for, the one to worry about gives the colour.
func worse(a, b lit) bool {
	order := []lit{"d", "a", "r", "w", "s", "p", "u", "k", "c", "x", "f"}
	return slices.Index(order, a) > slices.Index(order, b)
}

func (g *graph) makeRows(p *plan.Plan) map[string]int {
	rowOf := map[string]int{}
	shape := map[string]string{}
	for i := range p.Steps {
		s := &p.Steps[i]
		shape[s.Lane] += " " + string(s.Kind)
	}
	byShape, short := map[string]int{}, shortTitles(p.Lanes)
	count := map[int]int{}
	for _, l := range p.Lanes {
		if n, ok := byShape[shape[l.ID]]; ok && len(p.Lanes) > maxLanes {
			rowOf[l.ID] = n
			count[n]++
			continue
		}
		byShape[shape[l.ID]] = len(g.rows)
		count[len(g.rows)] = 1
		rowOf[l.ID] = len(g.rows)
		g.rows = append(g.rows, graphRow{title: short[l.ID]})
	}
	for n, c := range count {
		if c > 1 {
			g.rows[n].title = fmt.Sprintf("%d lanes such as %s", c, g.rows[n].title)
		}
	}
	return rowOf
}

func depths(p *plan.Plan, index map[plan.StepID]int) []int {
	depth := make([]int, len(p.Steps))
	for i := range p.Steps {
		s := &p.Steps[i]
		index[s.ID] = i
		for _, list := range [][]plan.StepID{s.Needs, s.Settled} {
			for _, id := range list {
				depth[i] = max(depth[i], depth[index[id]]+1)
			}
		}
	}
	return depth
}

func alikeKey(s *plan.Step, depth int) string { return fmt.Sprint(s.Lane, " ", s.Kind, " ", depth) }

func (g *graph) alike(p *plan.Plan, depth []int) map[string]int {
	n := map[string]int{}
	for i := range p.Steps {
		n[alikeKey(&p.Steps[i], depth[i])]++
	}
	return n
}

// connect keeps of the edges between boxes those that no longer way implies. Boxes are in topological order but for folded
// ones, whose edges to themselves are left out.
func (g *graph) connect(p *plan.Plan, index map[plan.StepID]int, boxOf []int) {
	type set map[int]bool
	needs := make([]set, len(g.boxes))
	soft := map[[2]int]bool{}
	for i := range needs {
		needs[i] = set{}
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		for n, list := range [][]plan.StepID{s.Needs, s.Settled} {
			for _, id := range list {
				from, to := boxOf[index[id]], boxOf[i]
				if from != to {
					needs[to][from] = true
					if n == 1 {
						soft[[2]int{from, to}] = true
					}
				}
			}
		}
	}
	above := make([]set, len(g.boxes)) // all that a box stands on
	var visit func(i int) set
	visit = func(i int) set {
		if above[i] != nil {
			return above[i]
		}
		above[i] = set{}
		for n := range needs[i] {
			above[i][n] = true
			for far := range visit(n) {
				above[i][far] = true
			}
		}
		return above[i]
	}
	for i := range g.boxes {
		visit(i)
	}
	for to := range g.boxes {
		for from := range needs[to] {
			implied := false
			for other := range needs[to] {
				implied = implied || other != from && above[other][from]
			}
			if !implied {
				e := [2]int{from, to}
				g.edges = append(g.edges, e)
				g.dash[e] = soft[e]
			}
		}
	}
	sort.Slice(g.edges, func(i, j int) bool {
		a, b := &g.edges[i], &g.edges[j]
		return cmp.Or(a[0]-b[0], a[1]-b[1]) < 0
	})
}

// columns puts each box behind all that it waits for. A box across all rows has a column of its own.
func (g *graph) columns() {
	in := make([][]int, len(g.boxes))
	for _, e := range g.edges {
		in[e[1]] = append(in[e[1]], e[0])
	}
	done := make([]bool, len(g.boxes))
	var visit func(i int)
	visit = func(i int) {
		if done[i] {
			return
		}
		done[i] = true
		for _, n := range in[i] {
			visit(n)
			g.boxes[i].col = max(g.boxes[i].col, g.boxes[n].col+1)
		}
	}
	for i := range g.boxes {
		visit(i)
	}
	order := make([]int, len(g.boxes))
	for i := range order {
		order[i] = i
	}
	across := func(i int) int {
		if g.boxes[i].row < 0 && len(g.rows) > 0 {
			return 1
		}
		return 0
	}
	sort.SliceStable(order, func(i, j int) bool {
		a, b := order[i], order[j]
		return cmp.Or(g.boxes[a].col-g.boxes[b].col, across(a)-across(b)) < 0
	})
	col, last := -1, -1
	for n, i := range order {
		b := g.boxes[i]
		if n == 0 || b.col != last || across(i) == 1 || across(order[n-1]) == 1 {
			col++
		}
		last, b.col = b.col, col
	}
	g.cols = col + 1
}

// lines puts boxes of the same row and column below each other.
func (g *graph) lines() {
	if len(g.rows) == 0 { // nothing but steps of the whole plan
		g.rows = []graphRow{{}}
		for _, b := range g.boxes {
			b.row = 0
		}
	}
	used := map[[2]int]int{}
	for _, b := range g.boxes {
		if b.row < 0 {
			continue
		}
		at := [2]int{b.row, b.col}
		b.line = used[at]
		used[at]++
		g.rows[b.row].lines = max(g.rows[b.row].lines, used[at])
	}
	top := 10
	for i := range g.rows {
		g.rows[i].top = top
		top += max(g.rows[i].lines, 1)*lineStep + 6
	}
}

func (g *graph) height() int {
	last := g.rows[len(g.rows)-1]
	return last.top + max(last.lines, 1)*lineStep + 8
}

// widths makes each column as wide as its longest label needs.
func (g *graph) widths() {
	x, title := 12, 0
	for _, r := range g.rows {
		title = max(title, len([]rune(fit(r.title, longestTitle))))
	}
	if title > 0 {
		x = int(float64(title)*7.4) + 28
	}
	widest := make([]int, g.cols)
	for _, b := range g.boxes {
		widest[b.col] = max(widest[b.col], len([]rune(b.text())))
	}
	for _, n := range widest {
		g.lefts = append(g.lefts, x)
		x += int(float64(n)*letter) + padding + between
	}
	g.lefts = append(g.lefts, x)
}

func (b *box) text() string {
	if b.n > 1 {
		return fit(b.label, longestLabel-8) + fmt.Sprintf(" ×%d", b.n)
	}
	return fit(b.label, longestLabel)
}

func (g *graph) x(b *box) int { return g.lefts[b.col] }

func (g *graph) width(b *box) int { return g.lefts[b.col+1] - g.lefts[b.col] - between }

func (g *graph) y(b *box) int { return g.rows[b.row].top + b.line*lineStep + 2 }

func (p *page) graphSection(g *graph) { p.writer.graph(g) }

func (w *writer) graph(g *graph) {
	if len(g.boxes) == 0 {
		return
	}
	width, height := g.lefts[g.cols], g.height()
	w.f(`<section id="graph"><h2>Plan</h2><p class="note">From left to right: a step begins when those that point to it are done. Dashed: whatever became of them. Steps across all rows are for the whole run.</p>`)
	w.f(`<div class="scroll" tabindex="0" role="region" aria-label="The plan as a graph"><svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="The plan as a graph: {} boxes in {} columns; the step tables hold the same">`,
		width, height, width, height, len(g.boxes), g.cols)
	w.f(`<defs><marker id="ar" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>`)
	for i, r := range g.rows {
		if r.title == "" {
			continue
		}
		h := max(r.lines, 1)*lineStep + 4
		w.f(`<rect class="gr{}" x="0" y="{}" width="{}" height="{}"/><text class="gt" x="10" y="{}">{}</text>`, lit([]string{"", " alt"}[i%2]), r.top-3, width, h+2, r.top+h/2+2, fit(r.title, longestTitle))
	}
	w.frames(g)
	for _, e := range g.edges {
		w.edge(g, e)
	}
	for i, b := range g.boxes {
		w.box(g, i, b)
	}
	w.f(`</svg></div></section>`)
}

func fit(s string, n int) string {
	r := []rune(s)
	if len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// span is from where to where a box reaches, top to bottom.
func (g *graph) span(b *box) (top, height int) {
	if b.row < 0 {
		return g.rows[0].top, g.height() - g.rows[0].top - 12
	}
	return g.y(b), boxHeight
}

// frames draws what is frozen together.
func (w *writer) frames(g *graph) {
	type frame struct{ x0, y0, x1, y1 int }
	frames := map[string]*frame{}
	var order []string
	for _, b := range g.boxes {
		if b.atomic == "" {
			continue
		}
		top, h := g.span(b)
		x := g.x(b)
		f := frames[b.atomic]
		if f == nil {
			f = &frame{x, top, x, top}
			frames[b.atomic] = f
			order = append(order, b.atomic)
		}
		f.x0, f.y0, f.x1, f.y1 = min(f.x0, x), min(f.y0, top), max(f.x1, x+g.width(b)), max(f.y1, top+h)
	}
	for _, name := range order {
		f := frames[name]
		w.f(`<rect class="atom" x="{}" y="{}" width="{}" height="{}" rx="6"><title>{}: atomic, always closed</title></rect>`, f.x0-7, f.y0-5, f.x1-f.x0+14, f.y1-f.y0+10, name)
	}
}

func (w *writer) edge(g *graph, e [2]int) {
	a, b := g.boxes[e[0]], g.boxes[e[1]]
	x0, x1 := g.x(a)+g.width(a), g.x(b)
	middle := func(b *box) int { top, h := g.span(b); return top + h/2 }
	y0, y1 := middle(a), middle(b)
	switch { // straight into what stands across all rows
	case a.row < 0 && b.row >= 0:
		y0 = y1
	case b.row < 0 && a.row >= 0:
		y1 = y0
	}
	class := lit("ed")
	if g.dash[e] {
		class = "ed soft"
	}
	if y0 == y1 {
		w.f(`<path class="{}" d="M{} {}H{}"/>`, class, x0, y0, x1)
		return
	}
	turn := max(x0, x1-between-10) // along its own line as far as it can
	bend := (x1 - turn) / 2
	w.f(`<path class="{}" d="M{} {}H{}C{} {} {} {} {} {}"/>`, class, x0, y0, turn, turn+bend, y0, x1-bend, y1, x1, y1)
}

func (w *writer) box(g *graph, i int, b *box) {
	top, h := g.span(b)
	w.f(`<g class="bx {}" data-box="{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="4"/><text x="{}" y="{}">{}</text></g>`,
		b.class, i, b.detail, g.x(b), top, g.width(b), h, g.x(b)+g.width(b)/2, top+h/2+4, b.text())
}
