package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/journal"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// mostSkew is how wrong this machine's clock may be for dates to be believed.
const mostSkew = 3 * time.Minute

// anyUnsaved is --unsaved without a duration.
const anyUnsaved = "any"

// cleaning is one `clean` command.
type cleaning struct {
	app  *app
	what string            // snapshots, volumes, images, instances or all
	op   *recipe.Operation // nil: only a report
	name string            // of the snapshotter; "" for everything of ours

	dryRun   bool
	unsaved  string
	allMine  bool
	cpuBelow float64
}

func cleanCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "clean " + strings.Join(cleanable(), "|") + " [NAME]", Short: "Delete what is expired, left over or unused; shows what and why, and asks",
		Args: unknownCleanable,
		Long: `Delete what is expired, left over or unused. With NAME, only what bears the filter
tags of that snapshotter; without, whatever Snaptastic made in the account and region.

It shows first what is deleted and why, and what is kept although it is due; then it
asks.
What is deleted cannot be brought back. A run that was cut off is finished by
"snaptastic resume RUN", and by no resume that does not name it.`,
		RunE: func(c *cobra.Command, args []string) error { return unknownCleanable(c, args) }}
	for _, op := range recipe.CleanUps() {
		c.AddCommand(cleanThings(a, op))
	}
	c.AddCommand(cleanInstances(a))
	return c
}

// cleanable are the words after `clean`.
func cleanable() (words []string) {
	for _, op := range recipe.CleanUps() {
		words = append(words, op.Word())
	}
	return slices.Insert(words, len(words)-1, "instances")
}

func unknownCleanable(c *cobra.Command, args []string) error {
	hint := "usage: snaptastic " + c.Use
	if len(args) == 0 {
		return &engine.Error{Code: engine.Usage, Err: fmt.Errorf("%s: what to clean is missing: %s", c.CommandPath(), strings.Join(cleanable(), ", ")), Hint: hint}
	}
	return &engine.Error{Code: engine.Usage, Err: fmt.Errorf("%s: %q cannot be cleaned; there are %s", c.CommandPath(), args[0], strings.Join(cleanable(), ", ")), Hint: hint}
}

func cleanThings(a *app, op *recipe.Operation) *cobra.Command {
	j := &cleaning{app: a, what: op.Word(), op: op}
	c := &cobra.Command{Use: j.what + " [NAME]", Short: op.Short, Args: between(0, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			j.name = strings.Join(args, "")
			return j.run(c.Context())
		}}
	f := c.Flags()
	f.BoolVar(&j.dryRun, "dry-run", false, "only show it")
	if slices.Contains(op.Cleans, snapset.VolumeResource) {
		f.StringVar(&j.unsaved, "unsaved", "", "also volumes whose last writes are in no snapshot; with a `duration`, only where the newest snapshot was begun so shortly before the volume was detached")
		f.Lookup("unsaved").NoOptDefVal = anyUnsaved
	}
	if slices.Contains(op.Cleans, snapset.ImageResource) {
		f.BoolVar(&j.allMine, "all-mine", false, "all images of the account, not only those with the filter tags of NAME")
	}
	if op.ReportsInstances {
		cpuFlag(c, &j.cpuBelow)
	}
	return c
}

// cleanUp reads the flags. Of images, without a name, nothing tells which are meant.
func (j *cleaning) cleanUp() (snapset.Cleanup, error) {
	c := snapset.Cleanup{Resources: slices.Clone(j.op.Cleans), AllImages: j.allMine}
	if j.name == "" && !j.allMine {
		c.Resources = slices.DeleteFunc(c.Resources, func(r snapset.Resource) bool { return r == snapset.ImageResource })
	}
	if len(c.Resources) == 0 {
		return c, &engine.Error{Code: engine.Usage, Err: errors.New("cannot tell whose images to clean: Snaptastic makes none itself"),
			Hint: "name a snapshotter to clean the images with its filter tags, or say --all-mine for every image of the account that no instance uses"}
	}
	if j.unsaved == "" {
		return c, nil
	}
	c.Unsaved = true
	if j.unsaved == anyUnsaved {
		return c, nil
	}
	gap, err := settings.ParseDuration(j.unsaved)
	if err != nil || gap <= 0 {
		return c, usageError("--unsaved %q is no duration such as 30m, 12h or 2d", j.unsaved)
	}
	c.Gap = gap
	return c, nil
}

func (j *cleaning) run(ctx context.Context) error {
	cleanUp, err := j.cleanUp()
	if err != nil {
		return err
	}
	filter, err := j.filter(ctx)
	if err != nil {
		return err
	}
	cloud, err := j.app.cloud(ctx)
	if err != nil {
		return err
	}
	now, err := cloudTime(ctx, cloud)
	if err != nil {
		return err
	}
	inv, err := j.look(ctx, cloud, cleanUp, now, filter)
	if err != nil {
		return err
	}
	decisions := snapset.Decide(cleanUp, inv)
	if err := j.show(cleanUp, decisions, now); err != nil {
		return err
	}
	if j.op.ReportsInstances {
		if err := j.reportInstances(ctx, cloud, now, filter); err != nil {
			j.app.log.Warn("cannot report on instances", "error", err)
		}
	}
	if j.dryRun || len(snapset.Deleted(decisions)) == 0 {
		return nil
	}
	return j.carryOut(ctx, cloud, decisions)
}

