package render

import (
	"fmt"
	"strings"
	"time"

	"snaptastic/plan/units"
)

// A rowView is one line of the board, before it is fitted to a terminal.
type rowView struct {
	style   lineStyle
	label   string
	text    string
	end     string // of the text, which stays where the text is cut
	percent string
	elapsed string
	left    string // of the time-out
}

// A drawn line is painted; width is what it takes on the screen.
type drawn struct {
	text  string
	width int
}

// draw returns the board as lines of less than the style's width: the last
// column stays empty, since writing into it makes some terminals wrap. With
// more lines than height (0: no limit) the least telling ones are counted, not
// shown.
func (b *board) draw(o Style, height, frame int, now time.Time, over bool) []drawn {
	var news []newsLine
	if !over {
		news = b.news(now)
	}
	if height > 0 {
		var take int
		if news, take = fitNews(news, height-2, o.Width); take > 0 {
			height -= take
		}
	}
	rows, hidden := choose(b.rows(now, over), height)
	labels, limit := 0, 0
	for _, r := range rows {
		labels = max(labels, width(r.label))
	}
	if o.Width > 0 {
		limit = max(o.Width-1, 1)
		labels = min(labels, limit/3)
	}
	var out []drawn
	add := func(spans ...span) {
		spans = o.fit(limit, spans)
		out = append(out, drawn{o.compose(0, spans...), spanWidth(spans)})
	}
	times, texts := 10, 40
	if limit > 0 && limit < leftFrom { // no column to spare
		times = 4
		for _, r := range rows {
			times = max(times, width(r.elapsed))
		}
	}
	for _, r := range rows {
		texts = max(texts, width(r.text))
	}
	for _, r := range rows {
		right := fmt.Sprintf("  %*s", times, r.elapsed)
		if r.percent != "" || limit == 0 || limit >= leftFrom {
			right = fmt.Sprintf("  %5s", r.percent) + right
		}
		if limit == 0 || limit >= leftFrom {
			right += fmt.Sprintf("  %12s", r.left)
		}
		add(o.row(r, labels, texts, limit, frame, right)...)
	}
	if hidden != "" {
		add(span{"  " + hidden, dim})
	}
	return append(out, o.drawNews(news, limit)...)
}

// leftFrom is from how many columns on there is one for the time-out that is left.
const leftFrom = 99

// row lays one line out: sign, label, text, and right of it percent, elapsed and what is left.
func (o Style) row(r rowView, labels, texts, limit, frame int, right string) []span {
	spans := []span{o.sign(r.style, frame), {text: " "}, {pad(o.middle(r.label, labels), labels), bold}, {text: "  "}}
	room := texts
	if limit > 0 {
		room = limit - spanWidth(spans) - width(right)
	}
	if room < 20 { // too narrow for times
		right, room = "", limit-spanWidth(spans)
	}
	c := plain
	if r.style == lineFailed {
		c = red
	}
	return append(spans, span{pad(o.cutBefore(r.text, r.end, room), room), c}, span{right, dim})
}

// leastBefore is how much of a text is left before its end, for that to stay.
const leastBefore = 6

// cutBefore shortens a text to at most that many columns, before its end, if that leaves room for it.
func (o Style) cutBefore(text, end string, to int) string {
	if width(text) <= to || to-width(end) < leastBefore {
		return o.cut(text, to)
	}
	return o.cut(strings.TrimSuffix(text, end), to-width(end)) + end
}

// rows is the whole plan's line and the lanes'.
func (b *board) rows(now time.Time, over bool) []rowView {
	var rows []rowView
	all := *b.whole
	looks := map[lineStyle]int{}
	for _, l := range b.lines {
		look := l.style(now, over)
		rows = append(rows, l.row(look, now))
		looks[look]++
		all.total, all.settled, all.undone = all.total+l.total, all.settled+l.settled, all.undone+l.undone
		if !l.begun.IsZero() && (all.begun.IsZero() || l.begun.Before(all.begun)) {
			all.begun = l.begun
		}
		if l.ended.After(all.ended) {
			all.ended = l.ended
		}
	}
	look := all.style(now, over)
	unsettled := all.settled < all.total || all.undone > 0
	switch {
	case look == lineFailed:
	case !over && !all.begun.IsZero() && unsettled:
		look = lineRunning
	case looks[lineFailed] > 0:
		look, all.failed = lineFailed, fmt.Sprintf("%d of %s failed", looks[lineFailed], units.Count(len(b.lines), "volume", "volumes"))
	}
	return append([]rowView{all.row(look, now)}, rows...)
}

func (l *boardLine) row(look lineStyle, now time.Time) rowView {
	r := rowView{style: look, label: l.label, text: l.text(look, now), end: l.end(look, now), percent: l.percent(look), elapsed: l.elapsed(look, now)}
	if left, ok := l.left(look, now); ok {
		r.left = units.Age(left) + " left"
	}
	return r
}

// choose picks the lines for a terminal of that height, the most telling ones,
// in their order. The first, the whole plan's, is always among them.
func choose(rows []rowView, height int) (shown []rowView, hidden string) {
	if height <= 0 || len(rows) <= height {
		return rows, ""
	}
	left := max(height-2, 0) // one for the whole plan, one for what is hidden
	take := map[int]bool{0: true}
	for look := lineRunning; look <= lineWaiting; look++ {
		for i, r := range rows {
			if left > 0 && i > 0 && r.style == look {
				take[i] = true
				left--
			}
		}
	}
	done, more := 0, 0
	for i, r := range rows {
		if take[i] {
			shown = append(shown, r)
			continue
		}
		if more++; r.style == lineDone {
			done++
		}
	}
	if height < 2 {
		return shown, ""
	}
	return shown, fmt.Sprintf("and %d more, %d of them done", more, done)
}
