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
}

// Facts are how long it was frozen.
func (t Thawed) Facts() plan.Facts {
	return plan.Facts{FrozenSeconds: time.Duration(t.Frozen).Seconds(), ThawedAt: t.ThawedAt, Remarks: remark(t.Reason)}
}

func (w *Env) thaw() plan.Funcs[ThawIn, Thawed] {
	return plan.Funcs[ThawIn, Thawed]{
		Do: func(ctx context.Context, a plan.Attempt, in ThawIn) (Thawed, error) {
			win := w.windowOf(a)
			if win == nil {
				return w.thawOwned(ctx, a)
			}
			hold, lost, cleanupErr := win.close(ctx)
			w.dropWindow(a)
			out := Thawed{Held: hold.Unbroken, Frozen: plan.Duration(hold.Frozen), Reason: hold.Reason, ThawedAt: win.thawedAt}
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
