package main

import (
	"slices"
	"syscall"
	"time"

	"snaptastic-fleet/flow"
)

// slowFailures are those in which a host is not heard: its set is undone a minute after the window, when it can no longer be in it.
func slowFailures() []failure { return slices.Concat(hostsGone(), serverAway()) }

func quickFailures() []failure {
	return slices.Concat(preparing(), labelling(), undoing(), workers(), ofPrograms(), account(), []failure{
		{name: "nothing", do: func(*trial) {}},
		{name: "the host's network is cut over the window", do: func(x *trial) {
			x.armed(x.h1)
			x.wires["h1"].cut()
			x.programEnds()
			x.eventually("its report is lost", func() bool { return x.wires["h1"].hasLost() || x.isOver() })
			x.meets(!x.isOver(), "the report was lost before the verdict")
			x.wires["h1"].reconnect()
		}},
		{name: "the server is away for two seconds while armed", do: func(x *trial) {
			at := x.stillArmed()
			x.server.kill()
			x.meets(time.Now().Before(at), "the server was killed before the instant")
			time.Sleep(2 * time.Second)
			x.startServer()
		}},
		{name: "control is killed while armed, and started again after the window", do: func(x *trial) {
			at := x.stillArmed()
			x.control.kill()
			x.meets(time.Now().Before(at), "control was killed before the instant")
			x.programEnds()
			x.startControl()
		}},
		{name: "the same snapshot is begun twice", do: func(x *trial) {
			x.stillArmed()
			var second flow.SnapshotResult
			if err := x.fleet(&second, "snapshot", "shards"); err == nil && (!second.Labelled || second.Set != x.set) {
				x.t.Errorf("the second: %+v", second)
			}
		}},
	})
}

// ofPrograms are failures of snaptastic itself, and of its guard.
func ofPrograms() []failure {
	return []failure{
		{name: "snaptastic is killed in the window", why: "^error: h1: ", do: func(x *trial) {
			x.inWindow()
			hit(x.armedProcess(x.h1), syscall.SIGKILL)
		}},
		{name: "snaptastic is stopped in the window", why: "^error: h1: ", do: func(x *trial) {
			x.inWindow()
			pid := x.armedProcess(x.h1)
			x.t.Cleanup(func() { hit(pid, syscall.SIGCONT) })
			x.meets(hit(pid, syscall.SIGSTOP) && x.frozen(), "it was stopped in the window")
			x.eventually("the guard thaws", func() bool { return !x.frozen() })
			hit(pid, syscall.SIGCONT)
		}},
		{name: "snaptastic's guard is killed in the window", why: "^error: h1: ", do: func(x *trial) {
			x.inWindow()
			x.meets(hit(guardOf(x.armedProcess(x.h1)), syscall.SIGKILL), "there was a guard")
		}},
		{name: "snaptastic is stopped across the instant", why: "^error: h1: too late to freeze", lead: 6 * time.Second, do: func(x *trial) {
			at, _ := x.armed(x.h1)
			time.Sleep(time.Until(at) - time.Second) // it waits, and holds nothing that others wait for
			pid := x.armedProcess(x.h1)
			x.t.Cleanup(func() { hit(pid, syscall.SIGCONT) })
			x.meets(hit(pid, syscall.SIGSTOP) && time.Now().Before(at), "it was stopped before the instant")
			time.Sleep(time.Until(at) + time.Second)
			hit(pid, syscall.SIGCONT)
		}},
	}
}

// gone is what is said of h1 alone when it is not heard.
const gone = "h1: (no worker took the order in time: check that snaptastic-fleet-worker runs there|its worker was heard no more). No snapshot of the set is left: "

// hostsGone are hosts that cannot be reached any more, whatever they do.
func hostsGone() []failure {
	return []failure{
		{name: "the host is lost after the order", why: "^error: " + gone, lead: 6 * time.Second, do: func(x *trial) {
			at := x.stillArmed()
			x.h1.worker.kill()
			hit(x.armedProcess(x.h1), syscall.SIGKILL)
			x.meets(time.Now().Before(at), "it was lost before the instant")
			<-x.over // then it boots, and what it had begun is ended
			_, _ = x.snaptastic(x.h1, "resume")
		}},
		{name: "the host's network is cut after the order, until the verdict", why: "^error: " + gone, do: func(x *trial) {
			x.armed(x.h1)
			x.wires["h1"].cut()
			<-x.over
			x.meets(x.wires["h1"].hasLost(), "its report was lost")
		}},
		{name: "the host's network is cut for forty seconds after the order", do: func(x *trial) {
			x.armed(x.h1)
			x.wires["h1"].cut()
			time.Sleep(40 * time.Second) // by then the server has given up the one that it asked, and asks again
			x.meets(x.wires["h1"].hasLost() && !x.isOver(), "its report was lost")
			x.wires["h1"].reconnect()
		}},
		{name: "the host's network is cut before the order", why: "^error: nothing was frozen: h1: ", notFrozen: true,
			before: func(x *trial) { x.wires["h1"].cut() },
			do:     func(x *trial) { <-x.over; x.meets(x.wires["h1"].hasLost(), "it was cut off") }},
	}
}

