package engine

import (
	"slices"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
	"snaptastic/steps/snapset"
)

// What is restorable and what is covered changes with a snapshot, its age and its label.
func TestChecksAndChoicesFollowTheSnapshots(t *testing.T) {
	r := newRig(t, 2)
	r.must("mount")
	r.fails(Usage, second(r.engine().Check(t.Context(), CheckRequest{Name: "db", Tags: map[string]string{"role": "db"}, MaxAge: time.Hour})))
	r.fails(Usage, second(r.engine().Check(t.Context(), CheckRequest{Name: "nobody", MaxAge: time.Hour})))
	r.covered(4, 0) // two mount points, two volumes
	r.restorable(0)

	r.must("snapshot")
	r.covered(0, 2)
	r.restorable(2)

	for _, s := range r.snapshots() { // a day later
		if err := r.server.Sandbox.EditSnapshot(s, func(s *sandbox.Snapshot) {
			s.Started = s.Started.Add(-24 * time.Hour)
			for _, key := range []string{snapset.TagCreated, snapset.TagDataTime} {
				s.Tags[key] = sandbox.TagValue{Value: s.Started.UTC().Format(time.RFC3339)}
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	r.covered(4, 2)
	r.restorable(2)

	for _, s := range r.snapshots() {
		if err := r.server.Sandbox.EditSnapshot(s, func(s *sandbox.Snapshot) { s.Tags[snapset.TagState] = sandbox.TagValue{Value: snapset.Unverified} }); err != nil {
			t.Fatal(err)
		}
	}
	r.covered(4, 0)
	r.restorable(0)
}

// covered asks in each way, and wants so many gaps, and mount points with a snapshot that counts.
func (r *rig) covered(gaps, snapshots int) {
	r.t.Helper()
	for _, q := range []CheckRequest{{Name: "db"}, {}, {Tags: map[string]string{"role": "db"}}} {
		q.MaxAge = time.Hour
		res, err := r.engine().Check(r.t.Context(), q)
		found := 0
		for _, f := range res.Findings {
			if f.VolumeID == "" && f.SnapshotID != "" {
				found++
			}
		}
		if len(res.Findings) != 4 || len(res.Gaps()) != gaps || found != snapshots || (err != nil) != (gaps > 0) || gaps > 0 && !ErrorOf(err).InResult {
			r.t.Errorf("%+v: %v: %d gaps, %d mount points have a snapshot; want %d and %d\n%+v", q, err, len(res.Gaps()), found, gaps, snapshots, res.Findings)
		}
	}
}

// restorable wants so many mount points of which a mount would take a snapshot.
func (r *rig) restorable(want int) {
	r.t.Helper()
	stock, err := r.engine().Snapshots(r.t.Context(), SnapshotsRequest{Name: "db"})
	if err != nil {
		r.t.Fatal(err)
	}
	chosen := 0
	for v := range stock.Views() {
		if v.Chosen {
			chosen++
		}
	}
	if len(stock.Choices) != 2 || chosen != want {
		r.t.Errorf("%d are chosen, want %d: %+v", chosen, want, stock.Choices)
	}
}

// snapshots are the ids of all that the sandbox has.
func (r *rig) snapshots() (ids []string) {
	r.t.Helper()
	stock, err := r.engine().Snapshots(r.t.Context(), SnapshotsRequest{Name: "db"})
	if err != nil {
		r.t.Fatal(err)
	}
	for v := range stock.Views() {
		ids = append(ids, v.SnapshotID)
	}
	return ids
}

// A clean-up deletes what it showed and nothing else, asks before it does, and deletes nothing after a no.
func TestACleanUpDeletesWhatItShowedAndAsksFirst(t *testing.T) {
	r := newRig(t, 1)
	r.must("mount")
	r.must("snapshot")
	old := r.snapshots()
	r.must("snapshot")
	if err := r.server.Sandbox.EditSnapshot(old[0], func(s *sandbox.Snapshot) {
		s.Tags[snapset.TagExpires] = sandbox.TagValue{Value: "2020-01-01T00:00:00Z"}
	}); err != nil {
		t.Fatal(err)
	}
	r.fails(Usage, second(r.engine().PlanClean(t.Context(), CleanRequest{Operation: "mount"})))
	r.fails(Usage, second(r.engine().PlanClean(t.Context(), CleanRequest{Operation: "clean images"})))
	clean := func() (CleanPlan, error) {
		e := r.engine()
		p, err := e.PlanClean(t.Context(), CleanRequest{Operation: "clean snapshots", Name: "db"})
		if err != nil || !p.Deletes() {
			t.Fatalf("%v: %+v", err, p)
		}
		_, err = e.Clean(t.Context(), p)
		return p, err
	}
	r.answer = false
	r.fails(Failed, second(clean()))
	if got := r.snapshots(); len(got) != 2 || !slices.Equal(r.asked, []string{"clean snapshots"}) {
		t.Errorf("after a no there are %v; asked %q", got, r.asked)
	}
	r.answer = true
	p, err := clean()
	if err != nil || p.Tally() != "1 snapshot (of 1 GiB)" {
		t.Errorf("%v: %s", err, p.Tally())
	}
	if got := r.snapshots(); len(got) != 1 || got[0] == old[0] {
		t.Errorf("left are %v of %v", got, old)
	}
}

// What the doctor makes of a permission that is missing depends on who needs it: a run, a clean-up, or nobody before there is
// something of ours.
func TestTheDoctorKnowsWhoNeedsAPermission(t *testing.T) {
	r := newRig(t, 1)
	for action, level := range map[string]Level{
		"DetachVolume": Fail, "CreateSnapshots": Fail, "DescribeVolumes": Fail, // of runs
		"DescribeImages": Warn, "DescribeLockedSnapshots": Warn, // of clean-ups alone
		"DeleteVolume": Warn, "DeleteSnapshot": Warn, // on what Snaptastic made, and there is none yet
	} {
		if err := sandbox.SetFaults(r.sandbox(), sandbox.Latency{}, sandbox.Fault{Action: action, Error: "UnauthorizedOperation"}); err != nil {
			t.Fatal(err)
		}
		findings, err := r.engine().Doctor(t.Context())
		i := slices.IndexFunc(findings, func(f Finding) bool { return f.Check == "ec2:"+action })
		if i < 0 || findings[i].Level != level {
			t.Errorf("%s is missing: %v %+v, want %s", action, err, findings, level)
		}
	}
}
