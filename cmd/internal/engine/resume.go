package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"snaptastic/ec2"
	"snaptastic/journal"
	"snaptastic/linux/guard"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps/recipe"
)

// A ResumeRequest asks to finish one run, or all that may be finished unattended.
type ResumeRequest struct {
	Run              plan.RunID // its id, the beginning of it, or "last"; "": all
	Redo, AssumeDone []plan.StepID
}

// Resumed is what a resume of all runs came to.
type Resumed struct {
	Ends    []RunResult // of the runs that it went on with
	Waiting int         // runs that it left to an operator
	Later   int         // runs that it left to the next run of their operation
}

// Resume finishes interrupted runs.
func (e *Engine) Resume(ctx context.Context, r ResumeRequest) (Resumed, error) {
	if err := needRoot("resume"); err != nil {
		return Resumed{}, err
	}
	if r.Run != "" {
		end, err := e.resumeOne(ctx, r)
		return Resumed{Ends: []RunResult{end}}, err
	}
	if len(r.Redo)+len(r.AssumeDone) > 0 {
		return Resumed{}, usageError("--redo and --assume-done need a RUN")
	}
	return e.resumeAll(ctx)
}

// needRoot refuses early what only root can do.
func needRoot(what string) error {
	if os.Geteuid() != 0 {
		return hinted("run it as root (sudo)", "cannot %s: this needs root", what)
	}
	return nil
}

// resumeAll goes on with what may go on unattended. One run's failure does not
// keep another from being finished; the worst exit code wins.
func (e *Engine) resumeAll(ctx context.Context) (all Resumed, worst error) {
	store, err := e.readState()
	if errors.Is(err, journal.ErrNoState) { // at the first boot
		e.log.Info(err.Error())
		return all, nil
	}
	if err != nil {
		return all, err
	}
	e.thawOwned(ctx, store)
	e.settingsIfAny() // for the patience that they ask for
	runs, err := store.Unfinished()
	if err != nil {
		return all, err
	}
	for _, r := range runs {
		if ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
		err := e.resumeNext(ctx, store, r, &all)
		if err != nil && worst != nil && !inResult(err) { // the first one is said at the end
			e.log.Error("cannot resume", "run", r.Run, "error", err)
		}
		worst = worstError(worst, err)
	}
	return all, worst
}

// resumeNext does with one run of the list what a boot may do, the way that the run came to its EC2.
func (e *Engine) resumeNext(ctx context.Context, store *journal.Store, r journal.Summary, all *Resumed) error {
	var err error
	here := Situation{}
	here.Boot, _ = e.bootID()
	if Decide(ToResume, r, here).Action != Leave && !r.Damaged {
		defer e.useCloudConfigOf(r.CloudConfig)()
		ask := e.identity
		if r.Outcome == journal.RunFailed && !r.RollingBack { // nobody goes on with it now: it is not worth a wait
			ask = e.identityNow
		}
		var self ec2.Identity
		self, err = ask(ctx)
		here.Instance = self.InstanceID
		var unknown error
		if here.Boot, unknown = e.bootID(); err == nil { // a sandbox that was reset has one once it has been asked
			err = unknown
		}
	}
	switch d := Decide(ToResume, r, here); {
	case d.Reason == ReasonDamaged:
		e.setAside(store, r, "")
		return hinted(journal.Traces(r.Run), "%s", r.Problem)
	case d.Reason == ReasonUnreadable:
		e.log.Error("cannot read the journal of a run", "run", r.Run, "error", r.Problem)
		return hinted("", "%s", r.Problem)
	case d.Action == SetAside:
		e.setAside(store, r, here.Instance)
		return nil
	case d.Action == Leave, d.Reason == ReasonFailed:
		if d.Reason == ReasonNextRun {
			all.Later++
		}
		return nil
	case err != nil:
		return err
	default:
		return e.resumeUnattended(ctx, store, r, d, all)
	}
}

// setAside moves the journal of a run away that nobody here can go on with. instance is this machine's; "" for a damaged one.
func (e *Engine) setAside(store *journal.Store, r journal.Summary, instance string) {
	why := r.Problem
	if instance != "" {
		why = fmt.Sprintf("it belongs to instance %s (baked into the image?), this is %s", r.InstanceID, instance)
	}
	to, err := store.SetAside(r.Run)
	if err != nil {
		e.log.Error("cannot move a journal to damaged/", "run", r.Run, "error", err)
		return
	}
	e.log.Warn("a journal was moved to damaged/", "run", r.Run, "why", why, "to", to)
}

// resumeUnattended carries out what is decided about an interrupted run.
func (e *Engine) resumeUnattended(ctx context.Context, store *journal.Store, r journal.Summary, d Decision, all *Resumed) error {
	if d.Action == Wait {
		all.Waiting++
		e.log.Warn("an interrupted run waits for an operator", "run", r.Run, "operation", r.Operation, "snapshotter", r.Snapshotter,
			"finish", e.Command("snaptastic resume "+string(r.Run)), "undo", e.Command("snaptastic rollback "+string(r.Run)))
		return nil
	}
	run, err := store.Resume(r.Run)
	if errors.Is(err, journal.ErrLive) {
		return nil
	}
	if err != nil {
		return err
	}
	if d.Action == EndAsIs {
		return e.endIdle(run)
	}
	if err := e.reach(ctx); err != nil {
		_ = run.Close()
		return err
	}
	act := action{rollback: d.Action == Undo, lanes: run.Meta().UndoLanes}
	e.log.Info("resuming", "run", r.Run, "operation", r.Operation, "snapshotter", r.Snapshotter, "undo", act.rollback)
	end, err := e.execute(ctx, store, run, act)
	if end.Plan != nil {
		all.Ends = append(all.Ends, end)
	}
	return err
}

