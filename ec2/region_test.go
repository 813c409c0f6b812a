package ec2

import (
	"errors"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2/ebs"
	"snaptastic/ec2/sandbox"
)

// regions are clients of one sandbox: of its instance's region, of another one, and of another account there.
func regions(t *testing.T) (home, there, theirs *Client, dir string) {
	t.Helper()
	dir = t.TempDir()
	server, err := sandbox.Serve(t.Context(), sandbox.Config{Dir: dir, FilesOnly: true}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	of := func(w sandbox.World) *Client {
		c, err := New(t.Context(), Config{Region: w.Region, EndpointURL: server.URL(), MetadataURL: server.URL(), PollMin: time.Millisecond,
			Credentials: Credentials{ID: w.AccessKey(), Secret: "s"}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	home = of(sandbox.World{Account: sandbox.Account, Region: sandbox.Region})
	if there, err = home.In(t.Context(), "eu-central-1"); err != nil {
		t.Fatal(err)
	}
	return home, there, of(sandbox.World{Account: "222222222222", Region: sandbox.Region}), dir
}

func TestASnapshotIsCopiedIntoTheClientsRegion(t *testing.T) {
	home, there, theirs, dir := regions(t)
	ctx := t.Context()
	if again, err := home.In(ctx, "eu-central-1"); err != nil || again != there {
		t.Error("the client of a region is made twice")
	}
	if same, err := home.In(ctx, sandbox.Region); err != nil || same != home {
		t.Error("the home region has another client")
	}
	v, err := home.CreateVolume(ctx, CreateVolumeRequest{ClientToken: "t", Zone: sandbox.Zone, Size: 1, Type: "gp3"})
	if err != nil {
		t.Fatal(err)
	}
	source, err := home.CreateSnapshot(ctx, CreateSnapshotRequest{VolumeID: v.ID, Tags: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	request := CopySnapshotRequest{SourceID: source.ID, SourceRegion: sandbox.Region, Description: "d", KMSKeyID: "alias/mine", Tags: map[string]string{"snaptastic:token": "x"}}
	id, err := there.CopySnapshot(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	found, err := there.Snapshots(ctx, SnapshotQuery{Tags: map[string][]string{"snaptastic:token": {"x"}}})
	if err != nil || len(found) != 1 || found[0].ID != id || !found[0].Encrypted || found[0].KMSKeyID != "alias/mine" || found[0].State != ebs.SnapshotCompleted {
		t.Errorf("%+v, %v", found, err)
	}
	if all, err := home.Snapshots(ctx, SnapshotQuery{}); err != nil || len(all) != 1 {
		t.Errorf("at home: %v, %v", all, err)
	}

	// A lost answer is ambiguous, and the copy is made once.
	if err := sandbox.SetFaults(sandbox.WorldDir(dir, sandbox.World{Account: sandbox.Account, Region: "eu-central-1"}), sandbox.Latency{Copy: time.Hour},
		sandbox.Fault{Action: "CopySnapshot", Nth: 1, Reset: "after"}); err != nil {
		t.Fatal(err)
	}
	request.Tags = map[string]string{"snaptastic:token": "y"}
	var fault *Fault
	if _, err := there.CopySnapshot(ctx, request); !errors.As(err, &fault) || fault.Class != Ambiguous {
		t.Fatalf("a lost answer: %v", err)
	}
	if found, err := there.Snapshots(ctx, SnapshotQuery{Tags: map[string][]string{"snaptastic:token": {"y"}}}); err != nil || len(found) != 1 || found[0].State != ebs.SnapshotPending {
		t.Errorf("after a lost answer: %+v, %v", found, err)
	}
	for range MaxCopies - 1 {
		if _, err := there.CopySnapshot(ctx, request); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := there.CopySnapshot(ctx, request); !errors.As(err, &fault) || fault.Class != RateExceeded {
		t.Errorf("one more: %v", err)
	}

	if err := home.ShareSnapshot(ctx, source.ID, "222222222222", "333333333333"); err != nil {
		t.Fatal(err)
	}
	if with, err := home.SharedWith(ctx, source.ID); err != nil || strings.Join(with, " ") != "222222222222 333333333333" {
		t.Errorf("shared with %v, %v", with, err)
	}
	given, err := theirs.DescribeShared(ctx, source.ID, "snap-0123456789abcdef0")
	if err != nil || len(given) != 1 || given[source.ID].OwnerID != sandbox.Account || len(given[source.ID].Tags) != 0 {
		t.Errorf("%+v, %v", given, err)
	}
	if all, err := theirs.Snapshots(ctx, SnapshotQuery{}); err != nil || len(all) != 0 {
		t.Errorf("as its own: %v, %v", all, err)
	}
}

func TestASnapshotIsLocked(t *testing.T) {
	home, _, _, _ := regions(t)
	ctx := t.Context()
	v, err := home.CreateVolume(ctx, CreateVolumeRequest{ClientToken: "t", Zone: sandbox.Zone, Size: 1, Type: "gp3"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := home.CreateSnapshot(ctx, CreateSnapshotRequest{VolumeID: v.ID})
	if err != nil {
		t.Fatal(err)
	}
	lock, err := home.LockSnapshot(ctx, LockRequest{SnapshotID: s.ID, Mode: "compliance", Days: 14, CoolOff: 2})
	if err != nil || !lock.Locked() || lock.State != "compliance-cooloff" || time.Until(lock.Expires).Round(time.Hour) != 14*24*time.Hour || time.Until(lock.CoolOffUntil).Round(time.Hour) != 2*time.Hour {
		t.Errorf("%+v, %v", lock, err)
	}
	if err := home.DeleteSnapshot(ctx, s.ID); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("deleting it: %v", err)
	}
}

// An endpoint of Amazon is for the region that it names.
func TestAnEndpointOfAmazonIsLeftBehind(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://ec2.eu-west-1.amazonaws.com": "", "https://vpce-1.ec2.eu-west-1.vpce.amazonaws.com": "", "http://127.0.0.1:4566": "http://127.0.0.1:4566", "": "",
	} {
		c, err := New(t.Context(), Config{Region: "eu-west-1", EndpointURL: endpoint, Credentials: Credentials{ID: "a", Secret: "b"}})
		if err != nil {
			t.Fatal(err)
		}
		there, err := c.In(t.Context(), "us-east-1")
		if err != nil || there.config.EndpointURL != want || there.config.Region != "us-east-1" {
			t.Errorf("%s: %q in %s, %v", endpoint, there.config.EndpointURL, there.config.Region, err)
		}
	}
	t.Setenv("AWS_ENDPOINT_URL_EC2", "https://ec2.eu-west-1.amazonaws.com")
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	c, err := New(t.Context(), Config{Region: "eu-west-1"})
	if err != nil {
		t.Fatal(err)
	}
	there, err := c.In(t.Context(), "us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	for client, want := range map[*Client]bool{c: true, there: false} {
		api, err := client.connect(t.Context())
		if err != nil || (api.Options().BaseEndpoint != nil) != want {
			t.Errorf("%s: endpoint %v, %v", client.region, api.Options().BaseEndpoint, err)
		}
	}
}
