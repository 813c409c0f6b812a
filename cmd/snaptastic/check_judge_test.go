package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the table has clocks of several countries

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

const hour = time.Hour

// snapAt reads a snapshot from a line such as "25h vol-a a R1/2 completed":
// its age at now, its volume, mount point /mnt/a, run and members of its set.
// Instead of the run: "original", "unverified", "copied". The tier archive is
// written as a state. The id is snap- and the number of the line.
func snapsAt(now time.Time, lines ...string) (all []ec2.Snapshot) {
	for i, line := range lines {
		words := append(strings.Fields(line), "completed")
		age, err := time.ParseDuration(words[0])
		if err != nil {
			panic(err)
		}
		s := ec2.Snapshot{ID: fmt.Sprintf("snap-%d", i+1), VolumeID: words[1], State: ebs.SnapshotState(words[4]), Progress: 42, Started: now.Add(-age),
			Tags: map[string]string{steps.TagMountPoint: "/mnt/" + words[2]}}
		if s.State == "archive" {
			s.State, s.StorageTier = "completed", "archive"
		}
		run, members, set := strings.Cut(words[3], "/")
		switch {
		case set:
			s.Tags[steps.TagRun], s.Tags[steps.TagToken], s.Tags[steps.TagMembers], s.Tags[steps.TagState] = run, "token", members, steps.Consistent
		case run == "unverified":
			s.Tags[steps.TagRun], s.Tags[steps.TagState] = "R9", steps.Unverified
		case run == "copied":
			s.Tags[steps.TagToken] = "token"
		case run != "original":
			panic(line)
		}
		all = append(all, s)
	}
	return all
}

// usedAs is a volume with its mount point and the state of its attachment.
func usedAs(id, mp, state string) ec2.Volume {
	v := ec2.Volume{ID: id, State: "in-use", Tags: map[string]string{steps.TagMountPoint: "/mnt/" + mp}}
	if state != "" {
		v.Attachments = []ec2.Attachment{{VolumeID: id, InstanceID: "i-1", Device: "/dev/sdf", State: ebs.AttachmentState(state)}}
	}
	return v
}

// short writes findings as "/mnt/a ok, vol-a gap".
func short(findings []snapset.Finding) string {
	var words []string
	for _, v := range findings {
		name, state := v.MountPoint, "gap"
		if v.VolumeID != "" {
			name = v.VolumeID
		}
		if v.OK {
			state = "ok"
		}
		words = append(words, name+" "+state)
	}
	return strings.Join(words, ", ")
}

