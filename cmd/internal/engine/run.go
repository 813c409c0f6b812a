package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// A RunRequest asks for an operation on a snapshotter.
type RunRequest struct {
	Operation, Name string
	Options         recipe.Options
	RollBack        bool   // when it fails
	Key             string // by which the same run is meant, however often it is asked for; "" for a run of its own
}

// Run compiles an operation, journals and executes it; or goes on with an unfinished run of it.
func (e *Engine) Run(ctx context.Context, r RunRequest) (RunResult, error) {
	op, err := operation(r.Operation)
	if err != nil {
		return RunResult{}, err
	}
	name, rollback := r.Name, r.RollBack
	if os.Geteuid() != 0 && !op.Elsewhere {
		return RunResult{}, hinted("run it as root (sudo)", "cannot %s %s: this needs root", op.Name, name)
	}
	if r.Key != "" {
		end, done, release, err := e.runKeyed(ctx, op, r)
		if done {
			return end, err
		}
		defer release()
	}
	adopted := op.AdoptsOffline() && e.adoptOffline(ctx, name)
	if adopted && e.patience.asked == nil { // all is mounted: nobody has to wait for what EC2 says of it
		e.patience.until = time.Now().Add(readTimeout)
	}
	p, req, err := e.compile(ctx, op, name, r.Options)
	if err == nil {
		err = e.requireSharedMounts(p)
	}
	if err == nil {
		err = e.checkClock(r.Options)
	}
	if err == nil {
		err = e.retry(ctx, e.client.Ready) // before there is a run to be resumed
	}
	if err != nil && e.adoptedAfterAll(ctx, op, name, adopted) {
		return RunResult{}, e.adoptedOffline(name, err)
	}
	if err != nil {
		return RunResult{}, err
	}
	store, err := e.store()
	if err != nil {
		return RunResult{}, err
	}
	if op.Question != nil {
		if err := e.confirm(ctx, op.Name+" "+name, op.Question(req)); err != nil {
			return RunResult{}, err
		}
	}
	e.thawOwned(ctx, store)
	run, act, err := e.resumeUnfinished(ctx, store, p)
	if err != nil {
		return RunResult{}, err
	}
	if run == nil && act.undid && op.Resume == plan.ResumeFirst { // what was undone is to be done again, and the plan did not know
		if p, req, err = e.compile(ctx, op, name, r.Options); err != nil {
			return RunResult{}, err
		}
	}
	if run == nil && len(p.Steps) == 0 {
		return e.nothingToDo(p, req), nil
	}
	first := run != nil && op.Resume == plan.ResumeFirst
	var left error     // of a snapshot: why some volumes are left out
	if act.hooksOwed { // what the older run's pre hook stopped is down, although all may be mounted
		req.HooksOwed = true
		if p, err = op.Plan(req); err != nil {
			return RunResult{}, err
		}
	}
	if run == nil {
		if run, left, err = e.beginElsewhere(ctx, store, op, p, req, adopted); err != nil || run == nil { // without a journal or EC2
			return RunResult{}, err
		}
	}
	act.undoNext = rollback
	end, err := e.execute(ctx, store, run, act)
	if (end.Result.Outcome.Ended() || first && wentSilent(end)) && ctx.Err() == nil {
		again := answeredMeanwhile(end)
		if e.answersAgain = e.answersAgain || again; first || again { // now what the older run was not about, or what it could not know
			return e.Run(ctx, r)
		}
	}
	if rollback && end.failed() {
		return e.rollbackAfter(ctx, store, end.Run, err)
	}
	if err == nil {
		err = left
	}
	return end, err
}

// beginElsewhere begins a run, or none as begin. One that takes spare device names is compiled again with others where another run was faster.
func (e *Engine) beginElsewhere(ctx context.Context, store *journal.Store, op *recipe.Operation, p *plan.Plan, req recipe.Request, adopted bool) (run *journal.Run, left, err error) {
	for tries := 0; ; tries++ {
		if run, left, err = e.begin(ctx, store, op, p, req, adopted); run != nil {
			return run, left, nil
		}
		if !op.Scratch || tries == maxSpareTries || !e.avoid(err) {
			return nil, nil, err
		}
		if p, req, err = e.compile(ctx, op, req.Spec.Name, req.Options); err != nil {
			return nil, nil, err
		}
	}
}

