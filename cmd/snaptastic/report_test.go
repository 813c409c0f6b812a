package main

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
)

// drawn is what a browser shows of a report. Positions are pixels from the left edge of a row's track.
type drawn struct {
	Track    float64 // width of a track
	Overflow bool    // the page is wider than the window
	Bars     []struct {
		Lane        string
		Step, Span  int
		Left, Width float64
		Class, Text string
	}
	Parts, Gaps, Freezes, Retries, Calls []struct {
		Lane        string
		Left, Width float64
		Class       string
	}
	Rows  int // of steps
	Boxes int // of the graph
	Text  string
	Paint float64 // ms
}

const readDrawn = `
var tl=document.querySelector("#timeline .tl"),trackOf=function(e){return e.closest(".track").getBoundingClientRect()};
document.querySelectorAll(".row").forEach(function(r){r.style.contentVisibility="visible"});
var at=function(e){var r=e.getBoundingClientRect(),t=e.closest(".track")?trackOf(e):tl.querySelector(".track").getBoundingClientRect(),row=e.closest(".row");
return {Lane:row?row.dataset.lane||"":"",Left:r.left-t.left,Width:r.width,Class:e.className}};
var all=function(q){return Array.from(tl.querySelectorAll(q)).map(at)};
var paint=performance.getEntriesByName("first-contentful-paint")[0];
done({Track:tl.querySelector(".track").getBoundingClientRect().width,Overflow:document.documentElement.scrollWidth>innerWidth,
Bars:Array.from(tl.querySelectorAll(".b")).map(function(b){var o=at(b);o.Step=+b.dataset.s;o.Span=+(b.dataset.n||0);o.Text=b.textContent;return o}),
Parts:all(".proc"),Gaps:all(".gap"),Freezes:all(".row[data-lane] .fz"),Retries:all(".rt"),Calls:all(".q"),
Rows:document.querySelectorAll("#steps tr[id]").length,Boxes:document.querySelectorAll("[data-box]").length,
Text:document.body.textContent,Paint:paint?paint.startTime:0});`

// reportOf is the page that the command writes of a run, and what the journal says.
func (r *rig) reportOf(run string) (page []byte, told engine.Report) {
	r.t.Helper()
	file := filepath.Join(r.dir, "report.html")
	r.must("report", run, file)
	page, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	return page, readReport(r.t, r.state(), run)
}

func readReport(t *testing.T, state, run string) engine.Report {
	t.Helper()
	told, err := engine.New(engine.Config{StateDir: state, Log: slog.New(slog.DiscardHandler)}).Report(engine.RunID(run))
	if err != nil {
		t.Fatal(err)
	}
	return told
}

// showsJournal holds what is drawn against the journal: as many bars as there were tries, each where and as long as it was.
func showsJournal(t *testing.T, page []byte, told engine.Report) drawn {
	t.Helper()
	got := look[drawn](t, page, readDrawn)
	spans := 0
	for _, s := range told.Steps {
		spans += len(s.Spans)
	}
	if spans == 0 || len(got.Bars) != spans {
		t.Fatalf("%d bars are drawn, the journal has %d", len(got.Bars), spans)
	}
	if got.Overflow {
		t.Error("the page is wider than the window")
	}
	x := positions(t, told, got)
	for _, b := range got.Bars {
		step := told.Steps[b.Step]
		span := step.Spans[b.Span]
		left, right := x(span.Part, span.From), x(span.Part, span.To)
		if b.Lane != step.Step.Lane {
			t.Errorf("%s is drawn in lane %q", step.Step.ID, b.Lane)
		}
		if math.Abs(b.Left-left) > 1.5 || math.Abs(b.Width-max(right-left, 2)) > 2.5 {
			t.Errorf("%s is drawn at %.1f, %.1f wide; the journal says %.1f, %.1f", step.Step.ID, b.Left, b.Width, left, right-left)
		}
		if failed := strings.HasSuffix(b.Class, " f"); failed != (span.State == journal.Failed && !span.Undo) && span.Undone == "" {
			t.Errorf("%s came to %s and is drawn as %q", step.Step.ID, span.State, b.Class)
		}
	}
	frozen, retries := 0, 0
	for _, w := range told.Windows {
		if w.FrozenFrom.IsZero() {
			continue
		}
		frozen += len(w.Lanes)
		if len(w.Lanes) == len(told.Plan.Lanes) { // and the row of the whole run
			frozen++
		}
		left, right := x(0, w.FrozenFrom), x(0, w.FrozenTo)
		if len(told.Parts) == 1 && !slices.ContainsFunc(got.Freezes, func(f struct {
			Lane        string
			Left, Width float64
			Class       string
		}) bool {
			return math.Abs(f.Left-left) < 1.5 && math.Abs(f.Width-max(right-left, 2)) < 2.5
		}) {
			t.Errorf("no freeze is drawn from %.1f to %.1f: %+v", left, right, got.Freezes)
		}
	}
	for _, s := range told.Steps {
		for _, span := range s.Spans {
			retries += len(span.Retries)
		}
		if e := s.Record.Error; e != "" && s.Record.State != journal.Done && !strings.Contains(got.Text, strings.Join(strings.Fields(e), " ")) {
			t.Errorf("the page does not say %q", e)
		}
		if f := s.Record.Facts; f != nil && !strings.Contains(got.Text, f.VolumeID) {
			t.Errorf("the page does not name %s", f.VolumeID)
		}
	}
	if len(got.Freezes) != frozen || len(got.Retries) != retries || len(got.Calls) != len(told.Calls) || len(got.Gaps) != len(told.Parts)-1 || got.Rows != len(told.Steps) || got.Boxes == 0 {
		t.Errorf("drawn are %d freezes, %d retries, %d calls, %d gaps, %d rows, %d boxes; the journal has %d, %d, %d, %d, %d", len(got.Freezes), len(got.Retries), len(got.Calls), len(got.Gaps), got.Rows, got.Boxes,
			frozen, retries, len(told.Calls), len(told.Parts)-1, len(told.Steps))
	}
	return got
}

