package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/render"
	"snaptastic/ec2/sandbox"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// TestStock is the table of snapshots at one clock, as "id mark" and the cells
// that the clock makes.
func TestStock(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	snaps := snapsAt(now, "50h vol-a a R1/2", "1h vol-a a R3/2", "50h vol-b b R1/2", "26h vol-a a R2/2", "26h vol-b b R2/2", "1h vol-b b R3/2 pending", "30m vol-a a unverified", "90h vol-c old original")
	for i := range snaps {
		snaps[i].VolumeSize, snaps[i].StorageTier = 20, "standard"
	}
	snaps[0].Tags[steps.TagExpires] = "2026-05-31T12:00:00Z"
	snaps[1].Tags[steps.TagExpires] = "2026-06-08T12:00:01Z"
	snaps[7].Tags[steps.TagExpires] = "2026-06-01 15:00:00.123456" // the original's: no zone
	snaps[6].Tags[steps.TagExpires] = "next week"
	maps.Copy(snaps[3].Tags, snapset.VerifiedTags(now.Add(-3*time.Hour), 90*time.Second))
	maps.Copy(snaps[4].Tags, snapset.VerifiedTags(now.Add(-3*time.Hour), 90*time.Second))
	maps.Copy(snaps[0].Tags, snapset.FailedTags(now.Add(-49*time.Hour), "e2fsck: bad"))
	stock := snapset.StockOf(snapset.IndexOf(snaps), snapset.Request{MountPoints: []string{"/mnt/a", "/mnt/b", "/mnt/c"}, Group: true, MayCreate: true}, now)
	var lines []string
	last := ""
	for v := range stock.Views() {
		lines = append(lines, strings.Join(render.StockRow(v, last), "|"))
		last = v.Run
	}
	want := []string{
		`|/mnt/a|snap-7|R9|30 min|20 GiB|-|completed|standard|-|unverified|-|-`,
		`*|/mnt/a|snap-2|R3|60 min|20 GiB|-|completed|standard|in 7 days|consistent|-|of 2`,
		`*|/mnt/b|snap-6|"|60 min|20 GiB|-|pending 42 %|standard|-|consistent|-|of 2`,
		`|/mnt/a|snap-4|R2|26 h|20 GiB|-|completed|standard|-|consistent|3 h ago|of 2`,
		`|/mnt/b|snap-5|"|26 h|20 GiB|-|completed|standard|-|consistent|3 h ago|of 2`,
		`|/mnt/a|snap-1|R1|2 days|20 GiB|-|completed|standard|overdue 24 h|consistent|FAILED 2 days|of 2`,
		`|/mnt/b|snap-3|"|2 days|20 GiB|-|completed|standard|-|consistent|-|of 2`,
		`|/mnt/old (not declared)|snap-8|-|4 days|20 GiB|-|completed|standard|in 3 h|original|-|-`,
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if got := fmt.Sprint(len(stock.Choices), stock.Choices[1].Pending, stock.Choices[2].Create); got != "3 true true" {
		t.Errorf("choices: %s", got)
	}
	if r := stock.View(stock.Snapshots[1]).Reason; !strings.Contains(r, "snap-7 is newer but not labelled") {
		t.Errorf("the reason is %q", r)
	}
}

// TestSnapshotsOverTheWire makes one call, and writes every fact.
func TestSnapshotsOverTheWire(t *testing.T) {
	r := newReadRig(t, readSettings)
	r.wants(0, []string{"snapshots", "db"}, "^no snapshots$", "/mnt/a: new empty volume: no snapshot exists")
	s := r.snapshot("vol-0123456789abcdef0", 3*time.Hour, dbTags("/mnt/a", labelled...))
	r.edit(s, func(s *sandbox.Snapshot) {
		for key, value := range snapset.FailedTags(time.Now(), "it was bad") {
			s.Tags[key] = sandbox.TagValue{Value: value}
		}
	})
	old := r.snapshot("vol-0123456789abcdef0", 30*time.Hour, dbTags("/mnt/a"))
	r.wants(0, []string{"snapshots", "db"}, `^\* +/mnt/a +`+s+` +R1 +3 h .*consistent`, `^ +/mnt/a +`+old+` +- +30 h .*original`, `^  /mnt/a: `+s+`, 3 h old \(.* UTC\)$`)
	r.wants(0, []string{"snapshots", "db", "-o", "json"}, `"chosen": true`, `"consistency": "original"`, `"drill": "failed"`, `"verify_failed_reason": "it was bad"`, `"choices": \[`)
	r.wants(2, []string{"snapshots"}, "missing argument NAME")
}
