package sandbox_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/sandbox"
)

// onDevices is a sandbox with loop devices.
func onDevices(t *testing.T, cfg sandbox.Config) *rig {
	t.Helper()
	needLoop(t)
	server, c := serve(t, cfg)
	id, err := server.Sandbox.InstanceID()
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t, server.Sandbox, c, id, server.URL()}
}

// devicesBelow lists the loop devices whose files are in dir.
func devicesBelow(t *testing.T, dir string) []string {
	t.Helper()
	devices, err := sandbox.LoopList()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, d := range devices {
		if strings.HasPrefix(d.Backing, dir+"/") {
			paths = append(paths, d.Path)
		}
	}
	return paths
}

func (w *rig) detach(volume string) types.VolumeAttachmentState {
	w.Helper()
	out, err := w.c.DetachVolume(w.Context(), &ec2.DetachVolumeInput{VolumeId: &volume})
	if err != nil {
		w.Fatal(err)
	}
	return out.State
}

// mounted formats the n-th device and mounts it.
func (w *rig) mounted(n int, fs string) string {
	w.Helper()
	needProgram(w.T, "mkfs."+fs)
	dir := w.TempDir()
	device := filepath.Join(w.Roots().Dev, fmt.Sprintf("nvme%dn1", n))
	run(w.T, "mkfs."+fs, "-q", device)
	run(w.T, "mount", device, dir)
	w.Cleanup(func() { exec.Command("umount", "-R", dir).Run() })
	return dir
}

func TestAnAttachmentLooksLikeNitro(t *testing.T) {
	w := onDevices(t, sandbox.Config{})
	volume := w.volume(1)
	w.attach(volume, "/dev/sdf")
	roots, plain := w.Roots(), strings.Replace(volume, "-", "", 1)
	serial, err := os.ReadFile(filepath.Join(roots.Sys, "block/nvme1n1/device/serial"))
	if err != nil || strings.TrimSpace(string(serial)) != plain {
		t.Errorf("serial %q, %v", serial, err)
	}
	device, err := filepath.EvalSymlinks(filepath.Join(roots.Dev, "nvme1n1"))
	if err != nil || !strings.HasPrefix(device, "/dev/loop") {
		t.Errorf("device %q, %v", device, err)
	}
	byID, err := filepath.EvalSymlinks(filepath.Join(roots.Dev, "disk/by-id/nvme-Amazon_Elastic_Block_Store_"+plain))
	if err != nil || byID != device {
		t.Errorf("by id %q, %v", byID, err)
	}
	number, err := os.ReadFile(filepath.Join(roots.Sys, "block/nvme1n1/dev"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(roots.Sys, "dev/block", strings.TrimSpace(string(number)), "device/serial")); err != nil {
		t.Error(err)
	}
	if state := w.detach(volume); state != types.VolumeAttachmentStateDetaching {
		t.Errorf("detach: %s", state)
	}
	for _, path := range []string{"dev/nvme1n1", "dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + plain, "sys/block/nvme1n1"} {
		if _, err := os.Lstat(filepath.Join(filepath.Dir(roots.Dev), path)); !os.IsNotExist(err) {
			t.Errorf("%s is still there after the detach", path)
		}
	}
	if v := w.describe(volume); v.State != types.VolumeStateAvailable || len(v.Attachments) != 0 {
		t.Errorf("%s, %v", v.State, v.Attachments)
	}
}

func TestADetachWaitsForTheUnmount(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			w := onDevices(t, sandbox.Config{})
			volume := w.volume(1)
			w.attach(volume, "/dev/sdf")
			dir := w.mounted(1, fs)
			w.detach(volume)
			if v := w.describe(volume); v.State != types.VolumeStateInUse || v.Attachments[0].State != types.VolumeAttachmentStateBusy {
				t.Errorf("while mounted: %s, %s", v.State, v.Attachments[0].State)
			}
			run(t, "umount", dir)
			if v := w.describe(volume); v.State != types.VolumeStateAvailable {
				t.Errorf("after the unmount: %s", v.State)
			}
		})
	}
}