// nothingToDo says so, without a run.
func (e *Engine) nothingToDo(p *plan.Plan, r recipe.Request) RunResult {
	end := RunResult{Plan: p, Notes: r.Notes, Result: runner.Result{Outcome: journal.RunDone}}
	e.Frontend.Ended(end)
	return end
}

// begin begins a new run, if EC2 allows what it is about to do. No run and no error: all is mounted, without a journal or
// without EC2.
func (e *Engine) begin(ctx context.Context, store *journal.Store, op *recipe.Operation, p *plan.Plan, r recipe.Request, adopted bool) (run *journal.Run, left, err error) {
	if err := checkDrillTools(op, r.Spec); err != nil {
		return nil, nil, err
	}
	if err := e.preflight(ctx, store, op, r, r.Options.Bool(recipe.DeferLabel) && r.Options.Text(recipe.At) != ""); err != nil {
		if e.adoptedAfterAll(ctx, op, r.Spec.Name, adopted) {
			return nil, nil, e.adoptedOffline(r.Spec.Name, err)
		}
		return nil, nil, err
	}
	e.askForVolumes(ctx, store, p, false)
	run, left, err = e.beginWithout(ctx, store, op, p, r)
	if op.AdoptsOffline() && journal.IsDiskFull(err) {
		return nil, nil, e.withoutJournal(ctx, r.Spec.Name, err)
	}
	return run, left, err
}

// beginRun makes the journal of a new run. left says which volumes it leaves out; nil for none.
func (e *Engine) beginRun(ctx context.Context, store *journal.Store, p *plan.Plan, left error) (*journal.Run, error) {
	boot, err := e.bootID()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	m := journal.Meta{Run: journal.NewRunID(now), Version: e.Version, InstanceID: p.Instance, BootID: boot, Created: now, CloudConfig: e.recordCloudConfig(ctx),
		Processes: []journal.Process{e.process(boot, false)}}
	if left != nil {
		m.LeftOut = left.Error()
	}
	if err := e.keyBegins(&m); err != nil {
		return nil, err
	}
	return store.Begin(m, p)
}

// met lists the unfinished runs that a new run of the plan comes upon, and what becomes of each, up to one that it goes on
// with in the place of a new one. A new run with a key never goes on with another one. not are passed over.
func met(store *journal.Store, p *plan.Plan, keyed bool, not ...plan.RunID) (runs []RunState, err error) {
	all, err := store.Unfinished()
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		d := Decide(ToRun, r, Situation{Instance: p.Instance, Plan: p, Keyed: keyed})
		if d.Action != Leave && !slices.Contains(not, r.Run) {
			runs = append(runs, RunState{r, d})
		}
		if d.Action == Continue && !slices.Contains(not, r.Run) {
			break
		}
	}
	return runs, nil
}

// resumeUnfinished does with the unfinished runs what is decided about them, and returns the one that is gone on with. Nothing of a
// live run is touched: beginning the new one will say that it is busy.
func (e *Engine) resumeUnfinished(ctx context.Context, store *journal.Store, p *plan.Plan) (*journal.Run, action, error) {
	runs, left, err := e.metAnswering(ctx, store, p)
	if err != nil {
		return nil, action{}, err
	}
	act := action{undid: left}
	for _, r := range runs {
		switch r.Action {
		case SetAside:
			e.setAside(store, r.Summary, p.Instance)
		case Continue:
			if err := e.reach(ctx); err != nil {
				return nil, action{}, err
			}
			e.log.Info("resuming an unfinished run", "run", r.Run, "stood", r.Was())
			run, err := store.Resume(r.Run)
			return run, action{}, liveIsBusy(r.Run, err)
		case Undo, UndoUnused:
			owed, err := e.undoUnfinished(ctx, store, r)
			if err != nil {
				return nil, action{}, err
			}
			act.hooksOwed, act.undid = act.hooksOwed || owed, true
		case EndAsIs:
			run, err := store.Resume(r.Run)
			if err == nil {
				err = e.endIdle(run)
			}
			if err != nil {
				return nil, action{}, liveIsBusy(r.Run, err)
			}
		case Wait: // beginning says who is in the way and what to do
		}
	}
	return nil, act, nil
}

