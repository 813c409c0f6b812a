package guard

import (
	"context"
	"errors"
	"fmt"
	"snaptastic/plan/units"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// thawTimeout is how long the guard may take to answer once it was woken. Then the parent takes it for hanging,
	// kills it and thaws by itself.
	thawTimeout = time.Second
	// overdue is how long after MaxHold the parent waits before it assumes that the guard has missed it.
	overdue = 100 * time.Millisecond
)

// Result is the result of a freeze.
type Result struct {
	Frozen         time.Duration // from the first freeze issued to the last thaw returned
	Unbroken       bool          // every file system was frozen by us, unbroken, from the last freeze's return until Thaw was called
	Reason         string        // why Held is false
	FrozenByOthers bool          // another program's thaw is why
	Mounts         []MountResult
	// ClockMoved is by how much CLOCK_REALTIME was set or slewed while they were frozen.
	ClockMoved time.Duration
}

// MountResult is the part of a Result for one file system.
type MountResult struct {
	Path     string
	Freezing time.Duration // FIFREEZE issued to returned
	Frozen   time.Duration // FIFREEZE issued to FITHAW returned; 0 when it never froze
	Thawing  time.Duration // FITHAW issued to returned

	// FrozenAt is when FIFREEZE returned and ThawedAt when FITHAW was issued, by CLOCK_REALTIME as it was when the freeze began.
	// Zero where that did not come about, or is not known because the guard died.
	FrozenAt, ThawedAt time.Time
}

// Freeze freezes all file systems at once and returns when every one is frozen. On the first failure, or when ctx
// ends, everything that was frozen is thawed before it returns. The error names the mount and wraps the kernel's
// error: EBUSY if another process has frozen it (it stays frozen), EOPNOTSUPP, EPERM. Call Thaw in any case.
func (g *Guard) Freeze(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cannot freeze: %w", err)
	}
	g.mu.Lock()
	if g.started || g.thawCall != 0 || g.released {
		g.mu.Unlock()
		return errors.New("internal error: a guard freezes once")
	}
	if g.exitError != "" {
		defer g.mu.Unlock()
		return fmt.Errorf("cannot freeze: the guard died: %s", g.exitError)
	}
	if g.owned != nil { // before the first freeze, so that whoever finds the file later knows when it is stale
		if err := g.owned.begin(g.record, g.o.MaxHold); err != nil {
			g.mu.Unlock()
			return fmt.Errorf("cannot freeze: %w", err)
		}
	}
	g.started = true
	g.orderAt, g.epoch = monotonic(), sinceEpoch()
	for i := range g.state {
		g.state[i].phase = freezing
	}
	g.mu.Unlock()
	time.AfterFunc(g.o.MaxHold+overdue, func() { g.wake("MaxHold expired") })
	g.order(doFreeze)
	err := g.wait(ctx, func() bool { return g.all(frozen) || g.ending != causeNone || g.exitError != "" })
	if err == nil && g.is(func() bool { return g.all(frozen) && g.ending == causeNone && g.exitError == "" }) {
		return nil
	}
	if err != nil {
		g.order(doThaw)
	}
	// The wait is bounded: a freeze in progress cannot be canceled, and the guard thaws it when it returns.
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.o.MaxHold)
	defer cancel()
	_ = g.wait(settle, g.settled)
	if err != nil {
		return fmt.Errorf("cannot freeze: %w", err)
	}
	return g.failure()
}

// failure returns why Freeze failed.
func (g *Guard) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, s := range g.state {
		if s.phase == refused {
			return fmt.Errorf("cannot freeze %s: %w", g.mounts[i].path, explain(s.errno, isRefused))
		}
	}
	var late []string
	for i, s := range g.state {
		if s.phase != thawed || s.frozen == 0 {
			late = append(late, g.mounts[i].path)
		}
	}
	switch {
	case g.exitError != "":
		return fmt.Errorf("cannot freeze: the guard died: %s", g.exitError)
	case g.ending == causeExpired && len(late) > 0:
		return fmt.Errorf("cannot freeze %s within %s", strings.Join(late, ", "), units.Took(g.o.MaxHold))
	case g.ending == causeAsked:
		return errors.New("cannot freeze: thawed before all were frozen")
	}
	return fmt.Errorf("cannot freeze within %s", units.Took(g.o.MaxHold))
}

// Thaw thaws all file systems at once and returns when none of ours is frozen. It may be called at any time after
// Start, repeatedly, and after a failed Freeze. Pass a context that the end of the run does not cancel: if ctx ends
// first, the error names what is still frozen, and the guard keeps thawing. A freeze that was broken is no error: see
// Result.Unbroken.
func (g *Guard) Thaw(ctx context.Context) (Result, error) {
	g.mu.Lock()
	first := g.thawCall == 0
	if first {
		g.thawCall = monotonic()
	}
	begun := g.started
	g.mu.Unlock()
	if !begun {
		return Result{Reason: "nothing was frozen"}, nil
	}
	if first {
		g.order(doThaw)
		g.wake("it did not answer")
	}
	err := g.wait(ctx, g.settled)
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.result()
	if err != nil {
		return h, fmt.Errorf("cannot thaw %s: %w", g.allThawed(), err)
	}
	return h, nil
}

