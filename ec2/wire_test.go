package ec2_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// startSandbox serves a sandbox of files over HTTP, and returns a client of it that comes by its region and its
// credentials as on an instance: from the metadata service.
func startSandbox(t *testing.T, cfg sandbox.Config) (*ec2.Client, *sandbox.Sandbox) {
	t.Helper()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	cfg.Dir, cfg.FilesOnly = t.TempDir(), true
	world, err := sandbox.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { world.Close() })
	server := httptest.NewServer(world.Handler())
	t.Cleanup(server.Close)
	client, err := ec2.New(t.Context(), ec2.Config{
		EndpointURL: server.URL, MetadataURL: server.URL, PollMin: 20 * time.Millisecond, PageSize: 5, UserAgent: "snaptastic/test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return client, world
}

// The whole life of a volume, with EC2 lagging behind, and with the answers to its creation and its snapshot lost.
func TestTheLifeOfAVolumeAgainstTheSandbox(t *testing.T) {
	client, _ := startSandbox(t, sandbox.Config{
		Latency: sandbox.Latency{Create: 100 * time.Millisecond, Attach: 100 * time.Millisecond, Snapshot: 100 * time.Millisecond, Lag: 150 * time.Millisecond},
		Faults: []sandbox.Fault{
			{Action: "CreateVolume", Nth: 1, Reset: "after"},
			{Action: "CreateSnapshots", Nth: 1, Reset: "after"},
			{Action: "AttachVolume", Nth: 1, Error: "RequestLimitExceeded"},
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	identity, err := client.Metadata().Identity(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if region, err := client.Region(ctx); err != nil || region != identity.Region {
		t.Fatalf("region %q: %v", region, err)
	}
	attached := func(v ec2.Volume) (bool, error) {
		on, ok := v.On(identity.InstanceID)
		return ok && on.State == "attached", nil
	}
	tags := map[string]string{"snaptastic:token": "one"}
	volume, err := client.CreateVolume(ctx, ec2.CreateVolumeRequest{ClientToken: "one", Zone: identity.Zone, Size: 1, Type: "gp3", Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = client.WaitVolume(ctx, volume.ID, func(v ec2.Volume) (bool, error) { return v.State == "available", nil }, nil); err != nil {
		t.Fatal(err)
	}
	if same, err := client.VolumesByTag(ctx, tags); err != nil || len(same) != 1 || same[0].ID != volume.ID {
		t.Errorf("the lost answer made %+v: %v", same, err)
	}
	if _, err = client.AttachVolume(ctx, volume.ID, identity.InstanceID, "/dev/sdf"); err != nil {
		t.Fatal(err)
	}
	if volume, err = client.WaitVolume(ctx, volume.ID, attached, nil); err != nil {
		t.Fatal(err)
	}
	if err := client.SetDeleteOnTermination(ctx, identity.InstanceID, "/dev/sdf", true); err != nil {
		t.Error(err)
	}
	if _, err := client.AttachVolume(ctx, volume.ID, identity.InstanceID, "/dev/sdg"); ec2.ClassOf(err) != ec2.InUse {
		t.Errorf("attached twice: %v", err)
	}
	snapshotOnce(ctx, t, client, identity.InstanceID, volume.ID)
	if err := client.Warm(ctx); err != nil {
		t.Error(err)
	}
	for range 2 { // the second finds it off already
		if err := client.DetachVolume(ctx, volume.ID, identity.InstanceID, "/dev/sdf"); err != nil {
			t.Error(err)
		}
		if _, err = client.WaitVolume(ctx, volume.ID, func(v ec2.Volume) (bool, error) { return v.State == "available", nil }, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.DeleteVolume(ctx, volume.ID); err != nil {
		t.Error(err)
	}
}

func snapshotOnce(ctx context.Context, t *testing.T, client *ec2.Client, instance, volume string) {
	t.Helper()
	_, err := client.CreateSnapshots(ctx, ec2.CreateSnapshotsRequest{
		InstanceID: instance, ExcludeBoot: true, Tags: map[string]string{"snaptastic:token": "two"},
	})
	fault, ok := errors.AsType[*ec2.Fault](err)
	if !ok || fault.Class != ec2.Ambiguous {
		t.Fatalf("a lost answer is %v", err)
	}
	query := ec2.SnapshotQuery{Tags: map[string][]string{"snaptastic:token": {ec2.Literal("two")}}}
	var made []ec2.Snapshot
	for len(made) == 0 && ctx.Err() == nil { // visible after the lag
		if made, err = client.Snapshots(ctx, query); err != nil {
			t.Fatal(err)
		}
	}
	if len(made) != 1 || made[0].VolumeID != volume {
		t.Fatalf("made %+v", made)
	}
	done, err := client.WaitSnapshot(ctx, made[0].ID, func(s ec2.Snapshot) (bool, error) { return s.State == "completed", nil }, nil)
	if err != nil || done.Progress != 100 {
		t.Errorf("%+v: %v", done, err)
	}
	if err := client.CreateTags(ctx, []string{done.ID}, map[string]string{"snaptastic:state": "consistent"}); err != nil {
		t.Error(err)
	}
	if err := client.DeleteSnapshot(ctx, done.ID); err != nil {
		t.Error(err)
	}
}

func TestPagesOfTheSandboxAreAllRead(t *testing.T) {
	client, _ := startSandbox(t, sandbox.Config{})
	for i := range 12 {
		_, err := client.CreateVolume(t.Context(), ec2.CreateVolumeRequest{
			ClientToken: fmt.Sprint(i), Zone: sandbox.Zone, Size: 1, Tags: map[string]string{"role": "solr"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	found, err := client.VolumesByTag(t.Context(), map[string]string{"role": "solr"})
	if err != nil || len(found) != 12 {
		t.Errorf("found %d: %v", len(found), err)
	}
}

func TestEachPermissionCanBeTriedOnTheSandbox(t *testing.T) {
	client, world := startSandbox(t, sandbox.Config{Faults: []sandbox.Fault{{Action: "DeleteSnapshot", Error: "UnauthorizedOperation"}}})
	identity, err := client.Metadata().Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	volume, err := world.AddVolume("/dev/sdf", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := client.CreateSnapshot(t.Context(), ec2.CreateSnapshotRequest{VolumeID: volume})
	if err != nil {
		t.Fatal(err)
	}
	on := ec2.DryRunRequest{InstanceID: identity.InstanceID, VolumeID: volume, SnapshotID: snapshot.ID, Zone: identity.Zone, Device: "/dev/sdg"}
	for _, action := range ec2.Permissions {
		// The sandbox may find another fault with a request, as EC2 may: that the volume is attached, say.
		err := client.DryRun(t.Context(), action, on)
		if denied := ec2.ClassOf(err) == ec2.Denied; denied != (action == "DeleteSnapshot") {
			t.Errorf("%s: %v", action, err)
		}
	}
	if left, err := client.Volume(t.Context(), volume); err != nil || len(left.Tags) != 0 || left.Attachments[0].State != "attached" {
		t.Errorf("the dry runs left %+v: %v", left, err)
	}
}
