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
	guard    Frozen
	held     []heldHook
	exclude  []string // attached volumes that the one call leaves out
	frozen   bool
	taken    bool // snapshots were made
	thawedAt time.Time
	// holdUntil is when an armed freeze ends, on the monotonic clock; zero: as soon as the snapshots are taken.
	holdUntil time.Time
	relax     func() // once it is thawed, where this process goes before others until then; nil where it does not
}

// heldHook is a program that holds something from before the freeze until after the thaw.
type heldHook struct {
	name      string
	timeout   time.Duration
	tolerated bool
	live      *linux.HeldHook
}

func windowKey(a plan.Attempt) string { return string(a.Run) + " " + a.Section }

func (w *Env) keepWindow(a plan.Attempt, win *window) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.windows == nil {
		w.windows = map[string]*window{}
	}
	w.windows[windowKey(a)] = win
}

// windowOf returns the section's live freeze, or nil when this process has none.
func (w *Env) windowOf(a plan.Attempt) *window {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.windows[windowKey(a)]
}

func (w *Env) dropWindow(a plan.Attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.windows, windowKey(a))
}

// close thaws, lets the guard go and then the held hooks. It says how the freeze held; lost is what makes the snapshots
// worthless or needs an operator, cleanupErr what went wrong after the thaw and changes nothing about them.
func (win *window) close(ctx context.Context) (hold guard.Result, lost, cleanupErr error) {
	if win.guard != nil {
		var thawErr error
		hold, thawErr = win.guard.Thaw(ctx)
		win.thawedAt = time.Now().UTC()
		if win.relax != nil {
			win.relax()
		}
		cleanupErr = win.guard.Release() // where a thaw failed it goes on thawing, and says the same
		if thawErr != nil {
			lost = plan.NeedsOperator("thaw it: `snaptastic thaw --owned`", thawErr)
		}
	}
	notHeld, tolerated := win.release()
	if lost == nil && notHeld != nil {
		lost = plan.Terminal("the hook's lock was lost while the snapshots were taken, so they were deleted: check the last lines of its output; "+
			`use on_failure = "continue" to keep such snapshots`, notHeld)
	}
	return hold, lost, errors.Join(cleanupErr, tolerated)
}

// hold waits for the end of an armed freeze.
func (win *window) hold(ctx context.Context) {
	if !win.taken || win.holdUntil.IsZero() {
		return
	}
	t := time.NewTimer(time.Until(win.holdUntil))
	defer t.Stop()
	select {
	case <-t.C:
	case <-win.guard.Broken():
	case <-ctx.Done():
	}
}

// release ends the held hooks, the last one first. Each says only now whether it held: a lock that was lost shows in how its
// holder ends.
func (win *window) release() (notHeld, tolerated error) {
	for _, h := range slices.Backward(win.held) {
		_, err := h.live.Close(h.timeout)
		switch {
		case err == nil:
		case h.tolerated:
			tolerated = errors.Join(tolerated, fmt.Errorf("ignoring %s: %w", h.name, err))
		default:
			notHeld = errors.Join(notHeld, fmt.Errorf("%s: %w", h.name, err))
		}
	}
	win.held = nil
	return notHeld, tolerated
}

// checkHeld looks whether a hook has ended before anything is frozen.
func (win *window) checkHeld() error {
	for _, h := range win.held {
		select {
		case <-h.live.Exited():
			if !h.tolerated {
				return fmt.Errorf("hook %s ended before the freeze, so its lock is lost", h.name)
			}
		default:
		}
	}
	return nil
}

// A freeze writes out what is dirty while writers are blocked already, so that little should be left: all is synced until
// a sync finds next to nothing, or no less than the one before it, since somebody keeps writing.
const (
	syncThreshold = 5 * time.Millisecond
	lastSyncs     = 3
)

// syncAll writes all out, side by side, until little is left.
func (w *Env) syncAll(ctx context.Context, mounts []guard.Mount) error {
	last := time.Duration(math.MaxInt64)
	for range lastSyncs {
		took, err := w.syncOnce(ctx, mounts)
		if err != nil || took <= syncThreshold || took > last*9/10 {
			return err
		}
		last = took
	}
	return nil
}

// syncOnce returns how long the slowest took.
func (w *Env) syncOnce(ctx context.Context, mounts []guard.Mount) (time.Duration, error) {
	errs, took := make([]error, len(mounts)), make([]time.Duration, len(mounts))
	var all sync.WaitGroup
	for i, m := range mounts {
		all.Go(func() { took[i], errs[i] = w.Host.SyncFS(ctx, m.Path) })
	}
	all.Wait()
	return slices.Max(took), errors.Join(errs...)
}
