package sandbox_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"snaptastic/ec2/sandbox"
)

// Two instances of one account and region see the same volumes and snapshots, and each its own devices, boot id and metadata.
func TestInstancesOfOneWorldHaveDevicesOfTheirOwn(t *testing.T) {
	needLoop(t)
	here, c := serve(t, sandbox.Config{})
	dir := filepath.Dir(here.Sandbox.Roots().Dev)
	home := sandbox.World{Account: sandbox.Account, Region: sandbox.Region}
	there, err := sandbox.Serve(t.Context(), sandbox.Config{Dir: sandbox.MachineDir(dir, home, "db-2"), UserData: "second"}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	first, err := here.Sandbox.InstanceID()
	if err != nil {
		t.Fatal(err)
	}
	second, err := there.Sandbox.InstanceID()
	if err != nil || first == second {
		t.Fatalf("%s and %s, %v", first, second, err)
	}
	for path, want := range map[string]string{"meta-data/instance-id": second, "user-data": "second"} {
		if got := metadata(t, there.URL(), path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := metadata(t, here.URL(), "meta-data/instance-id"); got != first {
		t.Errorf("the first says that it is %s", got)
	}
	if read := func(r sandbox.Roots) string { b, _ := os.ReadFile(r.BootID); return string(b) }; read(here.Sandbox.Roots()) == read(there.Sandbox.Roots()) {
		t.Error("both have one boot id")
	}

	// Whichever process answers the request: the device appears on the instance that was named.
	attach := func(instance string) string {
		t.Helper()
		v, err := c.CreateVolume(background, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: aws.Int32(1)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.AttachVolume(background, &ec2.AttachVolumeInput{VolumeId: v.VolumeId, InstanceId: &instance, Device: aws.String("/dev/sdf")}); err != nil {
			t.Fatal(err)
		}
		return *v.VolumeId
	}
	serial := func(r sandbox.Roots) string {
		b, _ := os.ReadFile(filepath.Join(r.Sys, "block", "nvme1n1", "device", "serial"))
		return strings.Replace(strings.TrimSpace(string(b)), "vol", "vol-", 1)
	}
	mine, its := attach(first), attach(second)
	if got := serial(here.Sandbox.Roots()); got != mine {
		t.Errorf("nvme1n1 of the first is %q, want %s", got, mine)
	}
	if got := serial(there.Sandbox.Roots()); got != its {
		t.Errorf("nvme1n1 of the second is %q, want %s", got, its)
	}

	// A reboot is of one of them.
	before, _ := os.ReadFile(here.Sandbox.Roots().BootID)
	run(t, "mkfs.ext4", "-q", filepath.Join(here.Sandbox.Roots().Dev, "nvme1n1"))
	mount := t.TempDir()
	run(t, "mount", filepath.Join(here.Sandbox.Roots().Dev, "nvme1n1"), mount)
	t.Cleanup(func() { run(t, "umount", mount) })
	if err := sandbox.Reboot(sandbox.MachineDir(dir, home, "db-2")); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(here.Sandbox.Roots().BootID); string(after) != string(before) {
		t.Error("the first has rebooted, too")
	}
	run(t, "mountpoint", "-q", mount)
	if got := serial(there.Sandbox.Roots()); got != its {
		t.Errorf("after its reboot nvme1n1 of the second is %q, want %s", got, its)
	}

	if root, world := sandbox.SplitDir(sandbox.MachineDir(dir, home, "db-2")); root != dir || world != home {
		t.Errorf("its folder: %s %s", root, world)
	}
}

// A mistyped account or region would be a sandbox inside of the sandbox.
func TestAMistypedWorldIsRefused(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	for _, path := range []string{"worlds/22/eu-central-1", "worlds/222222222222/eu-moon-1", "worlds/222222222222", "worlds/222222222222/eu-central-1/DB 1", "worlds/222222222222/eu-central-1/a/b"} {
		if _, err := sandbox.Open(sandbox.Config{Dir: filepath.Join(w.dir(), path), FilesOnly: true}); err == nil || !strings.Contains(err.Error(), "ACCOUNT/REGION") {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := os.Stat(filepath.Join(w.dir(), path, "world.jsonl")); err == nil {
			t.Errorf("%s holds a sandbox", path)
		}
	}
}
