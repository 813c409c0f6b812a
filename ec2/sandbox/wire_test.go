package sandbox_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	smithy "github.com/aws/smithy-go"

	"snaptastic/ec2/sandbox"
)

func errorCode(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

// rig is a files-only sandbox, its client and its instance.
type rig struct {
	*testing.T
	*sandbox.Sandbox
	c        *ec2.Client
	instance string
	url      string
}

func filesOnly(t *testing.T, cfg sandbox.Config) *rig {
	t.Helper()
	cfg.FilesOnly = true
	server, c := serve(t, cfg)
	id, err := server.Sandbox.InstanceID()
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t, server.Sandbox, c, id, server.URL()}
}

func (w *rig) volume(size int32, edits ...func(*ec2.CreateVolumeInput)) string {
	w.Helper()
	input := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: &size, VolumeType: types.VolumeTypeGp3}
	for _, edit := range edits {
		edit(input)
	}
	out, err := w.c.CreateVolume(w.Context(), input)
	if err != nil {
		w.Fatal(err)
	}
	return *out.VolumeId
}

func (w *rig) attach(volume, device string) {
	w.Helper()
	_, err := w.c.AttachVolume(w.Context(), &ec2.AttachVolumeInput{VolumeId: &volume, InstanceId: &w.instance, Device: &device})
	if err != nil {
		w.Fatal(err)
	}
}

func (w *rig) snapshot(volume string, tags ...types.Tag) string {
	w.Helper()
	input := &ec2.CreateSnapshotInput{VolumeId: &volume}
	if len(tags) > 0 {
		input.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeSnapshot, Tags: tags}}
	}
	out, err := w.c.CreateSnapshot(w.Context(), input)
	if err != nil {
		w.Fatal(err)
	}
	return *out.SnapshotId
}

func (w *rig) describe(volume string) types.Volume {
	w.Helper()
	out, err := w.c.DescribeVolumes(w.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{volume}})
	if err != nil {
		w.Fatal(err)
	}
	return out.Volumes[0]
}

func tag(key, value string) types.Tag { return types.Tag{Key: &key, Value: &value} }

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: &name, Values: values}
}

func TestAClientTokenMakesOneVolume(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	with := func(token string) func(*ec2.CreateVolumeInput) {
		return func(in *ec2.CreateVolumeInput) { in.ClientToken = &token }
	}
	first := w.volume(3, with("one"))
	if again := w.volume(3, with("one")); again != first {
		t.Errorf("the same token made %s and %s", first, again)
	}
	if other := w.volume(3, with("two")); other == first {
		t.Error("another token made the same volume")
	}
	_, err := w.c.CreateVolume(t.Context(), &ec2.CreateVolumeInput{
		AvailabilityZone: aws.String(sandbox.Zone), Size: aws.Int32(4), VolumeType: types.VolumeTypeGp3, ClientToken: aws.String("one"),
	})
	if errorCode(err) != "IdempotentParameterMismatch" {
		t.Errorf("the same token for another size: %v", err)
	}
}

func TestGP3GetsItsDefaults(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	v := w.describe(w.volume(10))
	if *v.Iops != 3000 || *v.Throughput != 125 || v.State != types.VolumeStateAvailable || *v.Encrypted {
		t.Errorf("%d IOPS, %d MiB/s, %s", *v.Iops, *v.Throughput, v.State)
	}
}

