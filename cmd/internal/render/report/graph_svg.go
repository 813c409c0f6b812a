package report

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
