package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

func runCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "run mount|snapshot|unmount NAME", Short: "Compile, journal and execute an operation", Args: unknownOperation}
	for _, op := range []string{"mount", "snapshot", "unmount"} {
		c.AddCommand(operationCommand(a, op))
	}
	c.RunE = func(c *cobra.Command, args []string) error { return unknownOperation(c, args) }
	return c
}

func unknownOperation(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return &codeError{code: exitUsage, err: usageError("%s: the operation is missing: mount, snapshot or unmount", c.CommandPath()), hint: "usage: snaptastic " + c.Use}
	}
	return &codeError{code: exitUsage, err: usageError("%s: %q is not an operation; there are mount, snapshot and unmount", c.CommandPath(), args[0]), hint: "usage: snaptastic " + c.Use}
}

var operationShort = map[string]string{
	"mount":    "Mount a snapshotter's volumes, from their newest snapshots where they are not there yet",
	"snapshot": "Make consistent snapshots of a snapshotter's volumes",
	"unmount":  "Unmount and detach a snapshotter's volumes; they remain and are billed",
}

func operationCommand(a *app, op string) *cobra.Command {
	var o recipe.Options
	var onFailure string
	c := &cobra.Command{Use: op + " NAME", Short: operationShort[op], Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if onFailure != "stop" && onFailure != "rollback" {
				return usageError("--on-failure %q is neither stop nor rollback", onFailure)
			}
			return a.runOperation(c.Context(), op, args[0], o, onFailure == "rollback")
		}}
	a.patienceFlag(c)
	optionFlags(c, op, &o)
	if op != "snapshot" {
		privateMountsFlag(c, a)
	}
	c.Flags().StringVar(&onFailure, "on-failure", "stop", "what to do when it fails: `stop` (resumable), or rollback")
	return c
}

// optionFlags are the flags that change the plan; `run` and `plan` share them.
func optionFlags(c *cobra.Command, op string, o *recipe.Options) {
	switch op {
	case "mount":
		c.Flags().BoolVar(&o.AllowOlder, "allow-older", false, "pass over a newest snapshot that is archived or in the recycle bin")
		c.Flags().BoolVar(&o.MixSets, "mix-sets", false, "newest snapshot per mount point, even of different sets")
		c.Flags().BoolVar(&o.IgnoreMounted, "ignore-mounted", false, "leave a foreign volume under a device name alone and go on with the others")
	case "snapshot":
		c.Flags().BoolVar(&o.Wait, "wait", false, "wait until the snapshots are completed")
	}
}

func (a *app) runOperation(ctx context.Context, op, name string, o recipe.Options, rollback bool) error {
	if os.Geteuid() != 0 {
		return hinted("run it as root (sudo)", "cannot %s %s: only root may mount and freeze file systems", op, name)
	}
	adopted := op == "mount" && a.adoptOffline(ctx, name)
	if adopted && a.patience.flag == "" { // all is mounted: nobody has to wait for what EC2 says of it
		a.patience.until = time.Now().Add(lookPatience)
	}
	p, spec, err := a.compile(ctx, op, name, o)
	if err == nil {
		err = a.needSharedMounts(p)
	}
	if err == nil {
		err = a.patiently(ctx, a.client.Ready) // before there is a run to be resumed
	}
	if err != nil && adopted && !a.answers(ctx) {
		return a.unreconciled(name, err)
	}
	if err != nil {
		return err
	}
	store, err := a.store()
	if err != nil {
		return err
	}
	if op == "unmount" {
		if err := a.confirm(ctx, "unmount "+name, fmt.Sprintf("Unmount and detach %s of %s (what is detached remains and is billed)?", volumes(len(p.Lanes)), name)); err != nil {
			return err
		}
	}
	a.thawOwned(ctx, store)
	run, act, err := a.takeUp(ctx, store, p)
	if err != nil {
		return err
	}
	var left error     // of a snapshot: why some volumes are left out
	if act.hooksOwed { // what the older run's pre hook stopped is down, although all may be mounted
		o.HooksOwed = true
		if p, spec, err = a.compile(ctx, op, name, o); err != nil {
			return err
		}
	}
	if run == nil {
		if err := a.preflight(ctx, op, spec); err != nil {
			if adopted && !a.answers(ctx) {
				return a.unreconciled(name, err)
			}
			return err
		}
		if op == "snapshot" {
			run, left, err = a.beginSnapshot(ctx, store, p, spec, o)
		} else {
			run, err = a.beginRun(ctx, store, p)
		}
		if op == "mount" && journal.NoRoom(err) {
			return a.withoutJournal(ctx, name, err)
		}
		if err != nil {
			return err
		}
	}
	id := run.Meta().Run
	act.undoNext = rollback && !act.rollback
	res, err := a.execute(ctx, store, run, act)
	if rollback && !act.rollback && res.Outcome == journal.RunFailed && res.Err == nil {
		return a.rollbackAfter(ctx, store, id, err)
	}
	return a.leftOut(left, err)
}

