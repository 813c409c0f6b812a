package sandbox_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/sandbox"
)

func benchSandbox(b *testing.B, cfg sandbox.Config) (*sandbox.Server, *ec2.Client) {
	b.Helper()
	cfg.Dir = filepath.Join(b.TempDir(), "sandbox")
	server, err := sandbox.Serve(b.Context(), cfg, "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		server.Close()
		if err := sandbox.Reset(cfg.Dir); err != nil {
			b.Error(err)
		}
	})
	return server, client(server.URL())
}

func BenchmarkDescribeAVolume(b *testing.B) {
	_, c := benchSandbox(b, sandbox.Config{FilesOnly: true})
	for b.Loop() {
		if _, err := c.DescribeVolumes(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFindOneOf1000Snapshots(b *testing.B) {
	server, c := benchSandbox(b, sandbox.Config{FilesOnly: true})
	for i := range 1000 {
		_, err := server.Sandbox.AddSnapshot(sandbox.Snapshot{Tags: sandbox.Tags{"n": {Value: fmt.Sprint(i)}}})
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		out, err := c.DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: []types.Filter{filter("tag:n", "77")}})
		if err != nil || len(out.Snapshots) != 1 {
			b.Fatal(out, err)
		}
	}
}

func BenchmarkTagASnapshotOf1000(b *testing.B) {
	server, c := benchSandbox(b, sandbox.Config{FilesOnly: true})
	var last string
	for range 1000 {
		id, err := server.Sandbox.AddSnapshot(sandbox.Snapshot{})
		if err != nil {
			b.Fatal(err)
		}
		last = id
	}
	n := 0
	for b.Loop() {
		n++
		if _, err := c.CreateTags(b.Context(), &ec2.CreateTagsInput{Resources: []string{last}, Tags: []types.Tag{tag("n", fmt.Sprint(n))}}); err != nil {
			b.Fatal(err)
		}
	}
}

// The call that a freeze waits for: eight volumes with 64 MiB each.
func BenchmarkSnapshotsOfEightVolumes(b *testing.B) {
	if err := sandbox.Missing(); err != nil {
		b.Skip(err)
	}
	server, c := benchSandbox(b, sandbox.Config{})
	instance, err := server.Sandbox.InstanceID()
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 64<<20)
	rand.Read(data)
	for n := range 8 {
		if _, err := server.Sandbox.AddVolume(fmt.Sprintf("/dev/sd%c", 'f'+n), 1, nil); err != nil {
			b.Fatal(err)
		}
		device := filepath.Join(server.Sandbox.Roots().Dev, fmt.Sprintf("nvme%dn1", n+1))
		if err := os.WriteFile(device, data, 0); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		out, err := c.CreateSnapshots(b.Context(), &ec2.CreateSnapshotsInput{InstanceSpecification: &types.InstanceSpecification{InstanceId: &instance, ExcludeBootVolume: aws.Bool(true)}})
		if err != nil || len(out.Snapshots) != 8 {
			b.Fatal(out, err)
		}
	}
}
