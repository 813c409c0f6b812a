package main

import (
	"syscall"
	"time"
)

// What falls on a fleet in TestTortureOfAFleet, and what it falls on.

// A deed happens at its time after the beginning. It says whether it has met anything.
type deed struct {
	at   time.Duration
	name string
	do   func() bool
}

// deal says what happens in a round, and when. Nothing hits both the program and the guard of a host: whoever kills both leaves a
// frozen file system, which the next command thaws, and that is tested elsewhere.
func (s *storm) deal(command *process, operation string) (deeds []deed) {
	if operation == "cancel" {
		deeds = append(deeds, deed{s.between(0, 6*time.Second), "", func() bool { return s.fleet(nil, "cancel", "shards", "snapshot") == nil }})
	}
	freezer := map[*testHost]bool{}
	for range 1 + s.rng.IntN(3) {
		h := s.hosts[s.rng.IntN(len(s.hosts))]
		switch s.rng.IntN(13) {
		case 0, 1:
			deeds = append(deeds, s.killed("kill worker of "+h.name, func() *process { return h.worker }, func() { h.worker = s.spawnWorker(h) })...)
		case 2:
			deeds = append(deeds, s.killed("kill control", func() *process { return s.control }, func() { s.control = s.spawnControl() })...)
		case 3:
			deeds = append(deeds, s.killed("kill server", func() *process { return s.server }, s.startServer)...)
		case 4:
			deeds = append(deeds, s.killed("kill command", func() *process { return command }, func() {})...)
		case 5:
			deeds = append(deeds, s.stopped("stop worker of "+h.name, 0, func() int { return h.worker.cmd.Process.Pid })...)
		case 6:
			deeds = append(deeds, s.stopped("stop server", 0, func() int { return s.server.cmd.Process.Pid })...)
		case 7:
			at, again := s.moment(0)
			deeds = append(deeds, deed{at, "cut off " + h.name, func() bool { s.wires[h.name].cut(); return true }},
				deed{at + 5*again, "", func() bool { s.wires[h.name].reconnect(); return true }})
		default:
			if !freezer[h] {
				deeds = append(deeds, s.onFreezer(h)...)
			}
			freezer[h] = true
		}
	}
	return deeds
}

// moment is when something falls, and how long it lasts. Control and the hosts need about a second to make ready; then come the
// lead, the hold and the verdict.
func (s *storm) moment(from time.Duration) (at, again time.Duration) {
	return s.between(from, 7*time.Second), s.between(0, 3*time.Second)
}

// killed is a process that is killed, and started again a while later.
func (s *storm) killed(name string, p func() *process, start func()) []deed {
	at, again := s.moment(0)
	return []deed{
		{at, name, func() bool { there := !p().ended(); p().kill(); return there }},
		{at + again, "", func() bool {
			if p().ended() { // another blow may have come first
				start()
			}
			return true
		}},
	}
}

// stopped is a process that stands still for a while.
func (s *storm) stopped(name string, from time.Duration, which func() int) []deed {
	at, again := s.moment(from)
	pid := 0
	return []deed{
		{at, name, func() bool {
			pid = which()
			s.t.Cleanup(func() { hit(pid, syscall.SIGCONT) }) // whatever fails meanwhile
			return hit(pid, syscall.SIGSTOP)
		}},
		{at + again, "", func() bool { return hit(pid, syscall.SIGCONT) }},
	}
}

// onFreezer is for the program that freezes on a host, or its guard.
func (s *storm) onFreezer(h *testHost) []deed {
	const armed = 2 * time.Second
	guard := func() int { return guardOf(s.programOf(h)) }
	at, _ := s.moment(armed)
	switch s.rng.IntN(5) {
	case 0, 1:
		return []deed{{at, "kill program of " + h.name, func() bool { return hit(s.programOf(h), syscall.SIGKILL) }}}
	case 2:
		return []deed{{at, "kill guard of " + h.name, func() bool { return hit(guard(), syscall.SIGKILL) }}}
	case 3:
		return s.stopped("stop program of "+h.name, armed, func() int { return s.programOf(h) })
	}
	return s.stopped("stop guard of "+h.name, armed, guard)
}
