package snapset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

var today = time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC) // a day on which clocks change in Europe

// leftovers makes snapshots out of words: "NAME DAYS-OLD MOUNT-POINT RUN/MEMBERS [FLAG…]". They expire two days after they
// were made. Flags: never, error, pending, archived, and KEY=VALUE for a tag.
func leftovers(t *testing.T, lines ...string) (all []ec2.Snapshot) {
	t.Helper()
	for _, line := range lines {
		words := strings.Fields(line)
		var days, members int
		run, count, _ := strings.Cut(words[3], "/")
		if _, err := fmt.Sscan(words[1], &days); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(count, &members); err != nil {
			t.Fatal(err)
		}
		made := today.AddDate(0, 0, -days)
		s := ec2.Snapshot{ID: words[0], VolumeID: "vol-" + words[2][1:], State: "completed", Started: made, VolumeSize: 1, Tags: map[string]string{
			"role": "db", TagMountPoint: words[2], TagInstance: "i-1", TagCreated: stamp(made), TagExpires: stamp(made.AddDate(0, 0, 2)),
			TagRun: run, TagToken: "t-" + run, TagMembers: fmt.Sprint(members), TagState: Consistent}}
		for _, flag := range words[4:] {
			switch key, value, isTag := strings.Cut(flag, "="); {
			case isTag:
				s.Tags[key] = strings.ReplaceAll(value, "_", " ")
			case flag == "never":
				delete(s.Tags, TagExpires)
			case flag == "archived":
				s.StorageTier = "archive"
			case flag == "original":
				for _, key := range []string{TagRun, TagToken, TagMembers, TagState} {
					delete(s.Tags, key)
				}
			case flag == "volume": // its tags were copied
				delete(s.Tags, TagState)
			default:
				s.State = ebs.SnapshotState(flag)
			}
		}
		all = append(all, s)
	}
	return all
}

