package snapset

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan/units"
)

// begunAt is when the snapshots of these tables were begun by EC2's clock.
var begunAt = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// made makes a snapshot of vol-1 with tags written as "key=value"; "copy" makes it one that EC2 shows as a copy, and
// "described" one that only its description shows.
func made(words ...string) ec2.Snapshot {
	s := ec2.Snapshot{ID: "snap-1", VolumeID: "vol-1", State: "completed", Started: begunAt, Tags: map[string]string{"role": "db", TagMountPoint: "/a"}}
	for _, w := range words {
		switch key, value, isTag := strings.Cut(w, "="); {
		case isTag:
			s.Tags[key] = value
		case w == "copy":
			s.VolumeID = "vol-ffffffff"
		case w == "described":
			s.Description = "[Copied snap-0 from eu-west-1]"
		default:
			panic(w)
		}
	}
	return s
}

func TestASnapshotIsWhoseItSaysOnlyWhereEverythingAgrees(t *testing.T) {
	const set, state, members = "snaptastic:set=R/t", "snaptastic:state=consistent", "snaptastic:members=2"
	for _, c := range []struct {
		name string
		s    ec2.Snapshot
		want Origin
		data string // when its data was so; "" when that is not known
	}{
		{"ours", made(set, state, members, "snaptastic:data-time=2026-05-01T11:59:59.500Z"), OriginConsistent, "2026-05-01T11:59:59.5Z"},
		{"a copy of ours", made("copy", set, state, members, "snaptastic:data-time=2026-01-01T00:00:00.000Z"), OriginConsistent, "2026-01-01T00:00:00Z"},
		{"a copy that only its description shows", made("described", state, members, "created=2026-01-01T00:00:00Z"), OriginConsistent, "2026-01-01T00:00:00Z"},
		{"a copy whose volume is shown as that of its source", made(set, state, members, "snaptastic:data-time=2026-01-01T00:00:00.000Z"), OriginConsistent, "2026-01-01T00:00:00Z"},
		{"ours, with run, token and date of its volume", made(set, state, members, "snaptastic:data-time=2026-05-01T12:00:00.000Z", "created=2025-01-01T00:00:00Z", "snaptastic:run=R0"), OriginConsistent, "2026-05-01T12:00:00Z"},
		{"of an older build", made(state, members, "snaptastic:run=R", "snaptastic:token=t", "created=2026-05-01T12:00:00Z"), OriginConsistent, "2026-05-01T12:00:00Z"},
		{"a copy of one of an older build", made("copy", state, members, "snaptastic:run=R", "snaptastic:token=t", "created=2026-01-01T00:00:00Z"), OriginConsistent, "2026-01-01T00:00:00Z"},
		{"a machine whose clock was ahead", made(set, state, members, "snaptastic:data-time=2026-05-01T12:03:00.000Z"), OriginConsistent, "2026-05-01T12:00:00Z"},
		{"data of the future", made(set, state, members, "snaptastic:data-time=2036-05-01T12:00:00.000Z"), OriginConsistent, "2026-05-01T12:00:00Z"},
		{"a copy with data of the future", made("copy", set, state, members, "snaptastic:data-time=2036-05-01T12:00:00.000Z"), OriginConsistent, ""},
		{"a copy with no date that can be read", made("copy", set, state, members, "snaptastic:data-time=yesterday", "created=soon"), OriginConsistent, ""},
		{"a date that cannot be read", made(state, members, "created=soon"), OriginConsistent, "2026-05-01T12:00:00Z"},
		{"another tool's, labelled by hand", made(state, "snaptastic:run=R0", "snaptastic:token=t0", "created=2025-01-01T00:00:00Z"), OriginConsistent, "2026-05-01T12:00:00Z"},
		{"of a run that did not finish", made(set, members, "snaptastic:state=unverified", "snaptastic:data-time=2026-05-01T11:59:00.000Z"), OriginUnverified, "2026-05-01T11:59:00Z"},
		{"its label was taken", made(set, members), OriginUnverified, "2026-05-01T12:00:00Z"},

		{"a volume's tags", made("snaptastic:run=R", "snaptastic:token=t", "created=2026-05-01T12:00:00Z"), OriginCopied, "2026-05-01T12:00:00Z"},
		{"some of a volume's tags", made("snaptastic:detached=2026-04-01T00:00:00Z"), OriginCopied, "2026-05-01T12:00:00Z"},
		{"of the lifecycle manager, with no tag of ours", made("aws:dlm:lifecycle-policy-id=policy-1"), OriginCopied, "2026-05-01T12:00:00Z"},

		{"the original's", made("created=2026-05-01 12:00:01.123456", "expires=2026-05-08 12:00:01.123456"), OriginOriginal, "2026-05-01T12:00:00Z"},
		{"the original's, far in the east", made("created=2026-05-02 02:00:01"), OriginOriginal, "2026-05-01T12:00:00Z"},
		{"the original's, far in the west", made("created=2026-05-01 00:00:01"), OriginOriginal, "2026-05-01T12:00:00Z"},
		{"with the date of the original's volume", made("created=2026-01-01 12:00:01"), OriginCopied, "2026-05-01T12:00:00Z"},
		{"with the date of a volume of yesterday", made("created=2026-04-30 20:00:00"), OriginCopied, "2026-05-01T12:00:00Z"},
		{"with the date of our volume, and nothing else of ours", made("created=2026-05-01T10:00:00Z"), OriginCopied, "2026-05-01T12:00:00Z"},
		{"with a date of the future", made("created=2026-05-03 12:00:00"), OriginCopied, "2026-05-01T12:00:00Z"},
		{"with somebody's idea of a date", made("created=by terraform"), OriginCopied, "2026-05-01T12:00:00Z"},
		{"a copy of the original's", made("copy", "created=2026-01-01 14:00:00"), OriginOriginal, "2026-01-01T00:00:00Z"},
		{"a copy that says nothing", made("copy"), OriginCopied, ""},
		{"made by hand", made(), OriginOriginal, "2026-05-01T12:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := OriginOf(c.s); got != c.want {
				t.Errorf("it is %s, want %s", got, c.want)
			}
			var want time.Time
			if c.data != "" {
				want, _, _ = units.ParseTime(c.data)
			}
			if got := DataTime(c.s); !got.Equal(want) {
				t.Errorf("its data is of %s, want %s", got, want)
			}
		})
	}
}