// undoUnfinished rolls back what an older run left unfinished, so that a new
// plan can begin: the whole of a snapshot run, the unfinished lanes of a mount
// as far as nobody may be at work on their volumes. It tells whether a mount had
// begun to run its hooks.
func (e *Engine) undoUnfinished(ctx context.Context, store *journal.Store, r RunState) (hooksOwed bool, err error) {
	if err := e.reach(ctx); err != nil {
		return false, err
	}
	e.log.Info("undoing an unfinished run", "run", r.Run, "stood", r.Was())
	run, err := store.Resume(r.Run)
	if err != nil {
		return false, liveIsBusy(r.Run, err)
	}
	act := action{rollback: true, quiet: true}
	if r.Action == UndoUnused {
		act.lanes = notInUse(run)
		hooksOwed = hooksBegan(run)
	}
	end, err := e.execute(ctx, store, run, act)
	if !end.Result.Outcome.Ended() && err == nil {
		err = fmt.Errorf("it ended as %s", end.Result.Outcome)
	}
	if wentSilent(end) && ctx.Err() == nil { // the new run is not about that region either
		e.leftUntilItAnswers(r.Run, err)
		return false, nil
	}
	if r.Action == Undo && r.ResumePolicy != plan.ResumeUndoes && end.failed() && !needsOperator(end.Result) {
		return hooksOwed, e.abandon(store, end, err)
	}
	if err != nil {
		return false, hinted(fmt.Sprintf("run `snaptastic show %s` to see what is left, or `snaptastic abandon %s` to abandon it", r.Run, r.Run),
			"cannot undo run %s, which blocks this run: %w", r.Run, err)
	}
	return hooksOwed, nil
}

// hooksBegan says whether a run began to run any hook.
func hooksBegan(run *journal.Run) bool {
	records := run.Records()
	return slices.ContainsFunc(run.Plan().Steps, func(s plan.Step) bool {
		rec := records[s.ID]
		var ran steps.HookRan
		_ = json.Unmarshal(rec.Output, &ran) // there is none of a hook that failed
		return s.Kind == steps.Hook.Kind && rec.Token != "" && !ran.Skipped
	})
}

// abandon abandons a run that cannot be undone, so that the next night's snapshot
// is not kept from being taken. What remains has no label: nobody restores it.
func (e *Engine) abandon(store *journal.Store, end RunResult, why error) error {
	id := end.Run
	run, err := store.Resume(id)
	if err != nil {
		return liveIsBusy(id, err)
	}
	defer run.Close()
	if err := endAs(run.Journal, journal.Abandoned); err != nil {
		return err
	}
	for _, f := range end.Result.Failures {
		e.log.Warn("cannot undo an older run", "run", id, "step", f.Step, "error", f.Err, "hint", plan.HintOf(f.Err))
	}
	e.log.Warn("abandoned the older run, so that this one can start", "run", id, "because", why)
	return nil
}

func needsOperator(res runner.Result) bool {
	return slices.ContainsFunc(res.Failures, func(f runner.Failure) bool { return f.NeedsOperator })
}

// rollbackAfter undoes a run that failed. The error is still that of the failure.
func (e *Engine) rollbackAfter(ctx context.Context, store *journal.Store, id plan.RunID, failure error) (RunResult, error) {
	run, err := store.Resume(id)
	if err != nil {
		return RunResult{}, err
	}
	end, err := e.execute(ctx, store, run, action{rollback: true})
	if err != nil || !end.Result.Outcome.Ended() {
		return end, err
	}
	if known := ErrorOf(failure); known.Code == SomeLanes { // now none of its lanes is left
		known.Code, failure = Failed, known
	}
	return end, failure
}

// confirm asks before it does what.
func (e *Engine) confirm(ctx context.Context, what, question string) error {
	yes, err := e.Frontend.Ask(ctx, what, question)
	if err == nil && !yes {
		err = &Error{Code: Failed, Err: errDeclined}
	}
	return err
}

// errDeclined: somebody was asked and did not say yes.
var errDeclined = errors.New("aborted; no changes made")
