package ec2

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"snaptastic/ec2/ebs"
	"sort"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"
)

// Image is an AMI of this account.
type Image struct {
	ID          string
	Name        string
	State       ebs.ImageState
	Public      bool
	Created     time.Time // zero where EC2 does not say
	SnapshotIDs []string  // of its block device mapping
	Tags        map[string]string
}

// Images returns the account's own images, sorted by id, including disabled and deprecated ones. With ids, it returns
// those that exist.
func (c *Client) Images(ctx context.Context, ids ...string) ([]Image, error) {
	return c.describeImages(ctx, "image-id", ids)
}

// ImagesOf returns the account's own images, in any state, that use one of the snapshots, sorted by id.
func (c *Client) ImagesOf(ctx context.Context, snapshotIDs ...string) ([]Image, error) {
	if len(snapshotIDs) == 0 {
		return nil, nil
	}
	return c.describeImages(ctx, "block-device-mapping.snapshot-id", snapshotIDs)
}

func (c *Client) describeImages(ctx context.Context, filter string, ids []string) ([]Image, error) {
	var found []Image
	for _, some := range chunks(ids) {
		in := &sdk.DescribeImagesInput{Owners: []string{"self"}, MaxResults: aws.Int32(c.config.PageSize),
			IncludeDeprecated: aws.Bool(true), IncludeDisabled: aws.Bool(true)}
		if len(some) > 0 {
			in.Filters = []types.Filter{filterOf(filter, some...)}
		}
		err := eachPage(func() (*string, error) {
			out, err := call(ctx, c, "DescribeImages", "describe images", (*sdk.Client).DescribeImages, in)
			if err != nil {
				return nil, err
			}
			for _, i := range out.Images {
				found = append(found, imageFrom(i))
			}
			in.NextToken = out.NextToken
			return out.NextToken, nil
		})
		if err != nil {
			return nil, err
		}
	}
	sort.Slice(found, func(i, j int) bool {
		a, b := &found[i], &found[j]
		return cmp.Compare(a.ID, b.ID) < 0
	})
	return found, nil
}

func imageFrom(i types.Image) Image {
	image := Image{ID: aws.ToString(i.ImageId), Name: aws.ToString(i.Name), State: ebs.ImageState(i.State), Public: aws.ToBool(i.Public), Tags: tagsFrom(i.Tags)}
	// An unreadable time stays zero, which means unknown.
	image.Created, _ = time.Parse(time.RFC3339, aws.ToString(i.CreationDate))
	for _, disk := range i.BlockDeviceMappings {
		if disk.Ebs != nil && aws.ToString(disk.Ebs.SnapshotId) != "" {
			image.SnapshotIDs = append(image.SnapshotIDs, *disk.Ebs.SnapshotId)
		}
	}
	return image
}

// DeregisterImage deregisters an image and keeps its snapshots. An unknown image is a NotFound fault.
func (c *Client) DeregisterImage(ctx context.Context, id string) error {
	_, err := call(ctx, c, "DeregisterImage", "deregister "+id, (*sdk.Client).DeregisterImage, &sdk.DeregisterImageInput{ImageId: aws.String(id)})
	return ignoreNotFoundOnRetry(err)
}

// Instance holds what a clean-up, or a fleet, needs to know of an EC2 instance.
type Instance struct {
	ID       string
	ImageID  string
	State    ebs.InstanceState
	Type     string
	Zone     string
	Launched time.Time
	Tags     map[string]string
}

// Instances returns the account's instances in any state, sorted by id. With an image id, those made from it.
func (c *Client) Instances(ctx context.Context, imageID string) ([]Instance, error) {
	if imageID == "" {
		return c.describeInstances(ctx)
	}
	return c.describeInstances(ctx, filterOf("image-id", imageID))
}

