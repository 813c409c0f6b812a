package snapset

import (
	"slices"
	"strings"
	"testing"
)

// A drill of a set that no longer restores names what is left of it and why; of one that may restore later it says nothing.
func TestWhatADrillFindsBroken(t *testing.T) {
	deleted := snaps("1 a R1/2", "1 b R1/2", "5 a R2/2", "5 b R2/2")
	unlabelled := slices.Clone(deleted)
	unlabelled[3].Tags = map[string]string{TagMountPoint: "/mnt/b", TagRun: "R2", TagToken: "token-R2", TagMembers: "2", TagState: Unverified}
	for name, c := range map[string]struct {
		request Request
		snaps   []string
		want    string // what is left, and the reason; "" for nothing broken
		chosen  string // the first choice
	}{
		"a member of the newest is gone":         {Request{}, []string{"1 a R1/2", "1 b R1/2", "5 a R2/2"}, "snap-3: 1 of its 2 snapshots is gone", "! the set of run R2 cannot be restored"},
		"two are gone":                           {Request{}, []string{"1 a R1/2", "1 b R1/2", "5 a R2/3"}, "snap-3: 2 of its 3 snapshots are gone", "! "},
		"the other one is gone":                  {Request{}, []string{"5 b R2/2"}, "snap-1: 1 of its 2 snapshots is gone", "! "},
		"a member failed":                        {Request{}, []string{"1 a R1/2", "1 b R1/2", "5 a R2/2", "5 b R2/2 error"}, "snap-3 snap-4: snap-4 of it is in state error", "! "},
		"one that is asked for by name":          {Request{Set: "R1"}, []string{"1 a R1/2", "5 a R2/2", "5 b R2/2"}, "snap-1: 1 of its 2 snapshots is gone", "! the set of run R1 cannot be restored"},
		"an older one is broken":                 {Request{}, []string{"1 a R1/2", "5 a R2/2", "5 b R2/2"}, "", "snap-2"},
		"the newer one is broken, and not asked": {Request{Set: "R1"}, []string{"1 a R1/2", "1 b R1/2", "5 a R2/2"}, "", "snap-1"},
		"the newest before a time":               {Request{Before: noon.Add(2 * 60e9)}, []string{"1 a R1/2", "5 a R2/2", "5 b R2/2"}, "snap-1: 1 of its 2 snapshots is gone", "! "},
		"pending":                                {Request{}, []string{"1 a R1/2", "1 b R1/2", "5 a R2/2 pending", "5 b R2/2"}, "", "snap-3 pending"},
		"archived":                               {Request{}, []string{"1 a R1/2", "1 b R1/2", "5 a R2/2", "5 b R2/2 archive"}, "", "snap-3"},
		"archived, and older allowed":            {Request{AllowOlder: true}, []string{"1 a R1/2", "1 b R1/2", "5 a R2/2", "5 b R2/2 archive"}, "", "snap-1"},
		"the original's in error":                {Request{}, []string{"1 a original", "1 b original", "5 a original error"}, "", "snap-1"},
		"no such set":                            {Request{Set: "R7"}, []string{"1 a R1/2"}, "", "! no set or snapshot"},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.request
			r.Group, r.Drill, r.MountPoints = true, true, []string{"/mnt/a", "/mnt/b"}
			checkBroken(t, Choose(r, snaps(c.snaps...)), c.want, c.chosen)
			r.Drill = false
			if b := Choices(Choose(r, snaps(c.snaps...))).Broken(); b != nil {
				t.Errorf("a mount is told of %+v", b)
			}
		})
	}
	t.Run("a label that is not there yet", func(t *testing.T) {
		checkBroken(t, Choose(Request{Group: true, Drill: true, MountPoints: []string{"/mnt/a", "/mnt/b"}}, unlabelled), "", "snap-1")
	})
}

func checkBroken(t *testing.T, chosen Choices, want, first string) {
	t.Helper()
	got := ""
	if b := chosen.Broken(); b != nil {
		got = strings.Join(b.SnapshotIDs, " ") + ": " + b.Reason
	}
	if got != want {
		t.Errorf("broken is %q, want %q", got, want)
	}
	if c := joinReasons(chosen[0]); !strings.HasPrefix(c, first) {
		t.Errorf("chosen is %q, want %q", c, first)
	}
	for _, c := range chosen {
		if want != "" && (c.Problem == "" || c.Hint == "" || c.SnapshotID != "") {
			t.Errorf("of a broken set is chosen %+v", c)
		}
	}
}
