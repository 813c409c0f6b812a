package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

// lookEvery is how often a watch looks for runs that began or ended.
const lookEvery = 100 * time.Millisecond

// timesAreCoarse is how far apart two changes of a folder may be and yet have the same time.
const timesAreCoarse = time.Second

// A LiveRun is a run that a watch has joined: how it stands, and the process that is at it.
type LiveRun struct {
	RunDetails
	PID      int
	Since    time.Time // when that process began with it
	Rollback bool
	Running  []runner.Event // that began the steps under way, and the newest of each
	Stopping *runner.Event  // the run was asked to stop
}

// Events are the run as a program is told of it that joins late.
func (l LiveRun) Events() []Event {
	all := []Event{{At: l.Since, Event: RunJoined, Run: l.Run, Operation: l.Plan.Operation, Snapshotter: l.Plan.Snapshotter, PID: l.PID, Rollback: l.Rollback}}
	for _, e := range l.Running {
		all = append(all, EventOf(l.Run, e))
	}
	if l.Stopping != nil {
		all = append(all, EventOf(l.Run, *l.Stopping))
	}
	return all
}

// A Watch is told what happens in live runs. Its methods are called from one goroutine.
type Watch interface {
	// Joined is told of a run once it can be watched, and again after the connection was lost.
	Joined(LiveRun)
	// Event is told what happens in a run that was joined.
	Event(plan.RunID, runner.Event)
	// Told is told the same, and the events of the run itself, as programs get them.
	Told(Event)
	// Left is told that a run that was joined is not live any more, and how it stands then; nil where it told of its end itself.
	Left(plan.RunID, *RunState)
	// Unfinished is told at first, and whenever it changed, of the runs that are unfinished and not live.
	Unfinished([]RunState)
}

// WatchRuns follows all live runs, until the context ends; or the one that word means, until that has ended. It returns at
// once, with false, where that one is not live. A watch costs the runs nothing: it reads from their status sockets.
func (e *Engine) WatchRuns(ctx context.Context, word plan.RunID, w Watch) (wasLive bool, err error) {
	t := &watching{e: e, w: w, news: make(chan func()), active: map[plan.RunID]bool{}, refused: map[plan.RunID]time.Time{}, cutOff: map[plan.RunID]bool{}}
	if word != "" {
		if t.store, t.only, err = e.stateOf(word); err != nil {
			return false, err
		}
		if j, err := t.store.Read(t.only); !errors.Is(err, journal.ErrLive) {
			if err == nil {
				err = j.Close()
			}
			return false, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer t.wait()
	defer cancel()
	return true, t.run(ctx)
}

// watching is a watch under way. One goroutine owns it; each run that is joined has one that reads.
type watching struct {
	e       *Engine
	w       Watch
	store   *journal.Store // nil as long as there is no state folder
	only    plan.RunID     // "" for all
	news    chan func()
	active  map[plan.RunID]bool      // somebody reads
	refused map[plan.RunID]time.Time // when the socket was made on which nobody answers
	cutOff  map[plan.RunID]bool      // the connection was lost, and the run seemed to be live
	changed time.Time                // the folder of the runs
	listed  string                   // what was told last of the unfinished runs
	over    bool
}

// wait ends once all readers did; the context has ended.
func (t *watching) wait() {
	for len(t.active) > 0 {
		(<-t.news)()
	}
}

func (t *watching) run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !t.over {
		if err := t.look(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case f := <-t.news:
			f()
		case <-tick.C:
		}
	}
	return nil
}

// look joins what is new. Without a change in the folder of the runs there is nothing new.
func (t *watching) look(ctx context.Context) error {
	if t.only != "" && !t.active[t.only] && !t.cutOff[t.only] && !t.live(t.only) {
		t.over = true
		return nil
	}
	if t.store == nil {
		store, err := t.e.readState()
		if errors.Is(err, journal.ErrNoState) {
			t.list(nil)
			return nil
		}
		if err != nil {
			return err
		}
		t.store = store
	}
	for id := range t.cutOff { // who reads a journal at the same moment makes a dead run seem live
		if !t.active[id] && !t.live(id) {
			t.gone(id)
		}
	}
	dir := filepath.Join(t.store.Dir(), "runs")
	fi, err := os.Stat(dir)
	if err != nil || fi.ModTime().Equal(t.changed) {
		return nil
	}
	if time.Since(fi.ModTime()) > timesAreCoarse { // else look again: another change may get the same time
		t.changed = fi.ModTime()
	}
	ids, err := t.store.Sockets()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !t.active[id] && (t.only == "" || t.only == id) {
			t.join(ctx, id)
		}
	}
	t.unfinished()
	return nil
}

