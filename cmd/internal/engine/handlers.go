package engine

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"snaptastic/journal"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// handlers binds the step kinds to EC2 and to this machine. store is nil when
// a plan is only shown. key is that of the run, "" for none.
func (e *Engine) handlers(ctx context.Context, store *journal.Store, p *plan.Plan, key string, deleteKept map[string]bool, way <-chan struct{}) (plan.Handlers, error) {
	cloud, err := e.cloud(ctx)
	if err != nil {
		return nil, err
	}
	ask := e.identity
	if p.Instance == "" { // a clean-up is of no instance, and may run elsewhere
		ask = e.identityNow
	}
	id, err := ask(ctx)
	if err == nil && p.Instance != "" {
		err = e.ownRegion(ctx, id)
	}
	if err != nil && p.Instance != "" {
		return nil, err
	}
	host := linux.New(e.Roots)
	w := &steps.Env{
		Cloud: cloud, Host: host, Fstab: host.FstabLine, Version: e.Version, Key: key, PreviewOnly: store == nil, DeleteKept: deleteKept, GiveWay: way,
		Instance: steps.Instance{ID: id.InstanceID, Zone: id.Zone, Region: id.Region, Account: id.AccountID},
		Log:      e.log,
		HookOutput: func(step plan.StepID, line string) {
			e.log.Info(line, "step", step)
		},
	}
	w.CloudIn = func(ctx context.Context, region string) (steps.Cloud, error) { return cloud.In(ctx, region) }
	g := steps.Guards{Log: e.log}
	if store != nil {
		g.OwnedDir = frozenDir(store)
		w.HookDir = hookDir(store)
		w.Ahead, e.ahead = e.ahead, nil
		w.ScratchDir = filepath.Join(store.Dir(), "verify")
		w.Protected = e.protected(store, p)
		w.MaxLag = e.MaxLag
		w.SilentTime = e.silentTime()
		w.RecentlyLabelled = func() []string { return recentlyLabelled(store, p.Snapshotter, time.Now()) }
	}
	w.RunsHere = func(self plan.RunID) (steps.RunsHere, error) {
		here, err := e.runsHere(self)
		return here.RunsHere, err
	}
	w.ReadBy = func(volumeID string) plan.RunID { return e.readBy(p.Snapshotter, volumeID) }
	w.CloudTime = func(ctx context.Context) (time.Time, error) { return believedTime(ctx, cloud) }
	w.Freezer = g
	return steps.Handlers(w), nil
}

// recentWindow is how long EC2's answers are held against what this machine itself did: they lag for seconds.
const recentWindow = 5 * time.Minute

// recentlyLabelled are the snapshots that the snapshotter's newest finished run that labels snapshots labelled, when it ended a moment ago.
func recentlyLabelled(store *journal.Store, name string, now time.Time) (ids []string) {
	return labelledSince(store, name, now.Add(-recentWindow))
}

// labelledSince are those of the newest such run, if it ended at a time or later; of the runs of the last day alone.
func labelledSince(store *journal.Store, name string, since time.Time) (ids []string) {
	now := time.Now()
	for r := range store.Newest() {
		op, _ := recipe.Named(r.Operation)
		switch {
		case r.Problem != "": // this very run is live, and tells nothing
			continue
		case r.Created.Before(now.Add(-24 * time.Hour)): // none of the older ones ended in the last minutes
			return nil
		case r.Snapshotter != name || !op.LabelsSnapshots || r.Outcome != journal.RunDone:
			continue
		}
		if r.Ended.Before(since) {
			return nil
		}
		j, err := store.Read(r.Run)
		if err != nil {
			return nil
		}
		defer j.Close()
		if slices.ContainsFunc(j.Plan().Steps, func(s plan.Step) bool { return steps.LabelsNothing(&s) }) {
			continue
		}
		for _, s := range j.Plan().Steps {
			if rec := j.Records()[s.ID]; s.Kind == steps.TagSnapshots.Kind && rec.State == journal.Done && rec.Facts != nil {
				for _, one := range rec.Facts.Each {
					ids = append(ids, one.SnapshotID)
				}
			}
		}
		return ids
	}
	return nil
}

// readBy is the newest run of a snapshotter that has read all of a volume, or knows which one has; "" for none.
func (e *Engine) readBy(name, volumeID string) plan.RunID {
	store, err := e.readState()
	if err != nil {
		return ""
	}
	for r := range store.Newest() {
		if op, _ := recipe.Named(r.Operation); r.Snapshotter != name || !op.Warms || r.Problem != "" {
			continue
		}
		j, err := store.Read(r.Run)
		if err != nil {
			continue
		}
		records := j.Records()
		_ = j.Close()
		for _, rec := range records {
			if run := steps.ReadWhole(r.Run, rec.Facts, volumeID); run != "" && rec.State == journal.Done {
				return run
			}
		}
	}
	return ""
}

// hookPrograms are the programs that a plan's hooks run: on a frozen file
// system they could not be started to end the freeze of an application.
func hookPrograms(p *plan.Plan) []linux.NamedPath {
	var out []linux.NamedPath
	for i := range p.Steps {
		program := steps.HookProgram(&p.Steps[i])
		if program == "" {
			continue
		}
		path, err := exec.LookPath(program)
		if err == nil && !slices.ContainsFunc(out, func(n linux.NamedPath) bool { return n.Path == path }) {
			out = append(out, linux.NamedPath{Path: path, What: "a hook's program"})
		}
	}
	return out
}
