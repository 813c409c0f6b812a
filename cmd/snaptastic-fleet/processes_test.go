package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The processes of a rig: which they are, and starting again those that a test has ended.

func (r *rig) spawnWorker(h *testHost) *process {
	bin, _ := programs()
	return r.spawn(bin.fleet, "worker", "--config", h.dir+"/fleet.hcl")
}

func (r *rig) spawnControl() *process {
	bin, _ := programs()
	return r.spawn(bin.fleet, "control", "--config", r.dir+"/fleet.hcl")
}

func (r *rig) everythingRuns() {
	if r.server.ended() {
		r.startServer()
	}
	if r.control.ended() {
		r.control = r.spawnControl()
	}
	for _, h := range r.hosts {
		if h.worker.ended() {
			h.worker = r.spawnWorker(h)
		}
		r.eventually("the worker of "+h.name+" works", h.worker.working)
	}
	r.eventually("control works", r.control.working)
}

func (r *rig) phase() string {
	var list []work
	if r.fleet(&list, "status", "shards") != nil || len(list) == 0 {
		return ""
	}
	return list[0].Phase
}

// armed waits until the host's snapshot is armed, and returns its two times.
func (r *rig) armed(h *testHost) (at, until time.Time) {
	r.t.Helper()
	r.eventually(h.name+" is armed", func() bool { return r.armedProcess(h) != 0 })
	args := commandLine(r.armedProcess(h))
	read := func(flag string) time.Time {
		if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
			at, _ := time.Parse(time.RFC3339Nano, args[i+1])
			return at
		}
		return time.Now()
	}
	return read("--at"), read("--hold-until")
}

func commandLine(pid int) []string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.Split(string(b), "\x00")
}

// armedProcess is the process of snaptastic that waits for the instant on that host, or has frozen; 0 for none.
func (r *rig) armedProcess(h *testHost) int {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if args := commandLine(pid); slices.Contains(args, "run") && slices.Contains(args, "--hold-until") && slices.Contains(args, "--state-dir="+h.dir+"/state") {
			return pid
		}
	}
	return 0
}

func hit(pid int, sig syscall.Signal) bool { return pid > 0 && syscall.Kill(pid, sig) == nil }

// programOf is a process of snaptastic that works on that host; 0 for none.
func (r *rig) programOf(h *testHost) int {
	return findProcess(func(args []string) bool {
		return slices.Contains(args, "--state-dir="+h.dir+"/state") && slices.Contains(args, "run")
	})
}

// guardOf is the freeze guard of a process; 0 for none.
func guardOf(program int) int {
	if program == 0 {
		return 0
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", program))
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		for _, f := range strings.Fields(string(b)) {
			pid, _ := strconv.Atoi(f)
			if args := commandLine(pid); len(args) > 0 && args[0] == "snaptastic-guard" {
				return pid
			}
		}
	}
	return 0
}

// findProcess is one process whose command line is wanted; 0 for none.
func findProcess(wanted func([]string) bool) int {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && wanted(commandLine(pid)) && !zombie(pid) {
			return pid
		}
	}
	return 0
}

func zombie(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	i := bytes.LastIndexByte(b, ')')
	return i >= 0 && len(b) > i+2 && b[i+2] == 'Z'
}