// setOf makes the snapshots of a set: "id mount-point hours [copied-hours]", both after begunAt.
func setOf(run string, lines ...string) (all []ec2.Snapshot) {
	for _, line := range lines {
		words := strings.Fields(line)
		var at, copied int
		fmt.Sscan(words[2], &at)
		data := begunAt.Add(time.Duration(at) * time.Hour)
		s := ec2.Snapshot{ID: words[0], VolumeID: "vol-" + words[1], State: "completed", Started: data, Tags: map[string]string{"role": "db", TagMountPoint: "/" + words[1],
			TagSet: SetID(run, "t"), TagRun: run, TagToken: "t", TagMembers: fmt.Sprint(2), TagState: Consistent, TagDataTime: DataStamp(data), TagFilterKeys: "role"}}
		if len(words) > 3 {
			fmt.Sscan(words[3], &copied)
			s.VolumeID, s.Started = "vol-ffffffff", begunAt.Add(time.Duration(copied)*time.Hour)
		}
		all = append(all, s)
	}
	return all
}

func TestACopyIsAsOldAsItsDataAndBelongsToItsSet(t *testing.T) {
	older := setOf("R1", "a1 a 0", "b1 b 0")
	newer := setOf("R2", "a2 a 5", "b2 b 5")
	copies := setOf("R1", "a1c a 0 9", "b1c b 0 9")
	newerCopies := setOf("R2", "a2c a 5 7", "b2c b 5 8")
	overwritten := setOf("R2", "a2 a 5", "b2 b 5")
	for i, s := range overwritten { // a policy copied all tags of the volumes onto them
		maps.Copy(s.Tags, map[string]string{TagRun: "R0", TagToken: fmt.Sprint("volume", i), TagCreated: "2025-01-01T00:00:00Z"})
	}
	broken := setOf("R2", "a2 a 5", "b2 b 5")
	broken[1].State = "error"
	for _, c := range []struct {
		name      string
		snapshots []ec2.Snapshot
		want      string
	}{
		{"a copy of one that is old", slices.Concat(older, newer, copies), "a2 b2"},
		{"and in the other order", slices.Concat(copies, newer, older), "a2 b2"},
		{"of the newer one only copies are left", slices.Concat(older, newerCopies), "a2c b2c"},
		{"only copies, the older ones copied last", slices.Concat(copies, newerCopies), "a2c b2c"},
		{"one of each", slices.Concat(older, newer[:1], newerCopies[1:]), "a2 b2c"},
		{"twice the same member is no whole set", slices.Concat(older, newer[:1], newerCopies[:1]), "a1 b1"},
		{"an original before its copy", slices.Concat(newerCopies, newer), "a2 b2"},
		{"a copy for an original in error", slices.Concat(older, broken, newerCopies), "a2 b2c"},
		{"another set's copy fills no gap", slices.Concat(newer[:1], copies[1:], older[:1]), "a1 b1c"},
		{"run and token overwritten", slices.Concat(older, overwritten), "a2 b2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, group := range []bool{true, false} {
				if !group && strings.Contains(c.name, "whole set") || !group && strings.Contains(c.name, "gap") {
					continue
				}
				var got []string
				for _, choice := range Choose(Request{MountPoints: []string{"/a", "/b"}, Group: group}, c.snapshots) {
					got = append(got, joinReasons(choice))
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("as a group %v: %v, want %s", group, got, c.want)
				}
			}
		})
	}
}

