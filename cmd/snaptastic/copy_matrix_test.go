package main

import (
	"context"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// What the crash matrix does to copies: the machine of a simulation copies its sets to frankfurt.

func (c cloud) CopySnapshot(ctx context.Context, r ec2.CopySnapshotRequest) (id string, err error) {
	err = c.fuse.between("CopySnapshot", func() (err error) { id, err = c.Cloud.CopySnapshot(ctx, r); return })
	return id, err
}

// cloudIn gives the clients of other regions, with the same fuse.
func (u *simulation) cloudIn(f *failpoint) func(context.Context, string) (steps.Cloud, error) {
	return func(ctx context.Context, region string) (steps.Cloud, error) {
		there, err := u.client.In(ctx, region)
		return cloud{there, u.k, f, u.taken}, err
	}
}

// there are the snapshots in frankfurt.
func (u *simulation) there() []ec2.Snapshot {
	u.t.Helper()
	c, err := u.client.In(context.Background(), frankfurt.Region)
	if err != nil {
		u.t.Fatal(err)
	}
	all, err := c.Snapshots(context.Background(), ec2.SnapshotQuery{})
	if err != nil {
		u.t.Fatal(err)
	}
	return all
}

// lacks has the next copy take what frankfurt lacks.
func (u *simulation) lacks(sets int) {
	u.t.Helper()
	u.spec.Copies = []recipe.Destination{{Region: frankfurt.Region}}
	decisions, err := snapset.CopyTo{Region: frankfurt.Region, Filter: u.spec.FilterTags, Source: u.snapshots(), There: u.there(), Now: time.Now()}.Lacking()
	if err != nil {
		u.t.Fatal(err)
	}
	u.copies = nil
	for _, d := range decisions {
		if d.Copy {
			u.copies = append(u.copies, recipe.SetCopy{CopyDecision: d})
		}
	}
	if len(u.copies) != sets {
		u.t.Fatalf("%d sets are to be copied instead of %d: %+v", len(u.copies), sets, decisions)
	}
	recipe.NameCopies(u.copies)
}

// copied: what is in frankfurt is whole labelled sets, as many as are wanted, with each snapshot copied once and nothing besides, and
// what was copied is as it was. With all false, a set may be missing as a whole.
func (u *simulation) copied(sets int, all bool) {
	u.t.Helper()
	originals, of := map[string]ec2.Snapshot{}, map[string]string{}
	for _, s := range u.snapshots() {
		originals[s.ID] = s
	}
	points := map[string]map[string]bool{} // of each set
	for _, c := range u.there() {
		mark := strings.Split(c.Tags[snapset.TagCopy], "/")
		source := mark[len(mark)-1]
		s, known := originals[source]
		if !known || s.Tags[snapset.TagSet] != c.Tags[snapset.TagSet] || s.Tags[snapset.TagMountPoint] != c.Tags[snapset.TagMountPoint] || !snapset.DataTime(s).Equal(snapset.DataTime(c)) {
			u.t.Errorf("%s with %v is no copy of %+v", c.ID, c.Tags, s)
		}
		if of[source] != "" {
			u.t.Errorf("%s was copied twice: as %s and %s", source, of[source], c.ID)
		}
		of[source] = c.ID
		if c.State != ebs.SnapshotCompleted || c.Tags[snapset.TagState] != snapset.Consistent {
			u.t.Errorf("%s is %s and labelled %q", c.ID, c.State, c.Tags[snapset.TagState])
		}
		set := c.Tags[snapset.TagSet]
		if points[set] == nil {
			points[set] = map[string]bool{}
		}
		points[set][c.Tags[snapset.TagMountPoint]] = true
	}
	for set, members := range points {
		if len(members) != len(u.spec.Volumes) {
			u.t.Errorf("of the set %s only %v are there", set, sortedKeys(members))
		}
	}
	if len(points) > sets || all && len(points) != sets {
		u.t.Errorf("%d sets are there instead of %d", len(points), sets)
	}
	u.labelled(sets * len(u.spec.Volumes))
	u.mountedOnce()
}
