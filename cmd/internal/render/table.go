package render

import (
	"io"
	"snaptastic/plan/units"
	"strings"
)

// Table prints rows in aligned columns under a header. Cells of a row beyond
// the header are dropped. Too wide a table is set tighter, then cut.
func Table(w io.Writer, header []string, rows [][]string, o Style) error {
	p := page{style: o}
	p.table("", header, rows, nil)
	return p.writeTo(w)
}

// CheckTable prints a table whose first column says "ok" or what is not, in colour, and below it each problem as a sentence
// that is not cut. what names one of them: "gap".
func CheckTable(w io.Writer, header []string, rows [][]string, problems []string, what string, o Style) error {
	p := page{style: o}
	p.table("", header, rows, func(r, c int) colour {
		switch {
		case c > 0:
			return plain
		case rows[r][c] == "ok":
			return green
		}
		return red
	})
	if len(problems) > 0 {
		p.lines("", "\n"+o.paint(red, units.Count(len(problems), what, what+"s"))+":")
		for _, one := range problems {
			p.lines("  ", clean(one))
		}
	}
	return p.writeTo(w)
}

// table adds a table; paintCell, when not nil, chooses the colour of a cell.
func (p *page) table(indent string, header []string, rows [][]string, paintCell func(row, col int) colour) {
	l := layoutOf(header)
	for _, row := range rows {
		l.widen(row)
	}
	l.squeeze(width(indent), header, p.style)
	p.header(l, indent, header)
	for r, row := range rows {
		var paint func(int) colour
		if paintCell != nil {
			paint = func(c int) colour { return paintCell(r, c) }
		}
		p.row(l, indent, row, paint)
	}
}

// layout is how wide the columns of a table are.
type layout struct {
	widths []int
	gap    string // between columns
}

func layoutOf(header []string) *layout {
	l := &layout{widths: make([]int, len(header)), gap: "  "}
	for i, h := range header {
		l.widths[i] = width(h)
	}
	return l
}

// widen makes room for a row.
func (l *layout) widen(row []string) {
	for i := range min(len(row), len(l.widths)) {
		l.widths[i] = max(l.widths[i], width(clean(row[i])))
	}
}

// squeeze makes a table fit the style's width as far as it can. The last column, usually free text, is cut first; then
// the columns close up; then long cells, paths mostly, lose their middle.
func (l *layout) squeeze(indent int, header []string, o Style) {
	last := len(l.widths) - 1
	total := func(gap int) int {
		sum := indent + width(header[last])
		for _, w := range l.widths[:last] {
			sum += w + gap
		}
		return sum
	}
	if o.Width <= 0 || total(2) <= o.Width {
		return
	}
	for c, w := range l.widths[:last] {
		if excess := total(1) - o.Width; excess > 0 && w > longCell {
			l.widths[c] = max(longCell, w-excess)
		}
	}
	l.gap = " "
}

func (p *page) header(l *layout, indent string, header []string) {
	head := []span{{text: indent}}
	for i, h := range header {
		head = append(head, span{pad(h, l.widths[i]) + l.gap, dim})
	}
	p.line(head...)
}

// row adds a row; paint, when not nil, chooses the colour of a cell.
func (p *page) row(l *layout, indent string, row []string, paint func(col int) colour) {
	line := []span{{text: indent}}
	for i, to := range l.widths {
		cell, c := "", plain
		if i < len(row) {
			cell = p.style.middle(clean(row[i]), to)
		}
		if paint != nil {
			c = paint(i)
		}
		line = append(line, span{cell, c}, span{text: strings.Repeat(" ", max(0, to-width(cell))) + l.gap})
	}
	p.line(line...)
}

// longCell is how wide a cell may always be: an id of EC2's is never shortened.
const longCell = 24

// middle shortens s to at most that many columns by its middle: a path's beginning and its end tell it from others.
func (o Style) middle(s string, to int) string {
	if width(s) <= to {
		return s
	}
	mark := o.pick("…", "~")
	tail := (to - 1) * 2 / 3
	head := columns.Truncate(s, to-1-tail, "")
	runes := []rune(s)
	from := len(runes)
	for from > 0 && width(string(runes[from-1:])) <= tail {
		from--
	}
	return head + mark + string(runes[from:])
}