// serverAway is long enough for the server, once it is back, to take the hosts' workers for lost.
func serverAway() []failure {
	const away, longest = 30 * time.Second, 16 * time.Second
	whileAway := func(x *trial, at time.Time) {
		x.server.kill()
		time.Sleep(away)
		if left := time.Until(at.Add(time.Second)); left > 0 { // the hold of these fleets
			x.t.Errorf("the server is back %s before the window is over: this proves nothing", left)
		}
	}
	return []failure{
		{name: "the server is away for thirty seconds while armed", longest: longest, do: func(x *trial) {
			whileAway(x, x.stillArmed())
			x.startServer()
		}},
		{name: "the server is away for thirty seconds while armed, and a host does not find it again", why: "^error: " + gone, longest: longest, do: func(x *trial) {
			at := x.stillArmed()
			x.wires["h1"].cut()
			whileAway(x, at)
			x.startServer()
			<-x.over
		}},
	}
}

// undoing are failures while the set is being undone. It takes longer than it takes to see it.
func undoing() []failure {
	return []failure{
		{name: "the server is away while it undoes", why: "^error: h1: ", do: func(x *trial) {
			x.isUndone()
			x.server.kill()
			x.eventually("the undo ends", func() bool { return x.programOnControl("undo") == 0 })
			x.startServer()
		}},
		{name: "control is killed with its program while it undoes, and started again", why: "^error: h1: ", do: func(x *trial) {
			pid := x.isUndone()
			x.control.kill()
			x.meets(hit(pid, syscall.SIGKILL), "it was undoing")
			x.calm()
			x.startControl()
		}},
	}
}

// preparing are failures before the order.
func preparing() []failure {
	planning := func(x *trial) {
		x.eventually("it prepares", func() bool { return x.planOf(x.h1) != 0 })
		x.h1.worker.kill()
		x.meets(x.planOf(x.h1) != 0, "it was killed in prepare")
		x.calm()
	}
	slowly := func(x *trial) { x.fault(`{"action": "DescribeVolumes", "latency": "5s"}`) }
	return []failure{
		{name: "the worker is killed in prepare, and not started again", why: "^error: nothing was frozen: h1: no worker took the order in time", notFrozen: true, before: slowly,
			do: planning},
		{name: "the worker is killed in prepare, and started again", before: slowly, do: func(x *trial) {
			planning(x)
			x.h1.worker = x.startWorker(x.h1)
		}},
		{name: "control is killed while hosts prepare, and started again", before: func(x *trial) { x.h1.worker.signal(syscall.SIGSTOP) }, do: func(x *trial) {
			x.t.Cleanup(func() { x.h1.worker.signal(syscall.SIGCONT) })
			x.eventually("it prepares", func() bool { return x.phase() == "preparing" })
			x.control.kill()
			x.startControl()
			x.h1.worker.signal(syscall.SIGCONT)
		}},
	}
}

// labelling are failures while the set is being labelled. It takes longer than it takes to see it.
func labelling() []failure {
	slowly := func(x *trial) { x.fault(`{"action": "CreateTags", "latency": "5s"}`) }
	begun := func(x *trial) (pid int) {
		x.eventually("it labels", func() bool { pid = x.programOnControl("label"); return pid != 0 || x.isOver() })
		return pid
	}
	return []failure{
		{name: "control is killed while it labels, and started again", before: slowly, do: func(x *trial) {
			begun(x)
			x.control.kill()
			x.meets(x.programOnControl("label") != 0, "it was labelling")
			x.startControl()
			x.neverHalf()
		}},
		{name: "control is killed with its program while it labels, and started again", before: slowly, do: func(x *trial) {
			pid := begun(x)
			x.control.kill()
			x.meets(hit(pid, syscall.SIGKILL), "it was labelling")
			x.startControl()
			x.neverHalf()
		}},
		{name: "the server is away while it labels", before: slowly, do: func(x *trial) {
			begun(x)
			x.server.kill()
			x.meets(x.programOnControl("label") != 0, "it was labelling")
			x.eventually("the label ends", func() bool { return x.programOnControl("label") == 0 })
			x.startServer()
		}},
	}
}

