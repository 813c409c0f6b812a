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
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// mostSkew is how wrong this machine's clock may be for dates to be believed.
const mostSkew = 3 * time.Minute

// anyUnsaved is --unsaved without a duration.
const anyUnsaved = "any"

// cleaning is one `clean` command.
type cleaning struct {
	app  *app
	what string // snapshots, volumes, images or all
	name string // of the snapshotter; "" for everything of ours

	dryRun   bool
	unsaved  string
	allMine  bool
	cpuBelow float64
}

var cleanable = []string{"snapshots", "volumes", "images", "instances", "all"}

func cleanCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "clean snapshots|volumes|images|instances|all [NAME]", Short: "Delete what is expired, left over or unused; shows what and why, and asks",
		Args: unknownCleanable,
		Long: `Delete what is expired, left over or unused. With NAME, only what bears the filter
tags of that snapshotter; without, whatever Snaptastic made in the account and region.

It shows first what goes and why, and what stays though it seems due; then it asks.
What is deleted cannot be brought back. A run that was cut off is finished by
"snaptastic resume RUN", and by no resume that does not name it.`,
		RunE: func(c *cobra.Command, args []string) error { return unknownCleanable(c, args) }}
	c.AddCommand(cleanThings(a, "snapshots", "Delete expired snapshots, and unverified ones that a run left behind over a day ago"),
		cleanThings(a, "volumes", "Delete detached volumes that a run made and whose data is in a snapshot"),
		cleanThings(a, "images", "Deregister images that no instance uses, and delete their snapshots"),
		cleanInstances(a),
		cleanThings(a, "all", "Images, volumes, snapshots; and report instances with low CPU"))
	return c
}

func unknownCleanable(c *cobra.Command, args []string) error {
	hint := "usage: snaptastic " + c.Use
	if len(args) == 0 {
		return &engine.Error{Code: engine.Usage, Err: fmt.Errorf("%s: what to clean is missing: %s", c.CommandPath(), strings.Join(cleanable, ", ")), Hint: hint}
	}
	return &engine.Error{Code: engine.Usage, Err: fmt.Errorf("%s: %q cannot be cleaned; there are %s", c.CommandPath(), args[0], strings.Join(cleanable, ", ")), Hint: hint}
}

func cleanThings(a *app, what, short string) *cobra.Command {
	j := &cleaning{app: a, what: what}
	c := &cobra.Command{Use: what + " [NAME]", Short: short, Args: between(0, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			j.name = strings.Join(args, "")
			return j.run(c.Context())
		}}
	f := c.Flags()
	f.BoolVar(&j.dryRun, "dry-run", false, "only show it")
	if what == "volumes" || what == "all" {
		f.StringVar(&j.unsaved, "unsaved", "", "also volumes whose last writes are in no snapshot; with a `duration`, only where the newest snapshot was begun so shortly before the volume was detached")
		f.Lookup("unsaved").NoOptDefVal = anyUnsaved
	}
	if what == "images" || what == "all" {
		f.BoolVar(&j.allMine, "all-mine", false, "all images of the account, not only those with the filter tags of NAME")
	}
	if what == "all" {
		cpuFlag(c, &j.cpuBelow)
	}
	return c
}

// policy reads the flags.
func (j *cleaning) policy() (steps.CleanPolicy, error) {
	switch j.unsaved {
	case "":
		return steps.CleanPolicy{}, nil
	case anyUnsaved:
		return steps.CleanPolicy{Unsaved: true}, nil
	}
	gap, err := settings.ParseDuration(j.unsaved)
	if err != nil || gap <= 0 {
		return steps.CleanPolicy{}, usageError("--unsaved %q is no duration such as 30m, 12h or 2d", j.unsaved)
	}
	return steps.CleanPolicy{Unsaved: true, Gap: gap}, nil
}