// positions is where a time of a process is to be drawn: in proportion, on that process's stretch.
func positions(t *testing.T, told engine.Report, got drawn) func(part int, at time.Time) float64 {
	t.Helper()
	if len(told.Parts) > 1 && len(got.Parts) != len(told.Parts) {
		t.Fatalf("%d processes are drawn, the journal has %d", len(got.Parts), len(told.Parts))
	}
	return func(part int, at time.Time) float64 {
		p := told.Parts[part]
		left, width := 0.0, got.Track
		if len(told.Parts) > 1 {
			left, width = got.Parts[part].Left, got.Parts[part].Width
		}
		return left + width*float64(at.Sub(p.From))/float64(p.To.Sub(p.From))
	}
}

func TestTheReportOfAMountASnapshotAndADrill(t *testing.T) {
	t.Parallel()
	chromium(t)
	r := newRig(t, 8, "ext4")
	r.must("run", "mount", "db")
	page, told := r.reportOf("last")
	got := showsJournal(t, page, told)
	if strings.Contains(got.Text, "What went wrong") {
		t.Error("a mount that is done went wrong")
	}
	accessible(t, page)

	r.must("run", "snapshot", "db")
	page, told = r.reportOf("last")
	if len(told.Windows) != 1 || len(told.Windows[0].Lanes) != 8 || told.Windows[0].FrozenFrom.IsZero() {
		t.Fatalf("the windows are %+v", told.Windows)
	}
	showsJournal(t, page, told)
	accessible(t, page)
	if out := r.must("show", "last", "--html", "-"); !strings.HasPrefix(out, "<!DOCTYPE html>") {
		t.Errorf("on stdout it is %.80q", out)
	}

	r.must("run", "verify", "db")
	page, told = r.reportOf("last")
	if told.Drill == nil || !told.Drill.OK || told.Drill.RestoreSeconds <= 0 {
		t.Fatalf("the drill came to %+v", told.Drill)
	}
	if got := showsJournal(t, page, told); !strings.Contains(got.Text, "recovery time (RTO)") || !strings.Contains(got.Text, "data age (RPO)") {
		t.Error("the page does not say what the drill measured")
	}
	accessible(t, page)

	r.must("plan", "mount", "db", "--html", filepath.Join(r.dir, "plan.html"))
	plan, err := os.ReadFile(filepath.Join(r.dir, "plan.html"))
	if err != nil {
		t.Fatal(err)
	}
	graph := look[struct{ Boxes, Width int }](t, plan, `var s=document.querySelector("#graph svg");done({Boxes:document.querySelectorAll("[data-box]").length,Width:Math.round(s.getBoundingClientRect().width)})`)
	if graph.Boxes != 8*11+1 || graph.Width > 1500 {
		t.Errorf("the graph of eight volumes has %d boxes and is %d pixels wide", graph.Boxes, graph.Width)
	}
	accessible(t, plan)
}

