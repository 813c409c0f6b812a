package snapset

import (
	"strings"
	"testing"

	"snaptastic/ec2"
)

func TestSnapshotsThatMissByOneTagAreNamed(t *testing.T) {
	filter := map[string]string{"role": "db", "cluster": "c1"}
	at := func(id, mountPoint string, words ...string) ec2.Snapshot {
		s := made(append(words, TagState+"="+Consistent, TagMembers+"=1")...)
		s.ID, s.Tags[TagMountPoint] = id, mountPoint
		if s.Tags["cluster"] == "" {
			s.Tags["cluster"] = "c1"
		}
		if s.Tags["role"] == "-" {
			delete(s.Tags, "role")
		}
		return s
	}
	unlabelled := at("snap-u", "/mnt/old")
	unlabelled.Tags[TagState] = Unverified
	for _, c := range []struct {
		name      string
		snapshots []ec2.Snapshot
		want      string // parts, with " | " between; "" for no warning
	}{
		{"nothing", nil, ""},
		{"a renamed mount point", []ec2.Snapshot{at("snap-1", "/mnt/old")}, "snapshot snap-1 ( | has these filter tags and mount_point=/mnt/old, which is not declared: was"},
		{"a declared one is not amiss", []ec2.Snapshot{at("snap-1", "/mnt/b/")}, ""},
		{"a mistyped value", []ec2.Snapshot{at("snap-1", "/mnt/new/", "role=bd")}, "snapshot snap-1 ( | is of this mount point and has role=bd, not role=db: check filter_tags"},
		{"a mistyped key", []ec2.Snapshot{at("snap-1", "/mnt/new", "role=-", "rol=db")}, "has no tag role=db (its tags: cluster=c1 rol=db): check filter_tags"},
		{"two tags differ", []ec2.Snapshot{at("snap-1", "/mnt/new", "role=bd", "cluster=c2")}, ""},
		{"a tag and the mount point differ", []ec2.Snapshot{at("snap-1", "/mnt/old", "role=bd")}, ""},
		{"several", []ec2.Snapshot{at("snap-1", "/mnt/old"), at("snap-2", "/mnt/old"), at("snap-2", "/mnt/old")}, "2 snapshots (newest snap-2, | have these filter tags"},
		{"what no mount would take", []ec2.Snapshot{unlabelled}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			choices := Choose(Request{MountPoints: []string{"/mnt/new", "/mnt/b"}, MayCreate: true}, nil)
			addMisses(choices, filter, []string{"/mnt/new", "/mnt/b"}, c.snapshots)
			got := strings.Join(choices[0].Warnings, "\n")
			if (got == "") != (c.want == "") || (got == "") != (len(choices[0].Misses) == 0) {
				t.Fatalf("it warns %q, want %q", got, c.want)
			}
			for part := range strings.SplitSeq(c.want, " | ") {
				if !strings.Contains(got, part) {
					t.Errorf("it warns %q, without %q", got, part)
				}
			}
			for _, choice := range choices {
				if choice.Problem != "" || !choice.Create {
					t.Errorf("a warning is no error: %+v", choice)
				}
			}
		})
	}
}

func TestWhatIsRestoredBringsNoWarning(t *testing.T) {
	s := made(TagState+"="+Consistent, TagMembers+"=1")
	old := made(TagState+"="+Consistent, TagMembers+"=1")
	old.ID, old.Tags[TagMountPoint] = "snap-2", "/old"
	choices := Choose(Request{MountPoints: []string{"/a"}}, []ec2.Snapshot{s, old})
	if addMisses(choices, map[string]string{"role": "db"}, []string{"/a"}, []ec2.Snapshot{s, old}); len(choices[0].Warnings) > 0 {
		t.Errorf("it warns %q", choices[0].Warnings)
	}
}

// addMisses adds those with the filter tags first and then all, as a look does whose second answer has the first.
func addMisses(choices []Choice, filter map[string]string, declared []string, snapshots []ec2.Snapshot) {
	with := NewIndex()
	for _, s := range snapshots {
		if HasTags(s.Tags, filter) {
			with.Add(s)
		}
	}
	misses := NearMissesOf(choices, filter, declared, with)
	for _, s := range snapshots {
		misses.Add(s)
	}
	misses.Warn()
}