func (j *cleaning) run(ctx context.Context) error {
	policy, err := j.policy()
	if err != nil {
		return err
	}
	if j.what == "images" && j.name == "" && !j.allMine {
		return &engine.Error{Code: engine.Usage, Err: errors.New("cannot tell whose images to clean: Snaptastic makes none itself"),
			Hint: "name a snapshotter to clean the images with its filter tags, or say --all-mine for every image of the account that no instance uses"}
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
	w, err := j.look(ctx, cloud, now, filter)
	if err != nil {
		return err
	}
	fates := j.judge(w, policy)
	if err := j.show(fates, now); err != nil {
		return err
	}
	if j.what == "all" {
		if err := j.reportInstances(ctx, cloud, now, filter); err != nil {
			j.app.log.Warn("cannot report on instances", "error", err)
		}
	}
	if j.dryRun || !slices.ContainsFunc(fates, func(f steps.Fate) bool { return f.Goes }) {
		return nil
	}
	return j.carryOut(ctx, cloud, fates)
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

// judge decides on everything that the command is about.
func (j *cleaning) judge(w steps.CleanWorld, policy steps.CleanPolicy) []steps.Fate {
	var fates []steps.Fate
	going := map[string]bool{}
	if j.what == "snapshots" || j.what == "all" {
		fates = steps.SnapshotFates(w)
		for _, f := range fates {
			going[f.ID] = f.Goes
		}
	}
	if j.what == "volumes" || j.what == "all" {
		fates = append(fates, steps.VolumeFates(w, policy, going)...)
	}
	if j.images() {
		all := w
		if j.allMine {
			all.Filter = nil
		}
		fates = append(fates, steps.ImageFates(all)...)
	}
	return fates
}

// images says whether images are to be cleaned.
func (j *cleaning) images() bool {
	return (j.what == "images" || j.what == "all") && (j.name != "" || j.allMine)
}

// carryOut asks and then runs the plan.
func (j *cleaning) carryOut(ctx context.Context, cloud *ec2.Client, fates []steps.Fate) error {
	a := j.app
	if err := permitted(ctx, cloud, fates); err != nil {
		return err
	}
	target := recipe.Target{}
	if id, err := a.identityNow(ctx); err == nil { // it can be done from elsewhere than an instance
		target.InstanceID = id.InstanceID
	}
	p, err := recipe.Clean(j.what, j.name, target, fates)
	if err != nil {
		return err
	}
	store, err := a.store()
	if err != nil {
		return err
	}
	if err := a.confirm(ctx, "clean "+j.what, fmt.Sprintf("Delete %s? Nothing brings it back.", tally(fates))); err != nil {
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

// permitted asks EC2 whether the credentials may delete each kind of thing, before anything is deleted.
func permitted(ctx context.Context, cloud *ec2.Client, fates []steps.Fate) error {
	action := map[steps.Thing]string{steps.SnapshotThing: "DeleteSnapshot", steps.VolumeThing: "DeleteVolume", steps.ImageThing: "DeregisterImage"}
	denied, allowed := map[steps.Thing]error{}, map[steps.Thing]bool{}
	try := func(f steps.Fate) {
		err := cloud.DryRun(ctx, action[f.Thing], ec2.DryRunRequest{SnapshotID: f.ID, VolumeID: f.ID, ImageID: f.ID})
		if ec2.ClassOf(err) == ec2.Denied { // anything else says nothing about the permission
			denied[f.Thing] = err
		} else {
			allowed[f.Thing] = true
		}
	}
	// A policy may go by tags, and so allow some and not others: the oldest of a kind and the newest stand for all.
	for _, inTurn := range []func([]steps.Fate) iter.Seq2[int, steps.Fate]{slices.All[[]steps.Fate], slices.Backward[[]steps.Fate]} {
		tried := map[steps.Thing]bool{}
		for _, f := range inTurn(fates) {
			if f.Goes && !tried[f.Thing] && !allowed[f.Thing] {
				tried[f.Thing] = true
				try(f)
			}
		}
	}
	for thing, err := range denied {
		if !allowed[thing] {
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