// join starts to read from a run.
func (t *watching) join(ctx context.Context, id plan.RunID) {
	path := t.store.Socket(id)
	fi, err := os.Lstat(path)
	if err != nil || fi.ModTime().Equal(t.refused[id]) {
		return
	}
	t.active[id] = true
	go func() {
		joined, ended, goesOn := false, false, false
		var steps map[plan.StepID]*plan.Step
		step := func(id plan.StepID) *plan.Step { return steps[id] }
		send := func(f func()) { t.news <- f }
		err := follow(ctx, path, func(s status) {
			joined, steps = true, stepsOf(s.Plan)
			send(func() { t.w.Joined(liveRun(s, step)) })
		}, func(e Event) {
			if e.Event == RunEnded {
				ended, goesOn = true, e.UndoFollows
			}
			send(func() {
				t.w.Told(e)
				if e.Event != RunStarted && e.Event != RunEnded {
					t.w.Event(id, e.runner(step))
				}
			})
		})
		send(func() { t.left(ctx, reading{id, fi.ModTime(), joined, ended, goesOn, err}) })
	}()
}

func stepsOf(p *plan.Plan) map[plan.StepID]*plan.Step {
	steps := make(map[plan.StepID]*plan.Step, len(p.Steps))
	for i := range p.Steps {
		steps[p.Steps[i].ID] = &p.Steps[i]
	}
	return steps
}

func liveRun(s status, step func(plan.StepID) *plan.Step) LiveRun {
	l := LiveRun{RunDetails: detailsOf(s.Meta, s.Plan, s.Records), PID: s.PID, Since: s.Since, Rollback: s.Rollback}
	l.Live = true
	for _, e := range s.Running {
		l.Running = append(l.Running, e.runner(step))
	}
	if s.Stopping != nil {
		e := s.Stopping.runner(step)
		l.Stopping = &e
	}
	return l
}

// A reading is what came of reading from a run.
type reading struct {
	id     plan.RunID
	socket time.Time // when it was made
	joined bool      // it answered
	ended  bool      // it told of its end
	goesOn bool      // it told that it undoes itself now
	err    error
}

// left is told that nobody reads from a run any more.
func (t *watching) left(ctx context.Context, r reading) {
	delete(t.active, r.id)
	t.changed = time.Time{} // look again: it may go on, as its own rollback does
	switch {
	case ctx.Err() != nil:
		return
	case errors.Is(r.err, errUntrustedSocket):
		t.e.log.Warn("cannot watch a run", "run", r.id, "error", r.err)
		t.refused[r.id] = r.socket
	case !r.joined: // nobody answers: the socket of a killed process
		t.refused[r.id] = r.socket
	case r.ended:
		delete(t.cutOff, r.id)
		t.w.Left(r.id, nil)
		t.over = t.over || t.only == r.id && !r.goesOn
	case t.live(r.id): // it was too slow and was dropped
		t.cutOff[r.id] = true
	default:
		t.gone(r.id)
	}
}

// gone is told that the process of a run is gone, which did not say how it ended.
func (t *watching) gone(id plan.RunID) {
	delete(t.cutOff, id)
	t.w.Left(id, t.state(id))
	t.over = t.over || t.only == id
}

func (t *watching) live(id plan.RunID) bool {
	j, err := t.store.Read(id)
	if err == nil {
		_ = j.Close()
	}
	return errors.Is(err, journal.ErrLive)
}

// state is how a run stands by its journal.
func (t *watching) state(id plan.RunID) *RunState {
	boot, _ := t.e.bootID()
	for s := range t.store.Newest() {
		if s.Run == id {
			return &RunState{s, Decide(ToResume, s, Situation{Boot: boot})}
		}
	}
	return &RunState{Summary: journal.Summary{Meta: journal.Meta{Run: id}}}
}

// unfinished tells of the runs that wait for somebody.
func (t *watching) unfinished() {
	found, err := t.store.Unfinished()
	if err != nil {
		return
	}
	boot, _ := t.e.bootID()
	var waiting []RunState
	for _, s := range found {
		if !s.Live && (t.only == "" || t.only == s.Run) {
			waiting = append(waiting, RunState{s, Decide(ToResume, s, Situation{Boot: boot})})
		}
	}
	t.list(waiting)
}

// list tells of them when they are others than the last time.
func (t *watching) list(waiting []RunState) {
	key := "runs:"
	for _, r := range waiting {
		key += string(r.Run) + string(r.Outcome) + string(r.Action) + " "
	}
	if key != t.listed {
		t.w.Unfinished(waiting)
	}
	t.listed = key
}
