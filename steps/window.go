package steps

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"snaptastic/linux"
	"snaptastic/linux/guard"
	"snaptastic/plan"
)

// A window is a live freeze: what freeze, snapshot and thaw of one section share and what cannot be written down. The
// steps of a section run one after the other, so that it needs no lock of its own.
type window struct {
	guard   Frozen
	held    []heldHook
	exclude []string // attached volumes that the one call leaves out
	frozen  bool
	taken   bool // snapshots were made
}

// heldHook is a program that holds something from before the freeze until after the thaw.
type heldHook struct {
	name      string
	timeout   time.Duration
	tolerated bool
	live      *linux.HeldHook
}

func windowKey(a plan.Attempt) string { return string(a.Run) + " " + a.Section }

func (w *World) keepWindow(a plan.Attempt, win *window) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.windows == nil {
		w.windows = map[string]*window{}
	}
	w.windows[windowKey(a)] = win
}

// windowOf returns the section's live freeze, or nil when this process has none.
func (w *World) windowOf(a plan.Attempt) *window {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.windows[windowKey(a)]
}

func (w *World) dropWindow(a plan.Attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.windows, windowKey(a))
}

// close thaws, lets the guard go and then the held hooks. It says how the freeze held; lost is what makes the snapshots
// worthless or needs an operator, untidy what went wrong after the thaw.
func (win *window) close(ctx context.Context) (hold guard.Hold, lost, untidy error) {
	for _, h := range win.held {
		select {
		case <-h.live.Exited():
			lost = errors.Join(lost, fmt.Errorf("hook %s ended before the thaw: what it held was free during the freeze", h.name))
		default:
		}
	}
	if win.guard != nil {
		var thawErr error
		hold, thawErr = win.guard.Thaw(ctx)
		untidy = win.guard.Release() // where a thaw failed it goes on thawing, and says the same
		if thawErr != nil {
			lost = plan.NeedsOperator("thaw it: `snaptastic thaw --owned`", thawErr)
		}
	}
	return hold, lost, errors.Join(untidy, win.release())
}

// release ends the held hooks, the last one first.
func (win *window) release() error {
	var err error
	for i := len(win.held) - 1; i >= 0; i-- {
		h := win.held[i]
		if _, closeErr := h.live.Close(h.timeout); closeErr != nil && !h.tolerated {
			err = errors.Join(err, closeErr)
		}
	}
	win.held = nil
	return err
}

// A freeze writes out what is dirty while writers stand still already, so that little should be left: all is synced until
// a sync finds next to nothing, or no less than the one before it, since somebody keeps writing.
const (
	littleToSync = 5 * time.Millisecond
	lastSyncs    = 3
)

// syncAll writes all out, side by side, until little is left.
func (w *World) syncAll(ctx context.Context, mounts []guard.Mount) error {
	last := time.Duration(math.MaxInt64)
	for range lastSyncs {
		took, err := w.syncOnce(ctx, mounts)
		if err != nil || took <= littleToSync || took > last*9/10 {
			return err
		}
		last = took
	}
	return nil
}

// syncOnce returns how long the slowest took.
func (w *World) syncOnce(ctx context.Context, mounts []guard.Mount) (time.Duration, error) {
	errs, took := make([]error, len(mounts)), make([]time.Duration, len(mounts))
	var all sync.WaitGroup
	for i, m := range mounts {
		all.Go(func() { took[i], errs[i] = w.Host.SyncFS(ctx, m.Path) })
	}
	all.Wait()
	return slices.Max(took), errors.Join(errs...)
}
