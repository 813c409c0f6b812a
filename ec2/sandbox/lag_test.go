package sandbox_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/sandbox"
)

// describedState says in a line how describes show a volume: state, attachment, size
// and tag, from DescribeVolumes and from DescribeInstances.
func (w *rig) describedState(volume string) string {
	w.Helper()
	out, err := w.c.DescribeVolumes(w.Context(), &ec2.DescribeVolumesInput{Filters: []types.Filter{filter("volume-id", volume)}})
	if err != nil {
		w.Fatal(err)
	}
	if len(out.Volumes) == 0 {
		return "nothing"
	}
	v := out.Volumes[0]
	text := fmt.Sprintf("%s %dGiB", v.State, *v.Size)
	for _, a := range v.Attachments {
		text += fmt.Sprintf(" %s %t", a.State, *a.DeleteOnTermination)
	}
	for _, tag := range v.Tags {
		text += " " + *tag.Value
	}
	instances, err := w.c.DescribeInstances(w.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{w.instance}})
	if err != nil {
		w.Fatal(err)
	}
	for _, mapping := range instances.Reservations[0].Instances[0].BlockDeviceMappings {
		if *mapping.Ebs.VolumeId == volume {
			text += fmt.Sprintf("; mapped %t", *mapping.Ebs.DeleteOnTermination)
		}
	}
	return text
}

// changes are what a volume goes through; each says how describes show it then.
func (w *rig) changes(volume string) []func() (seen string) {
	must := func(_ any, err error) {
		w.Helper()
		if err != nil {
			w.Fatal(err)
		}
	}
	ctx, device := w.Context(), aws.String("/dev/sdf")
	return []func() string{
		func() string {
			must(w.c.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: &volume, InstanceId: &w.instance, Device: device}))
			return "in-use 1GiB attached false; mapped false"
		},
		func() string {
			must(w.c.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: &w.instance, BlockDeviceMappings: []types.InstanceBlockDeviceMappingSpecification{
				{DeviceName: device, Ebs: &types.EbsInstanceBlockDeviceSpecification{DeleteOnTermination: aws.Bool(true)}}}}))
			return "in-use 1GiB attached true; mapped true"
		},
		func() string {
			must(w.c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{volume}, Tags: []types.Tag{tag("k", "one")}}))
			return "in-use 1GiB attached true one; mapped true"
		},
		func() string {
			must(w.c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{volume}, Tags: []types.Tag{tag("k", "two")}}))
			return "in-use 1GiB attached true two; mapped true"
		},
		func() string {
			must(w.c.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{volume}, Tags: []types.Tag{{Key: aws.String("k")}}}))
			return "in-use 1GiB attached true; mapped true"
		},
		func() string {
			must(w.c.ModifyVolume(ctx, &ec2.ModifyVolumeInput{VolumeId: &volume, Size: aws.Int32(2)}))
			return "in-use 2GiB attached true; mapped true"
		},
		func() string {
			must(w.c.DetachVolume(ctx, &ec2.DetachVolumeInput{VolumeId: &volume}))
			return "available 2GiB"
		},
		func() string {
			must(w.c.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &volume}))
			return "nothing"
		},
	}
}

func TestDescribesLagBehindEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Latency: sandbox.Latency{Lag: 3 * time.Second}})
		volume := w.volume(1)
		before := "nothing"
		if got := w.describedState(volume); got != before {
			t.Errorf("created: %s is seen at once", got)
		}
		time.Sleep(3 * time.Second)
		before = w.describedState(volume)
		for n, change := range w.changes(volume) {
			want := change()
			if got := w.describedState(volume); got != before {
				t.Errorf("change %d: at once %q is seen, want %q", n, got, before)
			}
			time.Sleep(3 * time.Second)
			if got := w.describedState(volume); got != want {
				t.Errorf("change %d: after the lag %q is seen, want %q", n, got, want)
			}
			before = want
		}
	})
}

func TestChangesAreNotDelayedByTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Latency: sandbox.Latency{Lag: time.Hour}})
		volume := w.volume(1)
		for _, change := range w.changes(volume) {
			change() // each builds on what the one before it did
		}
		if _, err := w.c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: &volume}); errorCode(err) != "InvalidVolume.NotFound" {
			t.Errorf("a second deletion: %v", err)
		}
	})
}

func TestADescribeReturnsOlderStateOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Faults: []sandbox.Fault{{Action: "DescribeVolumes", Nth: 3, Effect: "stale", After: 2 * time.Second}}})
		volume := w.volume(1)
		time.Sleep(5 * time.Second)
		before := w.describedState(volume)
		want := w.changes(volume)[0]()
		time.Sleep(time.Second)
		for n, want := range []string{want, before + "; mapped false", want} {
			if got := w.describedState(volume); got != want {
				t.Errorf("describe %d after the change shows %q, want %q", n+1, got, want)
			}
		}
	})
}

func TestDeletedSnapshotsAndImagesAreSeenForTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Latency: sandbox.Latency{Lag: 3 * time.Second}})
		snapshot, err := w.AddSnapshot(sandbox.Snapshot{})
		if err != nil {
			t.Fatal(err)
		}
		image, err := w.AddImage(sandbox.Image{})
		if err != nil {
			t.Fatal(err)
		}
		count := func() string {
			snapshots, err := w.c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{})
			if err != nil {
				t.Fatal(err)
			}
			images, err := w.c.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(len(snapshots.Snapshots), len(images.Images))
		}
		if got := count(); got != "1 1" {
			t.Fatalf("what was added behind EC2's back: %s", got)
		}
		if _, err := w.c.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &snapshot}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.c.DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: &image}); err != nil {
			t.Fatal(err)
		}
		if got := count(); got != "1 1" {
			t.Errorf("right after the deletions: %s", got)
		}
		time.Sleep(3 * time.Second)
		if got := count(); got != "0 0" {
			t.Errorf("after the lag: %s", got)
		}
		time.Sleep(2 * time.Minute)
		w.volume(1) // what nobody sees any more is dropped with the next change
		if got := count(); got != "0 0" {
			t.Errorf("much later: %s", got)
		}
	})
}
