package snapset

import (
	"fmt"
	"testing"
)

// part is a line of leftovers: a snapshot of a host's part of a larger set.
func part(id string, days int, host, run, larger string, more ...any) string {
	return fmt.Sprintf("%s %d /a %s/1 shard=%s snaptastic:filter-keys=role,shard snaptastic:larger-set=%s snaptastic:larger-members=2", id, days, run, host, larger) + fmt.Sprint(more...)
}

// The parts of a larger set are judged among their own host's, and go or stay together.
func TestLargerSetsGoAsAWhole(t *testing.T) {
	larger := func(k Keep) []Policy {
		return []Policy{{Filter: map[string]string{"role": "db"}, Keep: k, Larger: true}}
	}
	two := []string{part("a1", 3, "1", "R1", "L1"), part("a2", 3, "2", "R2", "L1"), part("b1", 2, "1", "R3", "L2"), part("b2", 2, "2", "R4", "L2"), part("c1", 1, "1", "R5", "L3"), part("c2", 1, "2", "R6", "L3")}
	for _, c := range []struct {
		name      string
		keep      []Policy
		snapshots []string
		want      string
	}{
		{"all but the last", larger(Keep{Last: 1}), two, "DELETE a1+a2: no rule keeps it\nDELETE b1+b2: no rule keeps it\nkeep c1+c2: last"},
		{"not unless it is asked for", daily(1), two[:4], "DELETE a1: expired 2026-03-28 12:00\nDELETE a2: expired 2026-03-28 12:00\nkeep b1: it expires 2026-03-29 12:00\nkeep b2: it expires 2026-03-29 12:00"},
		{"a host that joined later keeps what it has in it", larger(Keep{Last: 1}), []string{part("a1", 3, "1", "R1", "L1"), part("a2", 3, "2", "R2", "L1"), part("b1", 2, "1", "R3", "L2")},
			"keep a1+a2: last\nkeep b1: last"},
		{"a part that is used holds the whole", larger(Keep{Last: 1}), append([]string{part("used", 4, "1", "R7", "L0"), part("z2", 4, "2", "R8", "L0")}, two...),
			"keep used+z2: no rule keeps it, but run R9 uses it\nDELETE a1+a2: no rule keeps it\nDELETE b1+b2: no rule keeps it\nkeep c1+c2: last"},
		{"a part that a drill found good holds the whole", larger(Keep{Last: 1}), []string{part("a1", 3, "1", "R1", "L1", " snaptastic:verified=2026-03-29T11:00:00Z"), part("a2", 3, "2", "R2", "L1"), two[4], two[5]},
			"keep a1+a2: no rule keeps it, but it is the newest set that a drill found good\nkeep c1+c2: last"},
		{"one that is being made is left alone", larger(Keep{Last: 1}), append([]string{part("n1", 0, "1", "R9", "L4", " snaptastic:state=unverified")}, two...),
			"DELETE a1+a2: no rule keeps it\nDELETE b1+b2: no rule keeps it\nkeep c1+c2: last\nkeep n1: it is unverified, and younger than a day"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inv := Inventory{Now: today, Snapshots: leftovers(t, c.snapshots...), Unfinished: map[string]bool{}, InUse: map[string]string{"used": "R9"}, Policies: c.keep}
			if got := setWhy(decideOn(SnapshotResource, inv)); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	inv := Inventory{Now: today, Snapshots: leftovers(t, two...), Policies: larger(Keep{Last: 1})}
	d := decideOn(SnapshotResource, inv)[0]
	if d.ID != "L1" || len(d.Dependents) != 2 || len(d.ReplacedBy) == 0 || d.MountPoint != "/a" || d.Snapshots[0] != "a1" {
		t.Errorf("%+v", d)
	}
}
