package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/journal"
	"snaptastic/plan/units"
)

// freezes shows each freeze enlarged, on an axis of its own: beside minutes, milliseconds cannot be seen.
func (p *page) freezes() {
	if len(p.Windows) == 0 {
		return
	}
	var longest time.Duration
	for _, w := range p.Windows {
		longest = max(longest, w.To.Sub(w.From))
	}
	p.f(`<section id="freezes"><h2>Freeze {}</h2>`, lit(map[bool]lit{true: "window", false: "windows"}[len(p.Windows) == 1]))
	p.f(`<p class="note">Enlarged: the full width is {}. Frozen is what writers notice, from the first freeze issued to the last thaw.</p>`, units.Took(longest))
	p.f(`<div class="scroll" tabindex="0" role="region" aria-label="Freeze windows, enlarged"><div class="tl fzl">`)
	short := shortTitles(p.Plan.Lanes)
	for i, w := range p.Windows {
		name := w.Section
		if len(w.Lanes) == 1 {
			name = cmp.Or(short[w.Lanes[0]], name)
		}
		p.window(i, w, name, longest)
	}
	p.f(`</div></div></section>`)
}

func (p *page) window(i int, w engine.Window, name string, longest time.Duration) {
	at := func(t time.Time) float64 {
		if longest <= 0 {
			return 0
		}
		return min(max(100*float64(t.Sub(w.From))/float64(longest), 0), 100)
	}
	p.f(`<div class="row" data-window="{}"><div class="lab"><span title="{}">{}</span><small>`, i, w.Section, name)
	switch {
	case w.FrozenSeconds > 0:
		p.f(`frozen {}`, units.Took(ofSeconds(w.FrozenSeconds)))
	case w.Error != "":
		p.f(`failed`)
	default:
		p.f(`not measured`)
	}
	p.f(`</small></div><div class="track" style="height:48px" aria-hidden="true">`)
	if !w.FrozenFrom.IsZero() {
		left, right := at(w.FrozenFrom), at(w.FrozenTo)
		p.f(`<i class="fz" style="left:{}%;width:{}%"></i><span class="fzt" style="left:calc({}% + 4px)">❄ {}</span>`, left, right-left, left, units.Took(ofSeconds(w.FrozenSeconds)))
	}
	for n := range p.Steps {
		s := &p.Steps[n]
		if !slices.Contains(w.Steps, s.Step.ID) {
			continue
		}
		for k, span := range s.Spans {
			if span.From.Before(w.From) || span.To.After(w.To) || span.Undo {
				continue
			}
			left, right := at(span.From), at(span.To)
			step, label := render.ShortName(s.Step), ""
			if kind := string(s.Step.Kind); right-left > 0.75*float64(len(kind))+0.6 {
				label = kind
			}
			p.f(`<i class="b {}" data-s="{}" data-n="{}" style="left:{}%;width:{}%;top:24px" title="{}">{}</i>`, barClass(s, span), n, k, left, right-left,
				step+", "+units.Took(span.To.Sub(span.From)), label)
		}
	}
	p.f(`</div></div>`)
}

// stepTables has every step, lane by lane.
func (p *page) stepTables() {
	p.f(`<section id="steps"><h2>Steps</h2>`)
	type group struct {
		lane, title string
		steps       []int
	}
	at := map[string]int{"": 0}
	groups := []group{{title: "Whole run"}}
	for _, l := range p.Plan.Lanes {
		at[l.ID] = len(groups)
		groups = append(groups, group{lane: l.ID, title: laneTitle(l)})
	}
	for i := range p.Steps {
		lane := p.Steps[i].Step.Lane
		n, ok := at[lane]
		if !ok {
			n = len(groups)
			at[lane] = n
			groups = append(groups, group{lane: lane, title: lane})
		}
		groups[n].steps = append(groups[n].steps, i)
	}
	if p.large { // one table: a thousand would weigh more than what is in them
		p.f(`<details><summary>All steps <small>{}</small></summary>`, units.Count(len(p.Steps), "step", "steps"))
		p.table("All steps", stepHeader...)
	}
	for _, g := range groups {
		if len(g.steps) == 0 {
			continue
		}
		if p.large {
			p.f(`<tr><th colspan=7 scope=rowgroup>{}`, g.title)
			for _, i := range g.steps {
				p.stepRow(i)
			}
			continue
		}
		state := p.laneNotes[g.lane]
		open := lit("")
		if c := stateClass(state); (c == "bad" || len(groups) <= 3) && !p.large {
			open = " open"
		}
		p.f(`<details{}><summary>{} <small>{}</small> `, open, g.title, units.Count(len(g.steps), "step", "steps"))
		if state != "" {
			p.chip(state)
		}
		p.f(`</summary>`)
		p.table("Steps: "+g.title, stepHeader...)
		for _, i := range g.steps {
			p.stepRow(i)
		}
		p.f(`</tbody></table></div></details>`)
	}
	if p.large {
		p.f(`</tbody></table></div></details>`)
	}
	p.f(`</section>`)
}

var stepHeader = []string{"Step", "State", "Began", "Took", "Tries", "Ids", "Token"}

