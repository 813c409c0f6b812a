// Package report writes a run, or a plan, as one HTML page that needs nothing else: no network, no build, and no script to be
// read. A small script of its own adds details under the mouse, zoom and copying.
//
// It turns typed values into text: it reads no journal, knows no step kind and decides nothing.
package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

var (
	//go:embed style.css
	styleSheet string
	//go:embed script.js
	script string
)

// largeRun is from how many steps on a page leaves out what the script can tell as well.
const largeRun = 2000

// page is a report that is being written.
type page struct {
	writer
	engine.Report
	details   render.Details
	axis      axis
	laneNotes map[string]string
	large     bool
}

// Run writes the report of a run. flags are repeated in the commands that go on with it.
func Run(w io.Writer, r engine.Report, flags render.Flags) error {
	p := &page{Report: r, details: render.Details{RunDetails: r.RunDetails, Flags: flags}, axis: newAxis(r.Parts),
		laneNotes: map[string]string{}, large: len(r.Steps) > largeRun}
	for _, l := range p.details.Lanes(r.Made) {
		p.laneNotes[l.Lane] = l.State
	}
	p.open(string(r.Run)+": "+p.title(), "Snaptastic run report")
	p.head()
	p.f(`<main>`)
	p.failures()
	p.drill()
	p.timeline()
	p.freezes()
	p.volumes()
	p.graphSection(runGraph(r))
	p.stepTables()
	p.callTable()
	p.about()
	p.f(`</main>`)
	p.close()
	return p.writeTo(w)
}

func (p *page) title() string {
	return strings.TrimSpace(p.Plan.Operation + " " + p.Plan.Snapshotter)
}

// open writes everything before the head. Nothing but the page's own style and script is let in, even if a value should ever
// come through as markup.
func (w *writer) open(title, what string) {
	sum := sha256.Sum256([]byte(script))
	w.f(`<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">`)
	w.f(`<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'">`, base64.StdEncoding.EncodeToString(sum[:]))
	w.f(`<meta name="generator" content="{}"><title>{}</title><style>`, what, title)
	w.WriteString(styleSheet) // a file of ours, as the script is
	w.f(`</style></head><body>`)
}

func (w *writer) close() {
	w.f(`<div id="tip" aria-hidden="true" hidden></div><script>`)
	w.WriteString(script)
	w.f("</script></body></html>\n")
}

// stateClass is how a state looks.
func stateClass(state string) lit {
	switch {
	case state == "done", strings.HasPrefix(state, "done ("), state == "left alone", state == "unchanged":
		return "ok"
	case strings.HasPrefix(state, "failed"), state == "needs operator", state == "uncertain", state == "damaged":
		return "bad"
	case strings.HasPrefix(state, "live"), strings.HasPrefix(state, "interrupted"), state == "started", state == "kept", state == "unfinished", state == "undoing":
		return "warn"
	}
	return "dim"
}

func (w *writer) chip(state string) { w.f(`<span class="chip {}">{}</span>`, stateClass(state), state) }

func (w *writer) id(id string) { w.f(`<code class="id">{}</code>`, id) }

func (p *page) head() {
	state := render.RunState(p.Summary)
	p.f(`<header><div class="hd"><h1>{} <small>{}</small></h1>`, p.Plan.Operation, p.Plan.Snapshotter)
	p.chip(state)
	p.f(`</div><p class="sub">Run `)
	p.id(string(p.Run))
	if p.Plan.Instance != "" {
		p.f(` on `)
		p.id(p.Plan.Instance)
	}
	if p.CloudConfig != nil && p.CloudConfig.Region != "" {
		p.f(` in {}`, p.CloudConfig.Region)
	}
	p.f(`, began <time datetime="{}">{} UTC</time></p><dl class="tiles">`, p.Created.UTC().Format(time.RFC3339Nano), p.Created.UTC().Format("2006-01-02 15:04:05"))
	p.tiles()
	p.f(`</dl></header>`)
}

func (w *writer) tile(name, value, note string) {
	w.f(`<div><dt>{}</dt><dd>{}`, name, value)
	if note != "" {
		w.f(`<small>{}</small>`, note)
	}
	w.f(`</dd></div>`)
}

func (p *page) tiles() {
	if n := len(p.Plan.Lanes); n > 0 {
		done := 0
		for _, l := range p.Plan.Lanes {
			if p.laneNotes[l.ID] == "done" {
				done++
			}
		}
		p.tile("volumes done", fmt.Sprintf("%d of %d", done, n), "")
	}
	var worked time.Duration
	for _, part := range p.Parts {
		worked += max(part.To.Sub(part.From), 0)
	}
	note := ""
	if n := len(p.Parts); n > 1 {
		note = fmt.Sprintf("by %d processes; %s from start to end", n, units.Took(p.Parts[n-1].To.Sub(p.Parts[0].From)))
	}
	p.tile("at work", units.Took(worked), note)
	if n := len(p.Windows); n > 0 {
		longest := 0.0
		for _, w := range p.Windows {
			longest = max(longest, w.FrozenSeconds)
		}
		switch {
		case longest == 0:
			p.tile("frozen", "not measured", "")
		case n == 1:
			p.tile("frozen", units.Took(ofSeconds(longest)), units.Count(len(p.Windows[0].Lanes), "file system", "file systems together"))
		default:
			p.tile("longest freeze", units.Took(ofSeconds(longest)), units.Count(n, "freeze", "freezes"))
		}
	}
	retries := 0
	for i := range p.Steps {
		for _, s := range p.Steps[i].Spans {
			retries += len(s.Retries)
		}
	}
	if retries > 0 {
		p.tile("repeated tries", fmt.Sprint(retries), "")
	}
	if len(p.Calls) > 0 {
		throttled := 0
		for _, c := range p.Calls {
			if c.Throttled {
				throttled++
			}
		}
		p.tile("EC2 calls", fmt.Sprint(len(p.Calls)+p.Dropped), units.Count(throttled, "throttled", "throttled"))
	}
	if d := p.Drill; d != nil {
		name, note := "recovery time (RTO)", "start of the run until the result was known"
		if !d.OK {
			name, note = "time until it failed", ""
		}
		p.tile(name, units.Took(ofSeconds(d.RestoreSeconds)), note)
		if d.DataTime != nil {
			p.tile("data age (RPO)", units.Took(ofSeconds(d.DataAgeSeconds)), "data of "+d.DataTime.UTC().Format("2006-01-02 15:04:05")+" UTC")
		}
	}
}