// TestWhichSnapshotsCover is about states, labels and sets at one clock.
func TestWhichSnapshotsCover(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	a, b := usedAs("vol-a", "a", "attached"), usedAs("vol-b", "b", "attached")
	from := usedAs("vol-new", "a", "attached")
	from.SnapshotID = "snap-1"
	for _, c := range []struct {
		name     string
		volumes  []ec2.Volume
		declared string
		each     bool // consistency = "volume"
		snaps    []string
		want     string
		message  string // in the first problem
	}{
		{"a recent one", []ec2.Volume{a}, "a", false, []string{"1h vol-a a R1/1"}, "/mnt/a ok, vol-a ok", ""},
		{"none", []ec2.Volume{a}, "a", false, nil, "/mnt/a gap, vol-a gap", "no snapshot exists"},
		{"an old one", []ec2.Volume{a}, "a", false, []string{"27h vol-a a R1/1"}, "/mnt/a gap, vol-a gap", "snap-1 is 27h old (limit 26h)"},
		{"of the original's", []ec2.Volume{a}, "a", false, []string{"1h vol-a a original"}, "/mnt/a ok, vol-a ok", ""},
		{"pending", []ec2.Volume{a}, "a", false, []string{"1h vol-a a R1/1 pending"}, "/mnt/a gap, vol-a gap", "snap-1 is pending (42 %)"},
		{"pending, but yesterday's is there", []ec2.Volume{a}, "a", false, []string{"1h vol-a a R2/1 pending", "25h vol-a a R1/1"}, "/mnt/a ok, vol-a ok", ""},
		{"pending, and yesterday's is too old", []ec2.Volume{a}, "a", false, []string{"1h vol-a a R2/1 pending", "27h vol-a a R1/1"}, "/mnt/a gap, vol-a gap", "newer: snap-1 is pending (42 %)"},
		{"in error", []ec2.Volume{a}, "a", false, []string{"1h vol-a a R1/1 error"}, "/mnt/a gap, vol-a gap", "in error"},
		{"unverified", []ec2.Volume{a}, "a", false, []string{"1h vol-a a unverified"}, "/mnt/a gap, vol-a gap", "snap-1 is not labelled consistent"},
		{"another tool", []ec2.Volume{a}, "a", false, []string{"1h vol-a a copied"}, "/mnt/a gap, vol-a gap", "another tool"},
		{"archived", []ec2.Volume{a}, "a", false, []string{"1h vol-a a R1/1 archive"}, "/mnt/a gap, vol-a gap", "archived"},
		{"in the recycle bin", []ec2.Volume{a}, "a", false, []string{"1h vol-a a R1/1 recoverable"}, "/mnt/a gap, vol-a gap", "recycle bin"},
		{"of another mount point", []ec2.Volume{a}, "a", false, []string{"1h vol-a b R1/1"}, "/mnt/a gap, vol-a gap", "no snapshot exists"},

		{"a whole set", []ec2.Volume{a, b}, "a b", false, []string{"1h vol-a a R1/2", "1h vol-b b R1/2"}, "/mnt/a ok, vol-a ok, /mnt/b ok, vol-b ok", ""},
		{"a set that lost one", []ec2.Volume{a, b}, "a b", false, []string{"1h vol-a a R1/2"}, "/mnt/a gap, vol-a gap, /mnt/b gap, vol-b gap", "incomplete set"},
		{"a set of which one is pending", []ec2.Volume{a, b}, "a b", false, []string{"1h vol-a a R1/2", "1h vol-b b R1/2 pending"}, "/mnt/a gap, vol-a gap, /mnt/b gap, vol-b gap", "incomplete set"},
		{"a broken set, and a whole one of yesterday", []ec2.Volume{a, b}, "a b", false,
			[]string{"1h vol-a a R2/2", "25h vol-a a R1/2", "25h vol-b b R1/2"}, "/mnt/a ok, vol-a ok, /mnt/b ok, vol-b ok", ""},
		{"a broken set, and a whole one of last week", []ec2.Volume{a, b}, "a b", false,
			[]string{"1h vol-a a R2/2", "168h vol-a a R1/2", "168h vol-b b R1/2"}, "/mnt/a gap, vol-a gap, /mnt/b gap, vol-b gap", "snap-1 is part of an incomplete set"},
		{"what is left of a set, where each restores by itself", []ec2.Volume{a, b}, "a b", true, []string{"1h vol-a a R1/2"}, "/mnt/a ok, vol-a ok, /mnt/b gap, vol-b gap", "no snapshot"},
		{"one volume newly declared", []ec2.Volume{a, b}, "a b", false, []string{"1h vol-a a R1/1"}, "/mnt/a ok, vol-a ok, /mnt/b gap, vol-b gap", "no snapshot"},

		{"two instances, one of them without", []ec2.Volume{a, usedAs("vol-x", "a", "attached")}, "a", false, []string{"1h vol-a a R1/1"}, "/mnt/a ok, vol-a ok, vol-x gap", "no snapshot"},
		{"restored from a recent one", []ec2.Volume{from}, "a", false, []string{"2h vol-gone a R1/1"}, "/mnt/a ok, vol-new ok", ""},
		{"restored from an old one", []ec2.Volume{from}, "a", false, []string{"48h vol-gone a R1/1"}, "/mnt/a gap, vol-new gap", "2d old"},
		{"declared, and not in use", nil, "a", false, []string{"1h vol-a a R1/1"}, "/mnt/a gap", "no volume is in use"},
		{"available", []ec2.Volume{usedAs("vol-a", "a", "")}, "a", false, []string{"1h vol-a a R1/1"}, "/mnt/a gap", "no volume is in use"},
		{"attaching", []ec2.Volume{usedAs("vol-a", "a", "attaching")}, "a", false, []string{"1h vol-a a R1/1"}, "/mnt/a gap", "no volume is in use"},
		{"in use, and declared nowhere", []ec2.Volume{a}, "", false, []string{"27h vol-a a R1/1"}, "/mnt/a gap, vol-a gap", "27h"},
		{"a volume without our tag", []ec2.Volume{{ID: "vol-root", Attachments: a.Attachments}}, "", false, nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := snapset.Scope{Name: "db", Group: !c.each}
			for mp := range strings.FieldsSeq(c.declared) {
				s.Declared = append(s.Declared, "/mnt/"+mp)
			}
			got := snapset.Covered(s, c.volumes, snapset.IndexOf(snapsAt(now, c.snaps...)), now, 26*hour)
			if short(got) != c.want {
				t.Errorf("got  %s\nwant %s", short(got), c.want)
			}
			problem := ""
			for _, v := range got {
				if v.OK != (v.Problem == "") {
					t.Errorf("%s %s: ok is %v, the problem %q", v.MountPoint, v.VolumeID, v.OK, v.Problem)
				}
				if problem == "" {
					problem = v.Problem
				}
			}
			if !strings.Contains(problem, c.message) {
				t.Errorf("it says %q, want %q in it", problem, c.message)
			}
		})
	}
}

