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
	RollBack        bool // when it fails
}

// Run compiles an operation, journals and executes it; or goes on with an unfinished run of it.
func (e *Engine) Run(ctx context.Context, r RunRequest) error {
	op, name, o, rollback := r.Operation, r.Name, r.Options, r.RollBack
	if os.Geteuid() != 0 {
		return hinted("run it as root (sudo)", "cannot %s %s: only root may mount and freeze file systems", op, name)
	}
	adopted := op == "mount" && e.adoptOffline(ctx, name)
	if adopted && e.patience.asked == nil { // all is mounted: nobody has to wait for what EC2 says of it
		e.patience.until = time.Now().Add(lookPatience)
	}
	p, spec, err := e.compile(ctx, op, name, o)
	if err == nil {
		err = e.needSharedMounts(p)
	}
	if err == nil {
		err = e.patiently(ctx, e.client.Ready) // before there is a run to be resumed
	}
	if err != nil && adopted && !e.answers(ctx) {
		return e.unreconciled(name, err)
	}
	if err != nil {
		return err
	}
	store, err := e.store()
	if err != nil {
		return err
	}
	if op == "unmount" {
		if err := e.confirm(ctx, "unmount "+name, fmt.Sprintf("Unmount and detach %s of %s (what is detached remains and is billed)?", volumes(len(p.Lanes)), name)); err != nil {
			return err
		}
	}
	e.thawOwned(ctx, store)
	run, act, err := e.takeUp(ctx, store, p)
	if err != nil {
		return err
	}
	var left error     // of a snapshot: why some volumes are left out
	if act.hooksOwed { // what the older run's pre hook stopped is down, although all may be mounted
		o.HooksOwed = true
		if p, spec, err = e.compile(ctx, op, name, o); err != nil {
			return err
		}
	}
	if run == nil {
		if err := e.preflight(ctx, op, spec); err != nil {
			if adopted && !e.answers(ctx) {
				return e.unreconciled(name, err)
			}
			return err
		}
		if op == "snapshot" {
			run, left, err = e.beginSnapshot(ctx, store, p, spec, o)
		} else {
			run, err = e.beginRun(ctx, store, p)
		}
		if op == "mount" && journal.NoRoom(err) {
			return e.withoutJournal(ctx, name, err)
		}
		if err != nil {
			return err
		}
	}
	id := run.Meta().Run
	act.undoNext = rollback && !act.rollback
	res, err := e.execute(ctx, store, run, act)
	if rollback && !act.rollback && res.Outcome == journal.RunFailed && res.Err == nil {
		return e.rollbackAfter(ctx, store, id, err)
	}
	return leftOut(left, err)
}

// beginRun makes the journal of a new run.
func (e *Engine) beginRun(ctx context.Context, store *journal.Store, p *plan.Plan) (*journal.Run, error) {
	boot, err := e.bootID()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	m := journal.Meta{Run: journal.NewRunID(now), Version: e.Version, InstanceID: p.Instance, BootID: boot, Created: now, Reach: e.recordWay(ctx)}
	return store.Begin(m, p)
}

// takeUp looks for an unfinished run of the same operation on the same
// snapshotter. The same plan goes on where it was; a different one is first
// undone in the lanes that it left unfinished. Nothing of a live run is
// touched: beginning the new one will say that it is busy.
func (e *Engine) takeUp(ctx context.Context, store *journal.Store, p *plan.Plan) (*journal.Run, action, error) {
	runs, err := store.Unfinished()
	if err != nil {
		return nil, action{}, err
	}
	var act action
	for _, r := range runs {
		if !r.Live && r.Problem == "" && !r.Outcome.Ended() && e.ofAnotherInstance(ctx, r) {
			e.setAside(store, r, fmt.Sprintf("it is of instance %s (an image with a journal inside?) and this is %s", r.InstanceID, p.Instance))
			continue
		}
		if !unfinishedOf(r, p) {
			continue
		}
		same := r.Digest == p.Digest() && !r.RollingBack
		if same && p.Resumption == plan.Continue || same && p.Resumption == plan.Ask {
			if err := e.reach(ctx); err != nil {
				return nil, action{}, err
			}
			e.log.Info("taking up an unfinished run", "run", r.Run, "stood", standing(r))
			run, err := store.Resume(r.Run)
			return run, action{}, liveIsBusy(r.Run, err)
		}
		if p.Resumption == plan.Ask {
			continue // beginning says who is in the way and what to do
		}
		owed, err := e.undoUnfinished(ctx, store, r)
		if err != nil {
			return nil, action{}, err
		}
		act.hooksOwed = act.hooksOwed || owed
	}
	return nil, act, nil
}

