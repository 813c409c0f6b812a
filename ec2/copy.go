package ec2

import (
	"context"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// MaxCopies is how many copies EC2 makes at once into one region.
// Source: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html
const MaxCopies = 20

// CopySnapshotRequest describes a copy of a snapshot into the client's region.
type CopySnapshotRequest struct {
	SourceID     string // this account's, or one that is shared with it
	SourceRegion string // may be the client's own
	Description  string
	// KMSKeyID encrypts the copy: id, alias or ARN of a key in the client's region. Empty: a copy of an encrypted snapshot is
	// encrypted with the region's default key, another one is not encrypted.
	KMSKeyID string
	Tags     map[string]string // EC2 copies none of the source's
}

// CopySnapshot starts a copy and returns its id. It is sent once and never retried: after an Ambiguous fault the copy may
// exist and can be found by its tags. More than [MaxCopies] at once are a RateExceeded fault. The copy is pending;
// a key that cannot be used, or a source that is deleted meanwhile, shows as its error state later.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopySnapshot.html
func (c *Client) CopySnapshot(ctx context.Context, r CopySnapshotRequest) (string, error) {
	in := &sdk.CopySnapshotInput{
		SourceSnapshotId: aws.String(r.SourceID), SourceRegion: aws.String(r.SourceRegion), Description: optional(r.Description),
		KmsKeyId: optional(r.KMSKeyID), TagSpecifications: tagsOnCreate(types.ResourceTypeSnapshot, r.Tags),
	}
	if r.KMSKeyID != "" {
		in.Encrypted = aws.Bool(true)
	}
	out, err := call(ctx, c, "CopySnapshot", "copy "+r.SourceID+" from "+r.SourceRegion, (*sdk.Client).CopySnapshot, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.SnapshotId), nil
}

// ShareSnapshot lets accounts create volumes from the snapshot and copy it. Sharing twice is no error. A snapshot that is
// encrypted with the default key cannot be shared: EC2 answers OperationNotPermitted.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySnapshotAttribute.html
func (c *Client) ShareSnapshot(ctx context.Context, id string, accounts ...string) error {
	_, err := call(ctx, c, "ModifySnapshotAttribute", "share "+id+" with "+strings.Join(accounts, ", "), (*sdk.Client).ModifySnapshotAttribute,
		&sdk.ModifySnapshotAttributeInput{SnapshotId: aws.String(id), Attribute: types.SnapshotAttributeNameCreateVolumePermission,
			OperationType: types.OperationTypeAdd, UserIds: accounts})
	return err
}

// SharedWith returns the accounts that the snapshot is shared with, sorted.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshotAttribute.html
func (c *Client) SharedWith(ctx context.Context, id string) ([]string, error) {
	out, err := call(ctx, c, "DescribeSnapshotAttribute", "describe whom "+id+" is shared with", (*sdk.Client).DescribeSnapshotAttribute,
		&sdk.DescribeSnapshotAttributeInput{SnapshotId: aws.String(id), Attribute: types.SnapshotAttributeNameCreateVolumePermission})
	if err != nil {
		return nil, err
	}
	var accounts []string
	for _, p := range out.CreateVolumePermissions {
		if p.UserId != nil {
			accounts = append(accounts, *p.UserId)
		}
	}
	sort.Strings(accounts)
	return accounts, nil
}

// DescribeShared returns the snapshots of these ids that this account owns or that are shared with it, by id. Of those of
// another account the owner's tags are not shown.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html
func (c *Client) DescribeShared(ctx context.Context, ids ...string) (map[string]Snapshot, error) {
	byID := make(map[string]Snapshot, len(ids))
	for _, some := range chunks(ids) {
		if len(some) == 0 {
			break
		}
		in := &sdk.DescribeSnapshotsInput{RestorableByUserIds: []string{"self"}, Filters: []types.Filter{filterOf("snapshot-id", some...)}}
		if err := c.visitSnapshotPages(ctx, in, func(s Snapshot) { byID[s.ID] = s }); err != nil {
			return nil, err
		}
	}
	return byID, nil
}

// Lock is how a snapshot is locked.
type Lock struct {
	State        string    // governance, compliance, compliance-cooloff or expired
	Days         int32     // its duration
	Expires      time.Time // zero: not known yet, of a snapshot that is pending
	CoolOffUntil time.Time // zero: none
}

// Locked reports whether the lock holds.
func (l Lock) Locked() bool { return l.State != "" && l.State != string(types.LockStateExpired) }

// Governance is the mode of a lock that can be removed at any time, and its state.
const Governance = string(types.LockModeGovernance)

// LockRequest describes a lock.
type LockRequest struct {
	SnapshotID string
	Mode       string // governance or compliance
	Days       int32  // 1 to 36500, from the completion of a snapshot that is pending
	CoolOff    int32  // hours, 1 to 72; 0: none. For compliance only
}

// LockSnapshot locks a snapshot, or changes its lock. Locking again the same way lets the duration begin again.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LockSnapshot.html
func (c *Client) LockSnapshot(ctx context.Context, r LockRequest) (Lock, error) {
	out, err := call(ctx, c, "LockSnapshot", "lock "+r.SnapshotID, (*sdk.Client).LockSnapshot, &sdk.LockSnapshotInput{
		SnapshotId: aws.String(r.SnapshotID), LockMode: types.LockMode(r.Mode), LockDuration: aws.Int32(r.Days), CoolOffPeriod: optional(r.CoolOff),
	})
	if err != nil {
		return Lock{}, err
	}
	return Lock{State: string(out.LockState), Days: aws.ToInt32(out.LockDuration), Expires: aws.ToTime(out.LockExpiresOn), CoolOffUntil: aws.ToTime(out.CoolOffPeriodExpiresOn)}, nil
}
