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
