package sandbox_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/sandbox"
)

// TestMain serves a sandbox when the test binary is started again to be killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("SANDBOX_TEST_SERVE")
	if dir == "" {
		os.Exit(m.Run())
	}
	server, err := sandbox.Serve(context.Background(), sandbox.Config{Dir: dir, FilesOnly: sandbox.Missing() != nil}, "127.0.0.1:0")
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println(server.URL())
	<-server.Done()
}

// startChild starts a serving process and returns it with its client.
func startChild(t *testing.T, dir string) (*exec.Cmd, *ec2.Client) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SANDBOX_TEST_SERVE="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "http://") {
		t.Fatalf("the server said %q, %v", line, err)
	}
	return cmd, client(strings.TrimSpace(line))
}

// What a client was told is still so after kill -9, and host and records agree.
func TestASandboxKilledAtAnyInstantIsConsistent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sandbox")
	t.Cleanup(func() {
		if err := sandbox.Reset(dir); err != nil {
			t.Error(err)
		}
	})
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	random := rand.New(rand.NewPCG(1, 2))
	told := map[string]string{} // volume or snapshot -> what we were told last
	for range rounds {
		cmd, c := startChild(t, dir)
		var workers sync.WaitGroup
		var mu sync.Mutex
		tell := func(id *string, state string) { mu.Lock(); told[*id] = state; mu.Unlock() }
		for n := range 3 {
			workers.Go(func() { createAndDelete(t.Context(), c, fmt.Sprintf("/dev/sd%c", 'f'+n), tell) })
		}
		time.Sleep(time.Duration(20+random.IntN(120)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		workers.Wait()
		cmd.Wait()
		verify(t, dir, told)
	}
	if len(told) < rounds {
		t.Errorf("only %d resources: the test proves little", len(told))
	}
}

// createAndDelete makes, attaches, copies, detaches and deletes volumes until the server
// is killed. A state is told before a call that may change it ("?") and after.
func createAndDelete(ctx context.Context, c *ec2.Client, device string, tell func(*string, string)) {
	instances, err := c.DescribeInstances(ctx, nil)
	if err != nil {
		return
	}
	instance := instances.Reservations[0].Instances[0].InstanceId
	for {
		made, err := c.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: aws.Int32(1)})
		if err != nil {
			return
		}
		v := made.VolumeId
		tell(v, "?")
		if _, err = c.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: v, InstanceId: instance, Device: &device}); err != nil {
			return
		}
		tell(v, "in-use")
		snapshot, err := c.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: v})
		if err != nil {
			return
		}
		tell(snapshot.SnapshotId, "completed")
		tell(v, "?")
		if _, err = c.DetachVolume(ctx, &ec2.DetachVolumeInput{VolumeId: v}); err != nil {
			return
		}
		tell(v, "available")
		tell(v, "?")
		if _, err = c.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: v}); err != nil {
			return
		}
		tell(v, "gone")
	}
}

// verify opens the sandbox and compares what EC2 says, what we were told, and
// what is on the host. Then it frees the device names for the next round.
func verify(t *testing.T, dir string, told map[string]string) {
	t.Helper()
	w, err := sandbox.Open(sandbox.Config{Dir: dir, FilesOnly: sandbox.Missing() != nil})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c := client("http://sandbox.invalid", func(o *ec2.Options) { o.HTTPClient = inProcess(w) })
	volumes, err := c.DescribeVolumes(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	snapshots, err := c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil {
		t.Fatal(err)
	}
	states, files := map[string]string{}, map[string]bool{}
	var attached []string
	for _, v := range volumes.Volumes {
		if len(v.Attachments) == 1 && *v.Attachments[0].Device == "/dev/xvda" {
			continue
		}
		states[*v.VolumeId], files[*v.VolumeId] = string(v.State), true
		if v.State == types.VolumeStateInUse {
			attached = append(attached, *v.VolumeId)
		}
	}
	for _, s := range snapshots.Snapshots {
		states[*s.SnapshotId], files[*s.SnapshotId] = string(s.State), true
	}
	for id, state := range told {
		if got, ok := states[id]; state != "?" && (state == "gone") == ok || ok && state != "?" && got != state {
			t.Errorf("%s is %q, we were told %q", id, got, state)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "vol"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !files[entry.Name()] {
			t.Errorf("%s has a file and no record", entry.Name())
		}
		delete(files, entry.Name())
	}
	if len(files) > 0 {
		t.Errorf("no file for %v", files)
	}
	published, err := filepath.Glob(filepath.Join(dir, "dev", "nvme*n1"))
	if err != nil || len(published) != len(attached) {
		t.Errorf("%d devices published for %d attachments", len(published), len(attached))
	}
	if devices := devicesBelow(t, filepath.Join(dir, "vol")); sandbox.Missing() == nil && len(devices) != len(attached) {
		t.Errorf("%d loop devices for %d attachments", len(devices), len(attached))
	}
	for _, v := range attached {
		if _, err := c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: &v}); err != nil {
			t.Error(err)
		}
		told[v] = "available"
	}
}

// Two processes with one folder are two sandboxes: each sees the other's effects
// at once, and no device name or NVMe number is given twice.
func TestTwoSandboxesShareAFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sandbox")
	one := inMemory(t, sandbox.Config{Dir: dir})
	two := inMemory(t, sandbox.Config{Dir: dir})
	if one.instance != two.instance {
		t.Errorf("instances %s and %s", one.instance, two.instance)
	}
	const each = 10
	var workers sync.WaitGroup
	for n, w := range []*rig{one, two} {
		workers.Go(func() {
			for i := range each {
				out, err := w.c.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: aws.Int32(1)})
				if err != nil {
					t.Error(err)
					return
				}
				_, err = w.c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{
					VolumeId: out.VolumeId, InstanceId: &w.instance, Device: aws.String(fmt.Sprintf("/dev/xvd%c%c", 'b'+n, 'a'+i)),
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	if one.count() != 2*each || two.count() != 2*each {
		t.Errorf("%d and %d volumes, want %d", one.count(), two.count(), 2*each)
	}
	if published, _ := filepath.Glob(filepath.Join(dir, "dev", "nvme*n1")); len(published) != 2*each {
		t.Errorf("%d devices, want %d", len(published), 2*each)
	}
}

func TestALongHistoryIsCompacted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sandbox")
	one := inMemory(t, sandbox.Config{Dir: dir})
	two := inMemory(t, sandbox.Config{Dir: dir})
	volume := one.volume(1)
	for i := range 2500 {
		if err := one.EditVolume(volume, func(v *sandbox.Volume) { v.IOPS = 3000 + i }); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "world.jsonl")); err != nil || info.Size() > 500_000 {
		t.Errorf("%v, %v", info.Size(), err)
	}
	if v := two.describe(volume); *v.Iops != 3000+2499 {
		t.Errorf("the other world sees %d IOPS", *v.Iops)
	}
}

// A line that a kill cut short was never committed.
func TestATornRecordIsDropped(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sandbox")
	one := inMemory(t, sandbox.Config{Dir: dir})
	one.volume(1)
	file, err := os.OpenFile(filepath.Join(dir, "world.jsonl"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"volumes":{"vol-0123456789abcdef0":{"id":"vol-01234`); err != nil {
		t.Fatal(err)
	}
	file.Close()
	one.volume(1)
	if two := inMemory(t, sandbox.Config{Dir: dir}); two.count() != 2 || one.count() != 2 {
		t.Errorf("%d and %d volumes, want 2", one.count(), two.count())
	}
}