// beginRun makes the journal of a new run.
func (a *app) beginRun(ctx context.Context, store *journal.Store, p *plan.Plan) (*journal.Run, error) {
	boot, err := a.bootID()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	m := journal.Meta{Run: journal.NewRunID(now), Version: version(), InstanceID: p.Instance, BootID: boot, Created: now, Reach: a.recordWay(ctx)}
	return store.Begin(m, p)
}

// takeUp looks for an unfinished run of the same operation on the same
// snapshotter. The same plan goes on where it was; a different one is first
// undone in the lanes that it left unfinished. Nothing of a live run is
// touched: beginning the new one will say that it is busy.
func (a *app) takeUp(ctx context.Context, store *journal.Store, p *plan.Plan) (*journal.Run, action, error) {
	runs, err := store.Unfinished()
	if err != nil {
		return nil, action{}, err
	}
	var act action
	for _, r := range runs {
		if !r.Live && r.Problem == "" && !r.Outcome.Ended() && a.ofAnotherInstance(ctx, r) {
			a.setAside(store, r, fmt.Sprintf("it is of instance %s (an image with a journal inside?) and this is %s", r.InstanceID, p.Instance))
			continue
		}
		if !unfinishedOf(r, p) {
			continue
		}
		same := r.Digest == p.Digest() && !r.RollingBack
		if same && p.Resumption == plan.Continue || same && p.Resumption == plan.Ask {
			if err := a.reach(ctx); err != nil {
				return nil, action{}, err
			}
			a.log.Info("taking up an unfinished run", "run", r.Run, "stood", standing(r))
			run, err := store.Resume(r.Run)
			return run, action{}, liveIsBusy(r.Run, err)
		}
		if p.Resumption == plan.Ask {
			continue // beginning says who is in the way and what to do
		}
		owed, err := a.undoUnfinished(ctx, store, r)
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
func (a *app) undoUnfinished(ctx context.Context, store *journal.Store, r journal.Summary) (hooksOwed bool, err error) {
	if err := a.reach(ctx); err != nil {
		return false, err
	}
	a.log.Info("undoing what an unfinished run left", "run", r.Run, "stood", standing(r))
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
	res, err := a.execute(ctx, store, run, act)
	if !res.Outcome.Ended() && err == nil {
		err = fmt.Errorf("it ended as %s", res.Outcome)
	}
	if unattended && res.Outcome == journal.RunFailed && res.Err == nil && !needsOperator(res) {
		return hooksOwed, a.letGo(store, r.Run, res, err)
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
func (a *app) letGo(store *journal.Store, id plan.RunID, res runner.Result, why error) error {
	run, err := store.Resume(id)
	if err != nil {
		return liveIsBusy(id, err)
	}
	defer run.Close()
	m := run.Meta()
	m.Outcome, m.Ended = journal.Abandoned, time.Now()
	if err := run.SetMeta(m); err != nil {
		return err
	}
	for _, f := range res.Failures {
		a.log.Warn("what an older run left cannot be undone", "run", id, "step", f.Step, "error", f.Err, "hint", f.Hint)
	}
	a.log.Warn("the older run is abandoned, so that this one can begin", "run", id, "because", why)
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

func (a *app) rollbackAfter(ctx context.Context, store *journal.Store, id plan.RunID, failure error) error {
	run, err := store.Resume(id)
	if err != nil {
		return err
	}
	if res, err := a.execute(ctx, store, run, action{rollback: true}); err != nil || !res.Outcome.Ended() {
		return err
	}
	var some *codeError
	if errors.As(failure, &some) && some.code == exitSomeLanes { // now none of its lanes is left
		return &codeError{code: exitFailed, err: some.err, said: some.said}
	}
	return failure
}

func volumes(n int) string {
	if n == 1 {
		return "the volume"
	}
	return fmt.Sprintf("the %d volumes", n)
}

// confirm asks on the terminal before it does what; without one, --yes is
// needed. A signal at the question ends it: what is typed after that counts for
// nothing.
func (a *app) confirm(ctx context.Context, what, question string) error {
	if a.yes {
		return nil
	}
	if !a.terminal(a.stdin) {
		return &codeError{code: exitUsage, err: fmt.Errorf("cannot %s: it asks first, and nobody is at a terminal to answer", what), hint: "say --yes to do it unasked"}
	}
	fmt.Fprint(a.stderr, render.Clean(question)+" [y/N] ")
	answer := make(chan string, 1)
	go func() { // a read of a terminal cannot be ended; after a signal the program is
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answer <- line
	}()
	var line string
	select {
	case line = <-answer:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		fmt.Fprintln(a.stderr)
		return context.Cause(ctx)
	}
	if s := strings.ToLower(strings.TrimSpace(line)); s != "y" && s != "yes" {
		return &codeError{code: exitFailed, err: errDeclined}
	}
	return nil
}

// errDeclined: somebody was asked and did not say yes.
var errDeclined = errors.New("nothing was done")