// TestAgesAreExact holds ages against the limit to the nanosecond, over clocks
// of several zones and the days on which they are put forward and back.
func TestAgesAreExact(t *testing.T) {
	const day = 24 * hour
	zone := func(name string) *time.Location {
		l, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	amsterdam, newYork, lordHowe := zone("Europe/Amsterdam"), zone("America/New_York"), zone("Australia/Lord_Howe")
	for _, c := range []struct {
		name     string
		now      time.Time
		snapshot time.Time
		max      time.Duration
		ok       bool
	}{
		{"just made", time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), time.Second, true},
		{"as old as allowed", time.Date(2026, 6, 2, 14, 0, 0, 0, time.UTC), time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), 26 * hour, true},
		{"a nanosecond older", time.Date(2026, 6, 2, 14, 0, 0, 1, time.UTC), time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), 26 * hour, false},
		{"30 s", time.Date(2026, 6, 1, 0, 0, 15, 0, time.UTC), time.Date(2026, 5, 31, 23, 59, 45, 0, time.UTC), 30 * time.Second, true},
		{"31 s", time.Date(2026, 6, 1, 0, 0, 15, 0, time.UTC), time.Date(2026, 5, 31, 23, 59, 44, 0, time.UTC), 30 * time.Second, false},
		{"15 min, over midnight", time.Date(2026, 6, 1, 0, 10, 0, 0, time.UTC), time.Date(2026, 5, 31, 23, 55, 0, 0, time.UTC), 15 * time.Minute, true},
		{"the same calendar day, and too old", time.Date(2026, 6, 1, 23, 0, 0, 0, time.UTC), time.Date(2026, 6, 1, 1, 0, 0, 0, time.UTC), 6 * hour, false},
		{"two calendar days ago, and recent enough", time.Date(2026, 6, 3, 0, 30, 0, 0, time.UTC), time.Date(2026, 6, 1, 23, 30, 0, 0, time.UTC), 26 * hour, true},
		{"over the new year", time.Date(2027, 1, 1, 1, 0, 0, 0, time.UTC), time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC), 26 * hour, true},
		{"over 29 February", time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2028, 2, 28, 0, 0, 0, 0, time.UTC), 2 * day, true},
		{"7 days", time.Date(2026, 6, 8, 12, 0, 0, 0, time.UTC), time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), 7 * day, true},
		{"7 days and a second", time.Date(2026, 6, 8, 12, 0, 1, 0, time.UTC), time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), 7 * day, false},
		{"2 weeks", time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC), time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), 14 * day, true},

		// The clock of 29 March 2026 jumps from 2:00 to 3:00: from 1:00 to 3:30 are 90 minutes.
		{"forward, 90 min by a clock that shows 150", time.Date(2026, 3, 29, 3, 30, 0, 0, amsterdam), time.Date(2026, 3, 29, 1, 0, 0, 0, amsterdam), 90 * time.Minute, true},
		{"forward, and a second too old", time.Date(2026, 3, 29, 3, 30, 1, 0, amsterdam), time.Date(2026, 3, 29, 1, 0, 0, 0, amsterdam), 90 * time.Minute, false},
		{"forward, noon to noon is 23 h", time.Date(2026, 3, 29, 12, 0, 0, 0, amsterdam), time.Date(2026, 3, 28, 12, 0, 0, 0, amsterdam), 23 * hour, true},
		// On 25 October 2026 the hour from 2:00 to 3:00 comes twice.
		{"back, noon to noon is 25 h", time.Date(2026, 10, 25, 12, 0, 0, 0, amsterdam), time.Date(2026, 10, 24, 12, 0, 0, 0, amsterdam), 25 * hour, true},
		{"back, and 24 h are not enough", time.Date(2026, 10, 25, 12, 0, 0, 0, amsterdam), time.Date(2026, 10, 24, 12, 0, 0, 0, amsterdam), 24 * hour, false},
		{"back, 2:30 and 2:30 an hour later", time.Date(2026, 10, 25, 1, 30, 0, 0, time.UTC).In(amsterdam), time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC).In(amsterdam), 59 * time.Minute, false},
		{"New York, back, 25 h", time.Date(2026, 11, 1, 12, 0, 0, 0, newYork), time.Date(2026, 10, 31, 12, 0, 0, 0, newYork), 25 * hour, true},
		{"New York, back, 24 h 59 min", time.Date(2026, 11, 1, 12, 0, 0, 0, newYork), time.Date(2026, 10, 31, 12, 0, 0, 0, newYork), 25*hour - time.Minute, false},
		{"Lord Howe goes back by half an hour", time.Date(2026, 4, 5, 12, 0, 0, 0, lordHowe), time.Date(2026, 4, 4, 12, 0, 0, 0, lordHowe), 24*hour + 30*time.Minute, true},
		{"Lord Howe, and 24 h are not enough", time.Date(2026, 4, 5, 12, 0, 0, 0, lordHowe), time.Date(2026, 4, 4, 12, 0, 0, 0, lordHowe), 24 * hour, false},
		{"instance in one zone, EC2 in another", time.Date(2026, 6, 1, 8, 0, 0, 0, newYork), time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC), 2 * hour, true},

		{"a little in the future, as clocks differ", time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), time.Date(2026, 6, 1, 12, 4, 0, 0, time.UTC), hour, true},
		{"far in the future: no age can be told", time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), time.Date(2026, 6, 1, 13, 0, 0, 0, time.UTC), 26 * hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			snaps := snapsAt(c.snapshot, "0s vol-a a R1/1")
			got := snapset.Covered(snapset.Scope{Declared: []string{"/mnt/a"}, Group: true}, []ec2.Volume{usedAs("vol-a", "a", "attached")}, snapset.IndexOf(snaps), c.now, c.max)
			want := map[bool]string{true: "/mnt/a ok, vol-a ok", false: "/mnt/a gap, vol-a gap"}[c.ok]
			if short(got) != want {
				t.Errorf("got %s, want %s: %s", short(got), want, got[0].Problem)
			}
		})
	}
}
