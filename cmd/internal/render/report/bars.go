package report

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// A row is one lane of the timeline: bars that overlap stand below each other.
type row struct {
	title, note string
	lane        string
	bars        []bar
	lines       int
}

type bar struct {
	step, span  int // indexes; the step's is that of its row in the tables
	line        int
	left, width float64
	class       lit
	label       string
	title       string
	retries     []mark
}

type mark struct{ left, width float64 }

// rowsOf packs the spans of each lane into as few lines as they need.
func (p *page) rowsOf() []row {
	at := map[string]int{}
	var rows []row
	add := func(lane, title string) {
		at[lane] = len(rows)
		rows = append(rows, row{lane: lane, title: title, note: p.laneNotes[lane]})
	}
	short := shortTitles(p.Plan.Lanes)
	for _, l := range p.Plan.Lanes {
		add(l.ID, short[l.ID])
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		if _, known := at[s.Step.Lane]; !known {
			add(s.Step.Lane, "whole run")
		}
		r := &rows[at[s.Step.Lane]]
		for n, span := range s.Spans {
			r.bars = append(r.bars, p.barOf(i, n, s, span))
		}
	}
	if i, ok := at[""]; ok && i > 0 { // what is for all stands above
		whole := rows[i]
		rows = slices.Insert(slices.Delete(rows, i, i+1), 0, whole)
	}
	for i := range rows {
		rows[i].pack()
	}
	return rows
}

func laneTitle(l plan.Lane) string {
	if l.Facts.MountPoint != "" {
		return l.Facts.MountPoint
	}
	return l.ID
}

// labelRoom is how many letters of a lane's title a row of the timeline shows, beside the lane's state.
const labelRoom = 14

// shortTitles leave out the folders that all lanes have in common, where room is scarce.
func shortTitles(lanes []plan.Lane) map[string]string {
	out := make(map[string]string, len(lanes))
	common := ""
	for i, l := range lanes {
		dir := path.Dir(laneTitle(l))
		if i == 0 {
			common = dir
		}
		for common != "/" && common != "." && !strings.HasPrefix(dir+"/", common+"/") {
			common = path.Dir(common)
		}
	}
	for _, l := range lanes {
		out[l.ID] = laneTitle(l)
		if rest, ok := strings.CutPrefix(out[l.ID], common+"/"); ok && len(common) > 1 && len(out[l.ID]) > labelRoom {
			out[l.ID] = "…/" + rest
		}
	}
	return out
}

func (p *page) barOf(i, n int, s *engine.StepTimes, span engine.Span) bar {
	b := bar{step: i, span: n, class: barClass(s, span)}
	b.left, b.width = p.axis.span(span.Part, span.From, span.To)
	name := render.ShortName(s.Step)
	if span.Undo {
		name = "undo " + name
	}
	switch b.class {
	case "f", "x":
		name = "✕ " + name
	}
	b.title = name + ", " + units.Took(span.To.Sub(span.From)) + ", " + spanState(s, span)
	if n := len(span.Retries); n > 0 {
		b.title += fmt.Sprintf(", %d failed tries", n)
	}
	if b.width > 0.55*float64(utf8.RuneCountInString(name))+0.7 {
		b.label = name
	}
	for _, r := range span.Retries {
		until := r.At.Add(ofSeconds(r.WaitSeconds))
		if until.After(span.To) {
			until = span.To
		}
		left, width := p.axis.span(span.Part, r.At, until)
		b.retries = append(b.retries, mark{left, width})
	}
	return b
}

// barClass is a bar's class in the style sheet, which the legend explains.
func barClass(s *engine.StepTimes, span engine.Span) lit {
	switch {
	case span.Undo && span.Undone == journal.UndoStarted, span.Undo && span.Undone == "" && span.Error != "":
		return "x"
	case span.Undo && span.Undone == journal.Kept:
		return "k"
	case span.Undo:
		return "u"
	case span.Undone == journal.Undone && span.State != journal.Done, span.State == journal.Failed, span.State == journal.Uncertain:
		return "f"
	case span.State == journal.Started:
		return "c"
	case span.State == journal.Skipped:
		return "s"
	case span.Adopted:
		return "a"
	case s.Waits:
		return "w"
	case s.Step.ReadOnly:
		return "r"
	}
	return "d"
}

func spanState(s *engine.StepTimes, span engine.Span) string {
	switch barClass(s, span) {
	case "x":
		return "could not be undone"
	case "k":
		return "kept"
	case "u":
		return "undone"
	case "f":
		if span.State == journal.Uncertain {
			return "needs an operator"
		}
		return "failed"
	case "c":
		return "not ended"
	case "s":
		return "skipped"
	case "a":
		return "adopted"
	}
	return "done"
}

// touching is how far, in percent, two bars may overlap and still stand in one line: less than a pixel. A step often begins
// some microseconds before the record of the one before it is closed.
const touching = 0.05

// pack gives each bar the first line that is free.
func (r *row) pack() {
	sort.SliceStable(r.bars, func(i, j int) bool { return r.bars[i].left < r.bars[j].left })
	var free []float64
	for i := range r.bars {
		b := &r.bars[i]
		line := slices.IndexFunc(free, func(x float64) bool { return x <= b.left+touching })
		if line < 0 {
			line = len(free)
			free = append(free, 0)
		}
		free[line] = b.left + b.width
		b.line = line
	}
	r.lines = max(len(free), 1)
}
