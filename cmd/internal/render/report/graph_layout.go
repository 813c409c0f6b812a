package report

import (
	"cmp"
	"fmt"
	"sort"
)

// Sizes in pixels, and in letters.
const (
	boxHeight, lineStep = 24, 32
	letter, padding     = 6.4, 18 // of a label
	between             = 26      // two columns
	longestLabel        = 26      // letters
	longestTitle        = 20      // letters
)

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
