package render

import (
	"io"
	"strings"
)

// Table prints rows in aligned columns under a header. Cells of a row beyond
// the header are dropped. Too wide a table is set tighter, then cut.
func Table(w io.Writer, header []string, rows [][]string, o Style) error {
	p := page{style: o}
	p.table("", header, rows, nil)
	return p.writeTo(w)
}

// Verdicts prints a table whose first column says "ok" or what is not, in colour, and below it each problem as a sentence
// that is not cut. what names one of them: "gap".
func Verdicts(w io.Writer, header []string, rows [][]string, problems []string, what string, o Style) error {
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
		p.lines("", "\n"+o.paint(red, count(len(problems), what, what+"s"))+":")
		for _, one := range problems {
			p.lines("  ", clean(one))
		}
	}
	return p.writeTo(w)
}

// table adds a table; paintCell, when not nil, chooses the colour of a cell.
func (p *page) table(indent string, header []string, rows [][]string, paintCell func(row, col int) colour) {
	widths := make([]int, len(header))
	for i, h := range header {
		widths[i] = width(h)
	}
	cells := make([][]string, len(rows))
	for r, row := range rows {
		cells[r] = make([]string, len(header))
		for i := range min(len(row), len(header)) {
			cells[r][i] = clean(row[i])
			widths[i] = max(widths[i], width(cells[r][i]))
		}
	}
	gap := "  "
	if p.style.Width > 0 {
		gap = p.squeeze(width(indent), width(header[len(header)-1]), widths, cells)
	}
	head := []span{{text: indent}}
	for i, h := range header {
		head = append(head, span{pad(h, widths[i]) + gap, dim})
	}
	p.line(head...)
	for r, row := range cells {
		line := []span{{text: indent}}
		for i, cell := range row {
			c := plain
			if paintCell != nil {
				c = paintCell(r, i)
			}
			blanks := strings.Repeat(" ", widths[i]-width(cell))
			line = append(line, span{cell, c}, span{text: blanks + gap})
		}
		p.line(line...)
	}
}

// squeeze makes a table fit the style's width as far as it can and returns the gap between its columns. The last column,
// usually free text, is cut first; then the columns close up; then long cells, paths mostly, lose their middle.
func (p *page) squeeze(indent, last int, widths []int, cells [][]string) (gap string) {
	total := func(gap int) int {
		sum := indent + last
		for _, w := range widths[:len(widths)-1] {
			sum += w + gap
		}
		return sum
	}
	if total(2) <= p.style.Width {
		return "  "
	}
	for c, w := range widths[:len(widths)-1] {
		excess := total(1) - p.style.Width
		if excess <= 0 || w <= longCell {
			continue
		}
		widths[c] = max(longCell, w-excess)
		for _, row := range cells {
			row[c] = p.style.middle(row[c], widths[c])
		}
	}
	return " "
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
