package ec2

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/ebs"
)

// Volume is an EBS volume as DescribeVolumes returns it.
type Volume struct {
	ID         string
	State      ebs.VolumeState
	Zone       string
	SnapshotID string // what it was made from; empty for an empty one
	Type       string
	KMSKeyID   string
	Size       int32 // GiB
	IOPS       int32
	Throughput int32 // MiB/s
	Encrypted  bool
	// FastRestored: it was made with fast snapshot restore, so that nothing of it has to be fetched.
	FastRestored bool
	// InitializationRate is that at which EC2 fetches the blocks of its snapshot by itself, in MiB/s; 0 where it does not.
	InitializationRate int32
	Created            time.Time
	Tags               map[string]string
	Attachments        []Attachment // at most one, unless the volume is a multi-attach one
}

// Attachment is a volume's attachment to an instance.
type Attachment struct {
	VolumeID            string
	InstanceID          string
	Device              string // the name it was attached as, such as /dev/sdf
	State               ebs.AttachmentState
	DeleteOnTermination bool
	Since               time.Time
}

// On returns the volume's current attachment to the instance.
func (v Volume) On(instanceID string) (Attachment, bool) {
	for _, a := range v.Attachments {
		if a.InstanceID == instanceID && a.State != ebs.Detached {
			return a, true
		}
	}
	return Attachment{}, false
}

// CreateVolumeRequest describes a new volume. Zero values take EC2's defaults.
type CreateVolumeRequest struct {
	ClientToken        string // up to 64 characters; the same token never makes a second volume
	Zone               string
	Size               int32 // GiB; 0: the snapshot's
	SnapshotID         string
	Type               string
	IOPS               int32
	Throughput         int32 // MiB/s
	InitializationRate int32 // MiB/s at which the snapshot's blocks are fetched
	Encrypted          *bool
	KMSKeyID           string
	Tags               map[string]string
}

// CreateVolume creates a volume, usually returned in the state creating. It is safe to repeat with the same token and
// parameters; with other parameters EC2 answers IdempotentParameterMismatch.
func (c *Client) CreateVolume(ctx context.Context, r CreateVolumeRequest) (Volume, error) {
	doing := "create volume"
	if r.SnapshotID != "" {
		doing += " from " + r.SnapshotID
	}
	if r.Zone != "" {
		doing += " in " + r.Zone
	}
	if r.ClientToken == "" || len(r.ClientToken) > 64 {
		return Volume{}, invalidRequest("CreateVolume", doing, fmt.Sprintf("internal error: a client token must have 1 to 64 characters, got %d", len(r.ClientToken)))
	}
	out, err := call(ctx, c, "CreateVolume", doing, (*sdk.Client).CreateVolume, &sdk.CreateVolumeInput{
		ClientToken:              aws.String(r.ClientToken),
		AvailabilityZone:         optional(r.Zone),
		Size:                     optional(r.Size),
		SnapshotId:               optional(r.SnapshotID),
		VolumeType:               types.VolumeType(r.Type),
		Iops:                     optional(r.IOPS),
		Throughput:               optional(r.Throughput),
		VolumeInitializationRate: optional(r.InitializationRate),
		Encrypted:                r.Encrypted,
		KmsKeyId:                 optional(r.KMSKeyID),
		TagSpecifications:        tagsOnCreate(types.ResourceTypeVolume, r.Tags),
	})
	if err != nil {
		return Volume{}, err
	}
	return Volume{
		ID: aws.ToString(out.VolumeId), State: ebs.VolumeState(out.State), Zone: aws.ToString(out.AvailabilityZone),
		SnapshotID: aws.ToString(out.SnapshotId), Type: string(out.VolumeType), KMSKeyID: aws.ToString(out.KmsKeyId),
		Size: aws.ToInt32(out.Size), IOPS: aws.ToInt32(out.Iops), Throughput: aws.ToInt32(out.Throughput),
		Encrypted: aws.ToBool(out.Encrypted), Created: aws.ToTime(out.CreateTime), Tags: tagsFrom(out.Tags),
	}, nil
}

// DeleteVolume deletes a volume. An unknown volume is a NotFound fault and not success: a volume that was just
// created may not be visible yet.
func (c *Client) DeleteVolume(ctx context.Context, id string) error {
	_, err := call(ctx, c, "DeleteVolume", "delete "+id, (*sdk.Client).DeleteVolume, &sdk.DeleteVolumeInput{VolumeId: aws.String(id)})
	return ignoreNotFoundOnRetry(err)
}

