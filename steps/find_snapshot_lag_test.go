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