func TestFiltersChooseVolumes(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	tagged := func(tags ...types.Tag) func(*ec2.CreateVolumeInput) {
		return func(in *ec2.CreateVolumeInput) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: tags}}
		}
	}
	solr := w.volume(10, tagged(tag("role", "solr"), tag("env", "test")))
	web := w.volume(20, tagged(tag("role", "web")))
	w.attach(solr, "/dev/sdf")
	for _, test := range []struct {
		name    string
		filters []types.Filter
		want    []string
	}{
		{"tag", []types.Filter{filter("tag:role", "solr")}, []string{solr}},
		{"tag or tag", []types.Filter{filter("tag:role", "solr", "web")}, []string{solr, web}},
		{"tag and tag", []types.Filter{filter("tag:role", "*"), filter("tag:env", "test")}, []string{solr}},
		{"tag key", []types.Filter{filter("tag-key", "env")}, []string{solr}},
		{"wildcards", []types.Filter{filter("tag:role", "w?b", "x*")}, []string{web}},
		{"escaped wildcard", []types.Filter{filter("tag:role", `w\*`)}, nil},
		{"case", []types.Filter{filter("tag:role", "SOLR")}, nil},
		{"status", []types.Filter{filter("status", "available")}, []string{web}},
		{"instance and device", []types.Filter{filter("attachment.instance-id", w.instance), filter("attachment.device", "/dev/sdf", "/dev/sdg")}, []string{solr}},
		{"attachment status", []types.Filter{filter("attachment.status", "attached"), filter("size", "10")}, []string{solr}},
		{"delete on termination", []types.Filter{filter("attachment.delete-on-termination", "false")}, []string{solr}},
		{"volume id", []types.Filter{filter("volume-id", web)}, []string{web}},
		{"type and zone", []types.Filter{filter("volume-type", "gp3"), filter("availability-zone", "eu-west-1?"), filter("size", "20")}, []string{web}},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := w.c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: test.filters})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range out.Volumes {
				got = append(got, *v.VolumeId)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestPagesHoldEverySnapshotOnce(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	volume := w.volume(1)
	made := map[string]bool{}
	for range 12 {
		made[w.snapshot(volume)] = true
	}
	pages := 0
	for p := ec2.NewDescribeSnapshotsPaginator(w.c, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, MaxResults: aws.Int32(5)}); p.HasMorePages(); pages++ {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range out.Snapshots {
			if !made[*s.SnapshotId] {
				t.Errorf("%s twice, or not ours", *s.SnapshotId)
			}
			delete(made, *s.SnapshotId)
			if pages == 0 { // deleting behind the page must not shift the next one
				if _, err := w.c.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: s.SnapshotId}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if len(made) != 0 || pages != 3 {
		t.Errorf("%d snapshots missing after %d pages", len(made), pages)
	}
}

func TestCreateSnapshotsTakesASet(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	a, b, excluded := w.volume(1), w.volume(2), w.volume(3)
	w.attach(a, "/dev/sdf")
	w.attach(b, "/dev/sdg")
	w.attach(excluded, "/dev/sdh")
	if _, err := w.c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{a}, Tags: []types.Tag{tag("from", "volume")}}); err != nil {
		t.Fatal(err)
	}
	out, err := w.c.CreateSnapshots(t.Context(), &ec2.CreateSnapshotsInput{
		InstanceSpecification: &types.InstanceSpecification{InstanceId: &w.instance, ExcludeBootVolume: aws.Bool(true), ExcludeDataVolumeIds: []string{excluded}},
		Description:           aws.String("a set"), CopyTagsFromSource: types.CopyTagsFromSourceVolume,
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{tag("token", "x")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Snapshots) != 2 || *out.Snapshots[0].VolumeId != a || *out.Snapshots[1].VolumeId != b {
		t.Fatalf("got %d snapshots", len(out.Snapshots))
	}
	if !out.Snapshots[0].StartTime.Equal(*out.Snapshots[1].StartTime) || out.Snapshots[0].State != types.SnapshotStatePending {
		t.Error("start times differ, or not pending")
	}
	if len(out.Snapshots[0].Tags) != 2 || len(out.Snapshots[1].Tags) != 1 {
		t.Errorf("tags %v and %v", out.Snapshots[0].Tags, out.Snapshots[1].Tags)
	}
	described, err := w.c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:token", "x"), filter("status", "completed")}})
	if err != nil || len(described.Snapshots) != 2 {
		t.Errorf("%v, %v", described, err)
	}
	_, err = w.c.CreateSnapshots(t.Context(), &ec2.CreateSnapshotsInput{InstanceSpecification: &types.InstanceSpecification{
		InstanceId: &w.instance, ExcludeDataVolumeIds: []string{"vol-0123456789abcdef0"},
	}})
	if errorCode(err) != "InvalidVolume.NotFound" {
		t.Errorf("excluding an unknown volume: %v", err)
	}
}

func TestInstancesImagesTagsAndZones(t *testing.T) {
	w := filesOnly(t, sandbox.Config{UserData: `{"role": "solr"}`})
	ctx := t.Context()
	volume := w.volume(1)
	w.attach(volume, "/dev/sdf")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.c.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: &w.instance, BlockDeviceMappings: []types.InstanceBlockDeviceMappingSpecification{
		{DeviceName: aws.String("/dev/sdf"), Ebs: &types.EbsInstanceBlockDeviceSpecification{DeleteOnTermination: aws.Bool(true)}},
	}})
	check(err)
	if !*w.describe(volume).Attachments[0].DeleteOnTermination {
		t.Error("DeleteOnTermination was not set")
	}
	attribute, err := w.c.DescribeInstanceAttribute(ctx, &ec2.DescribeInstanceAttributeInput{InstanceId: &w.instance, Attribute: types.InstanceAttributeNameBlockDeviceMapping})
	check(err)
	if len(attribute.BlockDeviceMappings) != 2 || *attribute.BlockDeviceMappings[1].Ebs.VolumeId != volume {
		t.Errorf("mappings %v", attribute.BlockDeviceMappings)
	}
	image, err := w.c.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: &w.instance, Name: aws.String("golden")})
	check(err)
	images, err := w.c.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}})
	check(err)
	if len(images.Images) != 1 || len(images.Images[0].BlockDeviceMappings) != 2 || images.Images[0].State != types.ImageStateAvailable {
		t.Fatalf("images %v", images.Images)
	}
	used := images.Images[0].BlockDeviceMappings[1].Ebs.SnapshotId
	if _, err := w.c.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: used}); errorCode(err) != "InvalidSnapshot.InUse" {
		t.Errorf("deleting an image's snapshot: %v", err)
	}
	launched, err := w.c.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: image.ImageId, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceTypeM5Large})
	check(err)
	all, err := w.c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{filter("instance-state-name", "running")}})
	check(err)
	if len(all.Reservations) != 2 || len(all.Reservations[1].Instances[0].BlockDeviceMappings) != 2 {
		t.Errorf("%d reservations", len(all.Reservations))
	}
	ended, err := w.c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*launched.Instances[0].InstanceId}})
	check(err)
	if ended.TerminatingInstances[0].CurrentState.Name != types.InstanceStateNameTerminated {
		t.Error("not terminated")
	}
	_, err = w.c.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: image.ImageId, DeleteAssociatedSnapshots: aws.Bool(true)})
	check(err)
	left, err := w.c.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	check(err)
	if len(left.Snapshots) != 0 {
		t.Errorf("%d snapshots left", len(left.Snapshots))
	}

	_, err = w.c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{volume, w.instance}, Tags: []types.Tag{tag("a", "1"), tag("b", "2")}})
	check(err)
	_, err = w.c.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{volume}, Tags: []types.Tag{{Key: aws.String("a")}, tag("b", "other")}})
	check(err)
	tags, err := w.c.DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: []types.Filter{filter("resource-id", volume)}})
	check(err)
	if len(tags.Tags) != 1 || *tags.Tags[0].Key != "b" || tags.Tags[0].ResourceType != types.ResourceTypeVolume {
		t.Errorf("tags %v", tags.Tags)
	}
	zones, err := w.c.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{ZoneNames: []string{sandbox.Zone}})
	check(err)
	if len(zones.AvailabilityZones) != 1 || *zones.AvailabilityZones[0].ZoneId != "euw1-az1" {
		t.Errorf("zones %v", zones.AvailabilityZones)
	}
}

