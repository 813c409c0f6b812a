package sandbox_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/sandbox"
)

// serve starts a sandbox over HTTP with loop devices where they are to be had,
// and resets it at the end of the test.
func serve(t *testing.T, cfg sandbox.Config) (*sandbox.Server, *ec2.Client) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "sandbox")
	}
	server, err := sandbox.Serve(t.Context(), cfg, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		if err := sandbox.Reset(cfg.Dir); err != nil {
			t.Error(err)
		}
	})
	return server, client(server.URL())
}

// unpooled opens a connection for each request. One that waits in a pool may be closed just when it is taken, and these
// tests see each answer as it comes: nothing is tried again.
var unpooled = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func client(endpoint string, options ...func(*ec2.Options)) *ec2.Client {
	return ec2.New(ec2.Options{
		BaseEndpoint: &endpoint, Region: sandbox.Region, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		Retryer: aws.NopRetryer{}, HTTPClient: unpooled,
	}, options...)
}

func needLoop(t *testing.T) {
	t.Helper()
	if err := sandbox.Missing(); err != nil {
		t.Skip(err)
	}
}

// needProgram skips, with the reason, where a program is not installed.
func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s", name)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	output, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, output)
	}
	return string(output)
}

func TestWhatWasWrittenBeforeTheSnapshotIsInTheRestoredVolume(t *testing.T) {
	needLoop(t)
	server, c := serve(t, sandbox.Config{})
	ctx, roots := t.Context(), server.Sandbox.Roots()
	instance, err := server.Sandbox.InstanceID()
	if err != nil {
		t.Fatal(err)
	}
	mount := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(mount, 0o755); err != nil {
		t.Fatal(err)
	}

	made, err := c.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: aws.Int32(1), VolumeType: types.VolumeTypeGp3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: made.VolumeId, InstanceId: &instance, Device: aws.String("/dev/sdf")}); err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(roots.Dev, "nvme1n1")
	run(t, "mkfs.ext4", "-q", device)
	run(t, "mount", device, mount)
	defer func() { exec.Command("umount", mount).Run() }()
	if err := os.WriteFile(filepath.Join(mount, "before"), []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "fsfreeze", "-f", mount)
	snapshot, err := c.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: made.VolumeId})
	run(t, "fsfreeze", "-u", mount)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mount, "after"), []byte("lost"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "umount", mount)

	restored, err := c.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), SnapshotId: snapshot.SnapshotId})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: restored.VolumeId, InstanceId: &instance, Device: aws.String("/dev/sdg")}); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(roots.Dev, "nvme2n1")
	run(t, "e2fsck", "-fn", copied)
	run(t, "mount", copied, mount)
	if content, err := os.ReadFile(filepath.Join(mount, "before")); err != nil || string(content) != "kept" {
		t.Errorf("before the snapshot: %q, %v", content, err)
	}
	if _, err := os.Stat(filepath.Join(mount, "after")); !os.IsNotExist(err) {
		t.Errorf("after the snapshot: %v, want no such file", err)
	}
	run(t, "umount", mount)
}
