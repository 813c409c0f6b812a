package report

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"time"
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
		if rest, ok := strings.CutPrefix(out[l.ID], common+"/"); ok && len(common) > 8 && len(out[l.ID]) > 18 {
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

func (p *page) timeline() {
	p.f(`<section id="timeline"><h2>Timeline</h2>`)
	p.legend()
	p.f(`<div class="scroll" tabindex="0" role="region" aria-label="Timeline of the run, {} lanes; the tables below hold the same times"><div class="tl">`, len(p.Plan.Lanes))
	p.f(`<div class="under" aria-hidden="true">`)
	ticks := p.axis.ticks()
	for _, t := range ticks {
		p.f(`<i class="grid" style="left:{}%"></i>`, t.x)
	}
	for i, s := range p.axis.stretches[1:] {
		before := p.axis.stretches[i]
		p.f(`<i class="gap" data-gap="{}" style="left:{}%;width:{}%"></i>`, i, before.x1, s.x0-before.x1)
	}
	p.f(`</div>`)
	p.axisRow(ticks)
	p.freezeRow()
	for i, r := range p.rowsOf() {
		p.laneRow(i, r)
	}
	p.callRow()
	p.f(`</div></div>`)
	for i, s := range p.axis.stretches[1:] {
		before := p.axis.stretches[i]
		p.f(`<p class="note">Between process {} and process {} nobody worked on the run for <b>{}</b>; the hatched gap is not to scale.</p>`, i+1, i+2, units.Took(s.from.Sub(before.to)))
	}
	p.f(`</section>`)
}

func (p *page) axisRow(ticks []tick) {
	p.f(`<div class="row ax"><div class="lab">`)
	if len(p.axis.stretches) > 1 {
		p.f(`since its process began`)
	} else {
		p.f(`time since the start`)
	}
	p.f(`</div><div class="track" aria-hidden="true">`)
	for _, t := range ticks {
		p.f(`<span style="left:{}%">{}</span>`, t.x, t.text)
	}
	if len(p.axis.stretches) > 1 {
		for i, s := range p.axis.stretches {
			name := fmt.Sprintf("process %d%s", i+1, killedWord(p.Parts[i]))
			short := name
			if room := s.x1 - s.x0; room < 0.66*float64(len(name)) {
				short = fmt.Sprint(i + 1)
			}
			p.f(`<b class="proc" data-part="{}" style="left:{}%;width:{}%" title="{}">{}</b>`, i, s.x0, s.x1-s.x0, name, short)
		}
	}
	p.f(`</div></div>`)
}

func killedWord(part engine.Part) string {
	if part.Killed {
		return " (killed)"
	}
	return ""
}

// freezeRow names the length of each freeze above the lanes that stood still.
func (p *page) freezeRow() {
	if !slices.ContainsFunc(p.Windows, func(w engine.Window) bool { return !w.FrozenFrom.IsZero() }) {
		return
	}
	p.f(`<div class="row fzrow"><div class="lab">frozen</div><div class="track" aria-hidden="true">`)
	end := -1.0
	for _, w := range p.Windows {
		if w.FrozenFrom.IsZero() {
			continue
		}
		left, width := p.axis.span(p.axis.partAt(w.From), w.FrozenFrom, w.FrozenTo)
		p.f(`<i class="fz" style="left:{}%;width:{}%"></i>`, left, width)
		if left < end {
			continue // its label would cover the one before; the section below has all
		}
		text := units.Took(ofSeconds(w.FrozenSeconds))
		side := lit("left")
		at := left + width
		if at > 85 {
			side, at = "right", 100-left
		}
		p.f(`<span class="fzt" style="{}:calc({}% + 5px)">❄ {}</span>`, side, at, text)
		end = left + width + 9
	}
	p.f(`</div></div>`)
}

func (p *page) laneRow(i int, r row) {
	height := 20
	if r.lines > 8 {
		height = 10
	}
	p.f(`<div class="row" data-lane="{}"><div class="lab"><span>{}</span>`, r.lane, r.title)
	if r.note != "" {
		p.f(`<small>{}</small>`, r.note)
	}
	p.f(`</div><div class="track" aria-hidden="true" style="height:{}px">`, max(r.lines*height+6, 26))
	for _, w := range p.Windows {
		if w.FrozenFrom.IsZero() || r.lane != "" && !slices.Contains(w.Lanes, r.lane) || r.lane == "" && len(w.Lanes) < len(p.Plan.Lanes) {
			continue
		}
		left, width := p.axis.span(p.axis.partAt(w.From), w.FrozenFrom, w.FrozenTo)
		p.f(`<i class="fz" style="left:{}%;width:{}%"></i>`, left, width)
	}
	for _, b := range r.bars {
		p.bar(b, height)
	}
	p.f(`</div></div>`)
}

func (p *page) bar(b bar, height int) {
	p.f(`<i class="b {}" data-s={}`, b.class, b.step)
	if b.span > 0 {
		p.f(` data-n={}`, b.span)
	}
	p.f(` style="left:{}%;width:{}%`, b.left, b.width)
	if b.line > 0 {
		p.f(`;top:{}px`, b.line*height+3)
	}
	if height < 20 {
		p.f(`;height:{}px`, height-2)
	}
	p.f(`"`)
	if !p.large {
		p.f(` title="{}"`, b.title)
	}
	p.f(`>{}</i>`, b.label)
	for _, m := range b.retries {
		p.f(`<i class="rt" style="left:{}%;width:{}%;top:{}px"></i>`, m.left, m.width, b.line*height+3)
	}
}

// callRow marks the EC2 calls: above those that change something, below those that only look.
func (p *page) callRow() {
	if len(p.Calls) == 0 {
		return
	}
	p.f(`<div class="row calls"><div class="lab"><span>EC2 calls</span><small>changes above, reads below</small></div><div class="track" aria-hidden="true" style="height:34px">`)
	for i, c := range p.Calls {
		part := p.axis.partAt(c.At)
		left, width := p.axis.span(part, c.At, c.At.Add(ofSeconds(c.Seconds)))
		class := lit("q")
		switch {
		case c.Throttled:
			class = "q t"
		case c.Code != "":
			class = "q e"
		}
		low := lit("")
		if reads(c) {
			low = ` style="top:18px;`
		} else {
			low = ` style="`
		}
		p.f(`<i class="{}" data-c="{}"{}left:{}%;width:{}%"`, class, i, low, left, width)
		if len(p.Calls) <= 1000 {
			p.f(` title="{}"`, callText(c))
		}
		p.f(`></i>`)
	}
	p.f(`</div></div>`)
}

func reads(c journal.Call) bool { return strings.HasPrefix(c.Action, "Describe") }

func callText(c journal.Call) string {
	text := c.Action + ", " + units.Took(ofSeconds(c.Seconds))
	if c.Code != "" {
		text += ", " + c.Code
	}
	return text
}

func (p *page) legend() {
	p.f(`<ul class="legend" aria-label="Legend">`)
	used := map[lit]bool{}
	for i := range p.Steps {
		for _, span := range p.Steps[i].Spans {
			used[barClass(&p.Steps[i], span)] = true
			if len(span.Retries) > 0 {
				used["rt"] = true
			}
		}
	}
	for _, e := range []struct {
		class lit
		text  string
	}{{"d", "change"}, {"r", "look"}, {"w", "wait for EC2 or the kernel"}, {"a", "adopted: it was so already"}, {"f", "failed"}, {"c", "cut off: the process ended inside it"},
		{"u", "undone"}, {"k", "kept by the rollback"}, {"x", "could not be undone"}, {"rt", "wait before another try"}} {
		if used[e.class] {
			p.f(`<li><i class="key {}"></i>{}</li>`, e.class, e.text)
		}
	}
	if len(p.Windows) > 0 {
		p.f(`<li><i class="key fz"></i>file systems frozen</li>`)
	}
	if len(p.Parts) > 1 {
		p.f(`<li><i class="key gap"></i>no process at work</li>`)
	}
	if len(p.Calls) > 0 {
		p.f(`<li><i class="key q"></i>EC2 call</li>`)
		if slices.ContainsFunc(p.Calls, func(c journal.Call) bool { return c.Throttled }) {
			p.f(`<li><i class="key q t"></i>throttled</li>`)
		}
		if slices.ContainsFunc(p.Calls, func(c journal.Call) bool { return c.Code != "" && !c.Throttled }) {
			p.f(`<li><i class="key q e"></i>answered with an error</li>`)
		}
	}
	p.f(`</ul>`)
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000")
}
