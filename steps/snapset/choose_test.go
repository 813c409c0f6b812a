package snapset

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// snaps reads snapshots from lines such as "5 a R1/3 pending": minutes after noon, mount point /mnt/a, run R1 whose set
// has three members. Instead of the run: "original" (no tags of ours), "unverified", "copied" (a volume's tags). States
// are completed where nothing else is said; archive is a tier. The id is snap- with the number of the line.
func snaps(lines ...string) (all []ec2.Snapshot) {
	for i, line := range lines {
		words := append(strings.Fields(line), "completed")
		minutes, err := strconv.Atoi(words[0])
		if err != nil {
			panic(err)
		}
		s := ec2.Snapshot{ID: fmt.Sprintf("snap-%d", i+1), VolumeSize: 20, Started: noon.Add(time.Duration(minutes) * time.Minute),
			State: ebs.SnapshotState(words[3]), Tags: map[string]string{TagMountPoint: "/mnt/" + words[1], "role": "search"}}
		if s.State == "archive" {
			s.State, s.StorageTier = "completed", "archive"
		}
		switch run, members, set := strings.Cut(words[2], "/"); {
		case set:
			s.Tags[TagRun], s.Tags[TagToken], s.Tags[TagMembers], s.Tags[TagState] = run, "token-"+run, members, Consistent
		case run == "unverified":
			s.Tags[TagRun], s.Tags[TagToken], s.Tags[TagMembers], s.Tags[TagState] = "R9", "token-R9", "1", Unverified
		case run == "copied":
			s.Tags[TagRun], s.Tags[TagToken] = "R0", "token-R0"
		case run != "original":
			panic(line)
		}
		all = append(all, s)
	}
	return all
}

// joinReasons is a choice in short: the snapshot, "new", or "!" and the problem.
func joinReasons(c Choice) string {
	switch {
	case c.Problem != "":
		return "! " + c.Problem
	case c.Create:
		return "new"
	case c.Pending:
		return c.SnapshotID + " pending"
	}
	return c.SnapshotID
}

