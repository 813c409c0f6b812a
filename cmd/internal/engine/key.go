package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps/recipe"
)

// A keyed is a run that is asked for by a key: whoever asks again gets the same run.
type keyed struct {
	key   string
	asked string // what for, as a command line
	lock  *journal.KeyLock
}

// joinEvery is how often a process that waits for another one's run looks whether that is over.
const joinEvery = 50 * time.Millisecond

// runKeyed does what the key was first asked to do: it prints what came of it, waits for the process that is at it, goes on
// with it, or begins it. Where it is to begin, done is false, and the lock of the key is the caller's until release.
func (e *Engine) runKeyed(ctx context.Context, op *recipe.Operation, r RunRequest) (end RunResult, done bool, release func(), err error) {
	release = func() {}
	if err := journal.CheckKey(r.Key); err != nil {
		return end, true, release, usageError("--key: %w", err)
	}
	store, err := e.store()
	if err != nil {
		return end, true, release, err
	}
	k := &keyed{key: r.Key, asked: asked(op, r)}
	joined := false
	for {
		if k.lock, err = store.LockKey(r.Key); err == nil {
			break
		}
		if !errors.Is(err, journal.ErrLive) {
			return end, true, release, err
		}
		if id := store.RunOfKey(r.Key); id != "" {
			joined = e.join(ctx, store, id) || joined
		}
		if !wait(ctx, joinEvery) {
			return end, true, release, interrupted(ctx)
		}
	}
	end, done, err = e.continueKeyed(ctx, store, k, store.RunOfKey(r.Key), joined)
	if done {
		k.lock.Release()
		return end, true, release, err
	}
	e.keyed = k
	return end, false, func() { e.keyed = nil; k.lock.Release() }, nil
}

// wait waits; false when the context has ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// asked writes a request as a command line, the same for the same request.
func asked(op *recipe.Operation, r RunRequest) string {
	words := []string{op.Name, r.Name}
	for _, name := range slices.Sorted(maps.Keys(r.Options)) {
		i := slices.IndexFunc(op.Flags, func(f recipe.Flag) bool { return f.Name == name })
		if i >= 0 && r.Options[name] != op.Flags[i].Default {
			words = append(words, fmt.Sprintf("--%s=%v", name, r.Options[name]))
		}
	}
	if r.RollBack {
		words = append(words, "--on-failure=rollback")
	}
	return strings.Join(words, " ")
}

// continueKeyed goes on with the run of a key, or prints what came of it. done is false where a run is to begin: there is
// none, or a signal ended it before it changed anything. The key is locked, so that nobody else begins one.
func (e *Engine) continueKeyed(ctx context.Context, store *journal.Store, k *keyed, id plan.RunID, joined bool) (end RunResult, done bool, err error) {
	if id == "" {
		return end, false, nil
	}
	var j *journal.Journal
	for {
		if j, err = store.Read(id); !errors.Is(err, journal.ErrLive) {
			break
		}
		joined = e.join(ctx, store, id) || joined // `resume` is at it
		if !wait(ctx, joinEvery) {
			return end, true, interrupted(ctx)
		}
	}
	if _, damaged := errors.AsType[*journal.DamagedError](err); damaged || store.IsDamaged(id) {
		return end, true, &Error{Code: NeedsOperator, Err: plan.WithHint("find out what it made (`aws ec2 describe-snapshots --filters Name=tag:snaptastic:key,Values="+k.key+"`), and use another key",
			fmt.Errorf("the journal of run %s, which has the key %s, is damaged", id, k.key))}
	}
	if !store.Exists(id) {
		return end, false, nil // it was cut off before there was a journal
	}
	if err != nil {
		return end, true, err
	}
	m, p := j.Meta(), j.Plan()
	details := detailsOf(m, p, j.Records())
	_ = j.Close()
	if m.Key != k.key || m.Asked != k.asked {
		return end, true, usageError("key %s is that of run %s, which is another command: `run %s`, not `run %s`", k.key, id, m.Asked, k.asked)
	}
	if m.Outcome == journal.Aborted && (m.Ending == nil || len(m.Ending.Failures) == 0) {
		return end, false, nil
	}
	if self, err := e.identityNow(ctx); err == nil && m.InstanceID != "" && self.InstanceID != m.InstanceID {
		return end, true, usageError("key %s is that of run %s of instance %s, this is %s", k.key, id, m.InstanceID, self.InstanceID)
	}
	if !m.Outcome.Ended() {
		end, err = e.resumeKeyed(ctx, store, k, details)
		return end, true, err
	}
	end = endingOf(details)
	if !joined {
		if sink, is := e.Frontend.Observe(details).(EventSink); is {
			sink.Take(endedEvent(end, m.Ended))
		}
	}
	e.Frontend.Ended(end)
	return end, true, keyError(ctx, end, m)
}

