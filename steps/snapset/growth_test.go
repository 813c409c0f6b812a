package snapset

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan/units"
)

// fleet is n volumes in use and n snapshots of them.
func fleet(n int, point func(i int) string, change func(i int, s *ec2.Snapshot)) (volumes []ec2.Volume, all []ec2.Snapshot) {
	for i := range n {
		at := noon.Add(-time.Duration(i) * time.Minute)
		id, instance := fmt.Sprintf("vol-%017x", i), fmt.Sprintf("i-%017x", i)
		volumes = append(volumes, ec2.Volume{ID: id, Created: noon.Add(-1000 * time.Hour), Tags: map[string]string{TagMountPoint: point(i)},
			Attachments: []ec2.Attachment{{InstanceID: instance, State: "attached"}}})
		s := ec2.Snapshot{ID: fmt.Sprintf("snap-%017x", i), VolumeID: id, Started: at, State: "completed", Tags: map[string]string{
			TagMountPoint: point(i), TagInstance: instance, TagSet: SetID(fmt.Sprint("R", i), "t"), TagMembers: "1", TagState: Consistent, TagDataTime: DataStamp(at)}}
		change(i, &s)
		all = append(all, s)
	}
	return volumes, all
}

func TestJudgingCostsVolumesAndSnapshotsNotTheirProduct(t *testing.T) {
	one := func(int) string { return "/mnt/data" }
	own := func(i int) string { return fmt.Sprintf("/mnt/%d", i) }
	as := func(int, *ec2.Snapshot) {}
	for name, c := range map[string]struct {
		point  func(int) string
		change func(int, *ec2.Snapshot)
	}{
		"volumes of one mount point":          {one, as},
		"a mount point for each":              {own, as},
		"copies":                              {one, func(_ int, s *ec2.Snapshot) { s.VolumeID = "vol-ffffffff" }},
		"no set is complete":                  {one, func(_ int, s *ec2.Snapshot) { s.Tags[TagMembers] = "2" }},
		"none is labelled":                    {one, func(_ int, s *ec2.Snapshot) { s.Tags[TagState] = Unverified }},
		"none is labelled, points of its own": {own, func(_ int, s *ec2.Snapshot) { s.Tags[TagState] = Unverified }},
		"all in error":                        {own, func(_ int, s *ec2.Snapshot) { s.State = "error" }},
	} {
		t.Run(name, func(t *testing.T) {
			cost := func(n int) float64 {
				volumes, all := fleet(n, c.point, c.change)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if got := Covered(Scope{Group: true}, volumes, IndexOf(all), noon, 26*time.Hour); len(got) < n {
					t.Fatalf("%d findings of %d volumes", len(got), n)
				}
				runtime.ReadMemStats(&after)
				return float64(after.TotalAlloc - before.TotalAlloc)
			}
			cost(100)
			few, many := cost(2000), cost(4000)
			t.Logf("%.1f MiB for 2000, %.2f times that for 4000", few/(1<<20), many/few)
			if many > few*2*1.2 {
				t.Errorf("twice as many cost %.2f times as much", many/few)
			}
		})
	}
}

func TestChoosingCostsLinearly(t *testing.T) {
	cost := func(n int) float64 {
		_, all := fleet(n, func(int) string { return "/mnt/data" }, func(i int, s *ec2.Snapshot) {
			if i < n/2 {
				s.Tags[TagMembers] = "2" // half of the sets are passed over
			}
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if got := Choose(Request{MountPoints: []string{"/mnt/data"}, Group: true}, all); got[0].SnapshotID != all[n/2].ID {
			t.Fatalf("chose %+v", got)
		}
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc - before.TotalAlloc)
	}
	cost(100)
	if few, many := cost(5000), cost(10000); many > few*2*1.2 {
		t.Errorf("twice as many cost %.2f times as much", many/few)
	}
}

// What is kept of a snapshot says all that the snapshot itself does, and in
// whatever order the pages come the same is chosen.
func TestAnIndexKeepsWhatChoosingNeeds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	for range 3000 {
		var all []ec2.Snapshot
		for i := range random.IntN(14) {
			run := random.IntN(4)
			at := noon.Add(time.Duration(run) * time.Hour)
			s := ec2.Snapshot{ID: fmt.Sprintf("snap-%d", i), VolumeID: pick("vol-1", "vol-1", "vol-ffffffff"), VolumeSize: 20, Started: at, Progress: 42,
				State: ebs.SnapshotState(pick("completed", "completed", "completed", "pending", "error", "recoverable")), StorageTier: ebs.StorageTier(pick("standard", "standard", "archive")),
				StateMessage: pick("", "why"), Tags: map[string]string{TagMountPoint: pick("/mnt/a", "/mnt/a/", "/mnt/b", "/mnt/c")}}
			switch random.IntN(5) {
			case 0:
				s.Tags[TagCreated] = at.Format(time.RFC3339)
			case 1:
				s.Tags[TagRun], s.Tags[TagToken], s.Tags[TagMembers], s.Tags[TagState] = fmt.Sprint("old ", run), "t", pick("1", "2"), pick(Consistent, Unverified)
			default:
				s.Tags[TagSet], s.Tags[TagMembers], s.Tags[TagState] = SetID(fmt.Sprint("R", run), "t"), pick("1", "2", "2", "x"), Consistent
				s.Tags[TagDataTime], s.Tags[TagRun] = DataStamp(at.Add(-time.Second)), "of the volume"
			}
			s.Tags[TagExpires] = pick("", "2026-05-31T12:00:00Z", "2026-06-01 15:00:00", "next week")
			all = append(all, s)
			kept := IndexOf([]ec2.Snapshot{s}).rows[0]
			expires, _, _ := units.ParseTime(s.Tags[TagExpires])
			if kept.ID != s.ID || kept.Run() != RunOf(s.Tags) || kept.SetTag() != s.Tags[TagSet] || kept.SetID != IDOf(s) || kept.Origin != OriginOf(s) ||
				kept.Copy != IsCopy(s) || !kept.DataTime().Equal(DataTime(s)) || !kept.Started().Equal(s.Started) || !kept.Expires().Equal(expires) ||
				kept.Unready() != Unready(s) || kept.dormant() != Dormant(s) || kept.because() != reasons(s) || sizeOf(kept.Members) != membersOf(s) {
				t.Fatalf("of %+v it keeps %+v %+v", s, kept, kept.traits)
			}
		}
		mixed := make([]ec2.Snapshot, len(all))
		for to, from := range random.Perm(len(all)) {
			mixed[to] = all[from]
		}
		index := IndexOf(mixed)
		for options := range 8 {
			r := Request{Group: options&1 > 0, AllowOlder: options&2 > 0, MixSets: options&4 > 0, MayCreate: true}
			for _, points := range [][]string{{"/mnt/a"}, {"/mnt/a", "/mnt/b"}, {"/mnt/c", "/mnt/b", "/mnt/a"}} {
				r.MountPoints = points
				if got, want := index.Choose(r), Choose(r, all); !reflect.DeepEqual(got, want) {
					t.Fatalf("%+v chooses\n%+v\nin another order\n%+v\nof %+v", r, got, want, all)
				}
			}
		}
	}
}