// wake continues a guard that was stopped, and replaces one that still does not thaw.
func (g *Guard) wake(why string) {
	if g.is(g.settled) {
		return
	}
	_ = g.cmd.Process.Signal(syscall.SIGCONT)
	time.AfterFunc(thawTimeout, func() {
		if !g.is(func() bool { return g.ending != causeNone || g.settled() }) {
			g.takeOver(why)
		}
	})
}

// result builds the Result; mu is held.
func (g *Guard) result() Result {
	h := Result{Unbroken: true, ClockMoved: time.Duration(sinceEpoch() - g.epoch)}
	var from, to int64
	for i, s := range g.state {
		m := MountResult{Path: g.mounts[i].path}
		if s.issued != 0 {
			m.Freezing = time.Duration(s.frozen - s.issued)
			if from == 0 || s.issued < from {
				from = s.issued
			}
		}
		if s.frozen != 0 && s.phase != refused {
			m.FrozenAt = time.Unix(0, s.frozen+g.epoch).UTC()
		}
		if s.phase == thawed {
			m.ThawedAt = time.Unix(0, s.thawing+g.epoch).UTC()
			m.Thawing = time.Duration(s.thawed - s.thawing)
			if s.issued != 0 {
				m.Frozen = time.Duration(s.thawed - s.issued)
			}
		}
		to = max(to, s.frozen, s.thawed)
		h.Mounts = append(h.Mounts, m)
		if reason, others := g.brokenBy(s, m.Path); reason != "" && h.Unbroken {
			h.Unbroken, h.Reason, h.FrozenByOthers = false, reason, others
		}
	}
	select {
	case <-g.broken:
		if h.Unbroken { // it ended before Thaw was called, though what thawed first was issued after
			h.Unbroken, h.Reason = false, g.endReason()
		}
	default:
	}
	if g.exitError != "" && (from == 0 || from > g.orderAt) {
		from = g.orderAt // the dead guard may have frozen what it did not live to tell
	}
	if from != 0 && to > from {
		h.Frozen = time.Duration(to - from)
	}
	return h
}

// brokenBy returns why one file system was not frozen until Thaw was called, "" if it was, and whether another
// program is the cause.
func (g *Guard) brokenBy(s progress, path string) (reason string, others bool) {
	switch {
	case s.phase == refused:
		return fmt.Sprintf("%s did not freeze: %v", path, explain(s.errno, isRefused)), false
	case s.phase != thawed:
		return path + " is still frozen", false
	case s.frozen == 0:
		return fmt.Sprintf("the guard died before %s was frozen: %s", path, g.exitError), false
	case s.errno == syscall.EINVAL && g.exitError == "":
		return "another program thawed " + path, true
	case s.thawing < g.thawCall || s.errno != 0:
		return g.endReason(), false
	case s.wrote > 0:
		return fmt.Sprintf("%d KiB were written to %s while it was frozen: another program thawed it and froze it again", (s.wrote+1)/2, path), true
	}
	return "", false
}

// endReason describes what ended the freeze early; mu is held.
func (g *Guard) endReason() string {
	switch {
	case g.exitError != "":
		return "the guard died: " + g.exitError
	case g.ending == causeExpired:
		return fmt.Sprintf("it lasted longer than %s", units.Took(g.o.MaxHold))
	case g.ending == causeRefused:
		return "a freeze failed"
	}
	return "it was thawed early"
}

// Release ends the guard: it exits and is reaped, the descriptors are closed and the owned file is removed. If
// something is still frozen, none of that happens: the error names it, the guard keeps thawing, and the rest follows
// when it is done. It is safe to call twice.
func (g *Guard) Release() error {
	g.mu.Lock()
	again := g.released
	g.released = true
	settled := g.settled()
	still := g.allThawed()
	g.mu.Unlock()
	if again && settled {
		<-g.reaped
		return nil
	}
	if !settled {
		if !again {
			g.order(doRelease)
			go func() {
				_ = g.wait(context.Background(), g.settled)
				g.release()
			}()
		}
		return fmt.Errorf("cannot release the guard: %s still frozen", still)
	}
	g.release()
	return nil
}

// release ends the guard and closes everything. Nothing is frozen.
func (g *Guard) release() {
	g.order(doRelease)
	_ = g.cmd.Process.Signal(syscall.SIGCONT)
	late := time.AfterFunc(thawTimeout, func() { _ = g.cmd.Process.Signal(unix.SIGKILL) })
	<-g.reaped
	late.Stop()
	g.closeAll()
}