func TestSnapshotsCopyLockAndArchive(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	ctx := t.Context()
	snapshot := w.snapshot(w.volume(1))
	copied, err := w.c.CopySnapshot(ctx, &ec2.CopySnapshotInput{SourceSnapshotId: &snapshot, SourceRegion: aws.String(sandbox.Region)},
		func(o *ec2.Options) { o.Region = sandbox.Region })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.LockSnapshot(ctx, &ec2.LockSnapshotInput{SnapshotId: copied.SnapshotId, LockMode: types.LockModeGovernance, LockDuration: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	locked, err := w.c.DescribeLockedSnapshots(ctx, nil)
	if err != nil || len(locked.Snapshots) != 1 || locked.Snapshots[0].LockState != types.LockStateGovernance {
		t.Fatalf("%v, %v", locked, err)
	}
	if _, err := w.c.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: copied.SnapshotId}); err == nil {
		t.Error("a locked snapshot was deleted")
	}
	if _, err := w.c.UnlockSnapshot(ctx, &ec2.UnlockSnapshotInput{SnapshotId: copied.SnapshotId}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.ModifySnapshotTier(ctx, &ec2.ModifySnapshotTierInput{SnapshotId: copied.SnapshotId, StorageTier: types.TargetStorageTierArchive}); err != nil {
		t.Fatal(err)
	}
	restore := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), SnapshotId: copied.SnapshotId}
	if _, err := w.c.CreateVolume(ctx, restore); errorCode(err) != "IncorrectState" {
		t.Errorf("restoring an archived snapshot: %v", err)
	}
	if _, err := w.c.RestoreSnapshotTier(ctx, &ec2.RestoreSnapshotTierInput{SnapshotId: copied.SnapshotId, TemporaryRestoreDays: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.CreateVolume(ctx, restore); err != nil {
		t.Errorf("restoring a snapshot brought back from the archive: %v", err)
	}
	aged := time.Now().AddDate(0, -1, 0)
	if err := w.EditSnapshot(snapshot, func(s *sandbox.Snapshot) { s.Started, s.CompletedAt = aged, aged }); err != nil {
		t.Fatal(err)
	}
	out, err := w.c.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snapshot}})
	if err != nil || time.Since(*out.Snapshots[0].StartTime) < 24*time.Hour {
		t.Errorf("%v, %v", out, err)
	}
}
