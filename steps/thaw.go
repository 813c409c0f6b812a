package steps

import (
	"context"
	"fmt"
	"time"

	"snaptastic/linux/guard"
	"snaptastic/plan"
)

// Thaw closes an atomic section. In another process than the one that froze, it thaws what that one's guard left.
var Thaw = plan.Def[ThawIn, Thawed]{Kind: "thaw", ObserveBy: plan.Blind, Scope: plan.Cloud}

// ThawIn names the mounts.
type ThawIn struct {
	Mounts []string `json:"mounts"`
}

// Thawed says how the freeze held.
type Thawed struct {
	Held   bool          `json:"held"`
	Frozen plan.Duration `json:"frozen"` // from the first freeze to the last thaw
	Reason string        `json:"reason,omitempty"`
	// ThawedAt is when the last file system was thawed; zero where nothing was, and in journals of earlier versions.
	ThawedAt time.Time `json:"thawed_at,omitzero"`
	// Mounts are the single file systems, and Clock is how right the times are; none where nothing was frozen.
	Mounts []ThawedMount `json:"mounts,omitempty"`
	Clock  *plan.Clock   `json:"clock,omitempty"`
}

// ThawedMount is when one file system stood still: from the return of FIFREEZE to the call of FITHAW.
type ThawedMount struct {
	MountPoint string    `json:"mount_point"`
	FrozenAt   time.Time `json:"frozen_at"`
	ThawedAt   time.Time `json:"thawed_at"`
}

// Facts are how long it was frozen.
func (t Thawed) Facts() plan.Facts {
	f := plan.Facts{FrozenSeconds: time.Duration(t.Frozen).Seconds(), ThawedAt: t.ThawedAt, Remarks: remark(t.Reason), Clock: t.Clock}
	for _, m := range t.Mounts {
		f.Each = append(f.Each, plan.Facts{MountPoint: m.MountPoint, FrozenAt: m.FrozenAt, ThawedAt: m.ThawedAt})
	}
	return f
}

func (w *Env) thaw() plan.Funcs[ThawIn, Thawed] {
	return plan.Funcs[ThawIn, Thawed]{
		Do: func(ctx context.Context, a plan.Attempt, in ThawIn) (Thawed, error) {
			win := w.windowOf(a)
			if win == nil {
				return w.thawOwned(ctx, a)
			}
			win.hold(ctx)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime) // the wait may have used up all of it
			defer cancel()
			hold, lost, cleanupErr := win.close(ctx)
			w.dropWindow(a)
			out := Thawed{Held: hold.Unbroken, Frozen: plan.Duration(hold.Frozen), Reason: hold.Reason, ThawedAt: win.thawedAt}
			w.addTimes(&out, win, hold)
			if cleanupErr != nil { // the snapshots are as good as before
				out.Reason = cleanupErr.Error()
				w.log().Error("closing the freeze", "section", a.Section, "error", cleanupErr)
			}
			switch {
			case lost != nil && plan.ActionOf(lost).Action == plan.ActOperator:
				return out, lost
			case !win.taken: // whatever kept the snapshots from being taken is the failure, not this
				if lost != nil {
					w.log().Warn("a held hook failed too", "section", a.Section, "error", lost)
				}
				return out, nil
			case !hold.Unbroken:
				hint := "check whether the machine or EC2 is overloaded, or raise max_hold"
				if hold.FrozenByOthers {
					hint = "find out what else freezes and thaws it, such as another backup tool at the same time"
				}
				return out, plan.Terminal("the snapshots were deleted; "+hint,
					fmt.Errorf("the freeze was broken before the snapshots were taken: %s", hold.Reason))
			}
			if lost != nil {
				out.Held, out.Reason = false, lost.Error()
			}
			return out, lost
		},
	}
}

// closeTime is for thawing, once a hold has ended.
const closeTime = time.Minute

// addTimes says when each file system stood still.
func (w *Env) addTimes(out *Thawed, win *window, hold guard.Result) {
	if !win.frozen {
		return
	}
	for _, m := range hold.Mounts {
		if !m.FrozenAt.IsZero() && !m.ThawedAt.IsZero() {
			out.Mounts = append(out.Mounts, ThawedMount{m.Path, m.FrozenAt, m.ThawedAt})
		}
	}
	clock, err := w.Host.Clock()
	if err != nil {
		w.log().Warn("the error of the frozen times is not known", "error", err)
		return
	}
	moved := hold.ClockMoved.Abs()
	out.Clock = &plan.Clock{Synchronized: clock.Synchronized, ErrorSeconds: (clock.MaxError + moved).Seconds(), EstimatedError: (clock.Error + moved).Seconds()}
}

// thawOwned thaws what this run froze in a process that is dead. Nothing to thaw is success.
func (w *Env) thawOwned(ctx context.Context, a plan.Attempt) (Thawed, error) {
	left, err := w.Freezer.ThawOwned(ctx)
	out := Thawed{Reason: "nothing was frozen"}
	for _, t := range left {
		if t.Run != string(a.Run) {
			continue
		}
		switch t.Outcome {
		case guard.WasFrozen:
			out.Reason = "thawed what a dead process left frozen"
			w.log().Warn("thawed a file system that a dead process left frozen", "mount", t.Path)
		case guard.NotThawed:
			return out, plan.NeedsOperator("thaw it: `snaptastic thaw "+t.Path+"`", fmt.Errorf("cannot thaw %s: %w", t.Path, t.Err))
		}
	}
	if err != nil {
		w.log().Warn("finding file systems that dead processes left frozen", "error", err)
	}
	return out, nil
}
