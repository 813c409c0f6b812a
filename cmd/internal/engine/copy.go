package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"snaptastic/ec2"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/plan/units"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// cloudIn is the client of a region; "" and the own one are the client itself.
func (e *Engine) cloudIn(ctx context.Context, region string) (*ec2.Client, error) {
	c, err := e.cloud(ctx)
	if err != nil {
		return nil, err
	}
	return c.In(ctx, region)
}

// lacking finds the sets to copy: it looks at the sets here, and at those in all destinations at once. A destination that does not answer,
// as when its region is lost, a manifest that is not right, or accounts that cannot be asked about, has a lane that fails with it, and keeps
// no other one from its copies.
func (e *Engine) lacking(ctx context.Context, op *recipe.Operation, r *recipe.Request) error {
	spec := r.Spec
	if op.Check != nil && op.Check(spec) != nil {
		return nil // compiling says it
	}
	now, err := e.cloudTime(ctx)
	if err != nil {
		return err
	}
	source, err := e.snapshotsIn(ctx, "", spec)
	if err != nil {
		return err
	}
	there := e.elsewhere(ctx, r)
	if spec.CopyFrom != "" {
		if err := e.lackingOfOthers(r, source, now); err != nil {
			return err
		}
	}
	if err := e.toShare(ctx, r, source); err != nil {
		return err
	}
	r.CopyFrom = r.Target.Region
	for _, d := range spec.Copies {
		if d.Region == r.Target.Region {
			if spec.CopyFrom != "" {
				continue // it says how the other account's sets are kept here
			}
			r.Notes = append(r.Notes, fmt.Sprintf("%s is the region of this instance: nothing is copied to it", d.Region))
			continue
		}
		look := there[d.Region]
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case look.err != nil:
			r.Unknown = append(r.Unknown, e.silent(d.Region, look.err))
			continue
		}
		if err := e.lackingIn(r, recipe.SetCopy{}, d, source, look.snapshots, now); err != nil {
			return fmt.Errorf("cannot find out which sets %s lacks: %w", d.Region, err)
		}
	}
	recipe.NameCopies(r.Copies)
	switch {
	case len(r.Unknown) > 0:
	case len(r.Copies) == 0 && (len(spec.Copies) > 0 || spec.CopyFrom != ""):
		r.Notes = append(r.Notes, "nothing to copy")
	case len(r.Copies)+len(r.Shares) == 0:
		r.Notes = append(r.Notes, "nothing to share")
	}
	return nil
}

const (
	// lookTime is how long the copies to other destinations wait for the first answers of all.
	lookTime = 3 * time.Second
	// checkCopiesTime is how long a check waits for destinations.
	checkCopiesTime = 15 * time.Second
)

// A look is what a region showed.
type look struct {
	snapshots []ec2.Snapshot
	err       error
}

// elsewhere looks at all destinations in other regions at the same time. A run waits lookTime for them, and then has the lanes of the
// others begin: see silent.
func (e *Engine) elsewhere(ctx context.Context, r *recipe.Request) map[string]look {
	until := e.patientUntil()
	switch {
	case e.answersAgain: // there is nothing else to do meanwhile
		until = time.Now().Add(defaultPatience)
	case e.patience.unattended && e.keyed == nil:
		until = time.Now().Add(lookTime)
	}
	var regions []string
	for _, d := range r.Spec.Copies {
		regions = append(regions, d.Region)
	}
	return e.lookAt(ctx, regions, r.Spec.FilterTags, until)
}

// lookAt asks all regions but the own one at once for the snapshots with the tags, until a time. It shows nothing of the own one.
func (e *Engine) lookAt(ctx context.Context, regions []string, tags map[string]string, until time.Time) map[string]look {
	own, err := e.client.Region(ctx)
	var asking sync.WaitGroup
	looks := make([]look, len(regions))
	for i, region := range regions {
		if looks[i].err = err; err != nil || region == own {
			continue
		}
		asking.Go(func() {
			there, err := e.cloudIn(ctx, region)
			if err == nil {
				err = ec2.Patience{Until: until}.Retry(ctx, func(ctx context.Context) (err error) {
					looks[i].snapshots, err = there.Snapshots(ctx, ec2.SnapshotQuery{Tags: literally(tags)})
					return err
				})
			}
			looks[i].err = err
		})
	}
	asking.Wait()
	of := map[string]look{}
	for i, region := range regions {
		if region != own || err != nil {
			of[region] = looks[i]
		}
	}
	return of
}

