package sandbox_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/sandbox"
)

var background = context.Background()

const other = "222222222222" // another account

var frankfurt = sandbox.World{Account: sandbox.Account, Region: "eu-central-1"}

// of is a client of the sandbox in another world.
func (w *rig) of(world sandbox.World) *ec2.Client {
	return client(w.url, func(o *ec2.Options) {
		o.Region, o.Credentials = world.Region, credentials.NewStaticCredentialsProvider(world.AccessKey(), "secret", "")
	})
}

// inMemoryOf is a client of an in-memory sandbox in another world.
func inMemoryOf(w *rig, world sandbox.World) *ec2.Client {
	return client("http://sandbox.invalid", func(o *ec2.Options) {
		o.HTTPClient, o.Region, o.Credentials = inProcess(w.Sandbox), world.Region, credentials.NewStaticCredentialsProvider(world.AccessKey(), "secret", "")
	})
}

// metadata reads a path below /latest/.
func metadata(t *testing.T, url, path string) string {
	t.Helper()
	client := imds.New(imds.Options{Endpoint: url, HTTPClient: unpooled})
	kind, rest, _ := strings.Cut(path, "/")
	var content io.ReadCloser
	var err error
	switch kind {
	case "user-data":
		var out *imds.GetUserDataOutput
		if out, err = client.GetUserData(background, nil); err == nil {
			content = out.Content
		}
	case "dynamic":
		var out *imds.GetDynamicDataOutput
		if out, err = client.GetDynamicData(background, &imds.GetDynamicDataInput{Path: rest}); err == nil {
			content = out.Content
		}
	default:
		var out *imds.GetMetadataOutput
		if out, err = client.GetMetadata(background, &imds.GetMetadataInput{Path: rest}); err == nil {
			content = out.Content
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// copyTo copies a snapshot of the rig's own world.
func copyTo(c *ec2.Client, id string, edits ...func(*ec2.CopySnapshotInput)) (string, error) {
	in := &ec2.CopySnapshotInput{SourceSnapshotId: &id, SourceRegion: aws.String(sandbox.Region)}
	for _, edit := range edits {
		edit(in)
	}
	out, err := c.CopySnapshot(background, in)
	if err != nil {
		return "", err
	}
	return *out.SnapshotId, nil
}

func look(t *testing.T, c *ec2.Client, in *ec2.DescribeSnapshotsInput) []types.Snapshot {
	t.Helper()
	out, err := c.DescribeSnapshots(background, in)
	if err != nil {
		t.Fatal(err)
	}
	return out.Snapshots
}

func one(t *testing.T, c *ec2.Client, id string) types.Snapshot {
	t.Helper()
	return look(t, c, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})[0]
}

func TestNothingOfOneWorldIsSeenFromAnother(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	volume := w.volume(1)
	snapshot := w.snapshot(volume, tag("role", "db"))
	for _, world := range []sandbox.World{frankfurt, {Account: other, Region: sandbox.Region}, {Account: other, Region: "us-east-1"}} {
		c := w.of(world)
		if _, err := c.DescribeSnapshots(background, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snapshot}}); errorCode(err) != "InvalidSnapshot.NotFound" {
			t.Errorf("%s: the snapshot by id: %v", world, err)
		}
		if all := look(t, c, &ec2.DescribeSnapshotsInput{}); len(all) != 0 {
			t.Errorf("%s sees %d snapshots", world, len(all))
		}
		volumes, err := c.DescribeVolumes(background, nil)
		if err != nil || len(volumes.Volumes) != 1 || *volumes.Volumes[0].AvailabilityZone != world.Region+"a" {
			t.Errorf("%s: volumes %v, %v, want a root volume of its own", world, volumes, err)
		}
		instances, err := c.DescribeInstances(background, nil)
		if err != nil || len(instances.Reservations) != 1 || *instances.Reservations[0].OwnerId != world.Account {
			t.Errorf("%s: %v, %v", world, instances, err)
		}
		tags, err := c.DescribeTags(background, nil)
		if err != nil || len(tags.Tags) != 1 {
			t.Errorf("%s: tags %v, %v, want the instance's name alone", world, tags, err)
		}
		for name, call := range map[string]func() error{
			"DeleteVolume": func() error {
				_, err := c.DeleteVolume(background, &ec2.DeleteVolumeInput{VolumeId: &volume})
				return err
			},
			"DeleteSnapshot": func() error {
				_, err := c.DeleteSnapshot(background, &ec2.DeleteSnapshotInput{SnapshotId: &snapshot})
				return err
			},
			"CreateTags": func() error {
				_, err := c.CreateTags(background, &ec2.CreateTagsInput{Resources: []string{volume}, Tags: []types.Tag{tag("a", "b")}})
				return err
			},
			"AttachVolume": func() error {
				id := instances.Reservations[0].Instances[0].InstanceId
				_, err := c.AttachVolume(background, &ec2.AttachVolumeInput{VolumeId: &volume, InstanceId: id, Device: aws.String("/dev/sdf")})
				return err
			},
		} {
			if code := errorCode(call()); !strings.HasSuffix(code, ".NotFound") {
				t.Errorf("%s in %s: %s", name, world, code)
			}
		}
	}
	_, err := w.of(sandbox.World{Account: other, Region: "eu-moon-1"}).DescribeVolumes(background, nil)
	if errorCode(err) != "AuthFailure" {
		t.Errorf("a region that does not exist: %v", err)
	}
	if len(w.describe(volume).Tags) != 0 {
		t.Error("the volume was tagged from elsewhere")
	}
}

