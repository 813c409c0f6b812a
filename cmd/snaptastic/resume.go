package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
	"snaptastic/journal"
	"snaptastic/linux/guard"
	"snaptastic/plan"
	"snaptastic/runner"
)

func resumeCommand(a *app) *cobra.Command {
	var redo, done []string
	c := &cobra.Command{Use: "resume [RUN]", Short: "Finish what a crash left; without RUN what may be finished unattended", Args: between(0, "RUN"),
		Long: `Finish what a crash left.

Without RUN, interrupted runs only: mounts go on, at any boot; a snapshot run goes
on under the boot it began with and is otherwise thawed and undone; an unmount is
left for an operator, and so is a failed run. It is for every boot, and exits 0
when there is nothing to do.`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				if len(redo)+len(done) > 0 {
					return usageError("--redo and --assume-done need a RUN")
				}
				return a.resumeAll(c.Context())
			}
			return a.resumeOne(c.Context(), plan.RunID(args[0]), ids(redo), ids(done))
		}}
	privateMountsFlag(c, a)
	a.patienceFlag(c)
	c.Flags().StringSliceVar(&redo, "redo", nil, "do this uncertain `STEP` again")
	c.Flags().StringSliceVar(&done, "assume-done", nil, "take this uncertain `STEP` as done")
	return c
}

func ids(s []string) []plan.StepID {
	var out []plan.StepID
	for _, x := range s {
		out = append(out, plan.StepID(x))
	}
	return out
}

// needRoot refuses early what only root can do.
func needRoot(what string) error {
	if os.Geteuid() != 0 {
		return hinted("run it as root (sudo)", "cannot %s: only root may mount and freeze file systems", what)
	}
	return nil
}

// resumeAll goes on with what may go on unattended. One run's failure does not
// keep another from being finished; the worst exit code wins.
func (a *app) resumeAll(ctx context.Context) error {
	if err := needRoot("resume"); err != nil {
		return err
	}
	store, err := a.stateForLooking()
	if errors.Is(err, journal.ErrNoState) { // at the first boot
		a.log.Info(err.Error())
		return a.resumed(nil, 0)
	}
	if err != nil {
		return err
	}
	a.thawOwned(ctx, store)
	a.settingsIfAny() // for the patience that they ask for
	runs, err := store.Unfinished()
	if err != nil {
		return err
	}
	a.ends = []render.End{}
	resumed, worst := a.resumeEach(ctx, store, runs)
	return a.resumed(worst, resumed)
}

// resumed ends a resume of all runs: for programs a list of what each came to.
func (a *app) resumed(worst error, n int) error {
	switch {
	case a.json():
		return errors.Join(worst, render.SummariesJSON(a.stdout, a.ends))
	case n == 0 && worst == nil && a.waiting > 0:
		fmt.Fprintf(a.stdout, "nothing to resume unattended; %s for an operator: `snaptastic status` lists them\n", plural(a.waiting, "run")+map[bool]string{true: " waits", false: " wait"}[a.waiting == 1])
	case n == 0 && worst == nil:
		fmt.Fprintln(a.stdout, "nothing to resume")
	}
	return worst
}

func (a *app) resumeEach(ctx context.Context, store *journal.Store, runs []journal.Summary) (resumed int, worst error) {
	for _, r := range runs {
		if ctx.Err() != nil {
			return resumed, context.Cause(ctx)
		}
		did, err := a.resumeNext(ctx, store, r)
		if did {
			resumed++
		}
		if err != nil && worst != nil && !saidAlready(err) { // the first one is said at the end
			a.log.Error("cannot resume", "run", r.Run, "error", err)
		}
		worst = worse(worst, err)
	}
	return resumed, worst
}

// resumeNext does with one run of the list what a boot may do, the way that the run came to its EC2.
func (a *app) resumeNext(ctx context.Context, store *journal.Store, r journal.Summary) (did bool, err error) {
	switch {
	case r.Damaged:
		a.setAside(store, r, r.Problem)
		return false, hinted(journal.Traces(r.Run), "%s", r.Problem)
	case r.Problem != "" && !r.Live:
		a.log.Error("cannot read the journal of a run", "run", r.Run, "error", r.Problem)
		return false, hinted("", "%s", r.Problem)
	case r.Live || r.Outcome.Ended():
		return false, nil
	}
	defer a.goTheWayOf(r.Reach)()
	switch {
	case a.ofAnotherInstance(ctx, r):
		a.setAside(store, r, fmt.Sprintf("it is of instance %s (an image with a journal inside?) and this is %s", r.InstanceID, a.ident.InstanceID))
		return false, nil
	case r.Outcome == journal.RunFailed && !r.RollingBack:
		return false, nil
	}
	return a.resumeUnattended(ctx, store, r)
}

// saidAlready: a summary has told it.
func saidAlready(err error) bool {
	var ce *codeError
	return errors.As(err, &ce) && ce.said
}