func TestTwoSetsOfOneSecondAreInOrderWhenOnlyCopiesAreLeft(t *testing.T) {
	first, second := setOf("R1", "a1 a 0 9", "b1 b 0 9"), setOf("R2", "a2 a 0 8", "b2 b 0 8")
	for i := range 2 {
		first[i].Tags[TagDataTime], second[i].Tags[TagDataTime] = DataStamp(begunAt.Add(200*time.Millisecond)), DataStamp(begunAt.Add(800*time.Millisecond))
	}
	if got := Choose(Request{MountPoints: []string{"/a"}, Group: true}, slices.Concat(first, second)); got[0].SnapshotID != "a2" {
		t.Errorf("chose %s, want a2", got[0].SnapshotID)
	}
}

func TestASetThatDoesNotSayHowManyItHasIsNotRestoredInPart(t *testing.T) {
	s := setOf("R1", "a1 a 0", "b1 b 0")
	for _, one := range s {
		delete(one.Tags, TagMembers)
	}
	if got := Choose(Request{MountPoints: []string{"/a", "/b"}, Group: true}, s); got[0].Problem == "" || got[0].Hint != MixHint {
		t.Errorf("got %+v", got[0])
	}
}

func TestFilterKeysAreRecordedWhateverTheyAre(t *testing.T) {
	var many []string
	for i := range 35 {
		many = append(many, fmt.Sprintf("%s-%d", strings.Repeat("k", 120), i))
	}
	for name, keys := range map[string][]string{
		"none": {}, "one": {"role"}, "some": {"role", "cluster", "environment"}, "with a comma": {"a,b", "c"}, "with the mark of a hash": {"#role"},
		"with a blank at its end": {"role "}, "too many to be written out": many, "of other scripts": {"役割", "größe"},
	} {
		t.Run(name, func(t *testing.T) {
			text := JoinFilterKeys(keys)
			if n := len([]rune(text)); n > maxTagValue {
				t.Fatalf("%d characters", n)
			}
			tags := map[string]string{TagFilterKeys: text, "tagged-by": "somebody", "kk": "x"}
			for _, key := range keys {
				tags[key] = "v"
			}
			got, known := RecordedKeys(tags)
			slices.Sort(keys)
			if !known || !slices.Equal(got, keys) {
				t.Errorf("read %q, want %q", got, keys)
			}
		})
	}
}