// A client token is an account's own in a region.
func TestAClientTokenIsOfOneWorld(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	mine := w.volume(1, func(in *ec2.CreateVolumeInput) { in.ClientToken = aws.String("one") })
	out, err := w.of(frankfurt).CreateVolume(background, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-central-1b"), Size: aws.Int32(1), ClientToken: aws.String("one")})
	if err != nil || *out.VolumeId == mine {
		t.Errorf("%v, %v", out, err)
	}
	if _, err := w.of(frankfurt).CreateVolume(background, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: aws.Int32(1)}); errorCode(err) != "InvalidZone.NotFound" {
		t.Errorf("a zone of another region: %v", err)
	}
}

func TestACopyIsMadeInTheRegionThatIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Latency: sandbox.Latency{Copy: 100 * time.Second}})
		there := inMemoryOf(w, frankfurt)
		source := w.snapshot(w.volume(3), tag("role", "db"))
		id, err := copyTo(there, source, func(in *ec2.CopySnapshotInput) {
			in.Description = aws.String("a copy")
			in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{tag("token", "x")}}}
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		s := one(t, there, id)
		if s.State != types.SnapshotStatePending || *s.Progress != "30%" || *s.VolumeSize != 3 || *s.Description != "a copy" || len(s.Tags) != 1 || *s.VolumeId != "vol-ffffffff" {
			t.Errorf("while it is made: %s %s %v %v", s.State, *s.Progress, s.Tags, *s.VolumeId)
		}
		if _, err := there.CreateVolume(background, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-central-1a"), SnapshotId: &id}); errorCode(err) != "IncorrectState" {
			t.Errorf("a volume from a copy that is not done: %v", err)
		}
		time.Sleep(71 * time.Second)
		if s := one(t, there, id); s.State != types.SnapshotStateCompleted || s.CompletionTime == nil {
			t.Errorf("afterwards: %s", s.State)
		}
		// A second request is a second copy.
		if again, err := copyTo(there, source); err != nil || again == id {
			t.Errorf("again: %s, %v", again, err)
		}
		if all := look(t, w.c, &ec2.DescribeSnapshotsInput{}); len(all) != 1 {
			t.Errorf("%d snapshots at home", len(all))
		}
		for code, edit := range map[string]func(*ec2.CopySnapshotInput){
			"InvalidSnapshot.NotFound":    func(in *ec2.CopySnapshotInput) { in.SourceRegion = aws.String("us-east-1") },
			"InvalidSnapshotID.Malformed": func(in *ec2.CopySnapshotInput) { in.SourceSnapshotId = aws.String("snap-x") },
			"InvalidParameterValue":       func(in *ec2.CopySnapshotInput) { in.CompletionDurationMinutes = aws.Int32(20) },
			"InvalidParameterDependency":  func(in *ec2.CopySnapshotInput) { in.KmsKeyId = aws.String("alias/a") },
		} {
			if _, err := copyTo(there, source, edit); errorCode(err) != code {
				t.Errorf("want %s: %v", code, err)
			}
		}
	})
}

