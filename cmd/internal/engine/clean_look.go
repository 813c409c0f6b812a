package engine

import (
	"context"
	"slices"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// inventory gathers what the rules go by. What is not asked for is not looked at, except what may hold a snapshot.
func (e *Engine) inventory(ctx context.Context, cloud *ec2.Client, c snapset.Cleanup, now time.Time, filter map[string]string) (inv snapset.Inventory, err error) {
	inv.Now, inv.Filter = now, filter
	if inv.Unfinished, inv.Claimed, err = e.unfinishedRuns(); err != nil {
		return inv, err
	}
	snapshots, volumes, images := c.Has(snapset.SnapshotResource), c.Has(snapset.VolumeResource), c.Has(snapset.ImageResource)
	if snapshots || images {
		if inv.Images, err = cloud.Images(ctx); err != nil {
			return inv, err
		}
		if inv.Locked, err = cloud.LockedSnapshots(ctx); err != nil {
			return inv, err
		}
	}
	if images {
		if inv.Instances, err = cloud.Instances(ctx, ""); err != nil {
			return inv, err
		}
	}
	var queries []ec2.SnapshotQuery
	if snapshots {
		q := ec2.SnapshotQuery{TagKeys: []string{steps.TagMountPoint, steps.TagState}}
		for key, value := range filter {
			q.Tags = map[string][]string{key: {ec2.Literal(value)}} // one is enough for EC2 to go by
		}
		queries = append(queries, q)
	}
	if volumes {
		if inv.Volumes, err = cloud.VolumesWithTag(ctx, steps.TagToken); err != nil {
			return inv, err
		}
		inv.Volumes = slices.DeleteFunc(inv.Volumes, func(v ec2.Volume) bool { return v.State != ebs.VolumeAvailable })
		if ids := idsOf(inv.Volumes, func(v ec2.Volume) []string { return []string{v.ID} }); len(ids) > 0 {
			queries = append(queries, ec2.SnapshotQuery{VolumeIDs: ids})
		}
	}
	if images {
		if ids := idsOf(inv.Images, func(i ec2.Image) []string { return i.SnapshotIDs }); len(ids) > 0 {
			queries = append(queries, ec2.SnapshotQuery{IDs: ids})
		}
	}
	inv.Snapshots, err = gather(ctx, cloud, queries)
	return inv, err
}

func idsOf[T any](of []T, ids func(T) []string) []string {
	var out []string
	for _, one := range of {
		out = append(out, ids(one)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// gather asks several things, and lists a snapshot once that is an answer to more than one.
func gather(ctx context.Context, cloud *ec2.Client, queries []ec2.SnapshotQuery) ([]ec2.Snapshot, error) {
	var all []ec2.Snapshot
	seen := map[string]bool{}
	for _, q := range queries {
		found, err := cloud.Snapshots(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			if !seen[s.ID] {
				seen[s.ID] = true
				all = append(all, s)
			}
		}
	}
	return all, nil
}
