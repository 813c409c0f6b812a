package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// What can fail in a fleet's snapshot, each with real processes: docs/fleet.md has the table. Whatever it is: no file system is frozen
// for longer than max_hold, there is a whole labelled set or none, no snapshot is left that nobody labels, and no key made two.
//
// Most of the time is spent on waiting, so several fleets are worked on side by side: minutes, and a quarter of an hour one after the other.
func TestWhateverFailsThereIsAWholeSetOrNone(t *testing.T) {
	t.Parallel()
	needFleet(t)
	const fleets = 8
	all := make(chan failure)
	go func() {
		defer close(all)
		for _, f := range slices.Concat(slowFailures(), quickFailures()) {
			all <- f
		}
	}()
	var done sync.WaitGroup
	for i := range fleets {
		done.Go(func() {
			t.Run(fmt.Sprint("fleet ", i+1), func(t *testing.T) { // not by t.Parallel, which depends on how many processors there are
				r := newRig(t, 3, func(r *rig) { r.hold, r.maxHold = "1s", maxHold.String() })
				for _, n := range sortedNames(r.hosts) {
					r.must(r.hosts[n], "run", "mount", "db")
				}
				for f := range all {
					t.Run(f.name, func(t *testing.T) { f.run(t, r) })
				}
			})
		})
	}
	done.Wait()
}

const (
	maxHold = 5 * time.Second // of the hosts
	// busySlack is what a machine with much to do may add to a write.
	busySlack = 4 * time.Second
	shortLead = 4 * time.Second
)

// A failure is what happens to a fleet that takes a snapshot, and what must come of it.
type failure struct {
	name      string
	why       string        // what the error says, a regular expression; "" where the set is labelled
	lead      time.Duration // at least; 0: a short one
	longest   time.Duration // lead; 0: whatever it takes
	notFrozen bool          // it fails before anything is frozen
	before    func(*trial)  // the snapshot is begun
	do        func(*trial)
}

// A trial is one snapshot to which a failure happens.
type trial struct {
	*rig
	t       *testing.T
	h1      *testHost // whom it happens to
	set     string
	begun   time.Time
	watches map[string]*watch
	over    chan struct{} // closed with the verdict
	got     asked
	missed  string // what did not come about, because the machine was too busy
}

// meets says that the failure happened when it should have.
func (x *trial) meets(is bool, what string) {
	if !is && x.missed == "" {
		x.missed = "not so: " + what
	}
}

// run tries it with longer and longer leads: a machine with much to do is too late for the short ones.
func (f failure) run(t *testing.T, r *rig) {
	lead := max(f.lead, shortLead)
	for try := 1; ; try++ {
		x := f.try(t, r, lead)
		x.holds(f)
		slow := x.slow(f)
		if slow == "" {
			x.judge(f)
			r.saveHistory("snapshot "+f.name, flowID("snapshot", "shards"))
			return
		}
		if t.Failed() || try == 4 {
			t.Fatalf("with a lead of %s: %s", lead, slow)
		}
		t.Logf("again, with a lead of %s: %s", lead, slow)
		if lead *= 2; f.longest > 0 {
			lead = min(lead, f.longest)
		}
	}
}

func (f failure) try(t *testing.T, r *rig, lead time.Duration) *trial {
	r.lead = lead.String()
	r.write("fleet.hcl", r.settings(r.onControl))
	r.everythingRuns()
	x := &trial{rig: r, t: t, h1: r.hosts["h1"], begun: time.Now(), watches: r.watches(t), over: make(chan struct{})}
	x.set = fmt.Sprint("s", x.begun.UnixMilli())
	t.Cleanup(x.calm)
	if f.before != nil {
		f.before(x)
	}
	go func() {
		defer close(x.over)
		x.got.err = r.fleet(&x.got.SnapshotResult, "snapshot", "shards", "--set", x.set)
	}()
	f.do(x)
	<-x.over
	x.calm()
	r.everythingRuns()
	for _, h := range r.hosts {
		r.eventually("no program is left on "+h.name, func() bool { return r.programOf(h) == 0 })
	}
	return x
}

// fault has the account misbehave, until all is calm.
func (x *trial) fault(text string) {
	x.write("sandbox/faults.json", `{"faults": [`+text+`]}`)
}

func (x *trial) calm() {
	_ = os.Remove(x.dir + "/sandbox/faults.json")
	for _, w := range x.wires {
		w.reconnect()
	}
}

// slow is why this trial says nothing: the machine was too busy for its lead.
func (x *trial) slow(f failure) string {
	switch {
	case x.missed != "":
		return x.missed
	case x.got.err == nil:
		return ""
	case f.why == "" && busy.MatchString(x.got.err.Error()), othersBusy.MatchString(x.got.err.Error()):
		return x.got.err.Error()
	}
	return ""
}