func TestWhatIsRestored(t *testing.T) {
	group := Request{Group: true, MayCreate: true}
	each := Request{MayCreate: true}
	older := func(w Request) Request { w.AllowOlder = true; return w }
	mixed := func(w Request) Request { w.MixSets = true; return w }
	cases := []struct {
		name    string
		request Request
		mounts  string
		snaps   []ec2.Snapshot
		want    string // by mount point, with " | " between
		reason  string // part of the first one's
	}{
		{"nothing at all", group, "a b", nil, "new | new", "no snapshot exists"},
		{"nothing, and empty is not allowed", Request{Group: true}, "a", nil, `! no snapshot exists, and on_missing is "fail"`, ""},
		{"one volume, newest first", group, "a", snaps("1 a R1/1", "3 a R3/1", "2 a R2/1"), "snap-2", ""},
		{"a set", group, "a b", snaps("1 a R1/2", "1 b R1/2"), "snap-1 | snap-2", ""},
		{"the newest of two sets", group, "a b", snaps("1 a R1/2", "1 b R1/2", "5 a R2/2", "5 b R2/2"), "snap-3 | snap-4", ""},
		{"one snapshot of the newest set is missing", group, "a b", snaps("1 a R1/2", "1 b R1/2", "5 a R2/2"), "snap-1 | snap-2", "not the set of run R2: 1 of its 2 snapshots is gone"},
		{"one snapshot of the newest set is in error", group, "a b", snaps("1 a R1/2", "1 b R1/2", "5 a R2/2", "5 b R2/2 error"), "snap-1 | snap-2", "snap-4 of it is in state error"},
		{"the newest set is not labelled", group, "a", snaps("1 a R1/1", "5 a unverified"), "snap-1", "snap-2 is newer but not labelled consistent"},
		{"the newest set is pending", group, "a b", snaps("1 a R1/2", "1 b R1/2", "5 a R2/2 pending", "5 b R2/2"), "snap-3 pending | snap-4", ""},
		{"one of three is missing, and no mixture", group, "a b c", snaps("1 a R1/3", "1 b R1/3", "1 c R1/3", "2 a R2/3", "2 b R2/3", "2 c R2/3 error", "3 a R3/3", "3 c R3/3"),
			"snap-1 | snap-2 | snap-3", "not the set of run R3"},
		{"no set is complete", group, "a b", snaps("1 a R1/2", "2 b R2/2"), "! none of its sets is complete: not the set of run R2: 1 of its 2 snapshots is gone; not the set of run R1: 1 of its 2 snapshots is gone | " +
			"! none of its sets is complete: not the set of run R2: 1 of its 2 snapshots is gone; not the set of run R1: 1 of its 2 snapshots is gone", ""},
		{"no set is complete, and sets may be mixed", mixed(group), "a b", snaps("1 a R1/2", "2 b R2/2"), "snap-1 | snap-2", ""},
		{"a member was lost: what is left of its set is not restored by itself", group, "a b", snaps("1 a R1/2"), "! none of its sets is complete: not the set of run R1: 1 of its 2 snapshots is gone | new", ""},
		{"a volume declared later begins empty", group, "a b new", snaps("1 a R1/2", "1 b R1/2"), "snap-1 | snap-2 | new", ""},
		{"a set whose third volume is declared no more", group, "a b", snaps("1 a R1/3", "1 b R1/3", "1 c R1/3"), "snap-1 | snap-2", ""},
		{"a volume that has snapshots, but none in the newest set", group, "a b", snaps("1 a R1/2", "1 b R1/2", "5 a R2/1"), "snap-1 | snap-2", "not the set of run R2: it has none of /mnt/b"},
		{"the original's, newest of each", group, "a b", snaps("1 a original", "2 b original", "3 a original"), "snap-3 | snap-2", "no set exists"},
		{"the original's, with error", group, "a b", snaps("1 a original", "2 b original", "3 a original error"), "snap-1 | snap-2", "snap-3 is in state error"},
		{"the original's before a broken set", group, "a b", snaps("1 a original", "1 b original", "5 a R2/2", "5 b R2/2 error"), "snap-1 | snap-2", "no set is complete: the newest that is not part of a set"},
		{"one volume of the original's", group, "a", snaps("1 a original", "2 a original"), "snap-2", ""},
		{"archived", group, "a", snaps("1 a R1/1", "2 a R2/1 archive"), "! its snapshot snap-2 of the newest set is archived", ""},
		{"archived, and older allowed", older(group), "a", snaps("1 a R1/1", "2 a R2/1 archive"), "snap-1", "snap-2 of it is archived"},
		{"one of a set archived fails its lane alone", group, "a b", snaps("2 a R2/2", "2 b R2/2 archive"), "snap-1 | ! its snapshot snap-2 of the newest set is archived", ""},
		{"in the recycle bin", each, "a", snaps("1 a R1/1", "2 a R2/1 recoverable"), "! its newest snapshot snap-2 is in the recycle bin (recoverable)", ""},
		{"in the recycle bin, and older allowed", older(each), "a", snaps("1 a R1/1", "2 a R2/1 recoverable"), "snap-1", "in the recycle bin"},
		{"each by itself", each, "a b", snaps("1 a R1/2", "1 b R1/2", "5 a R2/2"), "snap-3 | snap-2", ""},
		{"all in error", each, "a", snaps("1 a R1/1 error", "2 a R2/1 error"), "! none of its snapshots is usable: snap-2 is in state error; snap-1 is in state error", ""},
		{"all in error, in a group", group, "a", snaps("1 a R1/1 error"), "! none of its snapshots is usable: snap-1 is in state error", ""},
		{"only an unverified one", group, "a", snaps("1 a unverified"), "! its only snapshot snap-1 is not labelled consistent: the run that took it did not finish", ""},
		{"only another tool's", each, "a", snaps("1 a copied"), "! its only snapshot snap-1 was created by another tool that copied our tags", ""},
		{"another tool's is newer", each, "a", snaps("1 a R1/1", "2 a copied"), "snap-1", "snap-2 is newer but was created by another tool"},
		{"snapshots taken one by one, restored as a group", group, "a b", snaps("1 a R1/1", "2 b R2/1"), "snap-1 | snap-2", "no set exists"},
		{"a set under another mount point", group, "a", snaps("1 z R1/1"), "new", "no snapshot"},
		{"two tries of one run: only the labelled one counts", group, "a", append(snaps("1 a R1/1"), snaps("2 a unverified")[0]), "snap-1", "is newer but not labelled"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			request := c.request
			for m := range strings.FieldsSeq(c.mounts) {
				request.MountPoints = append(request.MountPoints, "/mnt/"+m)
			}
			chosen := Choose(request, c.snaps)
			var got []string
			for i, one := range chosen {
				if one.MountPoint != request.MountPoints[i] {
					t.Errorf("choice %d is of %q, want %q", i, one.MountPoint, request.MountPoints[i])
				}
				if one.Problem != "" && one.Hint == "" {
					t.Errorf("%q comes without a word on what to do", one.Problem)
				}
				got = append(got, joinReasons(one))
			}
			if all := strings.Join(got, " | "); all != c.want {
				t.Errorf("got  %s\nwant %s", all, c.want)
			}
			if !strings.Contains(chosen[0].Reason, c.reason) {
				t.Errorf("reason %q does not say %q", chosen[0].Reason, c.reason)
			}
		})
	}
}

func TestAMountPointTagWithASlashAtTheEndIsTheSame(t *testing.T) {
	s := snaps("1 a original")
	s[0].Tags[TagMountPoint] = "/mnt/a/"
	if got := Choose(Request{MountPoints: []string{"/mnt/a"}, Group: true}, s); got[0].SnapshotID != "snap-1" {
		t.Errorf("got %+v", got)
	}
}

func TestManyBrokenSetsMakeAShortReason(t *testing.T) {
	lines := []string{"0 a R/2", "0 b R/2"}
	for i := range 50 {
		lines = append(lines, fmt.Sprintf("%d a S%d/2", i+1, i))
	}
	c := Choose(Request{MountPoints: []string{"/mnt/a", "/mnt/b"}, Group: true}, snaps(lines...))[0]
	if c.SnapshotID != "snap-1" || !strings.Contains(c.Reason, "and 47 more") || len(c.Reason) > 400 {
		t.Errorf("%s because %s", c.SnapshotID, c.Reason)
	}
}

func TestTwoTriesOfOneRunAreTwoSets(t *testing.T) {
	s := snaps("1 a R1/2", "1 b R1/2", "2 a R1/2", "2 b R1/2")
	for i := range 2 { // the first try: labelled, and one of it lost since
		s[i].Tags[TagToken] = "token-of-first-try"
	}
	got := Choose(Request{MountPoints: []string{"/mnt/a", "/mnt/b"}, Group: true}, s[1:])
	if got[0].SnapshotID != "snap-3" || got[1].SnapshotID != "snap-4" {
		t.Errorf("got %s and %s, want snap-3 and snap-4", joinReasons(got[0]), joinReasons(got[1]))
	}
}
