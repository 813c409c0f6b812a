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
	// The last column, usually free text, is cut before the others close up.
	total := width(indent) + width(header[len(header)-1])
	for _, w := range widths[:len(widths)-1] {
		total += w + 2
	}
	gap := "  "
	if p.style.Width > 0 && total > p.style.Width {
		gap = " "
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