func TestMoreDevicesThanTheKernelStartsWith(t *testing.T) {
	w := onDevices(t, sandbox.Config{})
	seen := map[string]bool{}
	for n := range 12 {
		w.attach(w.volume(1), fmt.Sprintf("/dev/sd%c", 'f'+n))
		device, err := filepath.EvalSymlinks(filepath.Join(w.Roots().Dev, fmt.Sprintf("nvme%dn1", n+1)))
		if err != nil || seen[device] {
			t.Fatalf("%s: %v", device, err)
		}
		seen[device] = true
	}
}

func TestARebootDropsMountsAndKeepsAttachments(t *testing.T) {
	w := onDevices(t, sandbox.Config{})
	volumes := []string{w.volume(1), w.volume(1)}
	for i, volume := range volumes {
		w.attach(volume, fmt.Sprintf("/dev/sd%c", 'f'+i))
	}
	outer := w.mounted(1, "btrfs")
	inner := filepath.Join(outer, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", filepath.Join(w.Roots().Dev, "nvme2n1"))
	run(t, "mount", filepath.Join(w.Roots().Dev, "nvme2n1"), inner)
	run(t, "fsfreeze", "-f", inner)
	defer exec.Command("fsfreeze", "-u", inner).Run()
	before, err := os.ReadFile(w.Roots().BootID)
	if err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Reboot(filepath.Dir(w.Roots().Dev)); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(w.Roots().BootID); err != nil || string(after) == string(before) || len(after) != 37 {
		t.Errorf("boot id %q then %q, %v", before, after, err)
	}
	if mounts, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(mounts), outer) {
		t.Error("still mounted")
	}
	for _, volume := range volumes {
		if v := w.describe(volume); v.State != types.VolumeStateInUse || v.Attachments[0].State != types.VolumeAttachmentStateAttached {
			t.Errorf("%s is %s", volume, v.State)
		}
	}
	// The devices have changed places, so only their serials tell them apart.
	serial, err := os.ReadFile(filepath.Join(w.Roots().Sys, "block/nvme2n1/device/serial"))
	if err != nil || strings.TrimSpace(string(serial)) != strings.Replace(volumes[0], "-", "", 1) {
		t.Errorf("nvme2n1 is %s, %v; want %s", serial, err, volumes[0])
	}
	run(t, "mount", "-t", "btrfs", filepath.Join(w.Roots().Dev, "nvme2n1"), outer)
	run(t, "mount", "-t", "ext4", filepath.Join(w.Roots().Dev, "nvme1n1"), inner)
}

