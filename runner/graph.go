package runner

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// phase is where a node stands in this process.
type phase int

const (
	waiting phase = iota // for the steps before it
	queued               // for a worker
	running
	settled
)

// A node is a step with its place in the graph.
type node struct {
	step    *plan.Step
	rec     journal.Record
	phase   phase
	state   journal.State // once settled
	blocks  []*node       // that wait for this one
	left    int           // steps this one still waits for
	atomic  *section      // it is a member of
	closes  *section      // bracket that it closes
	fresh   bool          // this generation has no record yet
	resumed bool          // this generation began in an earlier process

	began    time.Time // first try in this process, monotonic
	acting   bool      // its effect, or the undoing of it, is under way
	tries    int
	redos    int             // times that its effect was discarded, in this process
	firstGap time.Time       // first time its effect was seen absent, monotonic
	retries  []journal.Retry // in this process
}

// noteRetry is for the step's next record: a retry has none of its own.
func (n *node) noteRetry(err error, wait time.Duration) {
	const longest = 400 // bytes; the error of a step that fails in the end is recorded in full
	text := err.Error()
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	n.retries = journal.AddRetry(n.retries, journal.Retry{At: time.Now(), WaitSeconds: wait.Seconds(), Error: text})
}

// reset makes a step start over, as its next generation where it had one.
func (n *node) reset() {
	n.fresh, n.resumed, n.tries = true, false, 0
	n.began, n.firstGap = time.Time{}, time.Time{}
}

type section struct {
	*plan.Section
	open     *node
	body     []*node
	close    []*node
	opened   time.Time // first in this process, monotonic
	restarts int       // after failures
	waits    int       // for room at EC2: thawed, and bounded by time
}

type graph struct {
	nodes     []*node // topological order
	byID      map[plan.StepID]*node
	sections  []*section
	unsettled int
	inFlight  int // queued or running
}

func newGraph(p *plan.Plan, records map[plan.StepID]journal.Record) *graph {
	g := &graph{byID: make(map[plan.StepID]*node, len(p.Steps)), unsettled: len(p.Steps)}
	for i := range p.Steps {
		s := &p.Steps[i]
		n := &node{step: s, rec: records[s.ID]}
		g.nodes = append(g.nodes, n)
		g.byID[s.ID] = n
		for _, list := range [][]plan.StepID{s.Needs, s.Settled} {
			for _, d := range list {
				dep := g.byID[d]
				dep.blocks = append(dep.blocks, n)
				n.left++
			}
		}
	}
	for i := range p.Sections {
		sec := &section{Section: &p.Sections[i]}
		sec.open = g.byID[sec.Open]
		for _, id := range sec.Body {
			sec.body = append(sec.body, g.byID[id])
		}
		for _, id := range sec.Close {
			sec.close = append(sec.close, g.byID[id])
		}
		g.sections = append(g.sections, sec)
		if sec.Kind == plan.Bracket {
			for _, n := range sec.close {
				n.closes = sec
			}
			continue
		}
		for _, n := range sec.members() {
			n.atomic = sec
		}
	}
	return g
}

// members are open, body, close, in this order.
func (s *section) members() []*node {
	var out []*node
	if s.open != nil {
		out = append(out, s.open)
	}
	return slices.Concat(out, s.body, s.close)
}

// takesDown: the section is a bracket whose closing steps undo what its body made.
func (s *section) takesDown() bool {
	return s.Kind == plan.Bracket && slices.ContainsFunc(s.close, (*node).takesAway)
}

// takenDown: the first of these steps began.
func (s *section) takenDown() bool {
	return s.takesDown() && slices.ContainsFunc(s.close, func(n *node) bool { return n.takesAway() && n.rec.Token != "" })
}

func (n *node) takesAway() bool { return n.step.ObserveBy != plan.Blind && !n.step.ReadOnly }

// began reports whether a bracket's close is owed: its open step, or without one
// any of its body, has started or is done.
func (s *section) began() bool {
	started := func(n *node) bool {
		return n.rec.State == journal.Started || n.rec.State == journal.Done || n.rec.State == journal.Failed
	}
	if s.open != nil {
		return started(s.open)
	}
	return slices.ContainsFunc(s.body, started)
}

// idle: nothing more will happen by itself.
func (g *graph) idle() bool { return g.inFlight == 0 }

func (g *graph) allSettled() bool { return g.unsettled == 0 }

// blocked says why a step cannot run: a step it needs is not done.
func (g *graph) blocked(n *node) (plan.StepID, bool) {
	for _, id := range n.step.Needs {
		if d := g.byID[id]; d.state != journal.Done && !(d.state == journal.Failed && d.step.Tolerated) {
			return id, true
		}
	}
	return "", false
}

// input resolves the step's references from the outputs of done steps.
func (g *graph) input(n *node) (json.RawMessage, error) {
	return plan.Resolve(n.step.In, func(id plan.StepID) json.RawMessage {
		if d := g.byID[id]; d.state == journal.Done && len(d.rec.Output) > 0 {
			return d.rec.Output
		}
		return json.RawMessage("null")
	})
}

func (g *graph) records() map[plan.StepID]journal.Record {
	m := make(map[plan.StepID]journal.Record, len(g.nodes))
	for _, n := range g.nodes {
		if n.rec.State != "" {
			m[n.step.ID] = n.rec
		}
	}
	return m
}

// changedAnything reports whether the run has, or may have, changed anything that somebody
// has to undo, to finish or to decide on.
func (g *graph) changedAnything() bool {
	for _, n := range g.nodes {
		if n.rec.Effect(n.step, n.atomic != nil) {
			return true
		}
	}
	return false
}

// hasIntent reports whether any step ever meant to change anything, hooks too.
func (g *graph) hasIntent() bool {
	for _, n := range g.nodes {
		if n.rec.Token != "" {
			return true
		}
	}
	return false
}

// committed: there are steps after which nothing is undone, and all are done.
func (g *graph) committed() bool {
	any := false
	for _, n := range g.nodes {
		if n.step.Commits {
			any = true
			if n.state != journal.Done {
				return false
			}
		}
	}
	return any
}

func (g *graph) failed() bool {
	for _, n := range g.nodes {
		if n.failedOrSkipped() {
			return true
		}
	}
	return false
}

func (n *node) failedOrSkipped() bool {
	return n.phase == settled && (n.state == journal.Failed || n.state == journal.Uncertain) && !n.step.Tolerated
}

// lanes tells done lanes from unwell ones, in the plan's order.
func (g *graph) lanes() (done, failed []string) {
	bad, seen := map[string]bool{}, map[string]bool{}
	var order []string
	for _, n := range g.nodes {
		l := n.step.Lane
		if l == "" {
			continue
		}
		if !seen[l] {
			seen[l] = true
			order = append(order, l)
		}
		if n.state != journal.Done && !n.step.Tolerated && !(n.closes != nil && n.state == journal.Skipped) {
			bad[l] = true
		}
	}
	for _, l := range order {
		if bad[l] {
			failed = append(failed, l)
		} else {
			done = append(done, l)
		}
	}
	return done, failed
}
