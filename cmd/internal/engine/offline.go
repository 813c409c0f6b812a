package engine

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/journal"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// firstAnswer is how long a boot waits for EC2 before it mounts what it knows.
const firstAnswer = 5 * time.Second

// adoptOffline mounts what the last finished mount of the snapshotter had mounted and what is plugged in now, when EC2 does
// not answer. Nothing is made, formatted, tagged or detached that way. It tells whether all of that mount's volumes are
// mounted then. What keeps it from doing so is never an error: the mount that follows asks EC2.
func (e *Engine) adoptOffline(ctx context.Context, name string) (whole bool) {
	return e.mayAdopt(name) && e.adoptRecorded(ctx, name, silent, func() bool { return !e.cloudAnswers(ctx) })
}

// adoptedAfterAll is [Engine.adoptOffline] for a mount that failed because EC2 stopped to answer after it began.
func (e *Engine) adoptedAfterAll(ctx context.Context, op *recipe.Operation, name string, adopted bool) bool {
	if !op.AdoptsOffline() || !adopted && !e.mayAdopt(name) || e.cloudAnswers(ctx) {
		return false
	}
	return adopted || e.adoptRecorded(ctx, name, silent, func() bool { return true })
}

const silent = "EC2 does not answer"

func (e *Engine) mayAdopt(name string) bool {
	return os.Geteuid() == 0 && e.loadSettings() == nil && e.file.Offline(name)
}

// withoutJournal is the end of a mount whose journal cannot be made, on a full or read-only disk: what the last mount had is
// mounted without one.
func (e *Engine) withoutJournal(ctx context.Context, name string, err error) error {
	if !e.adoptRecorded(ctx, name, "the journal cannot be created", func() bool { return true }) {
		return err
	}
	e.log.Warn("all volumes of the last mount are mounted, without a journal and without EC2", "error", err, "hint", "free disk space for "+e.StateDir+", then run the mount again")
	return nil
}

// adoptRecorded mounts what the last finished mount had, if so says that there is a reason. Only then its journal is read:
// most mounts find everything in place, and EC2 answering.
func (e *Engine) adoptRecorded(ctx context.Context, name, why string, so func() bool) (whole bool) {
	store, err := e.store()
	if err != nil {
		return false
	}
	id := lastMount(store, name)
	if id == "" || !so() {
		return false
	}
	last, err := store.Read(id)
	if err != nil {
		return false
	}
	defer last.Close()
	input := func(id plan.StepID) json.RawMessage {
		if r := last.Records()[id]; r.State == journal.Done {
			return r.Input
		}
		return nil
	}
	known, err := recipe.Record(last.Plan(), input)
	if err != nil {
		e.log.Debug("cannot use the record of the last mount", "run", last.Meta().Run, "error", err)
		return false
	}
	host := linux.New(e.Roots)
	lanes, mounted := e.attachedUnmounted(ctx, host, known)
	if e.otherMachine(last.Meta().InstanceID) {
		return false
	}
	if len(lanes) == 0 {
		return mounted == len(last.Plan().Lanes)
	}
	p, err := recipe.Offline(last.Plan(), lanes, input)
	if err != nil {
		e.log.Warn("cannot mount without EC2", "error", err)
		return false
	}
	done := e.mountOffline(ctx, store, host, p, last.Meta(), why)
	return done+mounted == len(last.Plan().Lanes)
}

// lastMount is the newest finished mount of the snapshotter, when no unmount came after it; "" where there is none. An
// unmount that changed nothing, or was undone, left all mounted.
func lastMount(store *journal.Store, name string) plan.RunID {
	for r := range store.Newest() {
		op, _ := recipe.Named(r.Operation)
		switch {
		case r.Snapshotter != name || r.Problem != "" || op.Leaves == recipe.AsTheyAre:
			continue
		case op.Leaves == recipe.Unmounted && (r.Outcome == journal.Aborted || r.Outcome == journal.RolledBack):
			continue
		case op.Leaves == recipe.Unmounted:
			return ""
		case r.Outcome != journal.RunDone:
			continue
		case !op.Offline:
			return ""
		}
		return r.Run
	}
	return ""
}