// decideOn judges resources of one kind.
func decideOn(r Resource, inv Inventory) []Decision {
	return Decide(Cleanup{Resources: []Resource{r}}, inv)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func toDelete(decisions []Decision) string {
	var ids []string
	for _, f := range decisions {
		if f.Delete {
			ids = append(ids, f.ID)
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func TestWhichSnapshotsGo(t *testing.T) {
	for _, c := range []struct {
		name      string
		snapshots []string
		goes      string
		why       string // of one that stays or goes
	}{
		{"the expired, and never the newest", []string{"a 9 /a R1/1", "b 8 /a R2/1", "c 7 /a R3/1"}, "a b", "c: expired 2026-03-24 12:00, but it is the newest restorable snapshot of /a"},
		{"not before its time", []string{"a 9 /a R1/1 expires=2026-03-29T12:00:00Z", "b 1 /a R2/1"}, "", "a: it expires 2026-03-29 12:00"},
		{"a second after it", []string{"a 9 /a R1/1 expires=2026-03-29T11:59:59Z", "b 1 /a R2/1"}, "a", ""},
		{"a date in another zone", []string{"a 9 /a R1/1 expires=2026-03-29T12:59:59+01:00", "b 1 /a R2/1"}, "a", ""},
		{"a naive date has a day's grace", []string{"a 9 /a R1/1 original expires=2026-03-28_12:00:00.000001", "b 1 /a R2/1"}, "", "a: it expires 2026-03-29 12:00"},
		{"and no more", []string{"a 9 /a R1/1 original expires=2026-03-28_11:59:59.999999", "b 1 /a R2/1"}, "a", ""},
		{"a naive day", []string{"a 9 /a R1/1 original expires=2026-03-28", "b 9 /b R1/1 original expires=2026-03-27", "c 1 /a R2/1", "d 1 /b R2/1"}, "a b", ""},
		{"what cannot be read stays", []string{"a 9 /a R1/1 expires=soon", "b 1 /a R2/1"}, "", `a: its expires tag "soon" is not a date`},
		{"what has no date stays", []string{"a 9 /a R1/1 never", "b 1 /a R2/1"}, "", "a: it does not expire"},
		{"other snapshotters' are no replacement", []string{"a 9 /a R1/1", "b 1 /a R2/1 role=web", "c 1 /b R3/1"}, "", "a: expired 2026-03-22 12:00, but it is the newest restorable snapshot of /a"},
		{"another instance's are", []string{"a 9 /a R1/1", "b 1 /a R2/1 instance_id=i-2"}, "a", ""},
		{"a slash at the end is nothing", []string{"a 9 /a/ R1/1", "b 1 /a R2/1"}, "a", ""},
		{"copied tags of a volume", []string{"a 9 /a R1/1 volume", "b 1 /a R2/1"}, "", "a: created by another tool that copied a volume's tags"},
		{"copied tags of the original's volume", []string{"a 9 /a R1/1 original created=2026-01-01_00:00:00", "b 1 /a R2/1"}, "", "a: created by another tool that copied a volume's tags"},
		{"the original's of another time zone", []string{"a 9 /a R1/1 original created=2026-03-21_02:00:00", "b 1 /a R2/1"}, "a", ""},
		{"half of the original's tags", []string{"a 9 /a R1/1 original instance_id=", "b 1 /a R2/1"}, "", "a: without Snaptastic's tags"},
		{"a newer one that is in error is no replacement", []string{"a 9 /a R1/1", "b 1 /a R2/1 error"}, "", "a: expired 2026-03-22 12:00, but it is the newest restorable snapshot of /a"},
		{"nor one that is pending", []string{"a 9 /a R1/1", "b 0 /a R2/1 pending"}, "", "a: expired 2026-03-22 12:00, but it is the newest restorable snapshot of /a"},
		{"nor one in the archive, which stays, too", []string{"a 9 /a R1/1", "b 8 /a R2/1 archived"}, "", "b: expired 2026-03-23 12:00, but it is the newest restorable snapshot of /a"},
		{"nor one that is unverified", []string{"a 9 /a R1/1", "b 0 /a R2/1 snaptastic:state=unverified"}, "", "a: expired 2026-03-22 12:00, but it is the newest restorable snapshot of /a"},
		{"where nothing can be restored all stays", []string{"a 9 /a R1/1 error", "b 8 /a R2/1 error"}, "", "a: expired 2026-03-22 12:00, but no other snapshot of /a can be restored"},
		{"the last whole set stays whole", []string{"a 9 /a R1/2", "b 9 /b R1/2", "c 8 /a R2/2", "d 8 /b R2/2", "e 7 /a R3/2"}, "a b", "d: expired 2026-03-23 12:00, but it is the newest restorable snapshot of /b"},
		{"a set that lost one to an error is not whole", []string{"a 9 /a R1/2", "b 9 /b R1/2", "c 8 /a R2/2", "d 8 /b R2/2 error"}, "d", ""},
		{"a smaller set does not replace a larger one", []string{"a 9 /a R1/2", "b 9 /b R1/2", "c 1 /a R2/1"}, "", "a: expired 2026-03-22 12:00, but it is the newest restorable snapshot of /a"},
		{"nor do two for the one set that has both", []string{"a 9 /a R1/2", "b 9 /b R1/2", "c 2 /a R2/1", "d 1 /b R3/1"}, "", "b: expired 2026-03-22 12:00, but it is the newest restorable snapshot of /b"},
		{"a larger one replaces a smaller one", []string{"c 9 /a R1/1", "a 1 /a R2/2", "b 1 /b R2/2"}, "c", ""},
		{"unverified by a run that is gone", []string{"a 2 /a R1/1 snaptastic:state=unverified", "b 1 /a R2/1"}, "a", "a: left unverified by run R1"},
		{"unverified, and may be at it", []string{"a 1 /a R1/1 snaptastic:state=unverified", "b 2 /a R2/1"}, "", "a: it is unverified, and younger than a day"},
		{"unverified by a run that can go on", []string{"a 2 /a here/1 snaptastic:state=unverified", "b 1 /a R2/1"}, "", "a: its run here is unfinished on this machine: resume it or roll it back"},
		{"unverified, and the only one", []string{"a 2 /a R1/1 snaptastic:state=unverified"}, "", "a: left unverified by run R1, but no other snapshot of /a can be restored"},
		{"unverified before it was tagged", []string{"a 2 /a R1/1 snaptastic:state=unverified mount_point="}, "a", ""},
		{"a state that is not ours", []string{"a 9 /a R1/1 snaptastic:state=dubious", "b 1 /a R2/1"}, "", `a: its snaptastic:state tag has the unknown value "dubious"`},
		{"in the recycle bin", []string{"a 9 /a R1/1 recoverable", "b 1 /a R2/1"}, "", "a: it is recoverable"},
		{"held by an image", []string{"held 9 /a R1/1", "b 1 /a R2/1"}, "", "held: expired 2026-03-22 12:00, but image ami-1 uses it"},
		{"held by a lock", []string{"locked 9 /a R1/1", "b 1 /a R2/1"}, "", "locked: expired 2026-03-22 12:00, but it is locked (governance) until 2026-03-31 12:00"},
		{"of another snapshotter", []string{"a 9 /a R1/1 role=other", "b 1 /a R2/1 role=other"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := Inventory{Now: today, Snapshots: leftovers(t, c.snapshots...), Unfinished: map[string]bool{"here": true},
				Images: []ec2.Image{{ID: "ami-1", SnapshotIDs: []string{"held"}}}, Locked: map[string]ec2.Lock{"locked": {State: "governance", Expires: today.Add(48 * time.Hour)}}}
			if strings.HasPrefix(c.name, "of another") {
				w.Filter = map[string]string{"role": "db"}
			}
			decisions := decideOn(SnapshotResource, w)
			if got := toDelete(decisions); got != c.goes {
				t.Errorf("%q go, want %q", got, c.goes)
			}
			for _, f := range decisions {
				if id, why, ok := strings.Cut(c.why, ": "); ok && id == f.ID && f.Why != why {
					t.Errorf("%s: %s; want %s", f.ID, f.Why, why)
				}
				if f.Delete && slices.Contains(f.ReplacedBy, f.ID) {
					t.Errorf("%s is to stand in for itself", f.ID)
				}
			}
			slices.Reverse(w.Snapshots)
			if got := toDelete(decideOn(SnapshotResource, w)); got != c.goes {
				t.Errorf("in another order %q go, want %q", got, c.goes)
			}
		})
	}
}

func TestATagOfAnotherToolStopsNoRetention(t *testing.T) {
	recorded := " snaptastic:filter-keys=role"
	for _, c := range []struct {
		name      string
		filter    map[string]string
		snapshots []string
		goes      string
		hint      string // the snapshots that have one
	}{
		{"what was recorded counts", nil, []string{"a 9 /a R1/1 scan=1" + recorded, "b 8 /a R2/1 scan=2" + recorded, "c 7 /a R3/1 scan=3" + recorded}, "a b", ""},
		{"by name", map[string]string{"role": "db"}, []string{"a 9 /a R1/1 scan=1", "b 8 /a R2/1 scan=2 original", "c 7 /a R3/1 scan=3"}, "a b", ""},
		{"of older ones without a name each may be the newest of its kind", nil, []string{"a 9 /a R1/1 scan=1", "b 8 /a R2/1 scan=2", "c 7 /a R3/1 scan=3"}, "", "a b c"},
		{"of one volume, a newer one tells", nil, []string{"a 9 /a R1/1 scan=1", "b 8 /a R2/1 scan=2", "c 7 /a R3/1 scan=3" + recorded}, "a b", ""},
		{"members of a set differ in no filter tag", nil, []string{"a 9 /a R1/2 scan=1", "b 9 /b R1/2 scan=2", "c 8 /a R2/2 scan=3", "d 8 /b R2/2 scan=4"}, "a b", ""},
		{"a snapshotter with more filter tags keeps its own, by name too", map[string]string{"role": "db"},
			[]string{"a 9 /a R1/1 zone=x snaptastic:filter-keys=role,zone", "b 8 /a R2/1" + recorded}, "", ""},
		{"other filter tags, recorded", nil, []string{"a 9 /a R1/1" + recorded, "b 8 /a R2/1 role=web" + recorded}, "", ""},
		{"tags that the older ones alone have", nil, []string{"a 9 /a R1/1 scan=1 scan2=x" + recorded, "b 8 /a R2/1" + recorded}, "a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			decisions := decideOn(SnapshotResource, Inventory{Now: today, Filter: c.filter, Snapshots: leftovers(t, c.snapshots...)})
			var hint []string
			for _, f := range decisions {
				if f.Hint != "" && !f.Delete {
					hint = append(hint, f.ID)
				}
			}
			if got := toDelete(decisions); got != c.goes || strings.Join(hint, " ") != c.hint {
				t.Errorf("%q go, want %q; %q have a hint, want %q", got, c.goes, hint, c.hint)
			}
		})
	}
}

func TestACopyNeitherGoesNorMakesASetOlder(t *testing.T) {
	copied := func(s []ec2.Snapshot, at ...int) []ec2.Snapshot {
		for _, i := range at {
			s[i].VolumeID, s[i].Started = "vol-ffffffff", today.Add(-time.Hour)
		}
		return s
	}
	for _, c := range []struct {
		name      string
		snapshots []ec2.Snapshot
		goes      string
	}{
		{"a copy of the oldest is no reason for the newest to go", copied(leftovers(t, "copy 9 /a R1/1", "a 9 /a R1/1", "b 8 /a R2/1"), 0), "a"},
		{"a set of an original and a copy is the newest", copied(leftovers(t, "a 9 /a R1/2", "b 9 /b R1/2", "c 8 /a R2/2", "d 8 /b R2/2"), 3), "a b"},
		{"the copies of a set that lost its originals", copied(leftovers(t, "a 9 /a R1/1", "b 8 /a R2/1"), 1), "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := toDelete(decideOn(SnapshotResource, Inventory{Now: today, Snapshots: c.snapshots})); got != c.goes {
				t.Errorf("%q go, want %q", got, c.goes)
			}
		})
	}
}

// Whatever goes, a mount of any of the declarations that ever made a set chooses the same as before.
func TestWhatGoesChangesNoMount(t *testing.T) {
	points := []string{"/a", "/b", "/c"}
	for seed := range 400 {
		draw := seed*7919 + 17
		next := func(n int) int { draw = (draw*1103515245 + 12345) & 0x7fffffff; return draw / 65536 % n }
		var lines []string
		var combinations [][]string
		for run := range 3 + next(6) {
			var some []string
			for _, p := range points {
				if next(3) > 0 {
					some = append(some, p)
				}
			}
			combinations = append(combinations, some)
			flag := ""
			switch next(8) {
			case 0:
				flag = " original"
			case 1:
				flag = " never"
			}
			for _, p := range some {
				state := ""
				if next(12) == 0 {
					state = " error"
				}
				if next(12) == 0 {
					continue // lost
				}
				lines = append(lines, fmt.Sprintf("snap-%d%s %d %s R%d/%d%s%s", run, p[1:], 20-2*run, p, run, len(some), flag, state))
			}
		}
		all := leftovers(t, lines...)
		gone := toDelete(decideOn(SnapshotResource, Inventory{Now: today, Snapshots: all}))
		left := slices.DeleteFunc(slices.Clone(all), func(s ec2.Snapshot) bool { return slices.Contains(strings.Fields(gone), s.ID) })
		for _, mounted := range append(combinations, points) {
			request := Request{MountPoints: mounted, Group: true, MayCreate: true}
			for i, before := range Choose(request, all) {
				after := Choose(request, left)[i]
				if before.SnapshotID != "" && after.SnapshotID != before.SnapshotID || before.Create != after.Create {
					t.Fatalf("%v: of %v went %q; before %+v, after %+v", lines, mounted, gone, before, after)
				}
			}
		}
	}
}

func TestWhichVolumesGo(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name     string
		detached time.Duration // ago; 0: no tag
		snapshot time.Duration // ago; 0: none
		tags     string        // more of the volume's
		run      string        // of the snapshot; "" for one that an operator vouched for
		policy   Cleanup
		goes     bool
		why      string
	}{
		{"saved after it was detached", 2 * day, day, "", "", Cleanup{}, true, "it was detached before snap-1 was started, which contains all its data"},
		{"written to after its newest snapshot, perhaps", day, day + time.Hour, "", "R2", Cleanup{}, false, "its newest labelled snapshot snap-1 was started 60 min before it was detached"},
		{"no snapshot", day, 0, "", "", Cleanup{}, false, "it has no labelled snapshot"},
		{"attached again by hand", 3 * day, day, "", "R2", Cleanup{}, false, "its last write is unknown; its newest labelled snapshot snap-1 is from 2026-03-28 12:00"},
		{"left by an instance that ended", 0, day, "", "R2", Cleanup{}, false, "its last write is unknown; its newest labelled snapshot snap-1 is from 2026-03-28 12:00"},
		{"unsaved, and let go", day, 0, "", "", Cleanup{Unsaved: true}, true, ""},
		{"unsaved for less than the gap", day, day + time.Hour, "", "R2", Cleanup{Unsaved: true, Gap: time.Hour}, true, ""},
		{"unsaved for more than the gap", day, day + time.Hour + time.Second, "", "R2", Cleanup{Unsaved: true, Gap: time.Hour}, false, ""},
		{"the gap says nothing where nothing is known", 0, day, "", "R2", Cleanup{Unsaved: true, Gap: time.Hour}, false, ""},
		{"nor where there is no snapshot", day, 0, "", "", Cleanup{Unsaved: true, Gap: 99 * day}, false, ""},
		{"of a run that can go on", 2 * day, day, "snaptastic:run=here", "", Cleanup{Unsaved: true}, false, "its run here is unfinished on this machine: resume it or roll it back"},
		{"an unmount of it can be undone", 2 * day, day, TagMountPoint + "=/unmounted/", "", Cleanup{Unsaved: true}, false, "run R9 of /unmounted/ is unfinished on this machine: resume it or roll it back"},
		{"with a snapshot's tags", 2 * day, day, "snaptastic:state=consistent", "", Cleanup{Unsaved: true}, false, "it was not created by Snaptastic, although it has its tags"},
		{"not of a run", 2 * day, day, "snaptastic:run=", "", Cleanup{Unsaved: true}, false, "it was not created by Snaptastic, although it has its tags"},
		{"detached some time", 2 * day, day, "snaptastic:detached=yes", "", Cleanup{Unsaved: true}, false, `its snaptastic:detached tag "yes" is not a time`},
		{"replaced a moment ago, whatever is asked for", time.Hour, time.Minute, TagReplaced + "=2026-03-29T11:00:00Z/R7", "", Cleanup{Unsaved: true}, false, "run R7 replaced it less than a day ago: `snaptastic rollback R7` puts it back"},
		{"replaced some days ago, and saved", 3 * day, day, TagReplaced + "=2026-03-26T11:00:00Z/R7", "", Cleanup{}, true, ""},
		{"replaced some days ago, and not saved", 3 * day, 0, TagReplaced + "=2026-03-26T11:00:00Z/R7", "", Cleanup{}, false, "it has no labelled snapshot; run R7 replaced it, and cannot be rolled back without it"},
		{"of another snapshotter", 2 * day, day, "role=web", "", Cleanup{Unsaved: true}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := ec2.Volume{ID: "vol-1", State: "available", Created: today.Add(-30 * day), Tags: map[string]string{"role": "db", TagMountPoint: "/a", TagToken: "t", TagRun: "R1"}}
			if c.detached > 0 {
				v.Tags[TagDetached] = stamp(today.Add(-c.detached))
			}
			if key, value, ok := strings.Cut(c.tags, "="); ok {
				v.Tags[key] = value
			}
			w := Inventory{Now: today, Filter: map[string]string{"role": "db"}, Volumes: []ec2.Volume{v}, Unfinished: map[string]bool{"here": true}, Claimed: map[string]string{"/unmounted": "R9"}}
			if c.snapshot > 0 {
				s := ec2.Snapshot{ID: "snap-1", VolumeID: "vol-1", State: "completed", Started: today.Add(-c.snapshot), Tags: map[string]string{TagState: Consistent}}
				if c.run != "" {
					s.Tags[TagRun] = c.run
				}
				w.Snapshots = []ec2.Snapshot{s}
			}
			decisions := w.volumes(c.policy, nil)
			if got := toDelete(decisions) != ""; got != c.goes {
				t.Errorf("goes: %v (%+v)", got, decisions)
			}
			if c.why != "" && decisions[0].Why != c.why {
				t.Errorf("%s; want %s", decisions[0].Why, c.why)
			}
			if c.goes && !c.policy.Unsaved && toDelete(w.volumes(c.policy, map[string]bool{"snap-1": true})) != "" {
				t.Error("it goes though the snapshot that saved it goes, too")
			}
			for state, stays := range map[string]bool{"in-use": true, "available": true} {
				young := v
				young.State, young.Created = ebs.VolumeState(state), today.Add(-day)
				w.Volumes = []ec2.Volume{young}
				if goes := toDelete(w.volumes(Cleanup{Unsaved: true}, nil)) != ""; goes && (state == "in-use" || c.detached == 0) == stays {
					t.Errorf("%s and a day old it goes", state)
				}
			}
		})
	}
}

