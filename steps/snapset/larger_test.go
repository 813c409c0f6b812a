package snapset

import (
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

func TestLargerSet(t *testing.T) {
	begun := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	// one is a snapshot in a few words: its label, its EC2 state, how many the set has; "bare" is one without a mount point, and
	// "copy" one that CopySnapshot made.
	one := func(i int, words string) ec2.Snapshot {
		w := strings.Fields(words)
		s := ec2.Snapshot{ID: "snap-" + string(rune('a'+i)), State: ebs.SnapshotState(w[1]), Started: begun.Add(time.Duration(i) * time.Second),
			Tags: map[string]string{TagState: w[0], TagLargerSet: "S", TagLargerMembers: w[2], TagSet: "run/token", TagMountPoint: "/mnt"}}
		for _, more := range w[3:] {
			switch more {
			case "bare":
				delete(s.Tags, TagMountPoint)
			case "copy":
				s.Description = "[Copied snap-1 from eu-west-1]"
			}
		}
		return s
	}
	for _, tt := range []struct {
		name    string
		all     []string
		already bool
		problem string
		waits   bool
	}{
		{"whole", []string{"unverified completed 2", "unverified pending 2"}, false, "", false},
		{"labelled", []string{"consistent completed 2", "consistent error 2"}, true, "", false},
		{"labelled as far as EC2 shows", []string{"consistent completed 2", "unverified completed 2"}, false, "", false},
		{"beside copies", []string{"unverified completed 1", "consistent completed 1 copy"}, false, "", false},
		{"none", nil, false, "no snapshots", true},
		{"too few", []string{"unverified completed 2"}, false, "1 of its 2", true},
		{"too many", []string{"unverified completed 1", "unverified completed 1"}, false, "should have 1", false},
		{"failed", []string{"unverified completed 2", "unverified error 2"}, false, "snap-b is error", false},
		{"failed and too few", []string{"unverified error 2"}, false, "snap-a is error", false},
		{"in the recycle bin", []string{"unverified recoverable 1"}, false, "recoverable", false},
		{"being deleted", []string{"deleting completed 2", "unverified completed 2"}, false, "being deleted", false},
		{"unfinished", []string{"unverified completed 2 bare", "unverified completed 2"}, false, "no mount point", true},
		{"of two minds", []string{"unverified completed 2", "unverified completed 3"}, false, "do not agree", false},
		{"without a number", []string{"unverified completed x"}, false, "do not agree", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all []ec2.Snapshot
			for i, words := range tt.all {
				all = append(all, one(i, words))
			}
			l := LargerSet(all)
			if l.Already != tt.already || l.Waits != tt.waits || (l.Problem == "") != (tt.problem == "") || !strings.Contains(l.Problem, tt.problem) {
				t.Errorf("%+v", l)
			}
			if len(all) > 0 && !l.Created.Equal(begun) {
				t.Errorf("created %s", l.Created)
			}
		})
	}
}

func TestWhatAnUndoByTagsKeeps(t *testing.T) {
	for _, tt := range []struct {
		name          string
		s             ec2.Snapshot
		deleted, mine bool
	}{
		{"unverified", ec2.Snapshot{Tags: map[string]string{TagSet: "r/t", TagState: Unverified}}, true, true},
		{"cut off", ec2.Snapshot{Tags: map[string]string{TagSet: "r/t", TagState: Deleting}}, true, true},
		{"labelled", ec2.Snapshot{Tags: map[string]string{TagSet: "r/t", TagState: Consistent}}, false, true},
		{"unknown", ec2.Snapshot{Tags: map[string]string{TagSet: "r/t", TagState: "odd"}}, false, true},
		{"another tool's, with a volume's tags", ec2.Snapshot{Tags: map[string]string{TagKey: "K", TagRun: "r"}}, false, false},
		{"a copy", ec2.Snapshot{Description: "[Copied snap-1 from x]", Tags: map[string]string{TagSet: "r/t", TagState: Unverified}}, false, false},
	} {
		if why, mine := WhyKept(tt.s); (why == "") != tt.deleted || mine != tt.mine {
			t.Errorf("%s: %q, %t", tt.name, why, mine)
		}
	}
}
