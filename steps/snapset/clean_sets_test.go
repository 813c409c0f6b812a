package snapset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"snaptastic/ec2"
)

// daily is a policy of the snapshotter with role=db.
func daily(n int) []Policy {
	return []Policy{{Filter: map[string]string{"role": "db"}, Keep: Keep{Daily: n}}}
}

// setWhy is what becomes of each set, newest last: its members and whether they go, or why they stay.
func setWhy(decisions []Decision) string {
	var lines []string
	for _, d := range decisions {
		ids := slices.Clone(d.Snapshots)
		if d.Resource == SnapshotResource {
			ids = []string{d.ID}
		}
		slices.Sort(ids)
		mark := "keep "
		if d.Delete {
			mark = "DELETE "
		}
		lines = append(lines, mark+strings.Join(ids, "+")+": "+d.Why)
	}
	return strings.Join(lines, "\n")
}

func TestSetsGoByTheRules(t *testing.T) {
	for _, c := range []struct {
		name      string
		keep      []Policy
		snapshots []string
		want      string
	}{
		{"whole sets, whatever their date", daily(1), []string{"a 2 /a R1/2 never", "b 2 /b R1/2 never", "c 1 /a R2/2", "d 1 /b R2/2"},
			"DELETE a+b: no rule keeps it\nkeep c+d: daily 2026-03-28"},
		{"nothing that a rule keeps, though it expired", daily(3), []string{"a 9 /a R1/1", "b 8 /a R2/1", "c 7 /a R3/1"},
			"keep a: daily 2026-03-20\nkeep b: daily 2026-03-21\nkeep c: daily 2026-03-22"},
		{"a broken set takes nobody's place", daily(1), []string{"a 3 /a R1/2", "b 3 /b R1/2", "c 2 /a R2/2", "d 1 /a R3/2", "e 1 /b R3/2 error"},
			"keep a+b: daily 2026-03-26\nDELETE c: no rule keeps it; 1 of its 2 snapshots is gone\nkeep d+e: daily 2026-03-28"},
		{"nor does one of fewer mount points", daily(1), []string{"a 3 /a R1/2", "b 3 /b R1/2", "c 2 /a R2/1", "d 1 /b R3/1"},
			"keep a+b: daily 2026-03-26\nkeep c: daily 2026-03-27\nkeep d: daily 2026-03-28"},
		{"one of more does", daily(1), []string{"a 3 /a R1/1", "b 1 /a R2/2", "c 1 /b R2/2"}, "DELETE a: no rule keeps it\nkeep b+c: daily 2026-03-28"},
		{"nor one in the archive", daily(1), []string{"a 3 /a R1/1", "b 2 /a R2/1 archived", "c 1 /a R3/1 archived"},
			"keep a: daily 2026-03-26\nDELETE b: no rule keeps it\nkeep c: daily 2026-03-28"},
		{"one that is not completed yet counts, and the newest restorable stays", daily(1), []string{"a 3 /a R1/1", "b 2 /a R2/1", "c 1 /a R3/1 pending"},
			"DELETE a: no rule keeps it\nkeep b: no rule keeps it, but it is the newest restorable set of /a\nkeep c: daily 2026-03-28"},
		{"the newest that a drill found good", daily(1), []string{"a 4 /a R1/1 snaptastic:verified=2026-03-29T11:00:00Z", "b 3 /a R2/1 snaptastic:verified=2026-03-29T11:00:00Z", "c 1 /a R3/1"},
			"DELETE a: no rule keeps it\nkeep b: no rule keeps it, but it is the newest set that a drill found good\nkeep c: daily 2026-03-28"},
		{"one that failed since is not that", daily(1), []string{"a 4 /a R1/1 snaptastic:verified=2026-03-29T10:00:00Z snaptastic:verify-failed=2026-03-29T11:00:00Z:_bad", "c 1 /a R3/1"},
			"DELETE a: no rule keeps it\nkeep c: daily 2026-03-28"},
		{"a held member holds its set", daily(1), []string{"held 3 /a R1/2", "b 3 /b R1/2", "c 1 /a R2/2", "d 1 /b R2/2"},
			"keep b+held: no rule keeps it, but image ami-1 uses it\nkeep c+d: daily 2026-03-28"},
		{"so does one that is used", daily(1), []string{"used 3 /a R1/2", "b 3 /b R1/2", "c 1 /a R2/2", "d 1 /b R2/2"},
			"keep b+used: no rule keeps it, but run R9 uses it\nkeep c+d: daily 2026-03-28"},
		{"so does one that is being copied", daily(1), []string{"snap-0c 3 /a R1/2", "b 3 /b R1/2", "c 1 /a R2/2", "d 1 /b R2/2"},
			"keep b+snap-0c: no rule keeps it, but it is being copied to snap-copy\nkeep c+d: daily 2026-03-28"},
		{"the original's, one by one", daily(1), []string{"a 3 /a R/1 original", "b 2 /a R/1 original", "c 2 /b R/1 original"},
			"DELETE a: no rule keeps it\nkeep b: daily 2026-03-27\nkeep c: daily 2026-03-27"},
		{"another tool's never", daily(1), []string{"a 3 /a R1/1 volume", "b 1 /a R2/1"}, "keep a: created by another tool that copied a volume's tags\nkeep b: daily 2026-03-28"},
		{"nor what was made by hand, and it does not count", daily(1), []string{"b 3 /a R2/1", "a 1 /a R1/1 original instance_id="}, "keep b: daily 2026-03-26\nkeep a: without Snaptastic's tags"},
		{"unverified ones as ever", daily(1), []string{"a 3 /a R1/1 snaptastic:state=unverified", "b 1 /a R2/1"}, "DELETE a: left unverified by run R1\nkeep b: daily 2026-03-28"},
		{"what a clean-up had begun to delete", daily(9), []string{"a 3 /a R1/2 snaptastic:state=deleting", "b 1 /a R2/2", "c 1 /b R2/2"},
			"DELETE a: its deletion began and was cut off\nkeep b+c: daily 2026-03-28"},
		{"of another snapshotter that has more filter tags: by their date", daily(1), []string{"a 3 /a R1/1 env=x snaptastic:filter-keys=env,role", "b 2 /a R2/1 snaptastic:filter-keys=role", "c 1 /a R3/1 snaptastic:filter-keys=role",
			"d 0 /a R4/1 env=x snaptastic:filter-keys=env,role"}, "DELETE a: expired 2026-03-28 12:00\nDELETE b: no rule keeps it\nkeep c: daily 2026-03-28\nkeep d: it expires 2026-03-31 12:00"},
		{"each snapshotter by its own rules", append(daily(1), Policy{Filter: map[string]string{"role": "db", "env": "x"}, Keep: Keep{Last: 2}}),
			[]string{"a 3 /a R1/1 env=x", "b 2 /a R2/1 env=x", "c 2 /b R3/1", "d 1 /b R4/1"}, "keep a: last\nkeep b: last\nDELETE c: no rule keeps it\nkeep d: daily 2026-03-28"},
		{"a zone that this machine does not know deletes nothing", []Policy{{Filter: map[string]string{"role": "db"}, Keep: Keep{Last: 1, Timezone: "Mars/Olympus"}}}, []string{"a 3 /a R1/1", "b 2 /a R2/1"}, "cannot load"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inv := Inventory{Now: today, Snapshots: leftovers(t, c.snapshots...), Unfinished: map[string]bool{}, InUse: map[string]string{"used": "R9"}, Policies: c.keep,
				Images:  []ec2.Image{{ID: "ami-1", SnapshotIDs: []string{"held"}}},
				Pending: []ec2.Snapshot{{ID: "snap-copy", VolumeID: "vol-ffffffff", State: "pending", Description: "[Copied snap-0c from eu-west-1]"}}}
			got := setWhy(decideOn(SnapshotResource, inv))
			if c.want == "cannot load" {
				if strings.Contains(got, "DELETE") || !strings.Contains(got, "install tzdata") {
					t.Errorf("got\n%s", got)
				}
				return
			}
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// Whatever the rules and the history: the floor stays, and what goes goes as a whole.
func TestTheFloorHoldsWhateverTheRules(t *testing.T) {
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 12))
		var lines []string
		points := []string{"/a", "/b", "/c"}
		for i := range 1 + rnd.IntN(30) {
			n := 1 + rnd.IntN(3)
			for j := range n {
				if rnd.IntN(12) == 0 {
					continue // lost
				}
				flag := ""
				switch rnd.IntN(14) {
				case 0:
					flag = "error"
				case 1:
					flag = "archived"
				case 2:
					flag = "pending"
				case 3:
					flag = "snaptastic:state=unverified"
				case 4, 5, 6:
					flag = "snaptastic:verified=2026-03-29T11:00:00Z"
				}
				lines = append(lines, fmt.Sprintf("s%d-%d %d %s R%d/%d %s", i, j, rnd.IntN(40), points[j], i, n, flag))
			}
		}
		k := Keep{Last: rnd.IntN(4), Daily: rnd.IntN(5), Weekly: rnd.IntN(3), Within: Span{Days: rnd.IntN(6)}}
		if k.IsZero() {
			k.Last = 1
		}
		all := leftovers(t, lines...)
		inv := Inventory{Now: today, Snapshots: all, Policies: []Policy{{Filter: map[string]string{"role": "db"}, Keep: k}}}
		decisions := decideOn(SnapshotResource, inv)
		gone := map[string]bool{}
		for _, d := range Deleted(decisions) {
			for _, id := range append(d.Snapshots, d.ID) {
				gone[id] = true
			}
			if d.Resource == SetResource && len(d.KeptBy) > 0 {
				t.Errorf("seed %d: %v goes, though it is kept by %v", seed, d.Snapshots, d.KeptBy)
			}
		}
		left := slices.DeleteFunc(slices.Clone(all), func(s ec2.Snapshot) bool { return gone[s.ID] })
		for _, one := range setsOf(IndexOf(all).rows) {
			n := 0
			for _, r := range one.rows() {
				if gone[r.ID] {
					n++
				}
			}
			if n != 0 && n != len(one.rows()) {
				t.Errorf("seed %d: a part of %s goes", seed, one)
			}
		}
		for n := range points { // whatever is declared, a mount takes what it would have taken
			r := Request{MountPoints: points[:n+1], Group: true}
			before, after := Choose(r, all), Choose(r, left)
			for i := range before {
				if before[i].SnapshotID != after[i].SnapshotID || before[i].Create != after[i].Create {
					t.Errorf("seed %d: a mount of %v takes %q instead of %q", seed, r.MountPoints, joinReasons(after[i]), joinReasons(before[i]))
				}
			}
		}
		newest := newestVerified(setsOf(IndexOf(all).rows))
		for one := range newest {
			for _, r := range one.rows() {
				if gone[r.ID] {
					t.Errorf("seed %d: %s is verified and goes", seed, r.ID)
				}
			}
		}
		inv.Snapshots = left
		again := Deleted(decideOn(SnapshotResource, inv))
		if len(again) > 0 {
			t.Errorf("seed %d: a second clean-up deletes more: %s", seed, setWhy(again))
		}
		if t.Failed() {
			t.Fatalf("%s of\n%s\n%s", k, strings.Join(lines, "\n"), setWhy(decisions))
		}
	}
}