// workers are killed and started again; the program goes on.
func workers() []failure {
	return []failure{
		{name: "the worker is killed while armed, and started again", do: func(x *trial) {
			at := x.stillArmed()
			x.h1.worker.kill()
			x.meets(time.Now().Before(at), "it was killed before the instant")
			x.h1.worker = x.startWorker(x.h1)
		}},
		{name: "the worker is killed in the window, and started again", do: func(x *trial) {
			x.inWindow()
			x.h1.worker.kill()
			x.meets(x.frozen(), "it was killed in the window")
			x.h1.worker = x.startWorker(x.h1)
		}},
		{name: "the worker is killed after the effect, before it has told it", do: func(x *trial) {
			x.stillArmed()
			x.h1.worker.signal(syscall.SIGSTOP)
			x.programEnds()
			x.h1.worker.kill()
			x.h1.worker = x.startWorker(x.h1)
		}},
	}
}

// account is what EC2 does.
func account() []failure {
	throttled := func(x *trial) (n int) {
		for _, c := range x.calls("CreateSnapshot") {
			if c.Result == "RequestLimitExceeded" && c.Time.After(x.begun) {
				n++
			}
		}
		return n
	}
	return []failure{
		{name: "EC2 labels the set, and its answers are lost", before: func(x *trial) { x.fault(`{"action": "CreateTags", "reset": "after", "count": 6}`) },
			do: func(x *trial) {
				<-x.over
				lost := slices.DeleteFunc(x.called("CreateTags"), func(c call) bool { return !c.Lost || c.Time.Before(x.begun) })
				if len(lost) == 0 {
					x.t.Error("no answer was lost")
				}
			}},
		{name: "CreateSnapshots is throttled twice", before: func(x *trial) { x.fault(`{"action": "CreateSnapshot*", "error": "RequestLimitExceeded", "count": 2}`) },
			do: func(x *trial) {
				<-x.over
				if n := throttled(x); n != 2 {
					x.t.Errorf("%d calls were throttled", n)
				}
			}},
		{name: "CreateSnapshots is throttled for as long as the window lasts", why: "^error: h1: .*h2: .*h3: ",
			before: func(x *trial) {
				x.fault(`{"action": "CreateSnapshot*", "error": "RequestLimitExceeded", "count": 1000}`)
			},
			do: func(x *trial) {
				<-x.over
				if n := throttled(x); n < 3 {
					x.t.Errorf("%d calls were throttled", n)
				}
			}},
	}
}

// stillArmed waits until all hosts are armed, and returns the instant.
func (x *trial) stillArmed() (at time.Time) {
	x.t.Helper()
	for _, h := range x.hosts {
		at, _ = x.armed(h)
	}
	x.meets(time.Now().Before(at), "it was seen before the instant")
	return at
}

// inWindow waits until the file system of h1 is frozen.
func (x *trial) inWindow() {
	x.t.Helper()
	x.eventually("h1 is frozen", func() bool { return x.frozen() || x.isOver() })
	x.meets(x.frozen(), "it was seen frozen")
}

// frozen reports whether writes to h1 wait.
func (x *trial) frozen() bool { return x.watches["h1"].blocked(150 * time.Millisecond) }

func (x *trial) programEnds() {
	x.t.Helper()
	x.eventually("the program of h1 ends", func() bool { return x.armedProcess(x.h1) == 0 })
}

func (x *trial) isOver() bool {
	select {
	case <-x.over:
		return true
	default:
		return false
	}
}

// isUndone has the set fail, and waits until control undoes it. It returns the program.
func (x *trial) isUndone() (pid int) {
	x.t.Helper()
	x.inWindow()
	x.fault(`{"action": "DeleteSnapshot", "latency": "5s"}`)
	hit(x.armedProcess(x.h1), syscall.SIGKILL)
	x.eventually("it undoes", func() bool { pid = x.programOnControl("undo"); return pid != 0 || x.isOver() })
	return pid
}

// programOnControl is the program that control runs with this command; 0 for none.
func (x *trial) programOnControl(command string) int {
	return findProcess(func(args []string) bool {
		return slices.Contains(args, "--state-dir="+x.dir+"/control") && slices.Contains(args, command) && !slices.Contains(args, "--dry-run")
	})
}

// planOf is the program that prepares a host; 0 for none.
func (r *rig) planOf(h *testHost) int {
	return findProcess(func(args []string) bool {
		return slices.Contains(args, "--state-dir="+h.dir+"/state") && slices.Contains(args, "plan")
	})
}
