package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"snaptastic/ec2"
	"snaptastic/journal"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/plan/units"
	"snaptastic/runner"
	"snaptastic/steps"
)

// Ended runs are kept at least this long, and at least this many of them.
const (
	keepRuns = 200
	keepFor  = 30 * 24 * time.Hour
)

// cleanWorkers is how many things a clean-up deletes at once. It is in no hurry, and EC2 allows an account some five
// changes a second in the long run, which the mounts and snapshots of a whole fleet share.
// Source: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
const cleanWorkers = 8

// action is what to do with an open run.
type action struct {
	rollback   bool
	redo, done []plan.StepID
	lanes      []string        // rollback of these only; never empty, nil for all
	undoNext   bool            // a failure is followed by a rollback
	quiet      bool            // no summary: it is the prelude to something else
	hooksOwed  bool            // a mount that was given up may have run a pre hook and not the post hook
	undid      bool            // another run was undone just before
	deleteKept map[string]bool // rollback: volumes to delete though they were in use once
}

// execute takes a run as far as it goes and records how it ended.
func (e *Engine) execute(ctx context.Context, store *journal.Store, run *journal.Run, act action) (RunResult, error) {
	defer run.Close()
	meta, p := run.Meta(), run.Plan()
	e.askForVolumes(ctx, store, p, act.rollback)
	way := e.serveWay(store, meta.Run, p)
	defer way.close() // when the journal and the claims are free
	conf, err := e.prepare(ctx, store, run, act, way)
	if err != nil {
		return RunResult{}, err
	}
	meta = run.Meta()
	if e.client != nil {
		e.client.OnCall(func(c ec2.Call) {
			run.AddCall(journal.Call{At: c.Sent, Seconds: c.Took.Seconds(), Action: c.Action, Code: c.Code, Throttled: c.Throttled})
		})
		defer e.client.OnCall(nil)
	}
	stream := e.newStream(store, run, conf, act)
	defer stream.close()
	log := e.log.With("run", meta.Run, "operation", p.Operation, "snapshotter", p.Snapshotter)
	log.Info("run begins", "undo", act.rollback)
	conf.Observe, conf.Window = stream.event, stream.window
	began, before := time.Now(), journal.Active(maps.Values(conf.Records), time.Time{})
	before = max(before, time.Duration(meta.ActiveSeconds*float64(time.Second)))
	end := RunResult{Run: meta.Run, Plan: p, Key: meta.Key, Rollback: act.rollback}
	if act.rollback {
		end.Result = runner.Rollback(ctx, conf)
	} else {
		end.Result = runner.Execute(ctx, conf)
	}
	stopped := e.takeDownStopped(ctx, run, conf, act, &end)
	stream.shown.Close()
	res := &end.Result
	log.Info("run ends", "outcome", res.Outcome, "duration", units.Logged(time.Since(began)))
	end.Took = before + time.Since(began)
	end.Undoing = act.undoNext && end.failed()
	stream.end(end)
	if err := recordOutcome(run, *res, act, end.Took); err != nil && res.Err == nil {
		res.Err = err
	}
	if !act.quiet {
		end.Notes = systemdNotes(ctx, end)
		e.Frontend.Ended(end)
	}
	if err := run.Close(); err != nil && res.Err == nil {
		res.Err = err
	}
	if res.Err == nil {
		e.cleanState(store)
	}
	err = resultError(ctx, end, act)
	if stopped && err == nil {
		err = interrupted(ctx)
	}
	return end, err
}

// prepare refuses what cannot be gone on with, ends what a killed process left, and says how to execute the run.
func (e *Engine) prepare(ctx context.Context, store *journal.Store, run *journal.Run, act action, way *wayGiver) (conf runner.Config, err error) {
	id, p := run.Meta().Run, run.Plan()
	if err := e.requireSharedMounts(p); err != nil {
		return conf, err
	}
	boot, err := e.bootID()
	if err != nil {
		return conf, err
	}
	if err := e.endHooks(ctx, store, id); err != nil {
		return conf, err
	}
	handlers, err := e.handlers(ctx, store, p, run.Meta().Key, act.deleteKept, way.channel())
	if err != nil {
		return conf, err
	}
	e.beginProcess(run, boot, act.rollback)
	if act.rollback {
		if err := startRollingBack(run, act.lanes); err != nil {
			return conf, err
		}
	}
	conf = runner.Config{Plan: p, Run: id, Records: run.Records(), Journal: run, Handlers: handlers, BootID: boot,
		AssumeDone: act.done, Redo: act.redo, Lanes: act.lanes,
		Undoing: func() error { return startRollingBack(run, nil) },
		Settle:  e.Settle, RetryMin: e.RetryMin}
	if p.Irreversible {
		conf.Workers = cleanWorkers
	}
	if p.ResumePolicy == plan.ResumeFirst { // nearly all of them only wait
		conf.Workers = max(64, len(p.Steps))
	}
	return conf, nil
}

