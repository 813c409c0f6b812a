package ec2

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/ebs"
)

// maxExcludedVolumes is how many data volumes CreateSnapshots can exclude.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceSpecification.html
const maxExcludedVolumes = 40

// Snapshot is an EBS snapshot.
type Snapshot struct {
	ID           string
	VolumeID     string
	State        ebs.SnapshotState
	StateMessage string // why it is in error, where EC2 says
	OwnerID      string
	Description  string
	StorageTier  ebs.StorageTier
	KMSKeyID     string
	VolumeSize   int32 // GiB, of the volume it was taken of
	Progress     int   // percent
	Started      time.Time
	Completed    time.Time // zero while it is not
	Encrypted    bool
	FullSize     int64 // bytes of all its blocks; 0 where EC2 does not say
	Tags         map[string]string
}

// SnapshotQuery selects snapshots of this account. Empty fields do not restrict. Tag values may contain EC2's
// wildcards * and ?; [Literal] escapes them. Values of one tag are alternatives; all tags must match.
type SnapshotQuery struct {
	IDs       []string
	VolumeIDs []string
	States    []ebs.SnapshotState
	TagKeys   []string // at least one of these tags, whatever its value
	SharedTo  string   // an account that may create volumes from it
	Tags      map[string][]string
}

// Snapshots returns the account's own snapshots that match, newest first (by start, then id). Equal concurrent
// queries share one call.
func (c *Client) Snapshots(ctx context.Context, query SnapshotQuery) ([]Snapshot, error) {
	// Maps are marshalled in key order, so equal queries have equal text.
	text, err := json.Marshal(query)
	if err != nil {
		return nil, invalidRequest("DescribeSnapshots", "find snapshots", "internal error: "+err.Error())
	}
	found, err := c.snapshotQueries.do(ctx, "find snapshots", string(text), "")
	if err != nil {
		return nil, err
	}
	found = matching(found, func(Snapshot) bool { return true })
	sort.Slice(found, func(i, j int) bool {
		a, b := &found[i], &found[j]
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.ID, a.ID)) < 0
	})
	return found, nil
}

// EachSnapshot is [Client.Snapshots] for lists that may not fit into memory. It calls visit for each snapshot, in no
// order, from the caller's goroutine. visit may have been called when it returns an error.
func (c *Client) EachSnapshot(ctx context.Context, query SnapshotQuery, visit func(Snapshot)) error {
	err := c.visitSnapshots(ctx, query, visit)
	if fault, ok := err.(*Fault); ok {
		return fault.withDoing("find snapshots")
	}
	return err
}

func (c *Client) describeSnapshotsQuery(ctx context.Context, text string, _ []string) ([]Snapshot, error) {
	var query SnapshotQuery
	if err := json.Unmarshal([]byte(text), &query); err != nil {
		return nil, invalidRequest("DescribeSnapshots", "find snapshots", "internal error: "+err.Error())
	}
	return c.describeSnapshots(ctx, query)
}

func (c *Client) describeSnapshots(ctx context.Context, query SnapshotQuery) ([]Snapshot, error) {
	var found []Snapshot
	err := c.visitSnapshots(ctx, query, func(s Snapshot) { found = append(found, s) })
	if err != nil {
		return nil, err
	}
	return found, nil
}

