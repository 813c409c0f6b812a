package engine

import (
	"context"
	"slices"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// inventory gathers what the rules go by. What is not asked for is not looked at, except what may hold a snapshot.
func (e *Engine) inventory(ctx context.Context, cloud *ec2.Client, c snapset.Cleanup, filter map[string]string) (inv snapset.Inventory, err error) {
	snapshots, volumes, images := c.Has(snapset.SnapshotResource), c.Has(snapset.VolumeResource), c.Has(snapset.ImageResource)
	if snapshots {
		if inv, err = steps.SnapshotInventory(ctx, cloud, filter); err != nil {
			return inv, err
		}
	}
	inv.Filter = filter
	here, err := e.runsHere("")
	if err != nil {
		return inv, err
	}
	inv.Unfinished, inv.InUse, inv.Claimed = here.Unfinished, here.InUse, here.claimed
	if images && !snapshots {
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
	if volumes {
		if inv.Volumes, err = cloud.VolumesWithTag(ctx, steps.TagToken); err != nil {
			return inv, err
		}
		inv.Volumes = slices.DeleteFunc(inv.Volumes, func(v ec2.Volume) bool { return v.State != ebs.VolumeAvailable && !snapset.LeftAttached(v) })
		if inv.Left = e.leftByDrills(inv.Volumes); len(inv.Left) > 0 {
			if self, err := e.identityNow(ctx); err == nil { // a clean-up that runs elsewhere leaves attached ones alone
				inv.Here = self.InstanceID
			}
		}
		if ids := idsOf(inv.Volumes, func(v ec2.Volume) []string { return []string{v.ID} }); len(ids) > 0 {
			queries = append(queries, ec2.SnapshotQuery{VolumeIDs: ids})
		}
	}
	if images {
		if ids := idsOf(inv.Images, func(i ec2.Image) []string { return i.SnapshotIDs }); len(ids) > 0 {
			queries = append(queries, ec2.SnapshotQuery{IDs: ids})
		}
	}
	inv.Snapshots, err = gather(ctx, cloud, inv.Snapshots, queries)
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
func gather(ctx context.Context, cloud *ec2.Client, all []ec2.Snapshot, queries []ec2.SnapshotQuery) ([]ec2.Snapshot, error) {
	seen := map[string]bool{}
	for _, s := range all {
		seen[s.ID] = true
	}
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