// worse keeps the error with the higher claim on the exit code: the first one.
func worse(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (a *app) setAside(store *journal.Store, r journal.Summary, why string) {
	to, err := store.SetAside(r.Run)
	if err != nil {
		a.log.Error("cannot set a journal aside", "run", r.Run, "error", err)
		return
	}
	a.log.Warn("a journal was set aside", "run", r.Run, "why", why, "to", to)
}

// ofAnotherInstance: a failed run of it counts as well, since its claims would
// be in the way for ever. False where nobody can say.
func (a *app) ofAnotherInstance(ctx context.Context, r journal.Summary) bool {
	ask := a.identity
	if r.Outcome == journal.RunFailed && !r.RollingBack { // nobody goes on with it now: it is not worth a wait
		ask = a.identityNow
	}
	id, err := ask(ctx)
	return err == nil && r.InstanceID != "" && id.InstanceID != r.InstanceID
}

// resumeUnattended is what a boot may do with one interrupted run.
func (a *app) resumeUnattended(ctx context.Context, store *journal.Store, r journal.Summary) (bool, error) {
	if _, err := a.identity(ctx); err != nil {
		return false, err
	}
	run, err := store.Resume(r.Run)
	if errors.Is(err, journal.ErrLive) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	boot, err := a.bootID()
	if err != nil {
		_ = run.Close()
		return false, err
	}
	act := action{rollback: r.RollingBack, lanes: run.Meta().UndoLanes}
	switch run.Plan().Resumption {
	case plan.Ask:
		if run.Idle() {
			return false, a.endIdle(run)
		}
		_ = run.Close()
		a.waiting++
		a.log.Warn("an interrupted run waits for an operator", "run", r.Run, "operation", r.Operation, "snapshotter", r.Snapshotter,
			"finish", a.repeated.After("snaptastic resume "+string(r.Run)), "undo", a.repeated.After("snaptastic rollback "+string(r.Run)))
		return false, nil
	case plan.ContinueThisBoot:
		act.rollback = act.rollback || r.BootID != boot
	}
	if err := a.reach(ctx); err != nil {
		_ = run.Close()
		return false, err
	}
	a.log.Info("resuming", "run", r.Run, "operation", r.Operation, "snapshotter", r.Snapshotter, "undo", act.rollback)
	_, err = a.execute(ctx, store, run, act)
	return true, err
}

// endIdle ends a run that was cut off before it changed anything.
func (a *app) endIdle(run *journal.Run) error {
	defer run.Close()
	m := run.Meta()
	m.Outcome, m.Ended = journal.Aborted, time.Now()
	a.log.Info("an interrupted run had changed nothing, and has ended", "run", m.Run, "operation", run.Plan().Operation, "snapshotter", run.Plan().Snapshotter)
	return run.SetMeta(m)
}

func (a *app) resumeOne(ctx context.Context, id plan.RunID, redo, done []plan.StepID) error {
	if err := needRoot("resume"); err != nil {
		return err
	}
	store, err := a.stateOf(id)
	if err != nil {
		return err
	}
	a.thawOwned(ctx, store)
	run, err := a.openRun(ctx, store, id)
	if err != nil {
		return err
	}
	if err := inDoubt(run, redo, done); err != nil {
		_ = run.Close()
		return err
	}
	m := run.Meta()
	act := action{redo: redo, done: done, rollback: m.RollingBack, lanes: m.UndoLanes}
	if m.RollingBack {
		a.log.Info("a rollback of the run had begun; it goes on", "run", id)
	}
	_, err = a.execute(ctx, store, run, act)
	return err
}

// inDoubt refuses what an operator says of steps that there is nothing to say of.
func inDoubt(run *journal.Run, said ...[]plan.StepID) error {
	records := run.Records()
	for _, id := range slices.Concat(said...) {
		i := slices.IndexFunc(run.Plan().Steps, func(s plan.Step) bool { return s.ID == id })
		if i < 0 {
			return &codeError{code: exitUsage, err: fmt.Errorf("run %s has no step %q", run.Meta().Run, id), hint: "`snaptastic show " + string(run.Meta().Run) + "` lists them"}
		}
		if !runner.InDoubt(&run.Plan().Steps[i], records[id]) {
			return usageError("step %s is not in doubt: `resume` itself finds out what became of it", id)
		}
	}
	return nil
}

// openRun opens an unfinished run of this instance.
func (a *app) openRun(ctx context.Context, store *journal.Store, id plan.RunID) (*journal.Run, error) {
	run, err := store.Resume(id)
	if err != nil {
		return nil, liveIsBusy(id, err)
	}
	m := run.Meta()
	a.goTheWayOf(m.Reach)
	if m.Outcome.Ended() {
		_ = run.Close()
		hint := ""
		if m.Outcome == journal.Aborted && run.Plan().Snapshotter != "" {
			hint = fmt.Sprintf("it had changed no volume: `snaptastic run %s %s` begins anew", run.Plan().Operation, run.Plan().Snapshotter)
		}
		if m.Outcome == journal.RunDone && run.Plan().Operation == "mount" {
			hint = fmt.Sprintf("a finished mount is undone by `snaptastic run unmount %s`", run.Plan().Snapshotter)
		}
		return nil, hinted(hint, "run %s is over: %s", id, m.Outcome)
	}
	if m.InstanceID == "" { // a clean-up that was begun elsewhere than on an instance
		return run, nil
	}
	self, err := a.identity(ctx)
	if err == nil && self.InstanceID != m.InstanceID {
		err = hinted("it came with an image; `snaptastic resume` sets it aside", "run %s is of instance %s and this is %s", id, m.InstanceID, self.InstanceID)
	}
	if err == nil {
		err = a.reach(ctx)
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
		return &codeError{code: exitBusy, err: fmt.Errorf("run %s is live in another process", id), hint: "`snaptastic status` shows how far it is"}
	}
	return err
}

// thawOwned frees what guards left frozen that were killed with their parents.
func (a *app) thawOwned(ctx context.Context, store *journal.Store) {
	thawed, err := guard.ThawOwned(ctx, frozenDir(store), false)
	for _, t := range thawed {
		if t.Outcome == guard.WasFrozen {
			a.log.Warn("thawed a file system that a killed run had left frozen", "mount_point", t.Path, "run", t.Run)
		}
	}
	if err != nil {
		a.log.Error("cannot thaw all that a killed run left frozen", "error", err)
	}
}
