package snapset

import (
	"maps"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
)

// tagged gives the snapshots of a run the tag of their set.
func tagged(snapshots []ec2.Snapshot) []ec2.Snapshot {
	for _, s := range snapshots {
		if run := s.Tags[TagRun]; run != "" && s.Tags[TagState] != "" {
			s.Tags[TagSet] = SetID(run, s.Tags[TagToken])
		}
	}
	return snapshots
}

func TestWhatIsRestoredWhenItIsAskedFor(t *testing.T) {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	set := func(name string) Request { return Request{Group: true, MayCreate: true, Set: name} }
	each := func(r Request) Request { r.Group = false; return r }
	mixed := func(r Request) Request { r.MixSets = true; return r }
	snapshot := func(id string) Request { return Request{Group: true, MayCreate: true, Snapshot: id} }
	before := func(minutes int) Request { return Request{Group: true, MayCreate: true, Before: at(minutes)} }
	attached := func(r Request, from ...string) Request {
		r.Attached = map[string]Attached{}
		for i, id := range from {
			r.Attached["/mnt/"+string(rune('a'+i))] = Attached{"vol-" + string(rune('a'+i)), id}
		}
		return r
	}
	two := func() []ec2.Snapshot {
		return tagged(snaps("1 a R10/2", "1 b R10/2", "5 a R11/2", "5 b R11/2", "9 a R20/2", "9 b R20/2"))
	}
	drilled := func(all []ec2.Snapshot, tags map[string]string, which ...int) []ec2.Snapshot {
		for _, i := range which {
			maps.Copy(all[i].Tags, tags)
		}
		return all
	}
	good, bad := VerifiedTags(at(60), time.Minute), FailedTags(at(60), "torn")
	verified := func(r Request) Request { r.Verified = true; return r }
	cases := []struct {
		name    string
		request Request
		mounts  string
		snaps   []ec2.Snapshot
		want    string
		hint    string // part of the first problem's
	}{
		{"a set by its run", set("R11"), "a b", two(), "snap-3 | snap-4", ""},
		{"by its tag", set("R11/token-R11"), "a b", two(), "snap-3 | snap-4", ""},
		{"by the beginning of its run", set("R2"), "a b", two(), "snap-5 | snap-6", ""},
		{"by one of its snapshots", set("snap-2"), "a b", two(), "snap-1 | snap-2", ""},
		{"of an older build", set("snap-2"), "a b", snaps("1 a R1/2", "1 b R1/2", "5 a R2/2", "5 b R2/2"), "snap-1 | snap-2", ""},
		{"of an older build, by its run", set("R1"), "a b", snaps("1 a R1/2", "1 b R1/2", "5 a R2/2", "5 b R2/2"), "snap-1 | snap-2", ""},
		{"the original's, by its id", set("snap-1"), "a", snaps("1 a original", "2 a original"), "snap-1", ""},
		{"ambiguous", set("R1"), "a", two(), `! "R1" is the name of 2 sets: R11/token-R11, R10/token-R10`, "in full"},
		{"the whole name beats a longer one", set("R1"), "a", tagged(snaps("1 a R1/1", "2 a R11/1")), "snap-1", ""},
		{"unknown", set("R7"), "a", two(), `! no set or snapshot "R7" has these filter tags`, "snaptastic snapshots"},
		{"a member is gone", set("R10"), "a b", two()[1:], "! the set of run R10 cannot be restored: 1 of its 2 snapshots is gone | ! the set of run R10 cannot be restored: 1 of its 2 snapshots is gone", "another set"},
		{"a member is in error", set("R1"), "a", tagged(snaps("1 a R1/2", "1 b R1/2 error")), "! the set of run R1 cannot be restored: snap-2 of it is in state error", "another set"},
		{"it lacks a volume", set("R10"), "a c", append(two(), more("9 c R30/1")...), "! it is restored together with /mnt/c, and that one cannot be: the set of run R10 has no snapshot of /mnt/c | ! the set of run R10 has no snapshot of /mnt/c", "--snapshot"},
		{"one of it is archived", set("R1"), "a b", tagged(snaps("1 a R1/2", "1 b R1/2 archive")), "! it is restored together with /mnt/b, and that one cannot be: snap-2 is archived | ! snap-2 is archived", "from the archive"},
		{"one is in the recycle bin", set("R1"), "a", tagged(snaps("1 a R1/1 recoverable")), "! snap-1 is in the recycle bin (recoverable)", "recycle bin first"},
		{"not labelled", set("R9"), "a", tagged(snaps("1 a R1/1", "2 a unverified")), "! snap-2 is not labelled consistent: the run that took it did not finish", "another set"},
		{"another tool's", set("snap-2"), "a", snaps("1 a R1/1", "2 a copied"), "! snap-2 was created by another tool that copied our tags", "another set"},
		{"pending", set("R1"), "a", tagged(snaps("1 a R1/1 pending")), "snap-1 pending", ""},
		{"each volume a set of its own, by the run", each(set("R1")), "a b", tagged(split(snaps("1 a R1/1", "1 b R1/1", "5 a R2/1", "5 b R2/1"))), "snap-1 | snap-2", ""},
		{"and as a group it is two sets", set("R1"), "a", tagged(split(snaps("1 a R1/1", "1 b R1/1"))), `! "R1" is the name of 2 sets: R1/token-R1-b, R1/token-R1-a`, "in full"},
		{"which may be mixed", mixed(set("R1")), "a b", tagged(split(snaps("1 a R1/1", "1 b R1/1"))), "snap-1 | snap-2", ""},

		{"a snapshot", snapshot("snap-3"), "a", two(), "snap-3", ""},
		{"a snapshot of a broken set", snapshot("snap-2"), "b", two()[1:], "snap-2", ""},
		{"a snapshot of another volume", snapshot("snap-2"), "a", two(), "! snap-2 is a snapshot of /mnt/b", "of /mnt/a"},
		{"a run is no snapshot", snapshot("R10"), "a", two(), `! "R10" is not the id of a snapshot`, "--set"},
		{"a snapshot in error", snapshot("snap-1"), "a", tagged(snaps("1 a R1/1 error")), "! snap-1 is in state error", "another set"},

		{"before a time", before(7), "a b", two(), "snap-3 | snap-4", ""},
		{"at the time itself", before(9), "a b", two(), "snap-5 | snap-6", ""},
		{"before the first one", before(0), "a", two(), "! no snapshot has its data of 2026-03-01T12:00:00Z or earlier; the oldest is snap-1, of 2026-03-01T12:01:00Z", "a later time"},
		{"before a time, a broken set is passed over", before(7), "a b", append(two()[:3], two()[4:]...), "snap-1 | snap-2", ""},
		{"of a volume that is younger than the time", before(7), "a c", append(two(), more("8 c R30/1")...), "! it is restored together with /mnt/c, and that one cannot be: no snapshot has its data of 2026-03-01T12:07:00Z or earlier; the oldest is snap-99, of 2026-03-01T12:08:00Z | ! no snapshot has its data of 2026-03-01T12:07:00Z or earlier; the oldest is snap-99, of 2026-03-01T12:08:00Z", ""},
		{"of a volume without any snapshot", before(7), "c", two(), "! no snapshot of it exists", "filter_tags"},
		{"only verified ones", verified(Request{Group: true, MayCreate: true}), "a b", drilled(two(), good, 0, 1), "snap-1 | snap-2", ""},
		{"only verified ones, and none is", verified(Request{Group: true, MayCreate: true}), "a", two(), `! none of its snapshots is verified, and restore is "verified"; the newest is snap-5`, "run verify"},
		{"the last drill failed", verified(Request{MayCreate: true}), "a", drilled(drilled(tagged(snaps("1 a R1/1", "2 a R2/1")), good, 0, 1), bad, 1), "snap-1", ""},
		{"a set that is not verified", verified(set("R10")), "a", two(), `! the set of run R10 is not verified, and restore is "verified"`, "--set R10"},

		{"attached are volumes of the set", attached(set("R10"), "snap-1", "snap-2"), "a b", two(), "snap-1 | snap-2", ""},
		{"attached is a volume of another set", attached(set("R10"), "snap-3"), "a", two(), "! vol-a is attached and was made from snap-3, not from snap-1", "run restore NAME --set R10"},
		{"attached is one that was made empty", attached(before(7), ""), "a", two(), "! vol-a is attached and was made empty, not from snap-3", "--before 2026-03-01T12:07:00Z"},
		{"one of the group is attached, and of another set", attached(set("R10"), "snap-3"), "a b", two(), "! vol-a is attached and was made from snap-3, not from snap-1 | ! it is restored together with /mnt/a, and that one cannot be: vol-a is attached and was made from snap-3, not from snap-1", "run restore"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for m := range strings.FieldsSeq(c.mounts) {
				c.request.MountPoints = append(c.request.MountPoints, "/mnt/"+m)
			}
			chosen := Choose(c.request, c.snaps)
			var got []string
			for _, one := range chosen {
				if one.Problem != "" && one.Hint == "" || one.Create {
					t.Errorf("%+v", one)
				}
				got = append(got, joinReasons(one))
			}
			if all := strings.Join(got, " | "); all != c.want {
				t.Errorf("got  %s\nwant %s", all, c.want)
			}
			if !strings.Contains(chosen[0].Hint, c.hint) {
				t.Errorf("hint %q does not say %q", chosen[0].Hint, c.hint)
			}
		})
	}
}