// beginProcess records that this process takes up a run that was begun before. A journal that cannot be written says so at the
// first step.
func (e *Engine) beginProcess(run *journal.Run, boot string, rollback bool) {
	m := run.Meta()
	if n := len(m.Processes); n == 1 && m.Processes[0].PID == os.Getpid() && m.Processes[0].BootID == boot && m.Processes[0].Ended.IsZero() && !rollback {
		return // it made the run
	}
	m.AddProcess(e.process(boot, rollback))
	_ = run.SetMeta(m)
}

func (e *Engine) process(boot string, rollback bool) journal.Process {
	return journal.Process{PID: os.Getpid(), Version: e.Version, BootID: boot, Rollback: rollback, Began: time.Now().UTC()}
}

// failed: it can be resumed or rolled back.
func (e RunResult) failed() bool { return e.Result.Outcome == journal.RunFailed && e.Result.Err == nil }

// cleanState cleans the state folder up after a run.
func (e *Engine) cleanState(store *journal.Store) {
	if err := store.Prune(keepRuns, keepFor, time.Now()); err != nil {
		e.log.Warn("cannot prune old runs", "error", err)
	}
	if err := store.KeepReserve(); err != nil {
		e.log.Warn("cannot reserve space for the journal of a boot with a full disk", "error", err)
	}
}

// endHooks ends what is left of the run's hooks when the program was killed beside one: a second one must not start beside it.
// Nobody else is at the run, as its journal is ours.
func (e *Engine) endHooks(ctx context.Context, store *journal.Store, run plan.RunID) error {
	ended, err := linux.EndHooks(ctx, hookDir(store), string(run))
	for _, name := range ended {
		e.log.Warn("a hook of the killed program was still running and was terminated", "hook", name, "run", run)
	}
	if err != nil {
		return hinted("a process that waits for a frozen or dead device cannot be killed: if the device is frozen, run `snaptastic thaw --owned`", "cannot continue run %s: %w", run, err)
	}
	return nil
}

// startRollingBack makes durable that the run is being undone, and in which
// lanes: whoever goes on with it keeps to that.
func startRollingBack(run *journal.Run, lanes []string) error {
	m := run.Meta()
	if m.RollingBack && slices.Equal(m.UndoLanes, lanes) {
		return nil
	}
	m.RollingBack, m.UndoLanes = true, lanes
	return run.SetMeta(m)
}

func recordOutcome(run *journal.Run, res runner.Result, act action, took time.Duration) error {
	m := run.Meta()
	m.ActiveSeconds, m.Kept = took.Round(time.Millisecond).Seconds(), res.Kept
	m.Outcome = res.Outcome
	m.Ended = time.Now()
	m.EndProcess(m.Ended)
	if len(res.Failures) > 0 && m.Error == "" {
		m.Error = res.Failures[0].Err.Error()
	}
	if d := DrillOf(res.Records); d != nil && !d.OK && m.Error == "" {
		m.Error = "the set failed the drill: " + d.Reason
	}
	if m.Key != "" {
		m.Ending = ending(res, act.rollback)
	}
	if act.rollback && res.Outcome == journal.RolledBack && act.lanes != nil {
		m.Outcome = journal.Abandoned // its other lanes stay as they are, in use
	}
	if res.Err != nil {
		return nil // what is durable speaks for itself
	}
	return run.SetMeta(m)
}