func TestWhichImagesGo(t *testing.T) {
	old := today.AddDate(0, 0, -9)
	image := func(id string, edit func(*ec2.Image)) ec2.Image {
		i := ec2.Image{ID: id, State: "available", Created: old, Tags: map[string]string{"role": "db"}}
		if edit != nil {
			edit(&i)
		}
		return i
	}
	w := Inventory{Now: today, Filter: map[string]string{"role": "db"}, Locked: map[string]ec2.Lock{"locked": {State: "compliance"}},
		Snapshots: append(leftovers(t, "ours 9 /a R1/1"), ec2.Snapshot{ID: "plain", VolumeSize: 8}, ec2.Snapshot{ID: "shared"}, ec2.Snapshot{ID: "locked"}),
		Instances: []ec2.Instance{{ID: "i-1", ImageID: "stopped", State: "stopped"}, {ID: "i-2", ImageID: "terminated", State: "terminated"}},
		Images: []ec2.Image{image("stopped", nil), image("terminated", nil), image("public", func(i *ec2.Image) { i.Public = true }),
			image("young", func(i *ec2.Image) { i.Created = today.AddDate(0, 0, -1) }), image("dateless", func(i *ec2.Image) { i.Created = time.Time{} }),
			image("other", func(i *ec2.Image) { i.Tags = map[string]string{"role": "web"}; i.SnapshotIDs = []string{"shared"} }),
			image("unused", func(i *ec2.Image) { i.SnapshotIDs = []string{"ours", "plain", "shared", "locked", "gone"} })}}
	decisions := decideOn(ImageResource, w)
	if got := toDelete(decisions); got != "terminated unused" {
		t.Errorf("%q go", got)
	}
	for _, f := range decisions {
		if f.ID == "unused" && (strings.Join(f.Snapshots, " ") != "plain" || len(f.Dependents) != 1 || f.Size != 8) {
			t.Errorf("with it go %v", f.Snapshots)
		}
	}
}
