package engine

import (
	"context"
	"time"

	"snaptastic/ec2"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// A SnapshotsRequest asks what can be restored.
type SnapshotsRequest struct {
	Name                string
	AllowOlder, MixSets bool // choose as a mount with these options would
}

// Snapshots looks at the snapshots with one DescribeSnapshots, and chooses as a
// mount of all volumes would.
func (e *Engine) Snapshots(ctx context.Context, q SnapshotsRequest) (snapset.Stock, error) {
	r := snapset.Request{AllowOlder: q.AllowOlder, MixSets: q.MixSets}
	spec, err := e.spec(ctx, q.Name)
	if err != nil {
		return snapset.Stock{}, err
	}
	c, err := e.cloud(ctx)
	if err == nil {
		err = e.retry(ctx, c.Ready)
	}
	if err != nil {
		return snapset.Stock{}, err
	}
	snapshots := snapset.NewIndex()
	if err := c.EachSnapshot(ctx, ec2.SnapshotQuery{Tags: literally(spec.FilterTags)}, snapshots.Add); err != nil {
		return snapset.Stock{}, err
	}
	r.Group, r.MayCreate = spec.Together(), spec.OnMissing == recipe.CreateEmpty
	for _, v := range spec.Volumes {
		r.MountPoints = append(r.MountPoints, v.MountPoint)
	}
	stock := snapset.StockOf(snapshots, r, time.Now())
	if err := stock.Keep(q.Name, spec.Keep, spec.FilterTags); err != nil {
		return stock, err
	}
	if unknown := snapset.Unknowns(stock.Choices); len(unknown) > 0 {
		misses := snapset.NearMissesOf(stock.Choices, spec.FilterTags, r.MountPoints, snapshots)
		if err := c.EachSnapshot(ctx, steps.MissQuery(unknown), misses.Add); err != nil {
			return stock, err
		}
		misses.Warn()
	}
	return stock, nil
}