func TestTwentyCopiesAreMadeAtOnceIntoARegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Latency: sandbox.Latency{Copy: time.Minute}})
		there, elsewhere := inMemoryOf(w, frankfurt), inMemoryOf(w, sandbox.World{Account: sandbox.Account, Region: "us-east-1"})
		source := w.snapshot(w.volume(1))
		var ids []string
		for range 20 {
			id, err := copyTo(there, source)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		_, err := copyTo(there, source)
		if errorCode(err) != "ResourceLimitExceeded" || !strings.Contains(err.Error(), "Too many snapshot copies in progress. The limit is 20 for this destination region.") {
			t.Errorf("number 21: %v", err)
		}
		if _, err := copyTo(elsewhere, source); err != nil {
			t.Errorf("into another region: %v", err)
		}
		if _, err := there.DeleteSnapshot(background, &ec2.DeleteSnapshotInput{SnapshotId: &ids[0]}); err != nil {
			t.Fatal(err)
		}
		if _, err := copyTo(there, source); err != nil {
			t.Errorf("after one was deleted: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := copyTo(there, source); err != nil {
			t.Errorf("after they are done: %v", err)
		}
	})
}

func TestACopyWhoseSourceIsDeletedFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Latency: sandbox.Latency{Copy: time.Minute}})
		there := inMemoryOf(w, frankfurt)
		source, kept := w.snapshot(w.volume(1)), w.snapshot(w.volume(1))
		done, err := copyTo(there, kept)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Second)
		id, err := copyTo(there, source)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		for _, source := range []string{source, kept} {
			if _, err := w.c.DeleteSnapshot(background, &ec2.DeleteSnapshotInput{SnapshotId: &source}); err != nil {
				t.Fatal(err)
			}
		}
		if s := one(t, there, id); s.State != types.SnapshotStateError || !strings.Contains(aws.ToString(s.StateMessage), source) {
			t.Errorf("the copy that was under way: %s %s", s.State, aws.ToString(s.StateMessage))
		}
		if s := one(t, there, done); s.State != types.SnapshotStateCompleted {
			t.Errorf("the copy that was done: %s", s.State)
		}
	})
}

func TestAKeyThatCannotBeUsedShowsLater(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	there := w.of(frankfurt)
	if err := sandbox.DisableKeys(sandbox.WorldDir(w.dir(), frankfurt), "*key/1234*"); err != nil {
		t.Fatal(err)
	}
	source := w.snapshot(w.volume(1))
	with := func(key string) types.Snapshot {
		id, err := copyTo(there, source, func(in *ec2.CopySnapshotInput) { in.Encrypted, in.KmsKeyId = aws.Bool(true), &key })
		if err != nil {
			t.Fatalf("%s: the request is refused: %v", key, err)
		}
		return one(t, there, id)
	}
	const arn = "arn:aws:kms:eu-central-1:123456789012:key/"
	for _, key := range []string{arn + "1234abcd", "arn:aws:kms:eu-west-1:123456789012:key/5678"} {
		if s := with(key); s.State != types.SnapshotStateError || aws.ToString(s.StateMessage) != "Given key ID is not accessible" {
			t.Errorf("%s: %s %s", key, s.State, aws.ToString(s.StateMessage))
		}
	}
	if s := with(arn + "5678"); s.State != types.SnapshotStateCompleted || !*s.Encrypted || *s.KmsKeyId != arn+"5678" {
		t.Errorf("a key that can be used: %s", s.State)
	}
	// The faults of one world are not those of another one.
	if id, err := copyTo(w.c, source, func(in *ec2.CopySnapshotInput) { in.Encrypted, in.KmsKeyId = aws.Bool(true), aws.String("key/1234") }); err != nil || one(t, w.c, id).State != types.SnapshotStateCompleted {
		t.Errorf("at home: %v", err)
	}
}

