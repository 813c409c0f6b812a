package steps

import (
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/ec2/sandbox"
	"snaptastic/plan"
)

func (b *bench) callsOf(action string) (n int) {
	b.Helper()
	calls, err := sandbox.Log(b.dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range calls {
		if c.Action == action {
			n++
		}
	}
	return n
}

// A set is shared once, whatever was shared before and however often it is asked for; a call that fails leaves the rest to a
// second try.
func TestASetIsSharedOnce(t *testing.T) {
	b, locked, ids := lockedBench(t)
	in := ShareSetIn{Set: locked.Set, Accounts: []string{"222222222222", "333333333333"}}
	h, a := b.env.shareSet(), b.attempt("share-set")
	if err := b.cloud.ShareSnapshot(t.Context(), ids[0], "333333333333", "444444444444"); err != nil {
		t.Fatal(err)
	}
	if o, err := h.Observe(t.Context(), a, in); err != nil || o.State != plan.Absent {
		t.Fatalf("before: %q, %v", o.State, err)
	}
	if err := sandbox.SetFaults(b.dir, sandbox.Latency{}, sandbox.Fault{Action: "ModifySnapshotAttribute", Params: map[string]string{"SnapshotId": ids[1]}, Error: "UnauthorizedOperation", Count: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Do(t.Context(), a, in); err == nil || plan.ActionOf(err).Action != plan.ActTerminal || !strings.Contains(plan.HintOf(err), "ec2:ModifySnapshotAttribute") {
		t.Errorf("%v, hint %q", err, plan.HintOf(err))
	}
	if o, err := h.Observe(t.Context(), a, in); err != nil || o.State != plan.Absent {
		t.Errorf("half: %q, %v", o.State, err)
	}
	before := b.callsOf("ModifySnapshotAttribute")
	out := checkLasting(b, ShareSet, in)
	if facts := out.Facts(); len(facts.Each) != 2 || !slices.Equal(facts.Remarks, []string{"shared with 222222222222, 333333333333"}) {
		t.Errorf("%+v", facts)
	}
	if n := b.callsOf("ModifySnapshotAttribute") - before; n != 1 {
		t.Errorf("%d calls share the one snapshot that was left", n)
	}
	for i, want := range [][]string{{"222222222222", "333333333333", "444444444444"}, {"222222222222", "333333333333"}} {
		if got, err := b.cloud.SharedWith(t.Context(), ids[i]); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is shared with %v, %v; want %v", ids[i], got, err, want)
		}
	}
}

// An account that EC2 refuses keeps no other one from its set, and is named.
func TestAnAccountThatIsRefusedKeepsNoOtherOneFromTheSet(t *testing.T) {
	b, locked, ids := lockedBench(t)
	in := ShareSetIn{Set: locked.Set, Accounts: []string{"222222222222", "333333333333"}}
	refused := sandbox.Fault{Action: "ModifySnapshotAttribute", Params: map[string]string{"UserId.1": "222222222222"}, Error: "InvalidParameterValue"}
	if err := sandbox.SetFaults(b.dir, sandbox.Latency{}, refused); err != nil {
		t.Fatal(err)
	}
	if _, err := b.env.shareSet().Do(t.Context(), b.attempt("share-set"), in); err == nil || plan.ActionOf(err).Action != plan.ActTerminal || !strings.Contains(err.Error(), "account 222222222222") {
		t.Errorf("%v", err)
	}
	for _, id := range ids {
		if got, err := b.cloud.SharedWith(t.Context(), id); err != nil || !slices.Equal(got, []string{"333333333333"}) {
			t.Errorf("%s is shared with %v, %v", id, got, err)
		}
	}
}

// What the manifest says of a snapshot is held against what EC2 shows.
func TestASharedSnapshotIsAsItsManifestSays(t *testing.T) {
	at := time.Date(2026, 11, 28, 3, 0, 0, 123e6, time.UTC)
	in := FindSourceIn{From: "eu-west-1", Shared: &SharedSource{Owner: "111111111111", Members: map[string]SharedMember{"snap-1": {Size: 8, Started: at}}}}
	good := ec2.Snapshot{ID: "snap-1", OwnerID: "111111111111", VolumeSize: 8, Started: at, State: ebs.SnapshotCompleted}
	cases := []struct {
		change func(*ec2.Snapshot)
		want   string
	}{
		{func(*ec2.Snapshot) {}, ""},
		{func(s *ec2.Snapshot) { s.State = ebs.SnapshotPending }, "pending"},
		{func(s *ec2.Snapshot) { s.StorageTier = "archive" }, "archive"},
		{func(s *ec2.Snapshot) { s.OwnerID = "222222222222" }, "belongs to account 222222222222"},
		{func(s *ec2.Snapshot) { s.VolumeSize = 9 }, "9 GiB"},
		{func(s *ec2.Snapshot) { s.Started = at.Add(time.Millisecond) }, "of another set"},
	}
	for _, c := range cases {
		s := good
		c.change(&s)
		if got := in.unfit(s, true); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", s, got, c.want)
		}
	}
	if got := in.unfit(ec2.Snapshot{}, false); !strings.Contains(got, "does not share it") {
		t.Errorf("%q", got)
	}
}
