package report

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
	"snaptastic/plan/units"
)

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

// band is one or more freezes that overlap on the axis, in percent of its width.
type band struct {
	left, right float64
	freezes     int
	longest     time.Duration
}

func (p *page) bands() []band {
	var all []band
	for _, w := range p.Windows {
		if !w.FrozenFrom.IsZero() {
			left, width := p.axis.span(p.axis.partAt(w.From), w.FrozenFrom, w.FrozenTo)
			all = append(all, band{left, left + width, 1, ofSeconds(w.FrozenSeconds)})
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].left < all[j].left })
	merged := all[:0]
	for _, b := range all {
		if n := len(merged) - 1; n >= 0 && b.left < merged[n].right {
			last := &merged[n]
			*last = band{last.left, max(last.right, b.right), last.freezes + 1, max(last.longest, b.longest)}
			continue
		}
		merged = append(merged, b)
	}
	return merged
}

// freezeRow names the length of each freeze above the lanes that stood still; of those that overlap, the longest.
func (p *page) freezeRow() {
	bands := p.bands()
	if len(bands) == 0 {
		return
	}
	p.f(`<div class="row fzrow"><div class="lab">frozen</div><div class="track" aria-hidden="true">`)
	end := 0.0
	for _, b := range bands {
		p.f(`<i class="fz" style="left:{}%;width:{}%"></i>`, b.left, b.right-b.left)
		if b.left < end {
			continue // its label would cover the one before; the section below has all
		}
		text, room := units.Took(b.longest), 15.0 // per cent of the axis, where it is narrow
		if b.freezes > 1 {
			text, room = fmt.Sprintf("%d freezes, longest %s", b.freezes, text), 33
		}
		side, at := lit("left"), b.right
		switch {
		case b.right+room <= 100:
			end = b.right + room
		case b.left-room >= end:
			side, at, end = "right", 100-b.left, b.right
		default: // above the band
			at, end = b.left, 100
		}
		p.f(`<span class="fzt" style="{}:calc({}% + 5px)">❄ {}</span>`, side, at, text)
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
