package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// finishedRestore reads a run that has replaced volumes and came to its end. It is the one finished run that can be rolled back.
func finishedRestore(store *journal.Store, id plan.RunID) (m journal.Meta, p *plan.Plan, back map[string]recipe.Back, is bool, err error) {
	j, err := store.Read(id)
	if err != nil {
		return m, nil, nil, false, nil // opening the run for a rollback says what is wrong with it
	}
	defer j.Close()
	m, p = j.Meta(), j.Plan()
	op, _ := recipe.Named(p.Operation)
	if m.Outcome != journal.RunDone || !op.Replaces {
		return m, nil, nil, false, nil
	}
	records := j.Records()
	back, err = recipe.Replaced(p,
		func(id plan.StepID) json.RawMessage { return records[id].Input },
		func(id plan.StepID) json.RawMessage { return records[id].Output })
	return m, p, back, true, err
}

// goBack puts the volumes back that a finished restore replaced: by a run of its own, since what works on the volumes has to be
// stopped and started again, and since it may be cut off as well. The restored volumes are replaced in turn, and kept: somebody
// has written to them.
func (e *Engine) goBack(ctx context.Context, store *journal.Store, m journal.Meta, old *plan.Plan, back map[string]recipe.Back) (RunResult, error) {
	name := old.Snapshotter
	for _, l := range old.Lanes {
		if _, is := back[l.ID]; !is {
			return RunResult{}, hinted(fmt.Sprintf("to take the restored volumes off, run `snaptastic run unmount %s`", name),
				"cannot roll back run %s: no volume was attached for %s before it", m.Run, l.ID)
		}
	}
	defer e.useCloudConfigOf(m.CloudConfig)()
	op, err := operation(old.Operation)
	if err != nil {
		return RunResult{}, err
	}
	r, err := e.request(ctx, op, name, nil)
	if err != nil {
		return RunResult{}, err
	}
	if r.Target.InstanceID != m.InstanceID {
		return RunResult{}, hinted("run it on that instance", "run %s belongs to instance %s, this is %s", m.Run, m.InstanceID, r.Target.InstanceID)
	}
	r.Back = back
	r.Spec.Volumes = slices.DeleteFunc(slices.Clone(r.Spec.Volumes), func(v recipe.Volume) bool { _, is := back[v.MountPoint]; return !is })
	if len(r.Spec.Volumes) != len(back) {
		return RunResult{}, hinted("declare the volumes as they were when it ran", "cannot roll back run %s: the settings no longer declare all of its mount points", m.Run)
	}
	p, err := op.Plan(r)
	if err == nil {
		err = e.requireSharedMounts(p)
	}
	if err == nil {
		err = e.retry(ctx, e.client.Ready)
	}
	if err != nil {
		return RunResult{}, err
	}
	if err := e.confirm(ctx, fmt.Sprintf("roll back run %s of %s", m.Run, name), op.Question(r)); err != nil {
		return RunResult{}, err
	}
	run, act, err := e.resumeUnfinished(ctx, store, p)
	if err == nil && run == nil {
		run, err = e.beginRun(ctx, store, p, nil)
	}
	if err != nil {
		return RunResult{}, err
	}
	end, err := e.execute(ctx, store, run, act)
	if err == nil && end.Result.Outcome == journal.RunDone {
		err = e.markRolledBack(store, m.Run, end.Run)
	}
	return end, err
}

// markRolledBack ends a finished run as rolled back by another.
func (e *Engine) markRolledBack(store *journal.Store, id, by plan.RunID) error {
	run, err := store.Resume(id)
	if err != nil {
		return liveIsBusy(id, err)
	}
	defer run.Close()
	m := run.Meta()
	m.Outcome, m.Ended, m.UndoneBy = journal.RolledBack, time.Now(), by
	return run.SetMeta(m)
}

// rolledBackHint says what can be done about a run that is rolled back: undo the finished run that rolled it back, or start over.
func rolledBackHint(store *journal.Store, m journal.Meta, p *plan.Plan) string {
	for seen := 0; m.UndoneBy != "" && seen < keepRuns; seen++ { // it may have been undone in turn
		j, err := store.Read(m.UndoneBy)
		if err != nil {
			break
		}
		m = j.Meta()
		_ = j.Close()
		if m.Outcome == journal.RunDone {
			return fmt.Sprintf("run %s rolled it back: to undo that, run `snaptastic rollback %s`", m.Run, m.Run)
		}
	}
	if op, known := recipe.Named(p.Operation); known && p.Snapshotter != "" && op.Cleans == nil {
		return fmt.Sprintf("run `snaptastic run %s %s` to start over", op.Name, p.Snapshotter)
	}
	return ""
}

// A MountedAgain is a volume that was mounted before a run, and is mounted again since the run was undone.
type MountedAgain struct {
	VolumeID   string `json:"volume_id"`
	MountPoint string `json:"mount_point"`
}

// BackInPlace returns the volumes that an undone run had taken off and has mounted again, or that a run mounted in the place of those
// that had replaced them, in the order of the plan's lanes.
func BackInPlace(p *plan.Plan, records map[plan.StepID]journal.Record) (out []MountedAgain) {
	for _, l := range p.Lanes {
		var found, former, again string
		for i := range p.Steps {
			s := &p.Steps[i]
			r := records[s.ID]
			switch {
			case s.Lane != l.ID:
			case s.Kind == steps.FindVolume.Kind && r.Facts != nil:
				found = r.Facts.VolumeID
			case s.Kind == steps.FindReplaced.Kind && r.Facts != nil:
				former = r.Facts.VolumeID
			case s.Kind == steps.Unmount.Kind && r.Began() && r.Undo == journal.Undone:
				again = found
			case s.Kind == steps.Mount.Kind && r.State == journal.Done && r.Undo == "":
				again = former
			}
		}
		if again != "" {
			out = append(out, MountedAgain{again, l.Facts.MountPoint})
		}
	}
	return out
}
