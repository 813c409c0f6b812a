package ec2

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// DryRunRequest names the resources to test a permission on. Empty fields are replaced by ids that cannot exist; EC2
// may then answer NotFound, which says nothing about the permission.
type DryRunRequest struct {
	InstanceID, VolumeID, SnapshotID, ImageID, Zone, Device string
	// Tags are the tags of a create. Empty: the tag that everything made here has, which IAM policies can refer to.
	Tags map[string]string
}

// Permissions are the actions that [Client.DryRun] can test, in report order.
var Permissions = []string{
	"DescribeVolumes", "DescribeSnapshots", "CreateVolume", "AttachVolume", "ModifyInstanceAttribute", "DetachVolume",
	"DeleteVolume", "CreateSnapshot", "CreateSnapshots", "CopySnapshot", "CreateTags", "DeleteTags", "DeleteSnapshot", "LockSnapshot",
	"ModifySnapshotAttribute",
	"DescribeImages", "DescribeInstances", "DescribeLockedSnapshots", "DeregisterImage",
}

// DryRun tests with EC2's DryRun parameter whether the credentials may perform the action. Nil means yes; a Denied
// fault means no and names the permission; any other fault means that the answer is unknown.
func (c *Client) DryRun(ctx context.Context, action string, r DryRunRequest) error {
	try, ok := c.dryRunCalls(r)[action]
	if !ok {
		return invalidRequest(action, "try "+action, "internal error: no dry run for "+action)
	}
	err := try(ctx)
	if fault, ok := errors.AsType[*Fault](err); ok && fault.Class == DryRun {
		return nil
	}
	return err
}

