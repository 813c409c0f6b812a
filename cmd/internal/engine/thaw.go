package engine

import (
	"context"
	"errors"
	"path/filepath"
	"syscall"

	"snaptastic/journal"
	"snaptastic/linux/guard"
)

// frozenDir is where guards leave word of what they may have frozen.
func frozenDir(s *journal.Store) string { return filepath.Join(s.Dir(), "frozen") }

// hookDir is where the records of running hooks lie.
func hookDir(s *journal.Store) string { return filepath.Join(s.Dir(), "hooks") }

// Thawed is what became of one mount point.
type Thawed struct {
	MountPoint string        `json:"mount_point"`
	Outcome    guard.Outcome `json:"outcome"`
	Run        string        `json:"run,omitempty"`
	Section    string        `json:"section,omitempty"`
	Parent     int           `json:"pid,omitempty"`       // of a live run's process
	Guard      int           `json:"guard_pid,omitempty"` // and of its guard
	Error      string        `json:"error,omitempty"`
}

// A ThawResult is what a thaw came to.
type ThawResult struct {
	Thawed []Thawed
	None   string // why killed runs left nothing to thaw; "" where they did, or nobody asked
}

// Thaw thaws the mount points, and with owned thaw what killed runs left frozen; live runs are not affected. What could not be
// thawed is an error that comes with the rest.
func (e *Engine) Thaw(ctx context.Context, mounts []string, owned bool) (ThawResult, error) {
	res := ThawResult{Thawed: []Thawed{}}
	if err := needRoot("thaw"); err != nil {
		return ThawResult{}, err
	}
	var failed error
	if owned {
		store, err := e.readState()
		switch {
		case errors.Is(err, journal.ErrNoState):
			res.None = err.Error()
		case err != nil:
			return ThawResult{}, err
		default:
			var thawed []guard.Thawed
			if thawed, failed = guard.ThawOwned(ctx, frozenDir(store), false); len(thawed) == 0 && failed == nil {
				res.None = "nothing was left frozen"
			}
			for _, t := range thawed {
				res.add(t)
			}
		}
	}
	for _, m := range mounts {
		t := guard.Thawed{Path: m, Outcome: guard.WasFrozen}
		switch err := guard.ThawMount(m); {
		case err == nil:
		case errors.Is(err, syscall.EINVAL):
			t.Outcome = guard.WasNotFrozen
		default:
			t.Outcome, t.Err = guard.NotThawed, err
			failed = errors.Join(failed, err)
		}
		res.add(t)
	}
	return res, failed
}

func (r *ThawResult) add(t guard.Thawed) {
	v := Thawed{MountPoint: t.Path, Outcome: t.Outcome, Run: t.Run, Section: t.Section}
	if t.Outcome == guard.IsLive {
		v.Parent, v.Guard = t.Parent, t.Guard
	}
	if t.Err != nil {
		v.Error = t.Err.Error()
	}
	r.Thawed = append(r.Thawed, v)
}