// endIdle ends a run that was cut off before it changed anything.
func (e *Engine) endIdle(run *journal.Run) error {
	defer run.Close()
	e.log.Info("an interrupted run that had changed nothing was ended", "run", run.Meta().Run, "operation", run.Plan().Operation, "snapshotter", run.Plan().Snapshotter)
	return endAs(run.Journal, journal.Aborted)
}

func (e *Engine) resumeOne(ctx context.Context, r ResumeRequest) (RunResult, error) {
	store, id, err := e.stateOf(r.Run)
	if err != nil {
		return RunResult{}, err
	}
	e.thawOwned(ctx, store)
	run, err := e.openRun(ctx, store, id)
	if err != nil {
		return RunResult{}, err
	}
	if err := inDoubt(run, r.Redo, r.AssumeDone); err != nil {
		_ = run.Close()
		return RunResult{}, err
	}
	m := run.Meta()
	act := action{redo: r.Redo, done: r.AssumeDone, rollback: m.RollingBack || run.Plan().ResumePolicy == plan.ResumeUndoes, lanes: m.UndoLanes}
	if m.RollingBack {
		e.log.Info("the run was being rolled back; continuing the rollback", "run", id)
	}
	return e.execute(ctx, store, run, act)
}

// inDoubt refuses what an operator says of steps that there is nothing to say of.
func inDoubt(run *journal.Run, said ...[]plan.StepID) error {
	records := run.Records()
	for _, id := range slices.Concat(said...) {
		i := slices.IndexFunc(run.Plan().Steps, func(s plan.Step) bool { return s.ID == id })
		if i < 0 {
			return &Error{Code: Usage, Err: plan.WithHint("`snaptastic show "+string(run.Meta().Run)+"` lists them", fmt.Errorf("run %s has no step %q", run.Meta().Run, id))}
		}
		if !runner.InDoubt(&run.Plan().Steps[i], records[id]) {
			return usageError("step %s is not uncertain: `resume` finds out its result", id)
		}
	}
	return nil
}

// openRun opens an unfinished run of this instance.
func (e *Engine) openRun(ctx context.Context, store *journal.Store, id plan.RunID) (*journal.Run, error) {
	run, err := store.Resume(id)
	if err != nil {
		return nil, liveIsBusy(id, err)
	}
	m := run.Meta()
	e.useCloudConfigOf(m.CloudConfig)
	if m.Outcome.Ended() {
		_ = run.Close()
		hint := ""
		if m.Outcome == journal.Aborted && run.Plan().Snapshotter != "" {
			hint = fmt.Sprintf("it had changed no volume: use `snaptastic run %s %s` to start over", run.Plan().Operation, run.Plan().Snapshotter)
		}
		if op, _ := recipe.Named(run.Plan().Operation); m.Outcome == journal.RunDone && op.UndoneBy != "" {
			hint = fmt.Sprintf("a finished %s is undone by `snaptastic run %s %s`", op.Name, op.UndoneBy, run.Plan().Snapshotter)
		}
		if m.Outcome == journal.RolledBack {
			hint = rolledBackHint(store, m, run.Plan())
		}
		return nil, hinted(hint, "run %s has already ended (%s)", id, m.Outcome)
	}
	if m.InstanceID == "" { // a clean-up that was begun elsewhere than on an instance
		return run, nil
	}
	self, err := e.identity(ctx)
	if err == nil && self.InstanceID != m.InstanceID {
		err = hinted("it was baked into the image; `snaptastic resume` moves it to damaged/", "run %s belongs to instance %s, this is %s", id, m.InstanceID, self.InstanceID)
	}
	if err == nil {
		err = e.reach(ctx)
	}
	if err != nil {
		_ = run.Close()
		return nil, err
	}
	return run, nil
}

// liveIsBusy says which run another process is at, and what to do.
func liveIsBusy(id plan.RunID, err error) error {
	if errors.Is(err, journal.ErrLive) {
		return &Error{Code: Busy, Err: plan.WithHint("`snaptastic status` shows how far it is", fmt.Errorf("run %s is live in another process", id))}
	}
	return err
}

// thawOwned frees what guards left frozen that were killed with their parents.
func (e *Engine) thawOwned(ctx context.Context, store *journal.Store) {
	thawed, err := guard.ThawOwned(ctx, frozenDir(store), false)
	for _, t := range thawed {
		if t.Outcome == guard.WasFrozen {
			e.log.Warn("thawed a file system that a killed run left frozen", "mount_point", t.Path, "run", t.Run)
		}
	}
	if err != nil {
		e.log.Error("cannot thaw everything that a killed run left frozen", "error", err)
	}
}