// failures say what went wrong, why, and what to type.
func (p *page) failures() {
	var failed []*engine.StepTimes
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Record.Error != "" && (s.Record.State != journal.Done || s.Record.Undo != "") {
			failed = append(failed, s)
		}
	}
	next := p.details.Next()
	if len(failed) == 0 && p.Error == "" && len(next) == 0 && len(p.Kept) == 0 && len(p.Unknowns) == 0 {
		return
	}
	p.f(`<section id="failures">`)
	switch {
	case len(failed) > 0 || p.Error != "" && p.Outcome != journal.RunDone:
		p.f(`<h2>What went wrong</h2>`)
	case p.Error != "":
		p.f(`<h2>What went wrong before it was done</h2>`)
	}
	for _, s := range failed {
		p.f(`<article class="fail"><h3>`)
		p.id(string(s.Step.ID))
		if s.Step.Tolerated {
			p.f(` <small>tolerated: the run goes on without it</small>`)
		}
		p.f(`</h3><p class="cause">{}</p>`, s.Record.Error)
		if s.Record.Hint != "" {
			p.f(`<p class="hint"><b>What to do:</b> {}</p>`, p.details.Flags.Repeat(s.Record.Hint))
		}
		p.f(`</article>`)
	}
	if len(failed) == 0 && p.Error != "" {
		p.f(`<article class="fail"><p class="cause">{}</p></article>`, p.Error)
	}
	for _, k := range p.Kept {
		p.f(`<p class="note">Kept by the rollback: {}</p>`, k)
	}
	for _, u := range p.Unknowns {
		p.f(`<p class="note">{}</p>`, u)
	}
	if len(next) > 0 {
		p.f(`<h3>Next</h3><dl class="next">`)
		for _, n := range next {
			p.f(`<dt>{}</dt><dd><code class="id">{}</code></dd>`, n.What, n.Command)
		}
		p.f(`</dl>`)
	}
	p.f(`</section>`)
}

// drill is what restoring a set to scratch volumes came to.
func (p *page) drill() {
	d := p.Drill
	if d == nil {
		return
	}
	p.f(`<section id="drill"><h2>Restore drill</h2><p>Set `)
	p.id(d.Set)
	p.f(` `)
	if d.OK {
		p.f(`<span class="chip ok">verified</span></p>`)
	} else {
		p.f(`<span class="chip bad">cannot be relied on</span></p><article class="fail"><p class="cause">{}</p></article>`, d.Reason)
	}
	p.table("Phases of the drill", "Phase", "Took")
	for _, ph := range d.Phases {
		p.f(`<tr><th scope="row">{}</th><td class="num">{}</td></tr>`, ph.Name, units.Took(ofSeconds(ph.Seconds)))
	}
	p.f(`</tbody></table></div></section>`)
}

// volumes are the lanes with what they came to.
func (p *page) volumes() {
	lanes := p.details.Lanes(p.Made)
	if len(p.Plan.Lanes) == 0 {
		return
	}
	p.f(`<section id="volumes"><h2>Volumes</h2>`)
	p.table("Volumes of the run", "Mount point", "State", "Took", "Volume", "Snapshot", "Device", "Size", "Remarks")
	for _, l := range lanes {
		if l.Lane == "" {
			continue
		}
		title := l.MountPoint
		if title == "" {
			title = l.Lane
		}
		p.f(`<tr><th scope="row">{}</th><td>`, title)
		p.chip(l.State)
		p.f(`</td><td class="num">{}</td><td>`, units.Took(ofSeconds(l.Seconds)))
		p.optionalID(l.VolumeID)
		p.f(`</td><td>`)
		p.optionalID(l.SnapshotID)
		p.f(`</td><td>{}</td><td class="num">`, render.DeviceOf(l.Facts))
		if l.SizeGiB > 0 {
			p.f(`{} GiB`, int(l.SizeGiB))
		}
		p.f(`</td><td class="wide">{}</td></tr>`, remarks(l.Facts, l.Note))
	}
	p.f(`</tbody></table></div></section>`)
}

func remarks(f plan.Facts, note string) string {
	all := append([]string{}, f.Remarks...)
	for _, w := range f.Warnings {
		all = append(all, "warning: "+w)
	}
	if f.Remains != "" {
		all = append(all, f.Remains)
	}
	if note != "" {
		all = append(all, note)
	}
	return strings.Join(all, "; ")
}

func (w *writer) optionalID(id string) {
	if id != "" {
		w.id(id)
	}
}

// table opens a table that scrolls by itself where it is too wide.
func (w *writer) table(caption string, header ...string) {
	w.f(`<div class="scroll" tabindex="0" role="region" aria-label="{}"><table><caption>{}</caption><thead><tr>`, caption, caption)
	for _, h := range header {
		w.f(`<th scope="col">{}</th>`, h)
	}
	w.f(`</tr></thead><tbody>`)
}