// unfinishedOf: an unfinished run, in nobody's hands, of the plan's operation
// on the plan's snapshotter.
func unfinishedOf(r journal.Summary, p *plan.Plan) bool {
	return !r.Live && r.Problem == "" && !r.Outcome.Ended() &&
		r.Operation == p.Operation && r.Snapshotter == p.Snapshotter && r.InstanceID == p.Instance
}

// undoUnfinished rolls back what an older run left unfinished, so that a new
// plan can begin: the whole of a snapshot run, the unfinished lanes of a mount
// as far as nobody may be at work on their volumes. It tells whether a mount had
// begun to run its hooks.
func (e *Engine) undoUnfinished(ctx context.Context, store *journal.Store, r journal.Summary) (hooksOwed bool, err error) {
	if err := e.reach(ctx); err != nil {
		return false, err
	}
	e.log.Info("undoing what an unfinished run left", "run", r.Run, "stood", standing(r))
	run, err := store.Resume(r.Run)
	if err != nil {
		return false, liveIsBusy(r.Run, err)
	}
	unattended := run.Plan().Resumption == plan.ContinueThisBoot
	act := action{rollback: true, quiet: true}
	if run.Plan().Resumption == plan.Continue {
		act.lanes = notInUse(run)
		hooksOwed = hooksBegan(run)
	}
	res, err := e.execute(ctx, store, run, act)
	if !res.Outcome.Ended() && err == nil {
		err = fmt.Errorf("it ended as %s", res.Outcome)
	}
	if unattended && res.Outcome == journal.RunFailed && res.Err == nil && !needsOperator(res) {
		return hooksOwed, e.letGo(store, r.Run, res, err)
	}
	if err != nil {
		return false, hinted(fmt.Sprintf("`snaptastic show %s` tells what is left; `snaptastic abandon %s` lets go of it", r.Run, r.Run),
			"cannot undo run %s, which is in the way: %w", r.Run, err)
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

// letGo abandons a run that cannot be undone, so that the next night's snapshot
// is not kept from being taken. What remains bears no label: nobody restores it.
func (e *Engine) letGo(store *journal.Store, id plan.RunID, res runner.Result, why error) error {
	run, err := store.Resume(id)
	if err != nil {
		return liveIsBusy(id, err)
	}
	defer run.Close()
	if err := endAs(run.Journal, journal.Abandoned); err != nil {
		return err
	}
	for _, f := range res.Failures {
		e.log.Warn("what an older run left cannot be undone", "run", id, "step", f.Step, "error", f.Err, "hint", f.Hint)
	}
	e.log.Warn("the older run is abandoned, so that this one can begin", "run", id, "because", why)
	return nil
}

func needsOperator(res runner.Result) bool {
	return slices.ContainsFunc(res.Failures, func(f runner.Failure) bool { return f.NeedsOperator })
}

func standing(r journal.Summary) string {
	if r.Outcome == journal.Unfinished {
		return string(journal.Interrupted)
	}
	return string(r.Outcome)
}

func (e *Engine) rollbackAfter(ctx context.Context, store *journal.Store, id plan.RunID, failure error) error {
	run, err := store.Resume(id)
	if err != nil {
		return err
	}
	if res, err := e.execute(ctx, store, run, action{rollback: true}); err != nil || !res.Outcome.Ended() {
		return err
	}
	var some *Error
	if errors.As(failure, &some) && some.Code == SomeLanes { // now none of its lanes is left
		return &Error{Code: Failed, Err: some.Err, InResult: some.InResult}
	}
	return failure
}

func volumes(n int) string {
	if n == 1 {
		return "the volume"
	}
	return fmt.Sprintf("the %d volumes", n)
}

// confirm asks before it does what.
func (e *Engine) confirm(ctx context.Context, what, question string) error {
	yes, err := e.Talk.Ask(ctx, what, question)
	if err == nil && !yes {
		err = &Error{Code: Failed, Err: errDeclined}
	}
	return err
}

// errDeclined: somebody was asked and did not say yes.
var errDeclined = errors.New("nothing was done")