// stepRow leaves out the end tags that HTML does not ask for: of ten thousand rows they would be a fifth.
func (p *page) stepRow(i int) {
	s := &p.Steps[i]
	state := render.StepState(s.Record, p.details.Back())
	p.f(`<tr id=s{}><th scope=row>{}<td class={}>{}`, i, render.ShortName(s.Step), stateClass(state), state)
	began, took, retries := "", time.Duration(0), 0
	for n, span := range s.Spans {
		if n == 0 {
			began = p.since(span)
		}
		took += span.To.Sub(span.From)
		retries += len(span.Retries)
	}
	if began == "" {
		p.f(`<td><td>`)
	} else {
		p.f(`<td>{}<td>{}`, began, units.Took(took))
	}
	p.f(`<td>`)
	if tries := max(s.Record.Attempts, min(len(s.Spans), 1)) + retriesBeyond(s.Record, retries); tries > 0 {
		p.f(`{}`, tries)
	}
	p.f(`<td>`)
	for n, id := range strings.Fields(render.IDs(s.Record.Facts)) {
		if n > 0 {
			p.f(` `)
		}
		p.f(`<code>{}</code>`, id)
	}
	p.f(`<td>`)
	if s.Record.Token != "" {
		p.f(`<code>{}</code>`, s.Record.Token)
	}
	p.stepNotes(s)
}

// retriesBeyond: a look that is repeated has no intent of its own that would be counted.
func retriesBeyond(r journal.Record, retries int) int {
	if r.Attempts > 0 {
		return 0
	}
	return retries
}

func (p *page) since(span engine.Span) string {
	offset := "+" + units.Took(span.From.Sub(p.Parts[span.Part].From))
	if len(p.Parts) > 1 {
		return fmt.Sprintf("%d: %s", span.Part+1, offset)
	}
	return offset
}

// stepNotes are the step's error, note and failed tries, below it.
func (p *page) stepNotes(s *engine.StepTimes) {
	r := s.Record
	var lines []string
	for _, text := range []string{r.Error, r.Note} {
		if text != "" {
			lines = append(lines, text)
		}
	}
	if r.Discarded != "" {
		lines = append(lines, "an earlier result was unusable and was replaced: "+r.Discarded)
	}
	for _, span := range s.Spans {
		for _, t := range span.Retries {
			lines = append(lines, fmt.Sprintf("failed try at +%s, waited %s: %s", units.Took(t.At.Sub(p.Parts[span.Part].From)), units.Took(ofSeconds(t.WaitSeconds)), t.Error))
		}
		if span.Error != "" && span.Error != r.Error {
			lines = append(lines, "earlier: "+span.Error)
		}
	}
	for _, l := range lines {
		p.f(`<tr class=more><td colspan=7>{}`, l)
	}
}

// callTable sums the EC2 calls up by action.
func (p *page) callTable() {
	if len(p.Calls) == 0 {
		return
	}
	type sum struct {
		seconds           []float64
		throttled, failed int
		codes             map[string]int
	}
	sums := map[string]*sum{}
	for _, c := range p.Calls {
		s := sums[c.Action]
		if s == nil {
			s = &sum{codes: map[string]int{}}
			sums[c.Action] = s
		}
		s.seconds = append(s.seconds, c.Seconds)
		switch {
		case c.Throttled:
			s.throttled++
		case c.Code != "":
			s.failed++
		}
		if c.Code != "" {
			s.codes[c.Code]++
		}
	}
	p.f(`<section id="calls"><h2>EC2 calls</h2>`)
	if p.Dropped > 0 {
		p.f(`<p class="note">{} more calls were made than a journal records.</p>`, p.Dropped)
	}
	p.table("EC2 calls by action", "Action", "Calls", "Median", "Slowest", "Throttled", "Errors", "Codes")
	actions := slices.SortedFunc(maps.Keys(sums), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(sums[b].seconds), len(sums[a].seconds)), cmp.Compare(a, b))
	})
	for _, a := range actions {
		s := sums[a]
		slices.Sort(s.seconds)
		var codes []string
		for _, c := range slices.Sorted(maps.Keys(s.codes)) {
			codes = append(codes, fmt.Sprintf("%s × %d", c, s.codes[c]))
		}
		p.f(`<tr><th scope="row">{}</th><td class="num">{}</td><td class="num">{}</td><td class="num">{}</td><td class="num">{}</td><td class="num">{}</td><td>{}</td></tr>`,
			a, len(s.seconds), units.Took(ofSeconds(s.seconds[len(s.seconds)/2])), units.Took(ofSeconds(s.seconds[len(s.seconds)-1])), s.throttled, s.failed, strings.Join(codes, ", "))
	}
	p.f(`</tbody></table></div></section>`)
}

// about is what identifies the run: versions, processes, digest, claims.
func (p *page) about() {
	p.f(`<section id="about"><h2>About this run</h2>`)
	p.table("Processes that worked on the run", "Process", "PID", "Version", "Boot", "Began (UTC)", "Last seen (UTC)", "What became of it")
	for i, part := range p.Parts {
		what := "ended"
		switch {
		case part.Killed:
			what = "was killed, or could not write its end"
		case p.Live && i == len(p.Parts)-1:
			what = "at work"
		case part.Rollback:
			what = "ended; it rolled the run back"
		}
		p.f(`<tr><th scope="row">{}</th><td class="num">`, i+1)
		if part.PID > 0 {
			p.f(`{}`, part.PID)
		}
		p.f(`</td><td>{}</td><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>`, part.Version, part.BootID, clock(part.From), clock(part.To), what)
	}
	p.f(`</tbody></table></div><dl class="facts">`)
	fact := func(name, value string) {
		if value != "" {
			p.f(`<dt>{}</dt><dd><code class="id">{}</code></dd>`, name, value)
		}
	}
	fact("run", string(p.Run))
	fact("instance", p.InstanceID)
	fact("made by version", p.Version)
	fact("plan digest", p.Digest)
	for _, c := range p.Claims {
		fact("claims", c)
	}
	if c := p.CloudConfig; c != nil {
		fact("region", c.Region)
		fact("endpoint", c.EndpointURL)
	}
	p.f(`</dl><p class="note">Made from the journal of the run at {} UTC. Times are UTC, by the clock of the instance.</p></section>`, clock(p.Made))
}