// resultError turns how a run ended into an exit code.
func resultError(ctx context.Context, end RunResult, act action) error {
	run, res := end.Run, end.Result
	if _, ok := errors.AsType[*journal.LostError](res.Err); ok {
		return hinted("this run cannot be resumed or rolled back. Find out what deleted the state directory, then run the operation again: a mount adopts attached volumes, "+
			"and `aws ec2 describe-volumes --filters Name=tag:"+steps.TagRun+",Values="+string(run)+"` lists what the run created (and describe-snapshots)",
			"run %s stopped: %w", run, res.Err)
	}
	if res.Err != nil {
		return hinted("fix that (is the disk full?), then run `snaptastic resume "+string(run)+"`", "run %s stopped: %w", run, res.Err)
	}
	for _, f := range res.Failures {
		if f.NeedsOperator {
			return &Error{Code: NeedsOperator, Err: f.Err, InResult: true}
		}
	}
	switch {
	case res.Outcome == journal.Interrupted, res.Outcome == journal.Aborted && len(res.Failures) == 0:
		return interrupted(ctx)
	case len(res.Failures) == 0:
		if err := afterError(end); err != nil {
			return err
		}
		return drillError(res)
	case !act.rollback && (res.Outcome == journal.RunFailed || res.Outcome == journal.Aborted || end.Plan.ResumePolicy == plan.ResumeFirst) && len(res.Done) > 0 &&
		!slices.ContainsFunc(res.Failures, func(f runner.Failure) bool { return f.Lane == "" }): // that one was for all
		return &Error{Code: SomeLanes, Err: res.Failures[0].Err, InResult: true}
	}
	return &Error{Code: Failed, Err: res.Failures[0].Err, InResult: true}
}

// interrupted is the error of a run that was stopped.
func interrupted(ctx context.Context) error {
	err := context.Cause(ctx)
	if err == nil || errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	return &Error{Code: Interrupted, Err: err, InResult: true}
}

// afterError is the error of a run that did what it was for, and then could not lock what it made, or delete what is no longer
// kept: monitoring is to hear of it, and nothing is to be done again.
func afterError(end RunResult) error {
	if end.Rollback {
		return nil
	}
	for i := range end.Plan.Steps {
		s := &end.Plan.Steps[i]
		rec := end.Result.Records[s.ID]
		if s.Kind == steps.LockSnapshots.Kind && rec.State == journal.Failed {
			return &Error{Code: SomeLanes, Err: plan.WithHint("fix that; the next run locks the set that it makes, and `aws ec2 lock-snapshot` locks this one",
				fmt.Errorf("the new snapshots are labelled and can be restored, but they are not all locked: %s", rec.Error))}
		}
		if s.Kind == steps.ShareSet.Kind && s.Tolerated && rec.State == journal.Failed {
			return &Error{Code: SomeLanes, Err: plan.WithHint("fix that; `snaptastic run copy "+end.Plan.Snapshotter+"` shares what is not shared yet",
				fmt.Errorf("the new snapshots are labelled and can be restored, but they are not all shared: %s", rec.Error))}
		}
		if s.Tolerated && rec.State == journal.Failed && (s.Kind == steps.FindExpired.Kind || s.Kind == steps.DeleteSets.Kind) {
			return &Error{Code: SomeLanes, Err: plan.WithHint("fix that and run `snaptastic clean snapshots "+end.Plan.Snapshotter+"`, or leave it to the next run",
				fmt.Errorf("the new snapshots are labelled, but what is no longer kept was not all deleted: %s", rec.Error))}
		}
	}
	return nil
}

// protected are paths that must stay writable while file systems are frozen.
func (e *Engine) protected(store *journal.Store, p *plan.Plan) []linux.NamedPath {
	out := []linux.NamedPath{{Path: store.Dir(), What: "the journal"}}
	if exe, err := os.Executable(); err == nil {
		out = append(out, linux.NamedPath{Path: exe, What: "the program"})
	}
	for fd, what := range map[int]string{1: "the output", 2: "the log"} {
		if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && filepath.IsAbs(target) {
			if fi, err := os.Stat(target); err == nil && fi.Mode().IsRegular() {
				out = append(out, linux.NamedPath{Path: target, What: what})
			}
		}
	}
	if fi, err := os.Stat(e.EventFile); err == nil && fi.Mode().IsRegular() {
		out = append(out, linux.NamedPath{Path: e.EventFile, What: "the file of --events"})
	}
	return append(out, hookPrograms(p)...)
}