var othersBusy = regexp.MustCompile(`h[23]: (too late|[^;]* is over, it is|no worker took the order in time)`)

// judge wants the verdict of the failure.
func (x *trial) judge(f failure) {
	x.t.Helper()
	g := x.got
	switch {
	case f.why == "":
		if g.err != nil || !g.Labelled || g.Snapshots != 3 || g.Instant == nil || g.Instant.OverlapSeconds <= 0 {
			x.t.Errorf("%v %+v", g.err, g.SnapshotResult)
		}
	case g.err == nil || g.Labelled:
		x.t.Errorf("it is labelled: %+v", g.SnapshotResult)
	case !regexp.MustCompile(f.why).MatchString(g.err.Error()):
		x.t.Errorf("%v, want %s", g.err, f.why)
	}
	made := 0
	for key := range x.createdByKey() {
		if strings.HasPrefix(key, x.set+"/") {
			made++
		}
	}
	switch {
	case f.notFrozen && made != 0, f.why == "" && made != 3, made > 3:
		x.t.Errorf("%d snapshots were made", made)
	}
}

// holds wants what is true whatever has happened, and says how long file systems were frozen.
func (x *trial) holds(f failure) {
	x.t.Helper()
	var journal, write time.Duration
	for _, name := range sortedNames(x.hosts) {
		h := x.hosts[name]
		w := x.endWatch(x.t, x.watches[name])
		if w > maxHold+busySlack {
			x.t.Errorf("%s: a write took %s", name, w)
		}
		freezes := x.freezes(h, x.begun)
		for _, z := range freezes {
			frozen := time.Duration(z.FrozenSeconds * float64(time.Second))
			if frozen > maxHold+time.Second {
				x.t.Errorf("%s was frozen for %s", name, frozen)
			}
			journal = max(journal, frozen)
			if held := z.Mounts[0].ThawedAt.Sub(z.Mounts[0].FrozenAt); w < held/2 {
				x.t.Errorf("%s was frozen for %s, and the longest write took %s: it measures nothing", name, held, w)
			}
		}
		if f.notFrozen && len(freezes) > 0 || len(freezes) > 1 || x.got.Labelled && len(freezes) != 1 {
			x.t.Errorf("%s was frozen %d times", name, len(freezes))
		}
		for _, run := range x.unfinished(h) {
			x.t.Errorf("%s has the unfinished run %s", name, run)
		}
		write = max(write, w)
	}
	x.nothingFrozen(x.t)
	x.wholeOrNone()
	x.t.Logf("frozen for %s by the journals, the longest write took %s; %v", journal.Round(time.Millisecond), write.Round(time.Millisecond), x.got.err)
}

// wholeOrNone wants all sets whole, this one only if it was said to be labelled, and nothing besides.
func (x *trial) wholeOrNone() {
	x.t.Helper()
	sets, unlabelled := x.sets()
	for set, members := range sets {
		if len(members) != len(x.hosts) {
			x.t.Errorf("set %s has the members %v", set, members)
		}
	}
	if _, there := sets[x.set]; there != x.got.Labelled {
		x.t.Errorf("it is said to be labelled: %v; it is: %v", x.got.Labelled, there)
	}
	if n := x.snapshotFiles(); len(unlabelled) > 0 || n != len(sets)*len(x.hosts) {
		x.t.Errorf("unlabelled: %v; the account has %d snapshots, and %d labelled sets", unlabelled, n, len(sets))
	}
	for key, n := range x.createdByKey() {
		if n > 1 {
			x.t.Errorf("key %s made %d snapshots", key, n)
		}
	}
}

// neverHalf watches the set until there is a verdict: all of it becomes restorable at once.
func (x *trial) neverHalf() {
	x.t.Helper()
	seen := 0
	for {
		select {
		case <-x.over:
			x.meets(seen > 0, "the set was seen before it was labelled")
			return
		case <-time.After(200 * time.Millisecond):
		}
		out, _ := x.snaptastic(x.hosts["h2"], "undo", "--set", x.set, "--dry-run", "-o", "json")
		var there struct {
			Deleted []string `json:"deleted"`
			Kept    []any    `json:"kept"`
		}
		if json.Unmarshal([]byte(out), &there) != nil {
			continue
		}
		if len(there.Deleted) == 3 {
			seen++
		}
		if len(there.Kept) > 0 && len(there.Kept) < 3 {
			x.t.Errorf("half of the set is labelled: %s", out)
		}
	}
}