// An encrypted source needs a pre-signed URL, which every SDK makes.
func TestACopyOfAnEncryptedSnapshot(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	source := w.snapshot(w.volume(1, func(in *ec2.CreateVolumeInput) { in.Encrypted = aws.Bool(true) }))
	there := w.of(frankfurt)
	id, err := copyTo(there, source)
	if err != nil {
		t.Fatal(err)
	}
	if s := one(t, there, id); s.State != types.SnapshotStateCompleted || !*s.Encrypted || *s.KmsKeyId != "arn:aws:kms:eu-central-1:123456789012:key/aws-ebs" {
		t.Errorf("%s, %s", s.State, aws.ToString(s.KmsKeyId))
	}
}

func TestASharedSnapshot(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	guest := sandbox.World{Account: other, Region: sandbox.Region}
	theirs := w.of(guest)
	snapshot, secret := w.snapshot(w.volume(1), tag("role", "db")), w.snapshot(w.volume(1))
	share := func(id string, operation types.OperationType, users ...string) error {
		_, err := w.c.ModifySnapshotAttribute(background, &ec2.ModifySnapshotAttributeInput{SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
			OperationType: operation, UserIds: users})
		return err
	}
	if err := share(snapshot, types.OperationTypeAdd, other, "333333333333"); err != nil {
		t.Fatal(err)
	}
	shared, err := w.c.DescribeSnapshotAttribute(background, &ec2.DescribeSnapshotAttributeInput{SnapshotId: &snapshot, Attribute: types.SnapshotAttributeNameCreateVolumePermission})
	if err != nil || len(shared.CreateVolumePermissions) != 2 || *shared.CreateVolumePermissions[0].UserId != other {
		t.Errorf("%v, %v", shared, err)
	}
	for name, in := range map[string]*ec2.DescribeSnapshotsInput{
		"by id": {SnapshotIds: []string{snapshot}}, "restorable": {RestorableByUserIds: []string{"self"}},
		"owner": {OwnerIds: []string{sandbox.Account}}, "all": {},
	} {
		if found := look(t, theirs, in); len(found) != 1 || *found[0].SnapshotId != snapshot || *found[0].OwnerId != sandbox.Account || len(found[0].Tags) != 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
	if found := look(t, theirs, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}}); len(found) != 0 {
		t.Errorf("as its own: %v", found)
	}
	if found := look(t, w.c, &ec2.DescribeSnapshotsInput{RestorableByUserIds: []string{other}}); len(found) != 1 {
		t.Errorf("the owner asks who may restore: %v", found)
	}
	if found := look(t, w.of(sandbox.World{Account: other, Region: "us-east-1"}), &ec2.DescribeSnapshotsInput{}); len(found) != 0 {
		t.Errorf("in another region: %v", found)
	}
	// Whoever it is shared with has tags of his own on it.
	if _, err := theirs.CreateTags(background, &ec2.CreateTagsInput{Resources: []string{snapshot}, Tags: []types.Tag{tag("mine", "yes")}}); err != nil {
		t.Fatal(err)
	}
	if s := one(t, theirs, snapshot); len(s.Tags) != 1 || *s.Tags[0].Key != "mine" {
		t.Errorf("the guest's tags: %v", s.Tags)
	}
	if s := one(t, w.c, snapshot); len(s.Tags) != 1 || *s.Tags[0].Key != "role" {
		t.Errorf("the owner's tags: %v", s.Tags)
	}
	if _, err := theirs.CreateVolume(background, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), SnapshotId: &snapshot}); err != nil {
		t.Errorf("a volume from it: %v", err)
	}
	// A copy into another region of the other account, from where it is shared.
	far := w.of(sandbox.World{Account: other, Region: "us-east-1"})
	id, err := copyTo(far, snapshot)
	if err != nil || *one(t, far, id).OwnerId != other {
		t.Errorf("a copy of it: %v", err)
	}
	if _, err := copyTo(far, secret); errorCode(err) != "InvalidSnapshot.NotFound" {
		t.Errorf("a copy of what is not shared: %v", err)
	}
	for name, call := range map[string]func() error{
		"delete": func() error {
			_, err := theirs.DeleteSnapshot(background, &ec2.DeleteSnapshotInput{SnapshotId: &snapshot})
			return err
		},
		"lock": func() error {
			_, err := theirs.LockSnapshot(background, &ec2.LockSnapshotInput{SnapshotId: &snapshot, LockMode: types.LockModeGovernance, LockDuration: aws.Int32(1)})
			return err
		},
		"share": func() error {
			_, err := theirs.ModifySnapshotAttribute(background, &ec2.ModifySnapshotAttributeInput{SnapshotId: &snapshot, OperationType: types.OperationTypeAdd, UserIds: []string{"444444444444"}})
			return err
		},
	} {
		if code := errorCode(call()); code != "UnauthorizedOperation" {
			t.Errorf("%s by the guest: %s", name, code)
		}
	}
	if err := share(snapshot, types.OperationTypeRemove, other); err != nil {
		t.Fatal(err)
	}
	if _, err := copyTo(far, snapshot); errorCode(err) != "InvalidSnapshot.NotFound" {
		t.Errorf("after the share ended: %v", err)
	}

	encrypted := w.snapshot(w.volume(1, func(in *ec2.CreateVolumeInput) { in.Encrypted = aws.Bool(true) }))
	if err := share(encrypted, types.OperationTypeAdd, other); errorCode(err) != "OperationNotPermitted" {
		t.Errorf("with the default key: %v", err)
	}
	own := w.snapshot(w.volume(1, func(in *ec2.CreateVolumeInput) { in.Encrypted, in.KmsKeyId = aws.Bool(true), aws.String("alias/mine") }))
	if err := share(own, types.OperationTypeAdd, other); err != nil {
		t.Errorf("with a key of its own: %v", err)
	}
	if err := share(snapshot, types.OperationTypeAdd, "me"); errorCode(err) != "InvalidUserID.Malformed" {
		t.Errorf("a user that is no account: %v", err)
	}
	if err := share(snapshot, types.OperationTypeAdd, slices.Repeat([]string{other}, 501)...); errorCode(err) != "InvalidParameterValue" {
		t.Errorf("501 at once: %v", err)
	}
}

func TestALockHoldsUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Latency: sandbox.Latency{Snapshot: 24 * time.Hour}})
		id := w.snapshot(w.volume(1))
		lock := func(mode types.LockMode, days, hours int32) (*ec2.LockSnapshotOutput, error) {
			in := &ec2.LockSnapshotInput{SnapshotId: &id, LockMode: mode, LockDuration: &days}
			if hours > 0 {
				in.CoolOffPeriod = &hours
			}
			return w.c.LockSnapshot(background, in)
		}
		state := func() types.LockedSnapshotsInfo {
			out, err := w.c.DescribeLockedSnapshots(background, &ec2.DescribeLockedSnapshotsInput{SnapshotIds: []string{id}})
			if err != nil || len(out.Snapshots) != 1 {
				t.Fatalf("%v, %v", out, err)
			}
			return out.Snapshots[0]
		}
		remove := func() error {
			_, err := w.c.DeleteSnapshot(background, &ec2.DeleteSnapshotInput{SnapshotId: &id})
			return err
		}
		for name, try := range map[string]func() (*ec2.LockSnapshotOutput, error){
			"InvalidParameterCombination, cool-off and governance": func() (*ec2.LockSnapshotOutput, error) { return lock("governance", 1, 1) },
			"InvalidParameterValue, cool-off of 73 hours":          func() (*ec2.LockSnapshotOutput, error) { return lock("compliance", 1, 73) },
			"InvalidParameterValue, 36501 days":                    func() (*ec2.LockSnapshotOutput, error) { return lock("governance", 36501, 0) },
			"InvalidParameterValue, another mode":                  func() (*ec2.LockSnapshotOutput, error) { return lock("strong", 1, 0) },
			"InvalidParameterCombination, two ends": func() (*ec2.LockSnapshotOutput, error) {
				return w.c.LockSnapshot(background, &ec2.LockSnapshotInput{SnapshotId: &id, LockMode: "governance", LockDuration: aws.Int32(1), ExpirationDate: aws.Time(time.Now().AddDate(0, 0, 2))})
			},
		} {
			code, _, _ := strings.Cut(name, ",")
			if _, err := try(); errorCode(err) != code {
				t.Errorf("%s: %v", name, err)
			}
		}
		// The duration of a pending snapshot starts with its completion.
		out, err := lock("governance", 2, 0)
		if err != nil || out.LockExpiresOn != nil || out.LockState != types.LockStateGovernance {
			t.Fatalf("%v, %v", out, err)
		}
		if err := remove(); errorCode(err) != "SnapshotLocked" {
			t.Errorf("deleting it: %v", err)
		}
		time.Sleep(25 * time.Hour)
		if s := state(); s.LockExpiresOn == nil || s.LockExpiresOn.Sub(*s.LockDurationStartTime) != 48*time.Hour {
			t.Errorf("completed: %v", s)
		}
		time.Sleep(46 * time.Hour)
		if err := remove(); errorCode(err) != "SnapshotLocked" {
			t.Errorf("deleting it two days after it was taken: %v", err)
		}
		time.Sleep(time.Hour)
		if s := state(); s.LockState != types.LockStateExpired {
			t.Errorf("afterwards: %s", s.LockState)
		}
		if out, err := lock("compliance", 10, 2); err != nil || out.LockState != types.LockStateComplianceCooloff || *out.CoolOffPeriod != 2 {
			t.Fatalf("%v, %v", out, err)
		}
		if _, err := w.c.UnlockSnapshot(background, &ec2.UnlockSnapshotInput{SnapshotId: &id}); err != nil {
			t.Fatalf("unlocking it while it cools off: %v", err)
		}
		if _, err := lock("compliance", 10, 2); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if s := state(); s.LockState != types.LockStateCompliance {
			t.Errorf("cooled off: %s", s.LockState)
		}
		for name, try := range map[string]func() error{
			"unlock": func() error {
				_, err := w.c.UnlockSnapshot(background, &ec2.UnlockSnapshotInput{SnapshotId: &id})
				return err
			},
			"shorten":    func() error { _, err := lock("compliance", 5, 0); return err },
			"governance": func() error { _, err := lock("governance", 50, 0); return err },
			"cool off":   func() error { _, err := lock("compliance", 50, 1); return err },
		} {
			if code := errorCode(try()); code != "OperationNotPermitted" {
				t.Errorf("%s: %s", name, code)
			}
		}
		if _, err := lock("compliance", 20, 0); err != nil {
			t.Errorf("prolonging it: %v", err)
		}
		if err := remove(); errorCode(err) != "SnapshotLocked" {
			t.Errorf("deleting it: %v", err)
		}
		time.Sleep(20 * 24 * time.Hour)
		if err := remove(); err != nil {
			t.Errorf("deleting it at last: %v", err)
		}
	})
}