// AttachVolume starts to attach a volume under a device name; [Client.WaitVolume] waits for the end. A volume that is
// already attached is an InUse fault, even if it is attached to this instance: the caller describes it to find out.
func (c *Client) AttachVolume(ctx context.Context, volumeID, instanceID, device string) (Attachment, error) {
	doing := fmt.Sprintf("attach %s to %s as %s", volumeID, instanceID, device)
	out, err := call(ctx, c, "AttachVolume", doing, (*sdk.Client).AttachVolume, &sdk.AttachVolumeInput{
		VolumeId: aws.String(volumeID), InstanceId: aws.String(instanceID), Device: aws.String(device),
	})
	if err != nil {
		return Attachment{}, err
	}
	return Attachment{
		VolumeID: aws.ToString(out.VolumeId), InstanceID: aws.ToString(out.InstanceId), Device: aws.ToString(out.Device),
		State: ebs.AttachmentState(out.State), DeleteOnTermination: aws.ToBool(out.DeleteOnTermination), Since: aws.ToTime(out.AttachTime),
	}, nil
}

// DetachVolume starts to detach a volume, never with force. An empty device matches any. A volume that is already
// detaching, or not attached to the instance, is no error.
func (c *Client) DetachVolume(ctx context.Context, volumeID, instanceID, device string) error {
	doing := fmt.Sprintf("detach %s from %s", volumeID, instanceID)
	_, err := call(ctx, c, "DetachVolume", doing, (*sdk.Client).DetachVolume, &sdk.DetachVolumeInput{
		VolumeId: aws.String(volumeID), InstanceId: aws.String(instanceID), Device: optional(device),
	})
	fault, _ := err.(*Fault)
	if fault == nil {
		return err
	}
	// A volume that is not attached is IncorrectState ("is in the 'available' state") or InvalidAttachment.NotFound.
	if fault.Class != SettleLater && fault.Code != "InvalidAttachment.NotFound" {
		return err
	}
	volume, lookErr := c.Volume(ctx, volumeID)
	if lookErr != nil {
		return err
	}
	if attachment, on := volume.On(instanceID); !on || attachment.State == ebs.Detaching {
		return nil
	}
	return err
}

// SetDeleteOnTermination sets whether the volume attached as device is deleted with the instance.
func (c *Client) SetDeleteOnTermination(ctx context.Context, instanceID, device string, on bool) error {
	doing := fmt.Sprintf("set delete-on-termination of %s on %s", device, instanceID)
	_, err := call(ctx, c, "ModifyInstanceAttribute", doing, (*sdk.Client).ModifyInstanceAttribute, &sdk.ModifyInstanceAttributeInput{
		InstanceId: aws.String(instanceID),
		BlockDeviceMappings: []types.InstanceBlockDeviceMappingSpecification{{
			DeviceName: aws.String(device),
			Ebs:        &types.EbsInstanceBlockDeviceSpecification{DeleteOnTermination: aws.Bool(on)},
		}},
	})
	return err
}

// AttachedVolumes returns the volumes that are attached, attaching or detaching, sorted by device.
func (c *Client) AttachedVolumes(ctx context.Context, instanceID string) ([]Volume, error) {
	found, err := c.volumeQueries.do(ctx, "describe the volumes of "+instanceID, "attachment.instance-id", instanceID)
	if err != nil {
		return nil, err
	}
	found = matching(found, func(v Volume) bool { _, on := v.On(instanceID); return on })
	sort.Slice(found, func(i, j int) bool {
		a, b := &found[i], &found[j]
		onA, _ := a.On(instanceID)
		onB, _ := b.On(instanceID)
		return cmp.Or(cmp.Compare(onA.Device, onB.Device), cmp.Compare(a.ID, b.ID)) < 0
	})
	return found, nil
}

