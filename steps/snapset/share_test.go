package snapset

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

// aSharedSet are the snapshots of one set, taken at a time.
func aSharedSet(set string, at time.Time, ids ...string) (all []ec2.Snapshot) {
	for i, id := range ids {
		all = append(all, ec2.Snapshot{ID: id, VolumeID: "vol-1", OwnerID: "111111111111", State: ebs.SnapshotCompleted, VolumeSize: int32(i + 1), Started: at,
			Tags: map[string]string{"role": "db", TagMountPoint: []string{"/a", "/b"}[i], TagSet: set, TagMembers: "2", TagState: Consistent, TagDataTime: DataStamp(at), TagFilterKeys: "role"}})
	}
	return all
}

// Only whole sets are shared: labelled, completed, complete and no copies; the newest is the first.
func TestOnlyWholeSetsAreShared(t *testing.T) {
	at := time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC)
	filter := map[string]string{"role": "db"}
	all := append(aSharedSet("R1/t", at, "snap-1", "snap-2"), aSharedSet("R2/t", at.Add(time.Hour), "snap-3", "snap-4")...)
	if whole := WholeSets(all, filter); len(whole) != 2 || whole[0].Set != "R2/t" || len(whole[0].Members) != 2 || !whole[0].DataTime.Equal(at.Add(time.Hour)) {
		t.Errorf("%+v", whole)
	}
	for name, change := range map[string]func(*ec2.Snapshot){
		"pending":    func(s *ec2.Snapshot) { s.State = ebs.SnapshotPending },
		"unlabelled": func(s *ec2.Snapshot) { s.Tags[TagState] = Unverified },
		"a copy":     func(s *ec2.Snapshot) { s.VolumeID = "vol-ffffffff" },
		"archived":   func(s *ec2.Snapshot) { s.StorageTier = "archive" },
		"another's":  func(s *ec2.Snapshot) { s.Tags["role"] = "web" },
		"of a wider": func(s *ec2.Snapshot) { s.Tags["x"], s.Tags[TagFilterKeys] = "y", "role,x" },
	} {
		all := append(aSharedSet("R1/t", at, "snap-1", "snap-2"), aSharedSet("R2/t", at.Add(time.Hour), "snap-3", "snap-4")...)
		change(&all[2])
		if whole := WholeSets(all, filter); len(whole) != 1 || whole[0].Set != "R1/t" {
			t.Errorf("%s: %+v", name, whole)
		}
	}
}

// A manifest that is written is read as it was, and what it makes of the members is the same set.
func TestAManifestIsReadAsItWasWritten(t *testing.T) {
	at := time.Date(2026, 11, 20, 3, 0, 0, 123e6, time.UTC)
	filter := map[string]string{"role": "db"}
	original := aSharedSet("R1/t", at, "snap-11111111", "snap-22222222")
	m := ManifestOf(WholeSets(original, filter)[0], "111111111111", "eu-west-1", filter, []string{"222222222222"})
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadManifest(text)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("%v\n%+v\n%+v", err, got, m)
	}
	if err := got.Check("222222222222", at, filter, []string{"/a", "/b"}); err != nil {
		t.Error(err)
	}
	decisions, err := CopyTo{Region: "eu-west-1", Filter: filter, Source: got.Snapshots(time.Time{}), Now: at.Add(time.Hour)}.Lacking()
	if err != nil || len(decisions) != 1 || !decisions[0].Copy || decisions[0].Set != "R1/t" || !decisions[0].DataTime.Equal(at) || decisions[0].Size != 2 {
		t.Fatalf("%+v, %v", decisions, err)
	}
	for i, s := range decisions[0].Members {
		tags := CopyTags(decisions[0], s)
		if want := CopyTags(decisions[0], original[i]); !reflect.DeepEqual(tags, want) {
			t.Errorf("the copy of %s has %v, and a copy of the original %v", s.ID, tags, want)
		}
	}
}

// What is no manifest is refused with a reason, and nothing makes a check panic.
func FuzzReadManifest(f *testing.F) {
	at := time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC)
	filter := map[string]string{"role": "db"}
	good, err := json.Marshal(ManifestOf(WholeSets(aSharedSet("R1/t", at, "snap-11111111", "snap-22222222"), filter)[0], "111111111111", "eu-west-1", filter, []string{"222222222222"}))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(good), string(good) + "{}", "", "null", "[]", `{"schema": 1}`, `{"unknown": 1}`, strings.Replace(string(good), "snap-11111111", "snap-1 --x", 1)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ReadManifest(text)
		if err != nil || m.Check("222222222222", at, filter, []string{"/a", "/b"}) != nil {
			return
		}
		for _, s := range m.Snapshots(at) {
			if !snapshotForm.MatchString(s.ID) || !HasTags(s.Tags, filter) || s.Tags[TagSet] != m.Set || s.OwnerID == "222222222222" {
				t.Errorf("%+v of %s", s, text)
			}
		}
	})
}