func (c *Client) dryRunCalls(r DryRunRequest) map[string]func(context.Context) error {
	instance, volume := or(r.InstanceID, "i-00000000000000000"), or(r.VolumeID, "vol-00000000000000000")
	snapshot, device := or(r.SnapshotID, "snap-00000000000000000"), or(r.Device, "/dev/sdf")
	image, dry := or(r.ImageID, "ami-00000000000000000"), aws.Bool(true)
	mark := r.Tags
	if len(mark) == 0 {
		mark = map[string]string{"snaptastic:token": "dry-run"}
	}
	// Keys that are written to, or removed from, existing resources.
	state, detached := map[string]string{"snaptastic:state": "dry-run"}, map[string]string{"snaptastic:detached": "dry-run"}
	tagged := volume
	if r.VolumeID == "" && r.SnapshotID != "" {
		tagged = snapshot
	}
	return map[string]func(context.Context) error{
		"DescribeVolumes":   dryRunCall(c, "DescribeVolumes", (*sdk.Client).DescribeVolumes, &sdk.DescribeVolumesInput{DryRun: dry}),
		"DescribeSnapshots": dryRunCall(c, "DescribeSnapshots", (*sdk.Client).DescribeSnapshots, &sdk.DescribeSnapshotsInput{DryRun: dry}),
		"CreateVolume": dryRunCall(c, "CreateVolume", (*sdk.Client).CreateVolume, &sdk.CreateVolumeInput{
			DryRun: dry, AvailabilityZone: optional(r.Zone), Size: aws.Int32(1), VolumeType: types.VolumeTypeGp3,
			TagSpecifications: tagsOnCreate(types.ResourceTypeVolume, mark)}),
		"AttachVolume": dryRunCall(c, "AttachVolume", (*sdk.Client).AttachVolume, &sdk.AttachVolumeInput{
			DryRun: dry, InstanceId: &instance, VolumeId: &volume, Device: &device}),
		"ModifyInstanceAttribute": dryRunCall(c, "ModifyInstanceAttribute", (*sdk.Client).ModifyInstanceAttribute, &sdk.ModifyInstanceAttributeInput{
			DryRun: dry, InstanceId: &instance, BlockDeviceMappings: []types.InstanceBlockDeviceMappingSpecification{{
				DeviceName: &device, Ebs: &types.EbsInstanceBlockDeviceSpecification{DeleteOnTermination: aws.Bool(true)}}}}),
		"DetachVolume": dryRunCall(c, "DetachVolume", (*sdk.Client).DetachVolume, &sdk.DetachVolumeInput{
			DryRun: dry, InstanceId: &instance, VolumeId: &volume}),
		"DeleteVolume": dryRunCall(c, "DeleteVolume", (*sdk.Client).DeleteVolume, &sdk.DeleteVolumeInput{DryRun: dry, VolumeId: &volume}),
		"CreateSnapshot": dryRunCall(c, "CreateSnapshot", (*sdk.Client).CreateSnapshot, &sdk.CreateSnapshotInput{
			DryRun: dry, VolumeId: &volume, TagSpecifications: tagsOnCreate(types.ResourceTypeSnapshot, mark)}),
		"CreateSnapshots": dryRunCall(c, "CreateSnapshots", (*sdk.Client).CreateSnapshots, &sdk.CreateSnapshotsInput{
			DryRun: dry, InstanceSpecification: &types.InstanceSpecification{InstanceId: &instance},
			TagSpecifications: tagsOnCreate(types.ResourceTypeSnapshot, mark)}),
		"CopySnapshot": dryRunCall(c, "CopySnapshot", (*sdk.Client).CopySnapshot, &sdk.CopySnapshotInput{
			DryRun: dry, SourceRegion: aws.String(c.region), SourceSnapshotId: &snapshot, TagSpecifications: tagsOnCreate(types.ResourceTypeSnapshot, mark)}),
		"CreateTags":     dryRunCall(c, "CreateTags", (*sdk.Client).CreateTags, &sdk.CreateTagsInput{DryRun: dry, Resources: []string{tagged}, Tags: tagList(state)}),
		"DeleteTags":     dryRunCall(c, "DeleteTags", (*sdk.Client).DeleteTags, &sdk.DeleteTagsInput{DryRun: dry, Resources: []string{volume}, Tags: tagList(detached)}),
		"DeleteSnapshot": dryRunCall(c, "DeleteSnapshot", (*sdk.Client).DeleteSnapshot, &sdk.DeleteSnapshotInput{DryRun: dry, SnapshotId: &snapshot}),

		"LockSnapshot": dryRunCall(c, "LockSnapshot", (*sdk.Client).LockSnapshot, &sdk.LockSnapshotInput{
			DryRun: dry, SnapshotId: &snapshot, LockMode: types.LockModeGovernance, LockDuration: aws.Int32(1)}),

		"ModifySnapshotAttribute": dryRunCall(c, "ModifySnapshotAttribute", (*sdk.Client).ModifySnapshotAttribute, &sdk.ModifySnapshotAttributeInput{
			DryRun: dry, SnapshotId: &snapshot, Attribute: types.SnapshotAttributeNameCreateVolumePermission, OperationType: types.OperationTypeAdd, UserIds: []string{"000000000000"}}),

		"DescribeImages":          dryRunCall(c, "DescribeImages", (*sdk.Client).DescribeImages, &sdk.DescribeImagesInput{DryRun: dry, Owners: []string{"self"}}),
		"DescribeInstances":       dryRunCall(c, "DescribeInstances", (*sdk.Client).DescribeInstances, &sdk.DescribeInstancesInput{DryRun: dry}),
		"DescribeLockedSnapshots": dryRunCall(c, "DescribeLockedSnapshots", (*sdk.Client).DescribeLockedSnapshots, &sdk.DescribeLockedSnapshotsInput{DryRun: dry}),
		"DeregisterImage":         dryRunCall(c, "DeregisterImage", (*sdk.Client).DeregisterImage, &sdk.DeregisterImageInput{DryRun: dry, ImageId: &image}),
	}
}

func dryRunCall[In, Out any](c *Client, op string, send method[In, Out], in *In) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := call(ctx, c, op, "try "+op, send, in)
		return err
	}
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
