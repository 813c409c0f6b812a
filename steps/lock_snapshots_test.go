package steps

import (
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/plan"
)

// lockedBench is a bench with a labelled set of two, and what locks it.
func lockedBench(t *testing.T) (*bench, LockSnapshotsIn, []string) {
	t.Helper()
	b := newBench(t, true)
	b.aMount("/dev/sdf", "a", "xfs", empty)
	b.aMount("/dev/sdg", "b", "ext4", empty)
	set := b.snapshotted("a", "b")
	if _, err := b.env.tagSnapshots().Do(t.Context(), b.attempt("tag"), TagSnapshotsIn{Set: plan.Literal(set), Tags: map[string]string{"role": "search"}}); err != nil {
		t.Fatal(err)
	}
	return b, LockSnapshotsIn{Set: plan.Literal(set), Mode: ec2.Governance, Days: 14}, set.ids()
}

func (b *bench) lockCalls() (n int) {
	b.Helper()
	calls, err := sandbox.Log(b.dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range calls {
		if c.Action == "LockSnapshot" {
			n++
		}
	}
	return n
}

func TestASetIsLockedOnce(t *testing.T) {
	b, in, ids := lockedBench(t)
	h, a := b.env.lockSnapshots(), b.attempt("lock-snapshots")
	if o, err := h.Observe(t.Context(), a, in); err != nil || o.State != plan.Absent {
		t.Fatalf("before: %q, %v", o.State, err)
	}
	checkLasting(b, LockSnapshots, in)
	for range 2 {
		out, err := h.Do(t.Context(), a, in)
		if err != nil || len(out.SnapshotIDs) != 2 || out.State != ec2.Governance || time.Until(out.Expires).Round(time.Hour) != 14*24*time.Hour {
			t.Fatalf("%+v, %v", out, err)
		}
		if facts := out.Facts(); len(facts.Remarks) != 1 || !strings.Contains(facts.Remarks[0], "locked (governance) for 14 days, until ") || len(facts.Warnings) != 0 {
			t.Errorf("%+v", facts)
		}
	}
	if n := b.lockCalls(); n != 2 {
		t.Errorf("%d calls lock two snapshots", n)
	}
	if o, err := h.Observe(t.Context(), a, in); err != nil || o.State != plan.Satisfied || len(o.Out.SnapshotIDs) != 2 {
		t.Errorf("after: %q, %v", o.State, err)
	}
	// More than there is: for longer, or so that nobody can unlock it.
	for _, more := range []LockSnapshotsIn{{Set: in.Set, Mode: ec2.Governance, Days: 15}, {Set: in.Set, Mode: "compliance", Days: 1, CoolOff: 2}} {
		if o, err := h.Observe(t.Context(), a, more); err != nil || o.State != plan.Absent {
			t.Errorf("%+v: %q, %v", more, o.State, err)
		}
	}
	out, err := h.Do(t.Context(), a, LockSnapshotsIn{Set: in.Set, Mode: "compliance", Days: 15, CoolOff: 2})
	if err != nil || out.State != "compliance-cooloff" || len(out.Facts().Warnings) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	if o, err := h.Observe(t.Context(), a, in); err != nil || o.State != plan.Satisfied {
		t.Errorf("compliance is not enough for governance: %q, %v", o.State, err)
	}
	// What is locked is not deleted, whoever tries.
	for _, id := range ids {
		if err := b.cloud.DeleteSnapshot(t.Context(), id); err == nil {
			t.Errorf("%s was deleted", id)
		}
	}
	if why, err := b.env.heldNow(t.Context(), a, ids); err != nil || !strings.Contains(why, "is locked (compliance-cooloff) until ") {
		t.Errorf("a clean-up goes on: %q, %v", why, err)
	}
}

// A lock that fails does not keep the others from being locked; a second try locks the rest.
func TestALockThatFailsLeavesTheRest(t *testing.T) {
	b, in, ids := lockedBench(t)
	h, a := b.env.lockSnapshots(), b.attempt("lock-snapshots")
	if err := sandbox.SetFaults(b.dir, sandbox.Latency{}, sandbox.Fault{Action: "LockSnapshot", Params: map[string]string{"SnapshotId": ids[0]}, Error: "UnauthorizedOperation"}); err != nil {
		t.Fatal(err)
	}
	_, err := h.Do(t.Context(), a, in)
	if err == nil || !strings.Contains(err.Error(), ids[0]) || !strings.Contains(plan.HintOf(err), "ec2:LockSnapshot") || plan.ActionOf(err).Action != plan.ActTerminal {
		t.Errorf("%v, hint %q", err, plan.HintOf(err))
	}
	locks, err := b.cloud.LockedSnapshots(t.Context())
	if err != nil || len(locks) != 1 || !locks[ids[1]].Locked() {
		t.Errorf("locked are %v, %v", locks, err)
	}
	before := b.lockCalls()
	// The answer to the second is lost.
	if err := sandbox.SetFaults(b.dir, sandbox.Latency{}, sandbox.Fault{Action: "LockSnapshot", Nth: 1, Reset: "after"}); err != nil {
		t.Fatal(err)
	}
	out, err := h.Do(t.Context(), a, in)
	if err != nil || len(out.SnapshotIDs) != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	if n := b.lockCalls() - before; n != 2 {
		t.Errorf("%d calls for the one that was left, one of which had no answer", n)
	}
}

// While a snapshot is pending, EC2 does not say when its lock will expire.
func TestAPendingSnapshotIsLocked(t *testing.T) {
	b := newBench(t, true)
	if err := sandbox.SetFaults(b.dir, sandbox.Latency{Snapshot: time.Hour}); err != nil {
		t.Fatal(err)
	}
	b.aMount("/dev/sdf", "a", "xfs", empty)
	set := b.snapshotted("a")
	in := LockSnapshotsIn{Set: plan.Literal(set), Mode: ec2.Governance, Days: 14}
	out, err := b.env.lockSnapshots().Do(t.Context(), b.attempt("lock-snapshots"), in)
	if err != nil || !out.Expires.IsZero() || out.Facts().Remarks[0] != "locked (governance) for 14 days" {
		t.Errorf("%+v, %v", out, err)
	}
	if o, err := b.env.lockSnapshots().Observe(t.Context(), b.attempt("lock-snapshots"), in); err != nil || o.State != plan.Satisfied {
		t.Errorf("%q, %v", o.State, err)
	}
}