// An instance in another account and region has its own metadata and devices, in a process of its own over one store.
func TestAnInstanceElsewhereRestoresACopy(t *testing.T) {
	needLoop(t)
	here, c := serve(t, sandbox.Config{})
	world := sandbox.World{Account: other, Region: "us-east-1"}
	dir := filepath.Dir(here.Sandbox.Roots().Dev)
	there, err := sandbox.Serve(t.Context(), sandbox.Config{Dir: sandbox.WorldDir(dir, world), UserData: "there"}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	if there.Sandbox.Roots().Dev == here.Sandbox.Roots().Dev {
		t.Fatal("both instances have one /dev")
	}
	id, err := there.Sandbox.InstanceID()
	if err != nil {
		t.Fatal(err)
	}
	home, err := here.Sandbox.InstanceID()
	if err != nil || id == home {
		t.Fatalf("%s and %s, %v", id, home, err)
	}
	for path, want := range map[string]string{"meta-data/instance-id": id, "meta-data/placement/region": "us-east-1", "user-data": "there",
		"dynamic/instance-identity/document": `"accountId": "` + other + `"`, "meta-data/iam/security-credentials/sandbox-role": "SANDBOX" + other} {
		if got := metadata(t, there.URL(), path); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}

	volume, err := c.CreateVolume(background, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	attach := func(c *ec2.Client, volume, instance *string) {
		t.Helper()
		if _, err := c.AttachVolume(background, &ec2.AttachVolumeInput{VolumeId: volume, InstanceId: instance, Device: aws.String("/dev/sdf")}); err != nil {
			t.Fatal(err)
		}
	}
	attach(c, volume.VolumeId, &home)
	run(t, "mkfs.ext4", "-q", "-L", "elsewhere", filepath.Join(here.Sandbox.Roots().Dev, "nvme1n1"))
	snapshot, err := c.CreateSnapshot(background, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ModifySnapshotAttribute(background, &ec2.ModifySnapshotAttributeInput{SnapshotId: snapshot.SnapshotId, OperationType: types.OperationTypeAdd, UserIds: []string{other}}); err != nil {
		t.Fatal(err)
	}
	far := client(there.URL(), func(o *ec2.Options) {
		o.Region, o.Credentials = world.Region, credentials.NewStaticCredentialsProvider(world.AccessKey(), "secret", "")
	})
	copied, err := copyTo(far, *snapshot.SnapshotId)
	if err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Lose(dir, sandbox.Region); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DescribeVolumes(background, nil); errorCode(err) != "ServiceUnavailable" {
		t.Errorf("the region that is lost: %v", err)
	}
	if links, _ := filepath.Glob(filepath.Join(here.Sandbox.Roots().Dev, "nvme*")); len(links) != 0 {
		t.Errorf("devices left: %v", links)
	}
	restored, err := far.CreateVolume(background, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), SnapshotId: &copied})
	if err != nil {
		t.Fatal(err)
	}
	attach(far, restored.VolumeId, &id)
	device := filepath.Join(there.Sandbox.Roots().Dev, "nvme1n1")
	if label, err := exec.Command("blkid", "-p", "-s", "LABEL", "-o", "value", device).CombinedOutput(); err != nil || strings.TrimSpace(string(label)) != "elsewhere" {
		t.Errorf("the restored volume: %s, %v", label, err)
	}
	if err := os.Remove(filepath.Join(dir, "lost", sandbox.Region)); err != nil {
		t.Fatal(err)
	}
	out, err := c.DescribeSnapshots(background, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil || len(out.Snapshots) != 0 {
		t.Errorf("the region that is back: %v, %v", out, err)
	}
	if err := sandbox.Reset(sandbox.WorldDir(dir, world)); err == nil {
		t.Error("a part of a sandbox was reset")
	}
}

func TestALostRegionFailsTheCopiesOfItsSnapshots(t *testing.T) {
	w := filesOnly(t, sandbox.Config{Latency: sandbox.Latency{Copy: time.Hour}})
	there := w.of(frankfurt)
	id, err := copyTo(there, w.snapshot(w.volume(1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Lose(w.dir(), sandbox.Region); err != nil {
		t.Fatal(err)
	}
	if s := one(t, there, id); s.State != types.SnapshotStateError {
		t.Errorf("%s", s.State)
	}
	if _, err := copyTo(there, id); errorCode(err) != "ServiceUnavailable" {
		t.Errorf("a copy from the lost region: %v", err)
	}
	if err := sandbox.Lose(w.dir(), "eu-moon-1"); err == nil || !strings.Contains(err.Error(), "eu-central-1") {
		t.Errorf("a region that does not exist: %v", err)
	}
}

func TestTheFolderOfAWorldNamesIt(t *testing.T) {
	for _, world := range []sandbox.World{{Account: sandbox.Account, Region: sandbox.Region}, frankfurt, {Account: other, Region: sandbox.Region}} {
		for _, dir := range []string{"/var/lib/sandbox", "sandbox"} {
			root, got := sandbox.SplitDir(sandbox.WorldDir(dir, world))
			if root != dir || got != world {
				t.Errorf("%s: %s, %s", fmt.Sprint(world), root, got)
			}
		}
	}
	if _, world := sandbox.SplitDir("/var/worlds/222222222222/nowhere"); world.Region != sandbox.Region {
		t.Errorf("a folder by chance: %s", world)
	}
}