func TestResetLeavesNothingOfItsOwn(t *testing.T) {
	needLoop(t)
	parent := t.TempDir()
	dir := filepath.Join(parent, "sandbox")
	w := onDevices(t, sandbox.Config{Dir: dir})
	for n := range 3 {
		w.attach(w.volume(1), fmt.Sprintf("/dev/sd%c", 'f'+n))
	}
	mount := w.mounted(2, "xfs")
	if got := devicesBelow(t, dir); len(got) < 3 {
		t.Fatalf("devices %v: the test proves nothing", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Reset(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "mine" {
		t.Errorf("left: %v, %v", entries, err)
	}
	if got := devicesBelow(t, dir); len(got) != 0 {
		t.Errorf("devices left: %v", got)
	}
	if mounts, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(mounts), mount) || strings.Contains(string(mounts), dir) {
		t.Error("mounts left")
	}
	if _, err := w.c.DescribeVolumes(t.Context(), nil); errorCode(err) != "InternalError" || !strings.Contains(err.Error(), "reset") {
		t.Errorf("a server whose folder was reset: %v", err)
	}
	if err := sandbox.Reset(dir); err == nil || !strings.Contains(err.Error(), "holds no sandbox") {
		t.Errorf("resetting a folder that is no sandbox: %v", err)
	}
	os.Remove(filepath.Join(dir, "mine"))
	os.Remove(dir)
	if err := sandbox.Reset(dir); err != nil {
		t.Errorf("resetting nothing: %v", err)
	}
}

func TestAReopenedSandboxFindsItsDevices(t *testing.T) {
	needLoop(t)
	dir := filepath.Join(t.TempDir(), "sandbox")
	w := onDevices(t, sandbox.Config{Dir: dir, UserData: "kept"})
	kept, lost := w.volume(1), w.volume(1)
	w.attach(kept, "/dev/sdf")
	w.attach(lost, "/dev/sdg")
	before := devicesBelow(t, dir)
	// The host loses a device, and gets one that nobody recorded.
	device, err := filepath.EvalSymlinks(filepath.Join(w.Roots().Dev, "nvme2n1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := sandbox.LoopDetach(device); err != nil {
		t.Fatal(err)
	}
	stray := w.volume(1)
	if _, err := sandbox.LoopAttach(filepath.Join(dir, "vol", stray), sandbox.LoopOptions{}); err != nil {
		t.Fatal(err)
	}
	again, err := sandbox.Open(sandbox.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	after := devicesBelow(t, dir)
	if len(after) != len(before) {
		t.Errorf("devices %v, then %v", before, after)
	}
	for n := range 2 {
		if device, err := filepath.EvalSymlinks(filepath.Join(w.Roots().Dev, fmt.Sprintf("nvme%dn1", n+1))); err != nil || !slices.Contains(after, device) {
			t.Errorf("nvme%dn1 is %s, %v", n+1, device, err)
		}
	}
}

func TestAGrownVolumeGrowsItsDevice(t *testing.T) {
	w := onDevices(t, sandbox.Config{})
	volume := w.volume(1)
	w.attach(volume, "/dev/sdf")
	if _, err := w.c.ModifyVolume(t.Context(), &ec2.ModifyVolumeInput{VolumeId: &volume, Size: aws.Int32(3)}); err != nil {
		t.Fatal(err)
	}
	if size := strings.TrimSpace(run(t, "blockdev", "--getsize64", filepath.Join(w.Roots().Dev, "nvme1n1"))); size != fmt.Sprint(3<<30) {
		t.Errorf("%s bytes, want 3 GiB", size)
	}
	out, err := w.c.DescribeVolumesModifications(t.Context(), &ec2.DescribeVolumesModificationsInput{VolumeIds: []string{volume}})
	if err != nil || out.VolumesModifications[0].ModificationState != types.VolumeModificationStateCompleted || *out.VolumesModifications[0].TargetSize != 3 {
		t.Errorf("%v, %v", out, err)
	}
}

// A snapshot of a device that is being written is what was on it at one moment:
// of a counter written in order, every block up to some number and none after.
func TestACloneIsOfOneMoment(t *testing.T) {
	w := onDevices(t, sandbox.Config{})
	volume := w.volume(1)
	w.attach(volume, "/dev/sdf")
	device, err := os.OpenFile(filepath.Join(w.Roots().Dev, "nvme1n1"), os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	const blocks, size = 2000, 4096
	acknowledged := make(chan int, blocks)
	done := make(chan error)
	go func() {
		defer device.Close()
		for n := range blocks {
			block := []byte(strings.Repeat(fmt.Sprintf("%08d", n+1), size/8))
			if _, err := device.WriteAt(block, int64(n)*size); err != nil {
				done <- err
				return
			}
			acknowledged <- n
		}
		done <- nil
	}()
	least := 0
	for range 20 {
		least = <-acknowledged
	}
	snapshot := w.snapshot(volume)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	content, err := os.Open(filepath.Join(filepath.Dir(w.Roots().Dev), "vol", snapshot))
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	written, ended := 0, false
	block := make([]byte, size)
	for n := range blocks {
		if _, err := content.ReadAt(block, int64(n)*size); err != nil {
			t.Fatal(err)
		}
		switch want := strings.Repeat(fmt.Sprintf("%08d", n+1), size/8); {
		case string(block) == want && !ended:
			written++
		case strings.Trim(string(block), "\x00") == "":
			ended = true
		default:
			t.Fatalf("block %d is neither the one written nor empty, or follows a hole", n)
		}
	}
	if written <= least || written == blocks {
		t.Errorf("%d blocks in the copy, %d were acknowledged before it was asked for, %d were written in all", written, least+1, blocks)
	}
}