// resumeKeyed goes on with the interrupted or failed run of a key.
func (e *Engine) resumeKeyed(ctx context.Context, store *journal.Store, k *keyed, details RunDetails) (RunResult, error) {
	e.thawOwned(ctx, store)
	run, err := e.openRun(ctx, store, details.Run)
	if err != nil {
		return RunResult{}, err
	}
	boot, err := e.bootID()
	if err != nil {
		_ = run.Close()
		return RunResult{}, err
	}
	m := run.Meta()
	act := action{rollback: m.RollingBack || Decide(ToResume, details.Summary, Situation{Boot: boot}).Action == Undo, lanes: m.UndoLanes}
	e.log.Info("resuming the run of a key", "run", details.Run, "key", k.key, "undo", act.rollback)
	end, err := e.execute(ctx, store, run, act)
	if err == nil {
		err = keyError(ctx, end, m)
	}
	return end, err
}

// keyError is the error of a run whose operation is not done, whatever its last process was about.
func keyError(ctx context.Context, end RunResult, m journal.Meta) error {
	switch o := end.Result.Outcome; {
	case len(end.Result.Failures) == 0 && (o == journal.RolledBack || o == journal.Abandoned):
		return hinted("use another key to run it again", "run %s of key %s did not do what it was for: it is %s", end.Run, m.Key, o)
	case m.LeftOut != "" && o == journal.RunDone:
		if err := resultError(ctx, end, action{rollback: end.Rollback}); err != nil {
			return err
		}
		return &Error{Code: SomeLanes, Err: errors.New(m.LeftOut)}
	}
	return resultError(ctx, end, action{rollback: end.Rollback})
}

// endingOf is the result of a run that ended, from its journal.
func endingOf(d RunDetails) RunResult {
	end := RunResult{Run: d.Run, Plan: d.Plan, Key: d.Key, Repeated: true, Took: time.Duration(d.ActiveSeconds * float64(time.Second)),
		Result: runner.Result{Outcome: d.Outcome, Records: d.Records, Kept: d.Kept}}
	if last := d.Ending; last != nil {
		end.Rollback, end.Result.Done, end.Result.FailedLanes = last.Rollback, last.Done, last.Failed
		for _, f := range last.Failures {
			err := errors.New(f.Error)
			if f.Hint != "" {
				err = plan.WithHint(f.Hint, err)
			}
			end.Result.Failures = append(end.Result.Failures, runner.Failure{Step: f.Step, Lane: f.Lane, Err: err, NeedsOperator: f.NeedsOperator})
		}
	}
	return end
}

// ending is what is recorded of a result for endingOf.
func ending(res runner.Result, rollback bool) *journal.Ending {
	last := &journal.Ending{Rollback: rollback, Done: res.Done, Failed: res.FailedLanes}
	for _, f := range res.Failures {
		last.Failures = append(last.Failures, journal.Failure{Step: f.Step, Lane: f.Lane, Error: f.Err.Error(), Hint: plan.HintOf(f.Err), NeedsOperator: f.NeedsOperator})
	}
	return last
}

// join shows a live run until its process is done with it, and says whether it could.
func (e *Engine) join(ctx context.Context, store *journal.Store, id plan.RunID) bool {
	var shown Observer
	var sink EventSink
	var step func(plan.StepID) *plan.Step
	_ = follow(ctx, store.Socket(id), func(s status) {
		steps := stepsOf(s.Plan)
		step = func(id plan.StepID) *plan.Step { return steps[id] }
		live := liveRun(s, step)
		e.log.Info("waiting for the run of the same key, which is live", "run", id, "pid", s.PID)
		shown = e.Frontend.Observe(live.RunDetails)
		sink, _ = shown.(EventSink)
		for _, ev := range live.Events() {
			if sink != nil {
				sink.Take(ev)
			}
		}
	}, func(ev Event) {
		if ev.Event != RunStarted && ev.Event != RunEnded {
			shown.Event(ev.runner(step))
		}
		if sink != nil {
			sink.Take(ev)
		}
	})
	if shown != nil {
		shown.Close()
	}
	return shown != nil
}

// keyBegins records that a new run is the one of the key.
func (e *Engine) keyBegins(m *journal.Meta) error {
	if e.keyed == nil {
		return nil
	}
	m.Key, m.Asked = e.keyed.key, e.keyed.asked
	return e.keyed.lock.Begins(m.Run)
}