// RunningInstances returns the account's running instances that have all of the tags, sorted by id.
func (c *Client) RunningInstances(ctx context.Context, tags map[string]string) ([]Instance, error) {
	filters := []types.Filter{filterOf("instance-state-name", ebs.InstanceRunning)}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		filters = append(filters, filterOf("tag:"+key, Literal(tags[key])))
	}
	return c.describeInstances(ctx, filters...)
}

func (c *Client) describeInstances(ctx context.Context, filters ...types.Filter) ([]Instance, error) {
	var found []Instance
	in := &sdk.DescribeInstancesInput{MaxResults: aws.Int32(c.config.PageSize), Filters: filters}
	err := eachPage(func() (*string, error) {
		out, err := call(ctx, c, "DescribeInstances", "describe instances", (*sdk.Client).DescribeInstances, in)
		if err != nil {
			return nil, err
		}
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				one := Instance{ID: aws.ToString(i.InstanceId), ImageID: aws.ToString(i.ImageId), Type: string(i.InstanceType),
					Launched: aws.ToTime(i.LaunchTime), Tags: tagsFrom(i.Tags)}
				if i.Placement != nil {
					one.Zone = aws.ToString(i.Placement.AvailabilityZone)
				}
				if i.State != nil {
					one.State = ebs.InstanceState(i.State.Name)
				}
				found = append(found, one)
			}
		}
		in.NextToken = out.NextToken
		return out.NextToken, nil
	})
	sort.Slice(found, func(i, j int) bool {
		a, b := &found[i], &found[j]
		return cmp.Compare(a.ID, b.ID) < 0
	})
	return found, err
}

// LockedSnapshots returns the lock of every locked snapshot by id, or of those named: one that EC2 does not know is a
// NotFound fault. Expired locks are left out.
// Source: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-snapshot-lock.html
func (c *Client) LockedSnapshots(ctx context.Context, ids ...string) (map[string]Lock, error) {
	locked := map[string]Lock{}
	in := &sdk.DescribeLockedSnapshotsInput{SnapshotIds: ids}
	if len(ids) == 0 { // EC2 takes one or the other
		in.MaxResults = aws.Int32(c.config.PageSize)
	}
	err := eachPage(func() (*string, error) {
		out, err := call(ctx, c, "DescribeLockedSnapshots", "describe locked snapshots", (*sdk.Client).DescribeLockedSnapshots, in)
		if err != nil {
			return nil, err
		}
		for _, s := range out.Snapshots {
			lock := Lock{State: string(s.LockState), Days: aws.ToInt32(s.LockDuration), Expires: aws.ToTime(s.LockExpiresOn), CoolOffUntil: aws.ToTime(s.CoolOffPeriodExpiresOn)}
			if lock.Locked() {
				locked[aws.ToString(s.SnapshotId)] = lock
			}
		}
		in.NextToken = out.NextToken
		return out.NextToken, nil
	})
	return locked, err
}

// SnapshotsByID returns the snapshots that exist, by id. Concurrent calls share one request.
func (c *Client) SnapshotsByID(ctx context.Context, ids ...string) (map[string]Snapshot, error) {
	found := make([][]Snapshot, len(ids))
	var looking errgroup.Group
	for i, id := range ids {
		looking.Go(func() (err error) {
			found[i], err = c.snapshotsByIDs.do(ctx, "describe "+id, "snapshot-id", id)
			return err
		})
	}
	if err := looking.Wait(); err != nil {
		return nil, err
	}
	byID := make(map[string]Snapshot, len(ids))
	for i, id := range ids {
		for _, s := range matching(found[i], func(s Snapshot) bool { return s.ID == id }) {
			byID[id] = s
		}
	}
	return byID, nil
}

// VolumesWithTag returns the volumes that have the tag with any value, sorted by id.
func (c *Client) VolumesWithTag(ctx context.Context, key string) ([]Volume, error) {
	found, err := c.describeVolumes(ctx, "tag-key", []string{key})
	sort.Slice(found, func(i, j int) bool {
		a, b := &found[i], &found[j]
		return cmp.Compare(a.ID, b.ID) < 0
	})
	return found, err
}