// A lane that fails, throttled calls, a process that is killed, a resume and a rollback.
func TestTheReportOfARunThatWentWrong(t *testing.T) {
	t.Parallel()
	chromium(t)
	r := newRig(t, 3, "ext4")
	r.setFaults(sandbox.Fault{Action: "AttachVolume", Params: map[string]string{"Device": "/dev/sdg"}, Error: "UnauthorizedOperation"},
		sandbox.Fault{Action: "CreateVolume", Error: "RequestLimitExceeded", Count: 3},
		sandbox.Fault{Action: "CreateVolume", Error: "InternalError", Count: 15}) // five of a step in a row, and it waits and tries again
	if code, out := r.run("run", "mount", "db"); code != 3 {
		t.Fatalf("exit %d: %s", code, out)
	}
	page, told := r.reportOf("last")
	got := showsJournal(t, page, told)
	if len(got.Retries) == 0 {
		t.Error("no wait before another try is drawn")
	}
	throttled := 0
	for _, c := range got.Calls {
		if c.Class == "q t" {
			throttled++
		}
	}
	if throttled != 3 || !strings.Contains(got.Text, "What to do:") || !strings.Contains(got.Text, "snaptastic resume "+string(told.Run)) {
		t.Errorf("%d throttled calls are drawn, want 3; or hint and next command are missing", throttled)
	}
	accessible(t, page)
	for _, s := range told.Steps {
		if s.Record.Hint != "" && !strings.Contains(got.Text, s.Record.Hint) && !strings.Contains(s.Record.Hint, "`") {
			t.Errorf("the page does not say %q", s.Record.Hint)
		}
	}

	r.hang("AttachVolume", time.Minute, "before")
	r.killInStep("attach", "resume", string(told.Run))
	r.calm()
	r.must("resume", string(told.Run))
	page, told = r.reportOf(string(told.Run))
	if len(told.Parts) != 3 || !told.Parts[1].Killed || told.Parts[0].Killed || told.Parts[2].Killed {
		t.Fatalf("its processes are %+v", told.Parts)
	}
	got = showsJournal(t, page, told)
	cut := 0
	for _, b := range got.Bars {
		if b.Class == "b c" {
			cut++
		}
	}
	if cut == 0 {
		t.Error("no step is drawn as cut off, and a process was killed")
	}
	accessible(t, page)
}

func TestTheReportOfARollback(t *testing.T) {
	t.Parallel()
	chromium(t)
	r := newRig(t, 2, "ext4")
	run := r.interrupted()
	r.must("rollback", run)
	page, told := r.reportOf(run)
	got := showsJournal(t, page, told)
	undone := 0
	for _, b := range got.Bars {
		if b.Class == "b u" {
			undone++
		}
	}
	if undone == 0 || told.Outcome != journal.RolledBack || !told.Parts[1].Rollback {
		t.Errorf("%d undos are drawn of a run that is %s, processes %+v", undone, told.Outcome, told.Parts)
	}
	accessible(t, page)
}

// What the world wrote into names and errors is text in the page, and the page's own script is the only one that runs.
func TestAReportRunsNothingThatItQuotes(t *testing.T) {
	t.Parallel()
	chromium(t)
	r := newRig(t, 1, "ext4")
	const evil = `</script><script>document.title="owned"</script><img src=x onerror='document.title="owned"'>" onmouseover="document.title='owned'`
	hcl := fmt.Sprintf("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n%s  hook \"pre_mounts\" { command = [\"sh\", \"-c\", \"printf '%%s\\\\n' \\\"$1\\\" >&2; exit 1\", \"x\", %q] }\n}\n", r.volume(0, "ext4"), evil)
	r.declare(hcl)
	if code, _ := r.run("run", "mount", "db"); code == 0 {
		t.Fatal("the hook did not fail")
	}
	page, _ := r.reportOf("last")
	if !strings.Contains(string(page), "&lt;/script&gt;&lt;script&gt;") {
		t.Fatalf("the page does not quote the hook")
	}
	dom := browse(t, map[string][]byte{"/": page}) // as it is, with its policy
	if strings.Contains(dom, "<title>owned") || strings.Contains(dom, "<img") || strings.Count(dom, "<script") != 1 {
		t.Error("what a hook printed became part of the page")
	}
	if !strings.Contains(dom, `class="js"`) || !strings.Contains(dom, "Zoom in") {
		t.Error("the page's own script did not run")
	}
}