// filter is the filter tags of NAME. Without NAME a settings file is not needed; where there is one, its region counts.
func (j *cleaning) filter(ctx context.Context) (map[string]string, error) {
	if j.name == "" {
		var missing *engine.Error
		err := j.app.loadSettings()
		if errors.As(err, &missing) && errors.Is(err, settings.ErrNotFound) && j.app.settings == "" {
			return nil, nil
		}
		return nil, err
	}
	spec, err := j.app.spec(ctx, j.name)
	if err != nil {
		return nil, err
	}
	if len(spec.FilterTags) == 0 {
		return nil, hinted("leave the name away to clean up everything of Snaptastic's", "cannot clean %s of %s: it has no filter tags to know them by", j.what, j.name)
	}
	return spec.FilterTags, nil
}

// cloudTime is EC2's time: ages and dates are told by it. A machine whose clock is far off wrote wrong dates, too.
func cloudTime(ctx context.Context, cloud *ec2.Client) (time.Time, error) {
	skew, err := cloud.Skew(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if skew.Abs() > mostSkew {
		where := "behind"
		if skew < 0 {
			where = "ahead of"
		}
		return time.Time{}, hinted("set the clock (chronyc makestep, or systemctl restart systemd-timesyncd) and try again",
			"cannot clean up: this machine's clock is %s %s EC2's, and dates decide here", skew.Abs().Round(time.Second), where)
	}
	return time.Now().Add(skew), nil
}

// carryOut asks and then runs the plan.
func (j *cleaning) carryOut(ctx context.Context, cloud *ec2.Client, decisions []snapset.Decision) error {
	a := j.app
	if err := permitted(ctx, cloud, decisions); err != nil {
		return err
	}
	target := recipe.Target{}
	if id, err := a.identityNow(ctx); err == nil { // it can be done from elsewhere than an instance
		target.InstanceID = id.InstanceID
	}
	r := recipe.Request{Spec: recipe.Spec{Name: j.name}, Target: target, Decisions: decisions}
	p, err := j.op.Plan(r)
	if err != nil {
		return err
	}
	store, err := a.store()
	if err != nil {
		return err
	}
	if err := a.confirm(ctx, j.op.Name, j.op.Question(r)); err != nil {
		return err
	}
	run, err := a.beginRun(ctx, store, p)
	if err != nil {
		return err
	}
	if err := j.supersede(store, run); err != nil {
		_ = run.Close()
		return err
	}
	err = a.Execute(ctx, store, run)
	return err
}

// supersede ends older runs of the same command that were cut off or refused something: what they still had to do, the
// new plan has, too, by a newer look.
func (j *cleaning) supersede(store *journal.Store, by *journal.Run) error {
	runs, err := store.List()
	if err != nil {
		return err
	}
	for _, r := range runs {
		if r.Live || r.Problem != "" || r.Outcome.Ended() || r.Run == by.Meta().Run || r.Operation != by.Plan().Operation || r.Snapshotter != j.name {
			continue
		}
		old, err := store.Resume(r.Run)
		if err != nil {
			return err
		}
		m := old.Meta()
		m.Outcome, m.Ended = journal.Abandoned, time.Now()
		err = errors.Join(old.SetMeta(m), old.Close())
		if err != nil {
			return err
		}
		j.app.log.Info("an older clean-up that had not finished is superseded", "run", r.Run, "by", by.Meta().Run)
	}
	return nil
}

// permitted asks EC2 whether the credentials may delete each kind of resource, before anything is deleted.
func permitted(ctx context.Context, cloud *ec2.Client, decisions []snapset.Decision) error {
	denied, allowed := map[snapset.Resource]error{}, map[snapset.Resource]bool{}
	try := func(d snapset.Decision) {
		err := cloud.DryRun(ctx, recipe.DeleteAction(d.Resource), ec2.DryRunRequest{SnapshotID: d.ID, VolumeID: d.ID, ImageID: d.ID})
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

// unfinishedRuns are the runs of this state folder that can still go on, and the
// mount points of those that wait for somebody: also of what they have done, for
// a rollback undoes it.
func unfinishedRuns(a *app) (unfinished map[string]bool, claimed map[string]string, err error) {
	store, err := a.stateForLooking()
	if errors.Is(err, journal.ErrNoState) {
		return map[string]bool{}, map[string]string{}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	runs, err := store.List()
	if err != nil {
		return nil, nil, err
	}
	unfinished, claimed = map[string]bool{}, map[string]string{}
	for _, r := range runs {
		if !r.Live && r.Problem == "" && r.Outcome.Ended() {
			continue
		}
		unfinished[string(r.Run)] = true
		if r.Live || r.Problem != "" {
			continue
		}
		j, err := store.Read(r.Run)
		if errors.Is(err, journal.ErrLive) { // taken up meanwhile
			continue
		} else if err != nil {
			return nil, nil, err
		}
		claims := j.Plan().Claims()
		if err := j.Close(); err != nil {
			return nil, nil, err
		}
		for _, claim := range claims {
			if point, is := strings.CutPrefix(claim, "mount:"); is {
				claimed[point] = string(r.Run)
			}
		}
	}
	return unfinished, claimed, nil
}
