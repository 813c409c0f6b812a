package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"snaptastic/ec2"
	"snaptastic/journal"
	"snaptastic/linux"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// preflightTime bounds what is asked before a run. Permissions that cannot be
// found out in it are left to the run.
const preflightTime = 5 * time.Second

// preflight asks EC2 whether a new run may do what it is about to, so that one
// that may not stops before its first hook, freeze or volume. It costs one
// describe, and one to four dry runs side by side; none where all that a mount
// wants is attached, as after a reboot.
//
// It must never refuse a run that would have gone well. So only a clear no
// counts, and only about things that exist: before a volume is made nobody can
// ask about attaching that very one, nor about tagging a snapshot.
//
// asked: whoever ordered this part of a larger set for an instant has asked all hosts for their plans. Then the call itself is not tried
// again: EC2 may count a dry run, and at the instant all hosts share one bucket of requests.
//
// A drill looks at its snapshots whatever is attached: it does so beside the dry runs.
func (e *Engine) preflight(ctx context.Context, store *journal.Store, op *recipe.Operation, r recipe.Request, asked bool) error {
	spec := r.Spec
	c, err := e.cloud(ctx)
	if err != nil {
		return err
	}
	self, err := e.identity(ctx)
	if err != nil {
		return err
	}
	attached, err := e.attachedWithRetry(ctx, c, op.Name, spec.Name, self.InstanceID)
	if err != nil {
		return err
	}
	var asking errgroup.Group
	if op.Scratch {
		asking.Go(func() error { e.ahead = steps.LookAhead(ctx, c, spec.FilterTags); return nil })
	}
	bounded, cancel := context.WithTimeout(ctx, preflightTime)
	defer cancel()
	if op.FormatsNew {
		for _, lack := range missingSupport(volumesToCreate(spec, attached, self), spec.OnMissing == recipe.CreateEmpty, linux.KernelSupports, linux.MissingTools) {
			e.log.Warn("this machine may not be ready", "because", lack)
		}
	}
	tries := requiredActions(op, r, attached, self, func() string { return lastLabelled(store, spec.Name) })
	if asked {
		tries = slices.DeleteFunc(tries, func(t dryRun) bool { return strings.HasPrefix(t.action, "CreateSnapshot") })
	}
	answers := make([]error, len(tries))
	for i, try := range tries {
		asking.Go(func() error {
			answers[i] = refused(op.Name, spec.Name, c.DryRun(bounded, try.action, try.on))
			return nil
		})
	}
	_ = asking.Wait()
	for i, err := range answers {
		if err != nil && tries[i].cleaning {
			e.log.Warn("the snapshots will be taken, and the clean-up after them will fail", "because", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// lastLabelled is a snapshot that the last finished run of a snapshotter labelled, by its journal; "" where there is none, and where
// no run was ever made.
func lastLabelled(store *journal.Store, name string) string {
	if store == nil {
		return ""
	}
	if ids := labelledSince(store, name, time.Time{}); len(ids) > 0 {
		return ids[0]
	}
	return ""
}

// attachedWithRetry is the first that a new run asks of EC2: while it does not answer there is no run to be resumed. A no
// is left to the plan's own look, which tells it lane by lane, unless it is about the permission.
func (e *Engine) attachedWithRetry(ctx context.Context, c *ec2.Client, op, name, instance string) (attached []ec2.Volume, err error) {
	if e.attached != nil { // asked a moment ago
		e.endWait()
		return *e.attached, nil
	}
	err = e.retry(ctx, func(ctx context.Context) (err error) {
		attached, err = c.AttachedVolumes(ctx, instance)
		return err
	})
	fault, isFault := errors.AsType[*ec2.Fault](err)
	if isFault && !fault.IsTemporary() && fault.Class != ec2.Canceled {
		e.endWait()
		return nil, refused(op, name, err)
	}
	if err == nil {
		e.endWait()
	}
	return attached, err
}

// volumesToCreate are the file systems of the volumes that are not attached yet.
func volumesToCreate(spec recipe.Spec, attached []ec2.Volume, self ec2.Identity) []string {
	needed := map[string]bool{}
	for _, v := range spec.Volumes {
		there := slices.ContainsFunc(attached, func(have ec2.Volume) bool {
			at, is := have.On(self.InstanceID)
			return is && steps.SameDeviceName(at.Device, v.Device)
		})
		if !there {
			needed[v.FileSystem] = true
		}
	}
	return slices.Sorted(maps.Keys(needed))
}

// missingSupport says what the machine seems to lack for file systems. It is a warning:
// a kernel may have what it does not list, and mkfs is for empty volumes alone.
func missingSupport(fileSystems []string, mayBeEmpty bool, kernelHas func(string) bool, missing func(string) []linux.Tool) (out []string) {
	for _, fs := range fileSystems {
		if !kernelHas(fs) {
			out = append(out, "the running kernel does not list "+fs)
		}
		for _, t := range missing(fs) {
			if mayBeEmpty {
				out = append(out, "an empty "+fs+" volume could not be formatted: "+t.Command+" is missing; install "+t.Package)
			}
		}
	}
	return out
}

// dryRun is an action and what to try it on.
type dryRun struct {
	action string
	on     ec2.DryRunRequest

	cleaning bool // only for what a run does in the end, besides
}

// requiredActions are the actions that the operation cannot do without, and what
// to try them on.
func requiredActions(op *recipe.Operation, r recipe.Request, attached []ec2.Volume, self ec2.Identity, labelled func() string) (tries []dryRun) {
	spec := r.Spec
	there := ec2.DryRunRequest{InstanceID: self.InstanceID, Zone: self.Zone}
	new := there // what it makes is not there yet
	new.Tags = map[string]string{steps.TagToken: "dry-run"}
	maps.Copy(new.Tags, spec.FilterTags)
	found, own := 0, false
	for _, v := range spec.Volumes {
		for _, have := range attached {
			if at, is := have.On(self.InstanceID); is && steps.SameDeviceName(at.Device, v.Device) {
				there.VolumeID, there.Device = have.ID, at.Device
				own = have.Tags[steps.TagToken] != ""
				found++
				break
			}
		}
	}
	beside := op.Replaces || op.Scratch // it makes volumes whatever is attached
	creates := (found < len(spec.Volumes) || beside) && slices.ContainsFunc(op.Permissions, func(p recipe.Permission) bool { return p.Try == recipe.ToCreate })
	for _, p := range op.Permissions {
		switch {
		case p.If != nil && !p.If(spec):
		case p.Try == recipe.ToCreate && creates:
			tries = append(tries, dryRun{action: p.Action, on: new})
		case p.Try == recipe.Attached && p.OwnOnly && !own: // a no would be about somebody else's volume
		case p.Try == recipe.Attached && found > 0 && (!creates || beside):
			tries = append(tries, dryRun{action: p.Action, on: there})
		case p.Try == recipe.Labelled, p.Try == recipe.ToClean && r.Cleans():
			if id := labelled(); id != "" {
				tries = append(tries, dryRun{action: p.Action, on: ec2.DryRunRequest{SnapshotID: id}, cleaning: p.Try == recipe.ToClean})
			}
		}
	}
	return tries
}

// nowhere is part of every id that a dry run makes up.
const nowhere = "00000000000000000"

// refused makes an error of an answer that says clearly that the permission is
// missing. One about a thing that does not exist may come from a policy that
// depends on tags.
func refused(op, name string, err error) error {
	fault, ok := errors.AsType[*ec2.Fault](err)
	if !ok || fault.Code != "UnauthorizedOperation" || strings.Contains(fault.Message, nowhere) {
		return nil
	}
	return hinted(fault.Hint()+"; no changes made", "cannot %s %s without ec2:%s: %s (%s)", op, name, fault.Op, fault.Message, fault.Code)
}
