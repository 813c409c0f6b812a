package main

import (
	"slices"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
	"snaptastic/linux"
)

// A plan for an instant says what `run` would be refused for, so that of many hosts none freezes where one would not. A plan without
// one says what the operation does.
func TestAPlanForAnInstantSaysWhyItWouldNotBegin(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	_, _, flags := instants(10*time.Minute, time.Second)
	plain := []string{"plan", "snapshot", "db"}
	armed := append(slices.Clone(plain), flags...)
	part := append(slices.Clone(armed), "--set", "s", "--members", "1000", "--defer-label")
	r.must(armed...)
	r.must(part...)

	r.setFaults(sandbox.Fault{Action: "CreateSnapshots", Error: "UnauthorizedOperation"})
	r.must(plain...)
	r.wants(exitFailed, "without ec2:CreateSnapshots", armed...)
	r.calm()

	if c, err := linux.New(linux.Roots{}).Clock(); err == nil && !c.Synchronized {
		r.wants(exitFailed, "not ready", armed[:len(armed)-1]...)
	}

	r.triesNoCallThatThePlanHasTried()

	r.hang("CreateTags", time.Minute, "before")
	r.killInStep("tag-snapshots", "run", "snapshot", "db")
	r.calm()
	r.must(armed...) // `run` undoes that first

	s, _ := r.armed(time.Minute, time.Second)
	r.wants(exitBusy, "which is live", armed...)
	r.must(plain...)
	_ = s.Process.Kill()
	s.ends()
	r.must(armed...)
	r.thawedAll()
}

// A part of a larger set makes its one request of CreateSnapshots at its instant, and none before: EC2 may count a dry run, and all hosts
// share one bucket. Whoever orders it has asked for its plan, which tries the call.
func (r *rig) triesNoCallThatThePlanHasTried() {
	r.t.Helper()
	tried := func(do func()) (n int) {
		before := len(r.calls())
		do()
		for _, c := range r.calls()[before:] {
			if c.Action == "CreateSnapshots" {
				n++
			}
		}
		return n
	}
	partOf := []string{"--set", "s", "--members", "1000", "--defer-label"}
	_, _, flags := instants(time.Minute, time.Second)
	if n := tried(func() { r.must(slices.Concat([]string{"plan", "snapshot", "db"}, flags, partOf)...) }); n != 1 {
		r.t.Errorf("the plan of a part has tried CreateSnapshots %d times", n)
	}
	for want, flags := range [][]string{partOf, nil} {
		n := tried(func() {
			s, _ := r.armed(time.Minute, time.Second, flags...)
			_ = s.Process.Kill()
			s.ends()
		})
		if n != want {
			r.t.Errorf("armed with %v, it has tried CreateSnapshots %d times, want %d", flags, n, want)
		}
	}
}
