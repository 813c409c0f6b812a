package guard

import (
	"context"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// order sends a command to the guard. A failure needs no handling here: listen notices the guard's death. A socket
// other than standard output raises no SIGPIPE in a Go program.
func (g *Guard) order(k kind) {
	_, _ = g.conn.Write([]byte{byte(k)})
}

// listen handles the guard's messages until it is dead, and then thaws in its place.
func (g *Guard) listen() {
	buf := make([]byte, maxPacket)
	for {
		n, err := g.conn.Read(buf)
		if err != nil {
			break
		}
		if m, ok := decode(buf[:n]); ok {
			g.take(m)
		}
	}
	close(g.drained)
	g.mu.Lock()
	expected := g.released && g.settled()
	g.mu.Unlock()
	if !expected {
		g.takeOver("")
	}
}

// take applies one message to the state.
func (g *Guard) take(m message) {
	if m.kind == isReady {
		g.ready <- m // has room: it comes once
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.kind == isEnding {
		if g.ending == causeNone {
			g.ending = m.cause
		}
		g.change()
		return
	}
	if m.index >= len(g.state) {
		return
	}
	s := &g.state[m.index]
	switch m.kind {
	case isFrozen:
		s.issued, s.frozen = m.issued, m.returned
		if s.phase == freezing {
			s.phase = frozen
		}
	case isRefused:
		s.issued, s.frozen, s.errno, s.phase = m.issued, m.returned, m.errno, refused
		if g.ending == causeNone {
			g.ending = causeRefused
		}
	case isStuck:
		s.stuck = m.errno
	case isThawed:
		if s.phase != thawed || s.errno != 0 { // the parent may have been there first, or beside it
			s.phase, s.errno, s.thawing, s.thawed = thawed, m.errno, m.issued, m.returned
			s.wrote, _ = strconv.ParseInt(m.text, 10, 64)
		}
	}
	g.change()
}

// change wakes the waiters; mu is held.
func (g *Guard) change() {
	if g.started && g.thawCall == 0 && (g.ending != causeNone || g.exitError != "") {
		g.once.Do(func() { close(g.broken) })
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// wait returns when the condition, checked under mu, is true, or with ctx's error.
func (g *Guard) wait(ctx context.Context, condition func() bool) error {
	for {
		g.mu.Lock()
		done, changed := condition(), g.changed
		g.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *Guard) is(condition func() bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return condition()
}

// all reports whether every file system is in the phase; mu is held.
func (g *Guard) all(p phase) bool {
	for _, s := range g.state {
		if s.phase != p {
			return false
		}
	}
	return true
}

// settled reports whether nothing of ours is frozen or can become frozen; mu is held.
func (g *Guard) settled() bool {
	for _, s := range g.state {
		if s.phase == freezing || s.phase == frozen {
			return false
		}
	}
	return true
}

// allThawed returns what is still frozen; mu is held.
func (g *Guard) allThawed() string {
	var names []string
	for i, s := range g.state {
		if s.phase != freezing && s.phase != frozen {
			continue
		}
		name := g.mounts[i].path
		if s.stuck != 0 {
			name += " (" + explain(s.stuck, isThawed).Error() + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// takeOver replaces a guard that is dead, or that hangs and is killed now: the parent thaws with its own descriptors.
func (g *Guard) takeOver(why string) {
	_ = g.cmd.Process.Kill()
	if why == "" { // it is dead or as good as: its socket is closed
		<-g.reaped
		why = g.exitReason()
	}
	g.mu.Lock()
	if g.exitError != "" {
		g.mu.Unlock()
		return
	}
	g.exitError = why
	for i, s := range g.state {
		if s.phase == freezing || s.phase == frozen {
			g.takeovers.Go(func() { g.thawSelf(i, s.phase == frozen) })
		}
	}
	g.change()
	g.mu.Unlock()
	g.claim.end()
}

// thawSelf thaws one file system from the parent. If its freeze has returned, it thaws at once. Otherwise only the
// guard's end proves that the freeze can no longer take effect, and the guard's last messages tell whether it failed.
func (g *Guard) thawSelf(index int, known bool) {
	if !known {
		<-g.reaped
		<-g.drained
	}
	issued := monotonic()
	for !g.is(func() bool { p := g.state[index].phase; return p == thawed || p == refused }) {
		errno := thawFS(int(g.mounts[index].dir.Fd()))
		g.mu.Lock()
		s := &g.state[index]
		if errno == 0 || errno == syscall.EINVAL {
			if s.phase != thawed || errno == 0 { // else the guard did it, dying
				s.phase, s.errno = thawed, errno
				s.thawing, s.thawed = issued, monotonic()
			}
			g.change()
			g.mu.Unlock()
			return
		}
		s.stuck = errno
		g.change()
		g.mu.Unlock()
		time.Sleep(thawRetryDelay)
	}
}
