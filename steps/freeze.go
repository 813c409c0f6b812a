package steps

import (
	"context"
	"fmt"
	"slices"
	"time"

	"snaptastic/linux/guard"
	"snaptastic/plan"
)

// Freeze opens an atomic section: it readies all that a snapshot needs, and then freezes the section's file systems.
var Freeze = plan.Def[FreezeIn, FrozenMounts]{Kind: "freeze", ObserveBy: plan.Blind, Scope: plan.Cloud}

// FreezeIn names the mounts, and the hooks that hold something across the freeze.
type FreezeIn struct {
	Mounts   []Member      `json:"mounts"`
	MaxHold  plan.Duration `json:"max_hold,omitempty"` // 0 for the guard's default
	Expedite bool          `json:"expedite,omitempty"`
	Held     []HookIn      `json:"held,omitempty"`
	// At and HoldUntil are the instants of an armed freeze, by the machine's clock; zero: at once, and until the snapshots are taken.
	At        time.Time `json:"at,omitzero"`
	HoldUntil time.Time `json:"hold_until,omitzero"`
}

// A Member is one volume of a section.
type Member struct {
	MountPoint string                  `json:"mount_point"`
	Found      plan.Value[FoundVolume] `json:"found"`
}

// FrozenMounts is what was frozen. That a window is open lives in the Env alone.
type FrozenMounts struct {
	Mounts []string `json:"mounts"`
}

// maxExcluded is how many data volumes CreateSnapshots can leave out.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceSpecification.html
const maxExcluded = 40

func (w *Env) freeze() plan.Funcs[FreezeIn, FrozenMounts] {
	return plan.Funcs[FreezeIn, FrozenMounts]{
		Do: func(ctx context.Context, a plan.Attempt, in FreezeIn) (FrozenMounts, error) {
			if w.windowOf(a) != nil {
				return FrozenMounts{}, fmt.Errorf("internal error: section %s is frozen already", a.Section)
			}
			win := &window{}
			w.keepWindow(a, win) // thaw closes it, whatever becomes of this
			out, err := w.openWindow(ctx, a, in, win)
			return out, err
		},
		Preview: func(in FreezeIn) plan.Preview {
			when := ""
			if !in.At.IsZero() {
				when = fmt.Sprintf(" at %s, until %s", instant(in.At), instant(in.HoldUntil))
			}
			if len(in.Mounts) == 1 {
				return plan.PreviewOf(plan.PreviewRun, "freeze %s%s", in.Mounts[0].MountPoint, when)
			}
			return plan.PreviewOf(plan.PreviewRun, "freeze %d file systems at once%s", len(in.Mounts), when)
		},
	}
}

// openWindow does everything that takes time before the first file system is frozen.
func (w *Env) openWindow(ctx context.Context, a plan.Attempt, in FreezeIn, win *window) (out FrozenMounts, err error) {
	how := FreezeOptions{MaxHold: time.Duration(in.MaxHold), Expedite: in.Expedite}
	if !in.At.IsZero() {
		if err := tooLate(in.At, time.Now()); err != nil { // before hooks are started for nothing
			return out, err
		}
		how.NotAfter = in.At.Add(MaxLate)
	}
	if win.exclude, err = w.excluded(ctx, in.Mounts); err != nil {
		return out, err
	}
	var mounts []guard.Mount
	for _, m := range in.Mounts {
		mounts = append(mounts, guard.Mount{Path: m.MountPoint, Dev: m.Found.Must().Dev})
		out.Mounts = append(out.Mounts, m.MountPoint)
	}
	if err := w.startHeldHooks(ctx, a, in.Held, win); err != nil {
		return out, err
	}
	if win.guard, err = w.Freezer.Start(ctx, a.Run, a.Section, mounts, how); err != nil {
		return out, err
	}
	if err := w.Cloud.Warm(ctx); err != nil {
		return out, sectionErrorAction(err)
	}
	if err := w.syncAll(ctx, mounts); err != nil { // the last thing: writers go on dirtying
		return out, err
	}
	if !in.At.IsZero() {
		if win.relax, err = w.Host.Hasten(); err != nil {
			w.log().Warn("the freeze has no priority over other work of this machine, and may be late", "error", err)
		}
		if err := w.awaitInstant(ctx, a, in.At, mounts); err != nil {
			return out, err
		}
	}
	if err := win.checkHeld(); err != nil {
		return out, err
	}
	if err := win.guard.Freeze(ctx); err != nil {
		return out, freezeError(in, err)
	}
	win.frozen = true
	if !in.HoldUntil.IsZero() { // counted from here, whatever becomes of the clock
		now := time.Now()
		win.holdUntil = now.Add(in.HoldUntil.Sub(now.Round(0)))
	}
	return out, nil
}

// excluded lists the attached data volumes that are not in the section. One volume by itself is snapshotted by name.
func (w *Env) excluded(ctx context.Context, members []Member) ([]string, error) {
	if len(members) == 1 {
		return nil, nil
	}
	attached, err := w.Cloud.AttachedVolumes(ctx, w.Instance.ID)
	if err != nil {
		return nil, sectionErrorAction(err)
	}
	var out []string
	for _, v := range attached {
		at, _ := v.On(w.Instance.ID)
		member := slices.ContainsFunc(members, func(m Member) bool { return m.Found.Must().VolumeID == v.ID })
		if !member && !rootDevice.MatchString(at.Device) {
			out = append(out, v.ID)
		}
	}
	if len(out) > maxExcluded {
		return nil, plan.Terminal(`set consistency = "volume" in the settings, so that each volume is frozen and snapshotted separately`,
			fmt.Errorf("cannot snapshot %d volumes together: %d other volumes are attached, and EC2 can exclude at most %d", len(members), len(out), maxExcluded))
	}
	return out, nil
}

// startHeldHooks starts the programs that hold something, one after the other.
func (w *Env) startHeldHooks(ctx context.Context, a plan.Attempt, hooks []HookIn, win *window) error {
	for _, h := range hooks {
		live, err := w.Host.StartHeldHook(ctx, w.hookRequest(a, h))
		if err != nil && h.Tolerated {
			w.log().Warn("a hook failed and is ignored", "hook", h.Name, "error", err)
			continue
		}
		if err != nil {
			return err
		}
		win.held = append(win.held, heldHook{name: h.Name, timeout: time.Duration(h.Timeout), tolerated: h.Tolerated, live: live})
	}
	return nil
}