// split makes a set of its own of each snapshot, as a run does for volumes that are consistent each by itself.
func split(all []ec2.Snapshot) []ec2.Snapshot {
	for _, s := range all {
		s.Tags[TagToken] += "-" + strings.TrimPrefix(s.Tags[TagMountPoint], "/mnt/")
	}
	return all
}

func TestAChoiceSaysWhatTheLastDrillCameTo(t *testing.T) {
	s := tagged(snaps("1 a R1/1"))
	maps.Copy(s[0].Tags, FailedTags(noon.Add(time.Hour), "it does not start"))
	c := Choose(Request{MountPoints: []string{"/mnt/a"}, Group: true}, s)[0]
	if c.SnapshotID != "snap-1" || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "the last drill of snap-1 failed: it does not start") {
		t.Errorf("%+v", c)
	}
	s[0].Tags = maps.Clone(s[0].Tags)
	maps.Copy(s[0].Tags, VerifiedTags(noon.Add(2*time.Hour), time.Minute))
	if c := Choose(Request{MountPoints: []string{"/mnt/a"}, Group: true}, s)[0]; !strings.Contains(c.String(), "verified") || len(c.Warnings) > 0 {
		t.Errorf("%+v: %s", c, c)
	}
}

func TestACopyIsOfItsSet(t *testing.T) {
	s := tagged(snaps("1 a R1/1", "90 a R1/1"))
	s[1].VolumeID = "vol-ffffffff"
	for _, from := range []string{"snap-1", "snap-2"} {
		c := Choose(Request{MountPoints: []string{"/mnt/a"}, Group: true, Set: "R1", Attached: map[string]Attached{"/mnt/a": {"vol-1", from}}}, s)[0]
		if c.Problem != "" || c.Attached == nil {
			t.Errorf("made from %s: %+v", from, c)
		}
	}
}

// more is one more snapshot, of an id of its own.
func more(line string) []ec2.Snapshot {
	all := snaps(line)
	all[0].ID = "snap-99"
	return all
}

func TestTheNearestNamesAreToldOfASetThatIsNot(t *testing.T) {
	x := IndexOf(snaps("5 a R25/1", "4 a R24/1", "3 a R23/1", "2 a R12/1", "1 a R11/1"))
	x.build()
	for name, want := range map[string]string{"R1x": "the nearest are R12, R11, R25; ", "R24 ": "the nearest are R24, R25, R23; ", "nope": "the nearest are R25, R24, R23; "} {
		if got := x.nearest(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
