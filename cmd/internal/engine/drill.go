package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"snaptastic/cmd/internal/settings"
	"snaptastic/journal"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// maxSpareTries is how often other device names are chosen because another run took the first ones.
const maxSpareTries = 20

// sparePool are the device names that scratch volumes may have, in this order: AWS recommends f to p, and settings use those from f
// on. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
func sparePool() (names []string) {
	for _, letters := range []string{"ponmlkjihgf", "zyxwvutsrq"} {
		for _, l := range letters {
			names = append(names, "/dev/sd"+string(l))
		}
	}
	for l := 'a'; l <= 'z'; l++ {
		names = append(names, "/dev/xvdb"+string(l))
	}
	return names
}

// spares chooses a device name for each scratch volume: one that nothing is attached as, that no snapshotter of the settings
// declares, and that no unfinished run claims.
func (e *Engine) spares(ctx context.Context, spec recipe.Spec, instance string) ([]string, error) {
	taken, err := e.takenDevices(ctx, spec, instance)
	if err != nil {
		return nil, err
	}
	pool := spec.Drill.Devices
	if len(pool) == 0 {
		pool = sparePool()
	}
	var free, busy []string
	for _, name := range pool {
		if who := taken[steps.DeviceKey(name)]; who != "" {
			busy = append(busy, name+" ("+who+")")
		} else {
			free = append(free, name)
		}
	}
	if len(free) < len(spec.Volumes) {
		return nil, hinted("name others in verify { devices = [\"/dev/sdx\", …] }, or wait until they are free",
			"cannot verify %s: it needs %d free device names for scratch volumes, and of %d only %d are free; in use: %s",
			spec.Name, len(spec.Volumes), len(pool), len(free), strings.Join(busy, ", "))
	}
	return free[:len(spec.Volumes)], nil
}

// takenDevices says who has each device name, by steps.DeviceKey.
func (e *Engine) takenDevices(ctx context.Context, spec recipe.Spec, instance string) (map[string]string, error) {
	taken := map[string]string{}
	for _, name := range e.file.Names() {
		other, err := e.readSpec(ctx, name, nil, func(*settings.Error) {})
		if name != spec.Name && err != nil { // its mistakes are not this run's
			continue
		}
		for _, v := range other.Volumes {
			taken[steps.DeviceKey(v.Device)] = "declared by " + name
		}
	}
	c, err := e.cloud(ctx)
	if err != nil {
		return nil, err
	}
	e.attached = nil // what is free now counts
	attached, err := e.attachedWithRetry(ctx, c, "verify", spec.Name, instance)
	if err != nil {
		return nil, err
	}
	e.attached = &attached // for the preflight
	for _, v := range attached {
		if a, on := v.On(instance); on {
			taken[steps.DeviceKey(a.Device)] = v.ID
		}
	}
	maps.Copy(taken, e.claimedDevices())
	for key := range e.avoided {
		taken[key] = "claimed by another run"
	}
	return taken, nil
}

// deviceClaim begins the claim of a device name.
const deviceClaim = "device:"

// claimedDevices are those that unfinished runs claim.
func (e *Engine) claimedDevices() map[string]string {
	out := map[string]string{}
	store, err := e.readState()
	if err != nil {
		return out // there is none yet, or the run will say it
	}
	runs, _ := store.Unfinished()
	for _, r := range runs {
		for _, claim := range r.Claims {
			if name, is := strings.CutPrefix(claim, deviceClaim); is {
				out[name] = "claimed by run " + string(r.Run)
			}
		}
	}
	return out
}

// avoid notes a device name that another run has claimed since the plan was made. It says whether there is another way.
func (e *Engine) avoid(err error) bool {
	busy, is := errors.AsType[*journal.BusyError](err)
	if !is {
		return false
	}
	name, is := strings.CutPrefix(busy.Claim, deviceClaim)
	if e.avoided == nil {
		e.avoided = map[string]bool{}
	}
	e.avoided[name] = true
	return is
}

// checkDrillTools refuses a drill whose programs are missing, before it makes anything.
func checkDrillTools(op *recipe.Operation, spec recipe.Spec) error {
	if !op.Scratch {
		return nil
	}
	for _, v := range spec.Volumes {
		for _, t := range linux.MissingScratchTools(v.FileSystem, spec.Drill.Check != recipe.CheckMount) {
			return hinted(fmt.Sprintf("install %s, or set check = \"mount\" in verify; no changes made", t.Package),
				"cannot %s %s: %s is missing, which checks the %s of %s", op.Name, spec.Name, t.Command, v.FileSystem, v.MountPoint)
		}
	}
	return nil
}

// DrillOf returns what a run's drill came to; nil where there was none.
func DrillOf(records map[plan.StepID]journal.Record) *plan.Drill {
	for _, id := range slices.Sorted(maps.Keys(records)) {
		if f := records[id].Facts; f != nil && f.Drill != nil && records[id].State == journal.Done {
			return f.Drill
		}
	}
	return nil
}

// drillError is the error of a drill that went well and found that the set is bad.
func drillError(res runner.Result) error {
	d := DrillOf(res.Records)
	if d == nil || d.OK {
		return nil
	}
	return &Error{Code: Failed, Err: fmt.Errorf("the set %s failed the drill: %s", d.Set, d.Reason), InResult: true}
}

// takeDownTime is how long an operator's interrupt may take to take a drill down. A second one ends the program at once, and
// then `resume` takes it down.
const takeDownTime = 10 * time.Minute

// takeDownStopped takes down at once what was interrupted and would never be continued.
func (e *Engine) takeDownStopped(ctx context.Context, run *journal.Run, conf runner.Config, act action, end *RunResult) bool {
	if act.rollback || end.Plan.ResumePolicy != plan.ResumeUndoes || end.Result.Outcome != journal.Interrupted || end.Result.Err != nil || ctx.Err() == nil {
		return false
	}
	e.log.Warn("interrupted: taking down the scratch volumes; interrupt again to stop at once", "run", end.Run)
	if err := startRollingBack(run, nil); err != nil {
		return true // it stays as it is, and can be resumed
	}
	undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeDownTime)
	defer cancel()
	conf.Records = end.Result.Records
	end.Result = runner.Rollback(undoing, conf)
	end.Rollback = true
	return true
}
