package sandbox_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/sandbox"
)

func TestMistakesGetEC2sErrorCodes(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	ctx, c := t.Context(), w.c
	attached, free := w.volume(1), w.volume(2)
	w.attach(attached, "/dev/sdf")
	elsewhere := w.volume(1, func(in *ec2.CreateVolumeInput) { in.AvailabilityZone = aws.String("eu-west-1b") })
	snapshot := w.snapshot(free)
	missing := "vol-0123456789abcdef0"

	create := func(edit func(*ec2.CreateVolumeInput)) func() error {
		return func() error {
			in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: aws.Int32(10), VolumeType: types.VolumeTypeGp3}
			edit(in)
			_, err := c.CreateVolume(ctx, in)
			return err
		}
	}
	attach := func(volume, instance, device string) func() error {
		return func() error {
			_, err := c.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: &volume, InstanceId: &instance, Device: &device})
			return err
		}
	}
	volumes := func(in *ec2.DescribeVolumesInput) func() error {
		return func() error { _, err := c.DescribeVolumes(ctx, in); return err }
	}
	for _, test := range []struct {
		name, code string
		call       func() error
	}{
		{"attach an unknown volume", "InvalidVolume.NotFound", attach(missing, w.instance, "/dev/sdg")},
		{"attach a malformed volume", "InvalidVolumeID.Malformed", attach("vol-xyz", w.instance, "/dev/sdg")},
		{"attach to an unknown instance", "InvalidInstanceID.NotFound", attach(free, "i-0123456789abcdef0", "/dev/sdg")},
		{"attach to a malformed instance", "InvalidInstanceID.Malformed", attach(free, "instance", "/dev/sdg")},
		{"attach from another zone", "InvalidVolume.ZoneMismatch", attach(elsewhere, w.instance, "/dev/sdg")},
		{"attach at a taken name", "InvalidParameterValue", attach(free, w.instance, "/dev/sdf")},
		{"attach at the root's name", "InvalidParameterValue", attach(free, w.instance, "/dev/xvda")},
		{"attach at a numbered name", "InvalidParameterValue", attach(free, w.instance, "/dev/sdf1")},
		{"attach what is attached", "VolumeInUse", attach(attached, w.instance, "/dev/sdg")},
		{"detach what is free", "IncorrectState", func() error { _, err := c.DetachVolume(ctx, &ec2.DetachVolumeInput{VolumeId: &free}); return err }},
		{"delete what is attached", "VolumeInUse", func() error { _, err := c.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &attached}); return err }},
		{"delete an unknown snapshot", "InvalidSnapshot.NotFound", func() error {
			_, err := c.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String("snap-0123456789abcdef0")})
			return err
		}},
		{"create in no zone", "InvalidZone.NotFound", create(func(in *ec2.CreateVolumeInput) { in.AvailabilityZone = aws.String("mars-1a") })},
		{"create without a size", "MissingParameter", create(func(in *ec2.CreateVolumeInput) { in.Size = nil })},
		{"create of size 0", "InvalidParameterValue", create(func(in *ec2.CreateVolumeInput) { in.Size = aws.Int32(0) })},
		{"create io1 without iops", "MissingParameter", create(func(in *ec2.CreateVolumeInput) { in.VolumeType = types.VolumeTypeIo1 })},
		{"create st1 too small", "InvalidParameterValue", create(func(in *ec2.CreateVolumeInput) { in.VolumeType = types.VolumeTypeSt1 })},
		{"create gp2 with throughput", "InvalidParameterCombination", create(func(in *ec2.CreateVolumeInput) {
			in.VolumeType, in.Throughput = types.VolumeTypeGp2, aws.Int32(200)
		})},
		{"create smaller than the snapshot", "InvalidParameterValue", create(func(in *ec2.CreateVolumeInput) { in.SnapshotId, in.Size = &snapshot, aws.Int32(1) })},
		{"create with a reserved tag", "InvalidParameterValue", create(func(in *ec2.CreateVolumeInput) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{tag("aws:x", "y")}}}
		})},
		{"dry run", "DryRunOperation", create(func(in *ec2.CreateVolumeInput) { in.DryRun = aws.Bool(true) })},
		{"unknown filter", "InvalidParameterValue", volumes(&ec2.DescribeVolumesInput{Filters: []types.Filter{filter("colour", "red")}})},
		{"page size with ids", "InvalidParameterCombination", volumes(&ec2.DescribeVolumesInput{VolumeIds: []string{free}, MaxResults: aws.Int32(5)})},
		{"page size too small", "InvalidParameterValue", volumes(&ec2.DescribeVolumesInput{MaxResults: aws.Int32(1)})},
		{"bad page token", "InvalidNextToken", volumes(&ec2.DescribeVolumesInput{NextToken: aws.String("?")})},
		{"unknown action", "InvalidAction", func() error { _, err := c.DescribeVpcs(ctx, nil); return err }},
		{"unknown parameter", "UnknownParameter", func() error {
			_, err := c.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: aws.Int32(1), OutpostArn: aws.String("arn")})
			return err
		}},
		{"shrink", "InvalidParameterValue", func() error {
			_, err := c.ModifyVolume(ctx, &ec2.ModifyVolumeInput{VolumeId: &free, Size: aws.Int32(1)})
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := errorCode(test.call()); got != test.code {
				t.Errorf("got %s, want %s", got, test.code)
			}
		})
	}
	all, err := c.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: []types.Filter{filter("attachment.device", "/dev/xvda")}})
	if err != nil || len(all.Volumes) != 1 {
		t.Errorf("the root volume: %v, %v", all, err)
	}
	if all, err := c.DescribeVolumes(ctx, nil); err != nil || len(all.Volumes) != 4 {
		t.Errorf("%d volumes, want the root and the three made: what was refused must have no effect", len(all.Volumes))
	}
}

func TestAnswersWithoutTheSDK(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	for _, test := range []struct {
		name, body, authorization string
		status                    int
		contains                  string
	}{
		{"unsigned", "Action=DescribeVolumes&Version=2016-11-15", "", 401, "<Code>AuthFailure</Code>"},
		{"no action", "Version=2016-11-15", "x", 400, "<Code>InvalidAction</Code>"},
		{"not a number", "Action=CreateVolume&AvailabilityZone=eu-west-1a&Size=big", "x", 400, "<Code>InvalidParameterValue</Code>"},
		{"garbage", "%zz", "x", 400, "<Code>MalformedQueryString</Code>"},
		{"fine", "Action=DescribeRegions&Version=2016-11-15", "x", 200, "<regionName>eu-west-1</regionName>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequest("POST", w.url, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if test.authorization != "" {
				request.Header.Set("Authorization", test.authorization)
			}
			status, header, body := get(t, request)
			if status != test.status || !strings.Contains(body, test.contains) || strings.Contains(body, "<html") {
				t.Errorf("%d %s, want %d with %s", status, body, test.status, test.contains)
			}
			if _, err := http.ParseTime(header.Get("Date")); err != nil {
				t.Error(err)
			}
		})
	}
}
