package steps

import (
	"testing"
	"testing/synctest"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// A look at EC2 that does not show what this machine has just labelled is not chosen from, until it was deleted at last.
func TestAnOlderSetIsNotRestoredBecauseEC2Lags(t *testing.T) {
	snap := func(id, state string) ec2.Snapshot {
		return ec2.Snapshot{ID: id, State: "completed", Tags: map[string]string{TagState: state, TagMountPoint: "/mnt/a", snapset.TagSet: "R/T", TagMembers: "1"}}
	}
	for name, c := range map[string]struct {
		lately []string
		shown  []ec2.Snapshot
		behind bool
	}{
		"nothing was labelled lately": {nil, []ec2.Snapshot{snap("snap-1", Consistent)}, false},
		"it is shown":                 {[]string{"snap-2"}, []ec2.Snapshot{snap("snap-1", Consistent), snap("snap-2", Consistent)}, false},
		"it is not shown":             {[]string{"snap-2"}, []ec2.Snapshot{snap("snap-1", Consistent)}, true},
		"it is shown without a label": {[]string{"snap-2"}, []ec2.Snapshot{snap("snap-1", Consistent), snap("snap-2", Unverified)}, true},
		"one of two is not shown":     {[]string{"snap-1", "snap-2"}, []ec2.Snapshot{snap("snap-1", Consistent)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lately := func() []string { return c.lately }
				w := &Env{RecentlyLabelled: lately}
				err := w.checkCaughtUp(snapset.IndexOf(c.shown))
				if (err != nil) != c.behind || err != nil && plan.ActionOf(err).Action != plan.ActRetry {
					t.Fatalf("behind %v: %v", c.behind, err)
				}
				time.Sleep(maxLag)
				if err := w.checkCaughtUp(snapset.IndexOf(c.shown)); err != nil {
					t.Errorf("after %s, when it must have been deleted: %v", maxLag, err)
				}
				if w := (&Env{RecentlyLabelled: lately, PreviewOnly: true}); w.checkCaughtUp(snapset.IndexOf(c.shown)) != nil {
					t.Error("a plan that is only shown waits")
				}
			})
		})
	}
}

// What was looked up ahead of a run answers the first look only, of the same tags, and within a second.
func TestWhatWasLookedUpAheadAnswersOnce(t *testing.T) {
	role := map[string]string{"role": "db"}
	for name, c := range map[string]struct {
		tags  map[string]string
		later time.Duration
		want  []int // describes after each of two looks
	}{
		"the first look":  {role, maxAhead - time.Millisecond, []int{1, 2}},
		"of other tags":   {map[string]string{"role": "web"}, 0, []int{2, 3}},
		"a look too late": {role, maxAhead, []int{2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				cloud := &fakeCloud{snapshots: func(ec2.SnapshotQuery) ([]ec2.Snapshot, error) { asked++; return nil, nil }}
				w := &Env{Cloud: cloud, Ahead: LookAhead(t.Context(), cloud, role)}
				time.Sleep(c.later)
				for i, want := range c.want {
					if _, err := w.candidates(t.Context(), Search{FilterTags: c.tags}); err != nil || asked != want {
						t.Errorf("%d describes after look %d, want %d; %v", asked, i+1, want, err)
					}
				}
			})
		})
	}
	broken := &fakeCloud{snapshots: func(ec2.SnapshotQuery) ([]ec2.Snapshot, error) { return nil, &ec2.Fault{Class: ec2.Throttled} }}
	if LookAhead(t.Context(), broken, role) != nil {
		t.Error("a look that failed counts")
	}
}
