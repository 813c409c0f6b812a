package guard

import (
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// stateMachine is the guard's state machine: one goroutine owns it, one locked thread per file system issues the ioctls.
//
//	idle ──F──▶ freezing ──ok──▶ frozen ──end──▶ thawing ──▶ thawed
//	                    └─errno─▶ refused (never thawed: not ours)
//
// end comes from the parent's word or death, from a freeze that fails, or from the clock; from then on nothing is
// frozen, and a freeze that returns late goes straight to thawing.
type stateMachine struct {
	mounts         int
	maxHold        time.Duration
	freeze         func(index int) syscall.Errno
	thaw           func(index int) syscall.Errno
	sectorsWritten func(index int) int64 // sectors written while it was frozen; nil is none
	now            func() int64
	tell           func(message)
	late           func() bool // too late to freeze; nil: never
	beforeFreeze   func()      // before the first freeze
	afterThaw      func()      // once, when nothing is frozen any more

	phase         []phase
	workers       []chan kind
	results       chan message
	ending        endCause
	started       bool
	afterThawDone bool
	expiry        <-chan time.Time
}

type phase byte

const (
	idle phase = iota
	freezing
	frozen
	refused
	thawing
	thawed
)

// thawRetryDelay is the pause after a FITHAW that failed for a reason other than "not frozen".
const thawRetryDelay = 100 * time.Millisecond

// parentGone is the command that the guard gives itself when its socket ends or the parent's thread dies.
const parentGone kind = 0

// prepare starts the threads and returns when all are ready.
func (h *stateMachine) prepare() {
	h.phase = make([]phase, h.mounts)
	h.workers = make([]chan kind, h.mounts)
	h.results = make(chan message, 2*h.mounts)
	ready := make(chan struct{})
	for i := range h.workers {
		h.workers[i] = make(chan kind, 2)
		go h.work(i, ready)
	}
	for range h.workers {
		<-ready
	}
}

// work issues the ioctls of one file system, one after the other, on a thread of its own.
func (h *stateMachine) work(index int, ready chan<- struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ready <- struct{}{}
	for k := range h.workers[index] {
		m := message{index: index, issued: h.now()}
		if k == doFreeze {
			m.kind = isFrozen
			if m.errno = h.freeze(index); m.errno != 0 {
				m.kind = isRefused
			}
		} else {
			m.kind = isThawed
			for told := false; ; told = true {
				if m.errno = h.thaw(index); m.errno == 0 || m.errno == syscall.EINVAL {
					break
				}
				if !told {
					h.tell(message{kind: isStuck, index: index, errno: m.errno})
				}
				time.Sleep(thawRetryDelay)
			}
		}
		m.returned = h.now()
		if m.kind == isThawed && h.sectorsWritten != nil {
			m.text = strconv.FormatInt(h.sectorsWritten(index), 10)
		}
		h.results <- m
	}
}

// run serves the parent until it is released, or until the parent is dead and nothing is frozen. It reports whether
// the parent died.
func (h *stateMachine) run(commands <-chan kind) (orphaned bool) {
	defer func() {
		for _, w := range h.workers {
			close(w)
		}
	}()
	released := false
	for {
		select {
		case k := <-commands:
			switch k {
			case doFreeze:
				h.start()
			case doThaw:
				h.end(causeAsked)
			case doRelease:
				released = true
				h.end(causeAsked)
			case parentGone:
				orphaned = true
				h.end(causeParentGone)
			}
		case m := <-h.results:
			h.settle(m)
		case <-h.expiry:
			h.end(causeExpired)
		}
		if !h.settled() {
			continue
		}
		if h.started && !h.afterThawDone {
			h.afterThawDone = true
			h.afterThaw()
		}
		if released || orphaned {
			return orphaned
		}
	}
}

// start freezes all file systems at once. A guard does this once.
func (h *stateMachine) start() {
	if h.started || h.ending != causeNone {
		return
	}
	h.started = true
	if h.late != nil && h.late() {
		h.refuse()
		return
	}
	h.beforeFreeze()
	timer := time.NewTimer(h.maxHold)
	h.expiry = timer.C
	for i, w := range h.workers {
		h.phase[i] = freezing
		w <- doFreeze
	}
}

// refuse freezes nothing, since it is too late.
func (h *stateMachine) refuse() {
	now := h.now()
	for i := range h.phase {
		h.phase[i] = refused
		h.tell(message{kind: isRefused, index: i, errno: syscall.ETIME, issued: now, returned: now})
	}
	h.end(causeRefused)
}

// end thaws everything that is frozen. settle thaws freezes that return later.
func (h *stateMachine) end(why endCause) {
	if h.ending != causeNone {
		if why == causeAsked { // the parent waits for the word that somebody is there
			h.tell(message{kind: isEnding, cause: h.ending})
		}
		return
	}
	h.ending = why
	h.expiry = nil
	for i, p := range h.phase {
		if p == frozen {
			h.release(i)
		}
	}
	h.tell(message{kind: isEnding, cause: why})
}

func (h *stateMachine) release(index int) {
	h.phase[index] = thawing
	h.workers[index] <- doThaw
}

// settle handles the result of a thread.
func (h *stateMachine) settle(m message) {
	switch m.kind {
	case isFrozen:
		h.phase[m.index] = frozen
		if h.ending != causeNone {
			h.release(m.index)
		}
		h.tell(m)
	case isRefused:
		h.phase[m.index] = refused
		h.tell(m)
		h.end(causeRefused)
	case isThawed:
		h.phase[m.index] = thawed
		h.tell(m)
	}
}

// settled reports that nothing is frozen and that nothing can become frozen without a new command.
func (h *stateMachine) settled() bool {
	for _, p := range h.phase {
		switch p {
		case freezing, frozen, thawing:
			return false
		}
	}
	return true
}