// visitSnapshots reads all pages and splits lists that exceed the filter limit.
func (c *Client) visitSnapshots(ctx context.Context, query SnapshotQuery, visit func(Snapshot)) error {
	filters := []types.Filter{}
	if len(query.States) > 0 {
		filters = append(filters, filterOf("status", query.States...))
	}
	if len(query.TagKeys) > 0 {
		filters = append(filters, filterOf("tag-key", query.TagKeys...))
	}
	for _, key := range slices.Sorted(maps.Keys(query.Tags)) {
		filters = append(filters, filterOf("tag:"+key, query.Tags[key]...))
	}
	for _, ids := range chunks(query.IDs) {
		for _, volumes := range chunks(query.VolumeIDs) {
			all := slices.Clone(filters)
			if len(ids) > 0 {
				// A filter and not SnapshotIds: with those, one id that is not visible yet fails the whole call.
				all = append(all, filterOf("snapshot-id", ids...))
			}
			if len(volumes) > 0 {
				all = append(all, filterOf("volume-id", volumes...))
			}
			in := &sdk.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: all}
			if query.SharedTo != "" {
				in.RestorableByUserIds = []string{query.SharedTo}
			}
			if err := c.visitSnapshotPages(ctx, in, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Client) visitSnapshotPages(ctx context.Context, in *sdk.DescribeSnapshotsInput, visit func(Snapshot)) error {
	in.MaxResults = aws.Int32(c.config.PageSize)
	return eachPage(func() (*string, error) {
		out, err := call(ctx, c, "DescribeSnapshots", "describe snapshots", (*sdk.Client).DescribeSnapshots, in)
		if err != nil {
			return nil, err
		}
		for _, s := range out.Snapshots {
			visit(snapshotFrom(s))
		}
		in.NextToken = out.NextToken
		return out.NextToken, nil
	})
}

// CreateSnapshotsRequest describes a set of snapshots, taken at the same moment, of an instance's volumes except the
// excluded ones.
type CreateSnapshotsRequest struct {
	InstanceID     string
	ExcludeBoot    bool
	ExcludeVolumes []string // data volumes; at most 40
	Description    string
	Tags           map[string]string
}

// CreateSnapshots is sent once and never retried: after an Ambiguous fault the snapshots may exist and can be found
// by their tags. The snapshots start as pending; their data is that of the time of the call.
func (c *Client) CreateSnapshots(ctx context.Context, r CreateSnapshotsRequest) ([]Snapshot, error) {
	doing := "snapshot the volumes of " + r.InstanceID
	if len(r.ExcludeVolumes) > maxExcludedVolumes {
		return nil, &Fault{Op: "CreateSnapshots", Doing: doing, Class: Limit,
			Message: fmt.Sprintf("%d attached volumes would have to be excluded, and EC2 can exclude at most %d", len(r.ExcludeVolumes), maxExcludedVolumes),
			hint:    `set consistency = "volume" in the settings, so that each volume is frozen and snapshotted separately`}
	}
	out, err := call(ctx, c, "CreateSnapshots", doing, (*sdk.Client).CreateSnapshots, &sdk.CreateSnapshotsInput{
		InstanceSpecification: &types.InstanceSpecification{
			InstanceId: aws.String(r.InstanceID), ExcludeBootVolume: aws.Bool(r.ExcludeBoot), ExcludeDataVolumeIds: r.ExcludeVolumes,
		},
		Description:       optional(r.Description),
		TagSpecifications: tagsOnCreate(types.ResourceTypeSnapshot, r.Tags),
	})
	if err != nil {
		return nil, err
	}
	made := make([]Snapshot, 0, len(out.Snapshots))
	for _, s := range out.Snapshots {
		made = append(made, Snapshot{
			ID: aws.ToString(s.SnapshotId), VolumeID: aws.ToString(s.VolumeId), State: ebs.SnapshotState(s.State), OwnerID: aws.ToString(s.OwnerId),
			Description: aws.ToString(s.Description), VolumeSize: aws.ToInt32(s.VolumeSize), Progress: percent(s.Progress),
			Started: aws.ToTime(s.StartTime), Encrypted: aws.ToBool(s.Encrypted), Tags: tagsFrom(s.Tags),
		})
	}
	return made, nil
}

// CreateSnapshotRequest describes a snapshot of one volume.
type CreateSnapshotRequest struct {
	VolumeID    string
	Description string
	Tags        map[string]string
}

// CreateSnapshot is sent once and never retried, like [Client.CreateSnapshots].
func (c *Client) CreateSnapshot(ctx context.Context, r CreateSnapshotRequest) (Snapshot, error) {
	out, err := call(ctx, c, "CreateSnapshot", "snapshot "+r.VolumeID, (*sdk.Client).CreateSnapshot, &sdk.CreateSnapshotInput{
		VolumeId: aws.String(r.VolumeID), Description: optional(r.Description), TagSpecifications: tagsOnCreate(types.ResourceTypeSnapshot, r.Tags),
	})
	if err != nil {
		return Snapshot{}, err
	}
	return Snapshot{
		ID: aws.ToString(out.SnapshotId), VolumeID: aws.ToString(out.VolumeId), State: ebs.SnapshotState(out.State),
		StateMessage: aws.ToString(out.StateMessage), OwnerID: aws.ToString(out.OwnerId), Description: aws.ToString(out.Description),
		StorageTier: ebs.StorageTier(out.StorageTier), KMSKeyID: aws.ToString(out.KmsKeyId), VolumeSize: aws.ToInt32(out.VolumeSize),
		Progress: percent(out.Progress), Started: aws.ToTime(out.StartTime), Completed: aws.ToTime(out.CompletionTime),
		Encrypted: aws.ToBool(out.Encrypted), FullSize: aws.ToInt64(out.FullSnapshotSizeInBytes), Tags: tagsFrom(out.Tags),
	}, nil
}

// DeleteSnapshot deletes a snapshot. An unknown snapshot is a NotFound fault, as for [Client.DeleteVolume].
func (c *Client) DeleteSnapshot(ctx context.Context, id string) error {
	_, err := call(ctx, c, "DeleteSnapshot", "delete "+id, (*sdk.Client).DeleteSnapshot, &sdk.DeleteSnapshotInput{SnapshotId: aws.String(id)})
	return ignoreNotFoundOnRetry(err)
}

func snapshotFrom(s types.Snapshot) Snapshot {
	return Snapshot{
		ID: aws.ToString(s.SnapshotId), VolumeID: aws.ToString(s.VolumeId), State: ebs.SnapshotState(s.State),
		StateMessage: aws.ToString(s.StateMessage), OwnerID: aws.ToString(s.OwnerId), Description: aws.ToString(s.Description),
		StorageTier: ebs.StorageTier(s.StorageTier), KMSKeyID: aws.ToString(s.KmsKeyId), VolumeSize: aws.ToInt32(s.VolumeSize),
		Progress: percent(s.Progress), Started: aws.ToTime(s.StartTime), Completed: aws.ToTime(s.CompletionTime),
		Encrypted: aws.ToBool(s.Encrypted), FullSize: aws.ToInt64(s.FullSnapshotSizeInBytes), Tags: tagsFrom(s.Tags),
	}
}

func (s Snapshot) clone() Snapshot {
	s.Tags = maps.Clone(s.Tags)
	return s
}

// percent parses EC2's progress, such as "99%".
func percent(text *string) int {
	n, err := strconv.Atoi(strings.TrimSuffix(aws.ToString(text), "%"))
	if err != nil {
		return 0
	}
	return min(max(n, 0), 100)
}
