package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// A CleanRequest asks what a clean-up would delete.
type CleanRequest struct {
	Operation string // of [CleanUps]
	Name      string // of the snapshotter; "" for everything of ours
	AllImages bool   // whatever their tags
	// LargerSets has the rules of a snapshotter decide on sets of many hosts that have more filter tags than it.
	LargerSets bool
	// Unsaved lets volumes be deleted whose last writes are in no snapshot; Gap limits that to volumes whose newest labelled
	// snapshot was begun at most so long before they were detached. 0: no limit.
	Unsaved  bool
	Gap      time.Duration
	CPUBelow float64 // percent; instances below it are reported
	// At shows what would be deleted then, if nothing changed until then; zero for now. Such a plan cannot be carried out.
	At time.Time
}

// ImageResource is the resource of decisions about images.
const ImageResource = snapset.ImageResource

// A CleanPlan is what a clean-up deletes and keeps, and why.
type CleanPlan struct {
	Name      string
	At        time.Time // by EC2's clock
	Decisions []snapset.Decision
	NoImages  bool       // images are left out: nothing tells which are meant
	Later     bool       // At is a time to come
	Idle      *Instances // where the operation reports them, and it could be found out

	op *recipe.Operation
}

// Deletes says whether there is anything to delete.
func (p CleanPlan) Deletes() bool { return len(snapset.Deleted(p.Decisions)) > 0 }

// Kept is how much the sets hold that a snapshotter keeps.
func (p CleanPlan) Kept() snapset.Holding { return snapset.KeptOf(p.Decisions) }

// Tally counts what is deleted.
func (p CleanPlan) Tally() string { return recipe.Tally(p.Decisions) }

// PlanClean decides what a clean-up deletes. It changes nothing.
func (e *Engine) PlanClean(ctx context.Context, r CleanRequest) (CleanPlan, error) {
	op, known := recipe.Named(r.Operation)
	if !known || op.Cleans == nil {
		return CleanPlan{}, usageError("%q is not a clean-up", r.Operation)
	}
	c := snapset.Cleanup{Resources: slices.Clone(op.Cleans), AllImages: r.AllImages, Unsaved: r.Unsaved, Gap: r.Gap}
	if r.Name == "" && !r.AllImages {
		c.Resources = slices.DeleteFunc(c.Resources, func(r snapset.Resource) bool { return r == snapset.ImageResource })
	}
	if len(c.Resources) == 0 {
		return CleanPlan{}, &Error{Code: Usage, Err: plan.WithHint("use NAME for images with the filter tags of that snapshotter, or --all-mine for every unused image of the account",
			errors.New("cannot clean images without NAME or --all-mine: Snaptastic creates no images itself"))}
	}
	cloud, now, filter, err := e.cleanable(ctx, op.Word(), r.Name)
	if err != nil {
		return CleanPlan{}, err
	}
	if !r.At.IsZero() && r.At.Before(now) {
		return CleanPlan{}, usageError("--at %s has passed: it shows what a later cleanup would delete", r.At.UTC().Format(time.RFC3339))
	}
	inv, err := e.inventory(ctx, cloud, c, filter)
	if err != nil {
		return CleanPlan{}, err
	}
	inv.Now = now
	if !r.At.IsZero() {
		now, inv.Now = r.At, r.At
	}
	if c.Has(snapset.SnapshotResource) {
		if inv.Policies, err = e.policies(ctx, r.Name, r.LargerSets); err != nil {
			return CleanPlan{}, err
		}
	}
	p := CleanPlan{Name: r.Name, At: now, Decisions: append([]snapset.Decision{}, snapset.Decide(c, inv)...), NoImages: len(c.Resources) < len(op.Cleans), Later: !r.At.IsZero(), op: op}
	if op.ReportsInstances {
		idle, err := idleInstances(ctx, cloud, now, filter, r.CPUBelow)
		if err != nil {
			e.log.Warn("cannot report on instances", "error", err)
		} else {
			p.Idle = &idle
		}
	}
	return p, nil
}

// cleanable says what belongs to a snapshotter, or to us, and what time it is.
func (e *Engine) cleanable(ctx context.Context, what, name string) (cloud *ec2.Client, now time.Time, filter map[string]string, err error) {
	if filter, err = e.filterOf(ctx, what, name); err != nil {
		return nil, now, nil, err
	}
	if cloud, err = e.cloud(ctx); err != nil {
		return nil, now, nil, err
	}
	now, err = believedTime(ctx, cloud)
	return cloud, now, filter, err
}

