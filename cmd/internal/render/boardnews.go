package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"snaptastic/plan/units"
	"snaptastic/runner"
)

// boardNews is what the board says of the run as a whole, below its lines.
type boardNews struct {
	stopping string    // what is finished first; "" as long as nobody asked for a stop
	stopBy   time.Time // when it is cut off
	windows  map[string]time.Time
	closed   string        // the last freeze window
	commands []nextCommand // that go on with the run once it has ended
}

// A newsLine is cut to the width of the terminal, or drawn over several rows where all of it is needed, such as a command.
type newsLine struct {
	spans []span
	whole bool
	end   string // of the last span, which stays where that is cut
}

func (n *boardNews) apply(e runner.Event) {
	switch e.Kind {
	case runner.Stopping:
		n.stopping, n.stopBy = finishing(e), e.At.Add(e.Wait)
	case runner.WindowOpening:
		if n.windows == nil {
			n.windows = map[string]time.Time{}
		}
		n.windows[ofLane(e.Step)] = e.At
	case runner.WindowClosed:
		delete(n.windows, ofLane(e.Step))
		n.closed = fmt.Sprintf("freeze window closed: %s, open for %s", ofLane(e.Step), units.Took(e.Wait))
	}
}

// namedSteps is how many of the steps that are finished first are named.
const namedSteps = 3

// finishing says what a stop waits for.
func finishing(e runner.Event) string {
	if len(e.Finishing) == 0 {
		return "stopping"
	}
	var names []string
	for i, s := range e.Finishing[:min(len(e.Finishing), namedSteps)] {
		name := ofLane(s)
		if i > 0 && s.Lane != "" && shortName(s) == shortName(e.Finishing[i-1]) {
			name = clean(s.Lane)
		}
		names = append(names, name)
	}
	text := "stopping: finishing " + strings.Join(names, ", ")
	if more := len(e.Finishing) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// stoppingLine is the line of a log: "stopping: finishing attach of /mnt/a (up to 10 s)".
func stoppingLine(e runner.Event) string {
	if len(e.Finishing) == 0 {
		return finishing(e)
	}
	return fmt.Sprintf("%s (up to %s)", finishing(e), units.Age(e.Wait))
}

// news are the lines below the board: what the run is doing as a whole, and what comes next.
func (b *board) news(now time.Time) (lines []newsLine) {
	for _, what := range slices.Sorted(maps.Keys(b.windows)) {
		since := b.windows[what]
		text := "freeze window open: " + what
		if open := now.Sub(since); open >= time.Second {
			text += ", for " + units.Took(open)
		}
		lines = append(lines, newsLine{spans: []span{{text: "  "}, {text, yellow}}})
	}
	if b.closed != "" {
		lines = append(lines, newsLine{spans: []span{{"  " + b.closed, dim}}})
	}
	if b.stopping != "" {
		text, end := b.stopping, ""
		if left := b.stopBy.Sub(now); text != "stopping" && left > 0 {
			end = fmt.Sprintf(" (up to %s)", units.Age(left+time.Second/2-1)) // rounded up
			text += end
		}
		lines = append(lines, newsLine{spans: []span{{text: "  "}, {text, yellow}}, end: end})
	}
	when := ""
	switch {
	case b.stopping != "":
		when = "then"
	case b.failed():
		when = "the others go on; then"
	default:
		return lines
	}
	for i, c := range b.commands {
		text := "  " + when + ", to " + c.What + ": "
		if i > 0 {
			text = "  or, to " + c.What + ": "
		}
		lines = append(lines, newsLine{spans: []span{{text, dim}, {c.Command, cyan}}, whole: true})
	}
	return lines
}

// failed says whether any lane has failed.
func (b *board) failed() bool {
	for _, l := range b.lines {
		if l.failed != "" {
			return true
		}
	}
	return b.whole.failed != ""
}

// drawNews draws them for that many columns (0: no limit).
func (o Style) drawNews(news []newsLine, limit int) (out []drawn) {
	for _, n := range news {
		spans := trim(n.spans)
		if last := len(spans) - 1; n.end != "" && limit > 0 {
			spans[last].text = o.cutBefore(spans[last].text, n.end, limit-spanWidth(spans[:last]))
		}
		if !n.whole {
			spans = o.fit(limit, spans)
		} else if limit > 0 && spanWidth(spans)%(limit+1) == 0 {
			spans = append(spans, span{text: " "}) // a line that ends in the last column makes some terminals wrap
		}
		out = append(out, drawn{o.paintAll(spans), spanWidth(spans)})
	}
	return out
}

// fitNews takes the first ones that that many rows of a terminal hold, and says how many rows they take.
func fitNews(news []newsLine, rows, columns int) ([]newsLine, int) {
	take := 0
	for i, n := range news {
		need := 1
		if w := spanWidth(n.spans); n.whole && columns > 0 {
			need = max(w+columns-1, 1) / columns
		}
		if take+need > rows {
			return news[:i], take
		}
		take += need
	}
	return news, take
}

func (o Style) paintAll(spans []span) string {
	var b strings.Builder
	for _, s := range spans {
		b.WriteString(o.paint(s.c, s.text))
	}
	return b.String()
}
