package engine

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/plan/units"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// compile reads the settings and makes the plan of an operation on a
// snapshotter, for this instance.
func (e *Engine) compile(ctx context.Context, op *recipe.Operation, name string, o recipe.Options) (*plan.Plan, recipe.Request, error) {
	r, err := e.request(ctx, op, name, o)
	if err != nil {
		return nil, r, err
	}
	if err := checkInstant(o, time.Now()); err != nil {
		return nil, r, err
	}
	p, err := op.Plan(r)
	if _, asked := errors.AsType[*recipe.OptionError](err); asked {
		err = &Error{Code: Usage, Err: err}
	}
	return p, r, err
}

// checkInstant refuses a freeze at an instant that is over, or far ahead. What is no time is the recipe's to refuse.
func checkInstant(o recipe.Options, now time.Time) error {
	at, err := time.Parse(time.RFC3339Nano, o.Text(recipe.At))
	switch {
	case err != nil:
		return nil
	case !at.After(now):
		return usageError("--at %s is over, it is %s", o.Text(recipe.At), now.UTC().Format(time.RFC3339Nano))
	case at.Sub(now) > steps.MaxArm:
		return usageError("--at %s is more than %s ahead: begin nearer to it, for example with a timer", o.Text(recipe.At), units.Took(steps.MaxArm))
	}
	return nil
}

// checkClock refuses to arm a freeze on a clock that may be wrong, before there is a run.
func (e *Engine) checkClock(o recipe.Options) error {
	if o.Text(recipe.At) == "" || o.Bool(recipe.TrustClock) {
		return nil
	}
	clock, err := linux.New(e.Roots).Clock()
	if err != nil || clock.Synchronized {
		return err
	}
	return hinted(steps.ClockHint, "not ready: %w", steps.ErrClock)
}

// request is what an operation on a snapshotter is compiled from.
func (e *Engine) request(ctx context.Context, op *recipe.Operation, name string, o recipe.Options) (recipe.Request, error) {
	r := recipe.Request{Options: o}
	var err error
	if r.Spec, err = e.readSpec(ctx, name, mountPoints(op), e.warn); err != nil {
		return r, err
	}
	id, err := e.identity(ctx)
	if err == nil {
		err = e.ownRegion(ctx, id)
	}
	if err != nil {
		return r, err
	}
	r.Target = recipe.Target{InstanceID: id.InstanceID, Region: id.Region, Zone: id.Zone, AccountID: id.AccountID}
	r.Spec.ShareWith = othersThan(id.AccountID, r.Spec.ShareWith)
	if from := o.Text(recipe.From); from != "" {
		if r.Spec.CopyFrom, err = filepath.Abs(from); err != nil {
			return r, err
		}
	}
	if r, err = e.chosenVolumes(ctx, op, r); err != nil {
		return r, err
	}
	if op.Scratch {
		r.Spares, err = e.spares(ctx, r.Spec, id.InstanceID)
	}
	if op.Elsewhere {
		err = e.lacking(ctx, op, &r)
	}
	return r, err
}

// operation finds an operation by its name.
func operation(name string) (*recipe.Operation, error) {
	op, known := recipe.Named(name)
	if !known || op.Cleans != nil {
		return nil, usageError("unknown operation %q", name)
	}
	return op, nil
}

// spec evaluates one snapshotter of the settings file.
func (e *Engine) spec(ctx context.Context, name string) (recipe.Spec, error) {
	return e.readSpec(ctx, name, nil, e.warn)
}

func (e *Engine) warn(w *settings.Error) { e.log.Warn(w.Error()) }

// mountPoints says where mount points lead to. Not every operation minds who made the symlinks on the way, and what they
// lead to: what is mounted somewhere can be snapshotted and unmounted.
func mountPoints(op *recipe.Operation) func(string) (string, error) {
	if op.StrictMountPoints {
		return linux.ResolveMountPoint
	}
	return func(p string) (string, error) { return linux.LeadsTo(p), nil }
}

// readSpec evaluates one snapshotter, with mount points followed to where they lead unless leadsTo is nil. warn is told what
// is accepted but should be changed.
func (e *Engine) readSpec(ctx context.Context, name string, leadsTo func(string) (string, error), warn func(*settings.Error)) (recipe.Spec, error) {
	if err := e.loadSettings(); err != nil {
		return recipe.Spec{}, err
	}
	given, err := e.UserData()
	if err != nil {
		return recipe.Spec{}, err
	}
	sc := settings.Context{UserData: given, UserDataFrom: "--userdata", Environ: e.Environ,
		Instance: func() (settings.Instance, error) { return e.settingsInstance(ctx) },
		LeadsTo:  leadsTo,
		Warn:     warn,
	}
	if given == nil {
		sc.UserDataFrom = "instance userdata"
		sc.UserDataFunc = func() ([]byte, error) {
			c, err := e.cloud(ctx)
			if err != nil {
				return nil, err
			}
			var data []byte
			err = e.retry(ctx, func(ctx context.Context) (err error) {
				data, err = c.Metadata().UserData(ctx)
				return err
			})
			return data, err
		}
	}
	spec, err := e.file.Spec(name, sc)
	if err == nil && given != nil { // the instance's own may be anything as long as nobody needs it; this was said
		err = settings.CheckUserdata(given, "--userdata")
	}
	var (
		diags   *settings.Error
		unknown *settings.UnknownSnapshotter
		fault   *ec2.Fault
	)
	if err != nil && !errors.As(err, &diags) && !errors.As(err, &unknown) && !errors.As(err, &fault) {
		err = &Error{Code: Usage, Err: err}
	}
	return spec, err
}

func (e *Engine) settingsInstance(ctx context.Context) (settings.Instance, error) {
	id, err := e.identity(ctx)
	if err != nil {
		return settings.Instance{}, err
	}
	c, err := e.cloud(ctx)
	if err != nil {
		return settings.Instance{}, err
	}
	var tags map[string]string
	if err := e.retry(ctx, func(ctx context.Context) (err error) {
		tags, err = c.Metadata().Tags(ctx)
		return err
	}); err != nil {
		return settings.Instance{}, err
	}
	return settings.Instance{ID: id.InstanceID, Type: id.Type, Region: id.Region, AvailabilityZone: id.Zone, AccountID: id.AccountID, Tags: tags}, nil
}