// filterOf is the filter tags of a snapshotter. Without a name a settings file is not needed; where there is one, its region counts.
func (e *Engine) filterOf(ctx context.Context, what, name string) (map[string]string, error) {
	if name == "" {
		err := e.loadSettings()
		if errors.Is(err, settings.ErrNotFound) {
			return nil, nil
		}
		return nil, err
	}
	spec, err := e.spec(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(spec.FilterTags) == 0 {
		return nil, hinted("omit NAME to clean up all that Snaptastic created", "cannot clean %s of %s: it has no filter tags", what, name)
	}
	return spec.FilterTags, nil
}

// policies are the rules of what a snapshotter keeps, or of what each one of the settings does; larger: of larger sets, too.
func (e *Engine) policies(ctx context.Context, name string, larger bool) (all []snapset.Policy, err error) {
	names := []string{name}
	if name == "" {
		if names = nil; e.file != nil {
			names = e.file.Keepers()
		}
	}
	for _, n := range names {
		spec, err := e.spec(ctx, n)
		if err != nil {
			return nil, err
		}
		if spec.Keep, err = e.keepHere(ctx, spec); err != nil {
			return nil, err
		}
		if spec.Keep != nil {
			if _, err := spec.Keep.Location(); err != nil {
				return nil, fmt.Errorf("cannot clean up by the rules of %s: %w", n, err)
			}
			all = append(all, snapset.Policy{Filter: spec.FilterTags, Keep: *spec.Keep, Larger: larger})
		}
	}
	return all, nil
}

// keepHere are the rules of what a snapshotter keeps in the region that is cleaned up: those of its copies there. Where this instance
// itself is, a copy block says how the copies of another account's sets are kept, and nothing if there are none.
func (e *Engine) keepHere(ctx context.Context, spec recipe.Spec) (*snapset.Keep, error) {
	if len(spec.Copies) == 0 {
		return spec.Keep, nil
	}
	region, err := e.client.Region(ctx)
	if err != nil {
		return nil, err
	}
	if id, err := e.identityNow(ctx); err == nil && id.Region == region && spec.CopyFrom == "" {
		return spec.Keep, nil
	}
	for _, d := range spec.Copies {
		if d.Region == region {
			return d.Keep, nil
		}
	}
	return spec.Keep, nil
}

// Clean asks, and then deletes what was decided.
func (e *Engine) Clean(ctx context.Context, c CleanPlan) (RunResult, error) {
	if c.Later {
		return RunResult{}, usageError("--at only shows what would be deleted: use it with --dry-run")
	}
	cloud, err := e.cloud(ctx)
	if err != nil {
		return RunResult{}, err
	}
	target := recipe.Target{}
	if id, err := e.identityNow(ctx); err == nil { // it can be done from elsewhere than an instance, and of another region
		if region, err := cloud.Region(ctx); err == nil && region == id.Region {
			target.InstanceID = id.InstanceID
		}
	}
	if err := permitted(ctx, cloud, c.Decisions, target.InstanceID); err != nil {
		return RunResult{}, err
	}
	r := recipe.Request{Spec: recipe.Spec{Name: c.Name}, Target: target, Decisions: c.Decisions}
	p, err := c.op.Plan(r)
	if err != nil {
		return RunResult{}, err
	}
	store, err := e.store()
	if err != nil {
		return RunResult{}, err
	}
	if err := e.confirm(ctx, c.op.Name, c.op.Question(r)); err != nil {
		return RunResult{}, err
	}
	run, err := e.beginRun(ctx, store, p, nil)
	if err != nil {
		return RunResult{}, err
	}
	if err := e.supersede(store, run); err != nil {
		_ = run.Close()
		return RunResult{}, err
	}
	return e.execute(ctx, store, run, action{})
}

// supersede ends older runs of the same command that were interrupted or failed in part: what they still had to do, the
// new plan has too, by a newer look.
func (e *Engine) supersede(store *journal.Store, by *journal.Run) error {
	runs, err := met(store, by.Plan(), false)
	if err != nil {
		return err
	}
	for _, r := range runs {
		if r.Action != EndAsIs {
			continue
		}
		old, err := store.Resume(r.Run)
		if err != nil {
			return err
		}
		if err := errors.Join(endAs(old.Journal, journal.Abandoned), old.Close()); err != nil {
			return err
		}
		e.log.Info("replacing an older unfinished cleanup", "run", r.Run, "by", by.Meta().Run)
	}
	return nil
}

// Deletes says whether a step of a clean-up deletes something, and does not merely prepare that.
func Deletes(s *plan.Step) bool {
	return slices.Contains([]plan.Kind{steps.DeleteSets.Kind, steps.DeleteSnapshot.Kind, steps.DeleteVolume.Kind, steps.DeregisterImage.Kind}, s.Kind)
}

// permitted asks EC2 whether the credentials may delete each kind of resource, before anything is deleted.
func permitted(ctx context.Context, cloud *ec2.Client, decisions []snapset.Decision, instance string) error {
	denied, allowed := map[snapset.Resource]error{}, map[snapset.Resource]bool{}
	try := func(d snapset.Decision) {
		on := ec2.DryRunRequest{SnapshotID: d.ID, VolumeID: d.ID, ImageID: d.ID}
		if d.Resource == snapset.SetResource {
			on.SnapshotID = d.Snapshots[0]
		}
		err := cloud.DryRun(ctx, recipe.DeleteAction(d.Resource), on)
		if err == nil || ec2.ClassOf(err) != ec2.Denied {
			if d.Drill != "" {
				err = cloud.DryRun(ctx, "DetachVolume", ec2.DryRunRequest{VolumeID: d.ID, InstanceID: instance, Device: d.Device})
			}
		}
		if ec2.ClassOf(err) == ec2.Denied { // anything else says nothing about the permission
			denied[d.Resource] = err
		} else {
			allowed[d.Resource] = true
		}
	}
	// A policy may go by tags, and so allow some and not others: the oldest of a kind and the newest stand for all.
	deleted := snapset.Deleted(decisions)
	for _, inTurn := range []iter.Seq2[int, snapset.Decision]{slices.All(deleted), slices.Backward(deleted)} {
		tried := map[snapset.Resource]bool{}
		for _, d := range inTurn {
			if !tried[d.Resource] && !allowed[d.Resource] {
				tried[d.Resource] = true
				try(d)
			}
		}
	}
	for resource, err := range denied {
		if !allowed[resource] {
			return fmt.Errorf("cannot clean up: %w", err)
		}
	}
	return nil
}