// attachedUnmounted are the lanes whose volume this machine shows by its serial, and that are not mounted; and how many are.
func (e *Engine) attachedUnmounted(ctx context.Context, host *linux.Host, known []recipe.Recorded) (lanes []recipe.Recorded, mounted int) {
	for _, r := range known {
		d, there, err := host.FindDevice(ctx, linux.DeviceQuery{VolumeID: r.VolumeID(), Name: r.Device.Device, NameOffset: r.Device.NameOffset})
		if err != nil || !there || d.VolumeID != r.VolumeID() { // a name alone proves nothing
			continue
		}
		if on, _, err := host.VolumeOf(r.Where()); err == nil && on.Same(d) {
			mounted++
			continue
		}
		if _, taken, err := host.MountAt(r.Where()); err != nil || taken {
			continue
		}
		lanes = append(lanes, r)
	}
	return lanes, mounted
}

// otherMachine: the firmware of a Nitro instance tells its id.
func (e *Engine) otherMachine(id string) bool {
	sys := e.Roots.Sys
	if sys == "" {
		sys = "/sys"
	}
	b, err := os.ReadFile(filepath.Join(sys, "devices/virtual/dmi/id/board_asset_tag"))
	tag := strings.TrimSpace(string(b))
	return err == nil && strings.HasPrefix(tag, "i-") && tag != id
}

// cloudAnswers asks the metadata and EC2 once, for a short time. A refusal is an answer, too.
func (e *Engine) cloudAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, firstAnswer)
	defer cancel()
	id, err := e.identityNow(ctx)
	if err != nil {
		return false
	}
	attached, err := e.client.AttachedVolumes(ctx, id.InstanceID)
	if err == nil {
		e.attached = &attached
	}
	switch ec2.ClassOf(err) {
	case ec2.Throttled, ec2.Transient, ec2.Canceled, ec2.Ambiguous:
		return false
	}
	return !errors.Is(err, context.DeadlineExceeded)
}

// mountOffline executes the plan under its claims, and says what it mounted. It has no journal: a mount of this boot that is
// looked for before it is made needs none to be found again, and the mount that follows records it as adopted.
func (e *Engine) mountOffline(ctx context.Context, store *journal.Store, host *linux.Host, p *plan.Plan, last journal.Meta, why string) (done int) {
	boot, err := host.BootID()
	if err == nil {
		err = e.requireSharedMounts(p)
	}
	if err != nil {
		e.log.Warn("nothing is mounted without EC2", "because", err)
		return 0
	}
	id := journal.NewRunID(time.Now())
	release, err := store.LockClaims(id, p.Claims())
	if err != nil {
		e.log.Warn("nothing is mounted without EC2", "because", err)
		return 0
	}
	defer release()
	w := &steps.Env{Host: host, Fstab: host.FstabLine, Version: e.Version, Instance: steps.Instance{ID: p.Instance}, Log: e.log, HookDir: hookDir(store),
		HookOutput: func(step plan.StepID, line string) { e.log.Info(line, "step", step) }}
	e.log.Warn(why+": mounting the attached volumes of the last mount without EC2", "snapshotter", p.Snapshotter, "recorded_by", last.Run)
	watch := e.Frontend.Observe(detailsOf(journal.Meta{Run: id}, p, nil))
	conf := runner.Config{Plan: p, Run: id, Journal: noJournal{}, Handlers: steps.Handlers(w), BootID: boot, Observe: watch.Event, Settle: e.Settle, RetryMin: e.RetryMin}
	res := runner.Execute(ctx, conf)
	watch.Close()
	for _, l := range res.Done {
		e.log.Warn("mounted; EC2 was not asked", "mount_point", l)
	}
	for _, f := range res.Failures {
		e.log.Error("cannot mount without EC2", "step", f.Step, "error", f.Err, "hint", plan.HintOf(f.Err))
	}
	if len(res.Failures) > 0 && len(res.Done) == len(p.Lanes) { // a hook around them all
		return 0
	}
	return len(res.Done)
}

// noJournal is the journal of what needs none.
type noJournal struct{}

func (noJournal) Commit(_ []journal.Entry, done func(error)) { done(nil) }

// adoptedOffline is the end of a mount that adopted all its volumes without EC2 and had no answer after that either: the
// machine has what it had, and the next mount compares it with EC2.
func (e *Engine) adoptedOffline(name string, err error) error {
	e.log.Warn("EC2 still does not answer; all volumes of the last mount are mounted, but not compared with EC2", "error", err,
		"when_it_answers", "snaptastic run mount "+name)
	return nil
}