// Volume returns one volume, or a NotFound fault: right after its creation EC2 may not show it yet. The result may be
// cached for up to a second, unless this client has sent a mutating request since.
func (c *Client) Volume(ctx context.Context, id string) (Volume, error) {
	doing := "describe " + id
	if v, known := c.cache.get(id); known {
		return v, nil
	}
	found, err := c.volumeQueries.do(ctx, doing, "volume-id", id)
	if err != nil {
		return Volume{}, err
	}
	found = matching(found, func(v Volume) bool { return v.ID == id })
	if len(found) == 0 {
		return Volume{}, &Fault{Op: "DescribeVolumes", Doing: doing, Class: NotFound, Code: "InvalidVolume.NotFound",
			Message: "EC2 does not know this volume, or not yet", RetryAfter: time.Second}
	}
	return found[0], nil
}

// VolumesByTag returns the volumes that have all the tags with exactly these values, sorted by id.
func (c *Client) VolumesByTag(ctx context.Context, tags map[string]string) ([]Volume, error) {
	if len(tags) == 0 {
		return nil, invalidRequest("DescribeVolumes", "find volumes by tag", "internal error: no tag to search for")
	}
	// Filter by one tag, so that lanes that search by the same key share a call, and compare the rest here. The
	// longest value is the most selective: a token rather than a role.
	key := slices.SortedFunc(maps.Keys(tags), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(tags[b]), len(tags[a])), cmp.Compare(a, b))
	})[0]
	doing := "find volumes by tag " + key
	found, err := c.volumeQueries.do(ctx, doing, "tag:"+key, Literal(tags[key]))
	if err != nil {
		return nil, err
	}
	found = matching(found, func(v Volume) bool { return hasTags(v.Tags, tags) })
	sort.Slice(found, func(i, j int) bool {
		a, b := &found[i], &found[j]
		return cmp.Compare(a.ID, b.ID) < 0
	})
	return found, nil
}

// describeVolumes returns the volumes whose filter field has one of the values, reading all pages.
func (c *Client) describeVolumes(ctx context.Context, filter string, values []string) ([]Volume, error) {
	var found []Volume
	changes, asked := c.cache.begin()
	for some := range slices.Chunk(values, maxFilterValues) {
		in := &sdk.DescribeVolumesInput{MaxResults: aws.Int32(c.config.PageSize), Filters: []types.Filter{filterOf(filter, some...)}}
		err := eachPage(func() (*string, error) {
			out, err := call(ctx, c, "DescribeVolumes", "describe volumes", (*sdk.Client).DescribeVolumes, in)
			if err != nil {
				return nil, err
			}
			for _, v := range out.Volumes {
				found = append(found, volumeFrom(v))
			}
			in.NextToken = out.NextToken
			return out.NextToken, nil
		})
		if err != nil {
			return nil, err
		}
	}
	c.cache.put(changes, asked, filter, values, found)
	return found, nil
}

func volumeFrom(v types.Volume) Volume {
	volume := Volume{
		ID: aws.ToString(v.VolumeId), State: ebs.VolumeState(v.State), Zone: aws.ToString(v.AvailabilityZone),
		SnapshotID: aws.ToString(v.SnapshotId), Type: string(v.VolumeType), KMSKeyID: aws.ToString(v.KmsKeyId),
		Size: aws.ToInt32(v.Size), IOPS: aws.ToInt32(v.Iops), Throughput: aws.ToInt32(v.Throughput),
		Encrypted: aws.ToBool(v.Encrypted), Created: aws.ToTime(v.CreateTime), Tags: tagsFrom(v.Tags),
		FastRestored: aws.ToBool(v.FastRestored), InitializationRate: aws.ToInt32(v.VolumeInitializationRate),
	}
	for _, a := range v.Attachments {
		volume.Attachments = append(volume.Attachments, Attachment{
			VolumeID: aws.ToString(a.VolumeId), InstanceID: aws.ToString(a.InstanceId), Device: aws.ToString(a.Device),
			State: ebs.AttachmentState(a.State), DeleteOnTermination: aws.ToBool(a.DeleteOnTermination), Since: aws.ToTime(a.AttachTime),
		})
	}
	return volume
}

func (v Volume) clone() Volume {
	v.Tags = maps.Clone(v.Tags)
	v.Attachments = slices.Clone(v.Attachments)
	return v
}

// volumePhase is the part of a volume whose change makes the poller poll faster again.
func volumePhase(v Volume) string {
	phase := string(v.State)
	for _, a := range v.Attachments {
		phase += " " + a.InstanceID + " " + string(a.State)
	}
	return phase
}