// silent is the lane of a destination that could not be looked at. Where that may change it asks on for as long as the command is patient,
// beside the copies to the others; once it answers, the command looks again at what it lacks. One with a key is a single run: it leaves that
// to the next one.
func (e *Engine) silent(region string, err error) recipe.Unknown {
	u := recipe.Unknown{Name: region, Why: fmt.Sprintf("cannot find out which sets %s lacks: %v", region, err),
		Hint: "the next `run copy` copies what it lacks; remove its copy block if the region is no destination any more"}
	left := time.Until(e.patientUntil())
	if e.patience.unattended && e.keyed == nil && !e.answersAgain && left > 0 && temporary(err) {
		u.Region, u.AskFor = region, left
	}
	return u
}

// temporary: a region that was asked may answer soon.
func temporary(err error) bool {
	fault, is := errors.AsType[*ec2.Fault](err)
	return is && (fault.IsTemporary() || fault.Class == ec2.Canceled)
}

// answeredMeanwhile: a destination that could not be looked at answered while the run was under way.
func answeredMeanwhile(end RunResult) bool {
	return slices.ContainsFunc(end.Plan.Steps, func(s plan.Step) bool {
		return s.Kind == steps.FindLacking.Kind && end.Result.Records[s.ID].State == journal.Done
	})
}

// lackingIn adds what one destination lacks. like has what all these copies have in common.
func (e *Engine) lackingIn(r *recipe.Request, like recipe.SetCopy, d recipe.Destination, source, there []ec2.Snapshot, now time.Time) error {
	decisions, err := snapset.CopyTo{Region: d.Region, Filter: r.Spec.FilterTags, Keep: d.Keep, Source: source, There: e.withoutUndone(there), Now: now}.Lacking()
	if err != nil {
		return err
	}
	kept := 0
	for _, one := range decisions {
		switch {
		case one.Copy:
			like.CopyDecision, like.KMSKeyID = one, d.KMSKeyID
			r.Copies = append(r.Copies, like)
		case one.Why == "":
			kept++
		default:
			r.Notes = append(r.Notes, fmt.Sprintf("%s: set %s is not copied: %s", d.Region, one.Set, one.Why))
		}
	}
	if kept > 0 {
		r.Notes = append(r.Notes, d.Region+" has "+units.Count(kept, "set", "sets")+" already")
	}
	return nil
}

// withoutUndone leaves out the copies that rollbacks on this machine have deleted, and that EC2 may still show: nobody is copying these sets.
func (e *Engine) withoutUndone(there []ec2.Snapshot) []ec2.Snapshot {
	store, err := journal.FindStore(e.StateDir)
	if err != nil {
		return there
	}
	undone := map[string]map[string]bool{} // by run, the tokens
	return slices.DeleteFunc(slices.Clone(there), func(s ec2.Snapshot) bool {
		run := s.Tags[snapset.TagRun]
		if snapset.OriginOf(s) != snapset.OriginUnverified || !snapset.OurCopy(s) || !store.Exists(plan.RunID(run)) {
			return false
		}
		if undone[run] == nil {
			undone[run] = undoneBy(store, plan.RunID(run))
		}
		return undone[run][s.Tags[snapset.TagToken]]
	})
}

// undoneBy are the tokens of what a run made and undid.
func undoneBy(store *journal.Store, run plan.RunID) map[string]bool {
	tokens := map[string]bool{}
	j, err := store.Read(run)
	if err != nil { // it is live, or damaged: then nothing is known of it
		return tokens
	}
	defer j.Close()
	for _, rec := range j.Records() {
		if rec.Undo == journal.Undone {
			tokens[rec.Token] = true
		}
	}
	return tokens
}

// snapshotsIn are the snapshots of a snapshotter in a region.
func (e *Engine) snapshotsIn(ctx context.Context, region string, spec recipe.Spec) (all []ec2.Snapshot, err error) {
	c, err := e.cloudIn(ctx, region)
	if err != nil {
		return nil, err
	}
	err = e.retry(ctx, func(ctx context.Context) (err error) {
		all, err = c.Snapshots(ctx, ec2.SnapshotQuery{Tags: literally(spec.FilterTags)})
		return err
	})
	return all, err
}
