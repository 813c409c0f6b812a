package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/linux"
)

// at declares one volume of 1 GiB for each mount point, in this order.
func (r *rig) at(mountPoints ...string) {
	r.t.Helper()
	r.mounts = mountPoints
	r.hooked("")
}

func (r *rig) symlink(target, name string) string {
	r.t.Helper()
	p := filepath.Join(r.dir, name)
	if err := os.Symlink(target, p); err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) folder(name string) string {
	r.t.Helper()
	p := filepath.Join(r.dir, "mnt", name)
	if err := os.MkdirAll(p, 0o755); err != nil {
		r.t.Fatal(err)
	}
	return p
}

func TestTwoMountPointsThatLeadToOneFolderAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	real := r.folder("real")
	for name, link := range map[string]string{
		"link": r.symlink(real, "link"), "chain": r.symlink("link", "chain"), "parent": r.symlink(filepath.Dir(real), "up") + "/real",
	} {
		r.at(real, link)
		for _, verb := range []string{"plan", "run"} {
			r.quiet(func() {
				out := r.wants(2, "Duplicate mount point", verb, "mount", "db")
				for _, words := range []string{link + " leads to " + real, "snaptastic.hcl:3", "line 8"} {
					if !strings.Contains(out, words) {
						t.Errorf("%s %s does not say %q:\n%s", verb, name, words, out)
					}
				}
			})
		}
	}
}

func TestAMountPointThatLeadsIntoAnotherIsMountedInsideIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	srv := r.folder("srv")
	data := r.symlink(filepath.Join(srv, "inner"), "data")
	r.at(data, srv) // the inner one is declared first
	r.must("run", "mount", "db")
	outer, ok, err := linux.New(linux.Roots{}).MountAt(srv)
	if err != nil || !ok {
		t.Fatalf("%s is not mounted: %v", srv, err)
	}
	inner, ok, err := linux.New(linux.Roots{}).MountAt(data)
	if err != nil || !ok || inner.Parent != outer.ID {
		t.Errorf("%+v is not mounted inside %+v: %v", inner, outer, err)
	}
	for _, m := range []string{data, srv} {
		if err := os.WriteFile(filepath.Join(m, "mark"), []byte(m), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.must("run", "mount", "db") // all adopted
	r.must("run", "snapshot", "db")
	r.wants(0, "", "volumes", "db")
	r.must("run", "unmount", "db")
	r.deleteDetached()
	r.must("run", "mount", "db")
	for _, m := range []string{data, srv} {
		if b, err := os.ReadFile(filepath.Join(m, "mark")); string(b) != m {
			t.Errorf("%s holds %q, %v", m, b, err)
		}
	}
}

func TestAMountPointThroughAnUntrustedLinkOrToTheSystemIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	if err := os.Chmod(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	theirs := r.folder("theirs")
	link := filepath.Join(theirs, "link")
	if err := os.Symlink(r.folder("real"), link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{theirs, link} {
		if err := os.Lchown(p, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	for mountPoint, words := range map[string]string{
		r.symlink("/boot", "boot"):                    "resolves to /boot",
		r.symlink("../../../../../../../etc", "etc"):  "resolves to /etc",
		r.symlink("/dev", "dev") + "/snaptastic-test": "resolves to /dev/snaptastic-test",
		link: "may have created it",
	} {
		r.at(mountPoint)
		r.quiet(func() {
			r.wants(2, words, "plan", "mount", "db")
			r.wants(2, words, "run", "mount", "db")
		})
	}
	own := filepath.Join(theirs, "data")
	r.at(own)
	r.must("run", "mount", "db")
}

// EC2 keeps /dev/sdf and /dev/xvdf apart, and to a kernel they are one device: what is attached as the one is the volume
// that is declared as the other, for the plan, for the permissions that are asked for first, and for the run.
func TestAVolumeUnderAnotherSpellingOfItsDeviceIsAdopted(t *testing.T) {
	t.Parallel()
	for attached, declared := range map[string]string{"/dev/xvdf": "/dev/sdf", "/dev/sdf": "/dev/xvdf", "xvdf": "/dev/sdf", "sdf": "xvdf"} {
		t.Run(strings.ReplaceAll(attached+" "+declared, "/", "_"), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			ctx := context.Background()
			v, err := r.client.CreateVolume(ctx, ec2.CreateVolumeRequest{Zone: sandbox.Zone, Size: 1, Type: "gp3", ClientToken: "0123456789abcdef0123456789abcdef",
				Tags: map[string]string{"role": "db", "mount_point": r.mounts[0]}})
			if err != nil {
				t.Fatal(err)
			}
			self, err := r.client.Metadata().Identity(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.client.AttachVolume(ctx, v.ID, self.InstanceID, attached); err != nil {
				t.Fatal(err)
			}
			tool(t, "mkfs.ext4", "-q", r.node(v.ID))
			r.setFaults(sandbox.Fault{Action: "CreateVolume", Error: "UnauthorizedOperation"})
			r.declare(fmt.Sprintf("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n  volume %q {\n    mount_point = %q\n    size = 1\n    file_system = \"ext4\"\n  }\n}\n", declared, r.mounts[0]))
			r.wants(0, v.ID, "plan", "mount", "db")
			r.must("run", "mount", "db")
			if n := r.made(); n != 1 {
				t.Errorf("%d volumes, want the one", n)
			}
			r.calm()
			r.must("run", "snapshot", "db")
			r.must("run", "unmount", "db")
		})
	}
}

// Whoever mounts in a mount namespace of his own reports volumes that nobody else sees.
func TestAMountThatNobodyElseWouldSeeIsRefused(t *testing.T) {
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("needs unshare")
	}
	r := newRig(t, 1, "ext4")
	apart := func(code int, words string, args ...string) {
		t.Helper()
		for _, propagation := range []string{"slave", "private"} {
			inside, outside := r.command(args...), r.namespace(propagation, r.bin)
			cmd := exec.Command(outside[0], append(outside[1:], inside.Args[1:]...)...)
			cmd.Env = inside.Env
			got, stdout, stderr := r.apart(cmd)
			if out := stdout + stderr; got != code || !strings.Contains(out, words) {
				t.Errorf("%v: exit %d, want %d with %q:\n%s", args, got, code, words, out)
			}
		}
	}
	r.quiet(func() {
		apart(1, "--private-mounts", "run", "mount", "db")
		apart(0, "would be refused", "plan", "mount", "db")
		apart(1, "mount namespace", "doctor")
	})
	r.must("run", "mount", "db")
	apart(1, "private mount namespace", "run", "unmount", "db")
	apart(0, "", "run", "snapshot", "db") // a freeze is the same in all of them
	apart(0, "", "run", "mount", "db", "--private-mounts")
	r.must("run", "unmount", "db")
	r.hang("AttachVolume", time.Minute, "before")
	r.killInStep("attach", "run", "mount", "db")
	r.calm()
	id := r.only()
	for _, args := range [][]string{{"resume"}, {"resume", id}, {"rollback", id}} {
		apart(1, "private mount namespace", args...)
	}
	if r.only() != id {
		t.Error("the run is not what it was")
	}
	r.must("rollback", id)
}

// On a Xen instance the kernel tells no serials and may move its names by four letters: what it calls xvdj is then sdf.
func TestWithoutSerialsNoVolumeIsTakenForAnother(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		shift   int
		sizes   [2]int // GiB, of sdf and sdj
		more    string // in each volume's block
		code    int
		message string
	}{
		{"shifted, of different sizes", 4, [2]int{1, 3}, "", 1, "bytes (the volume has 3221225472)"},
		{"shifted, of one size", 4, [2]int{1, 1}, "", 1, "set device_name_offset"},
		{"shifted, said so", 4, [2]int{1, 3}, "device_name_offset = 4", 0, ""},
		{"as it should be", 0, [2]int{1, 3}, "", 0, ""},
		{"as it should be, of one size", 0, [2]int{1, 1}, "", 0, ""},
		{"as it should be, said so", 0, [2]int{1, 1}, "device_name_offset = 0", 0, ""},
		{"not as the settings say", 0, [2]int{1, 3}, "device_name_offset = 4", 1, "device_name_offset"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			r.setFaults(sandbox.Fault{Action: "AttachVolume", Effect: "xen", At: tt.shift})
			hcl := "snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n  timeouts { device = \"3s\" }\n"
			for i, device := range []string{"/dev/sdf", "/dev/sdj"} {
				hcl += fmt.Sprintf("  volume %q {\n    mount_point = %q\n    size = %d\n    file_system = \"ext4\"\n    %s\n  }\n", device, r.mounts[i], tt.sizes[i], tt.more)
			}
			r.declare(hcl + "}\n")
			r.wants(tt.code, tt.message, "run", "mount", "db")
			for mount, v := range r.volumes() {
				node := r.xenNode(v, tt.shift)
				if size := strings.TrimSpace(tool(t, "blockdev", "--getsize64", node)); size != fmt.Sprint(int64(v.Size)<<30) {
					t.Errorf("%s of %s has %s bytes, the volume %d GiB", node, v.ID, size, v.Size)
				}
				m, mounted, err := linux.New(linux.Roots{}).MountAt(mount)
				if err != nil || mounted != (tt.code == 0) || mounted && m.Source != node {
					t.Errorf("%s: %+v, %v, %v; want %s of %s", mount, m, mounted, err, node, v.ID)
				}
				s, err := linux.New(linux.Roots{}).Probe(context.Background(), node)
				if tt.code != 0 && (err != nil || !s.Blank()) {
					t.Errorf("%s of %s: %v, %v", node, v.ID, s, err)
				}
			}
			if tt.code != 0 {
				return
			}
			r.must("run", "mount", "db")
			r.wants(0, "", "volumes", "db")
			r.must("run", "snapshot", "db")
			r.must("run", "unmount", "db")
		})
	}
}

// xenNode is the loop device of an attached volume that tells no serial.
func (r *rig) xenNode(v ec2.Volume, shift int) string {
	r.t.Helper()
	letter := v.Attachments[0].Device[len("/dev/sd")] + byte(shift)
	p, err := filepath.EvalSymlinks(filepath.Join(sandbox.RootsOf(r.sandboxDir()).Dev, "xvd"+string(rune(letter))))
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// unmountsAtOnce plays systemd with a stale line in fstab: whatever is mounted there is unmounted, until stop. However busy
// the machine is, the first unmount comes before the lane is over: until then EC2 throttles the lane's last call.
func (r *rig) unmountsAtOnce(target string) (stop func()) {
	r.setFaults(sandbox.Fault{Action: "ModifyInstanceAttribute", Error: "RequestLimitExceeded"})
	ctx, cancel := context.WithCancel(context.Background())
	done, h := make(chan struct{}), linux.New(linux.Roots{})
	go func() {
		defer close(done)
		unmounted := sync.OnceFunc(r.calm)
		for ctx.Err() == nil {
			if _, mounted, err := h.MountAt(target); err == nil && mounted && unix.Unmount(target, 0) == nil {
				unmounted()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	r.t.Cleanup(stop)
	return stop
}

// A volume that something unmounts right after it was mounted is a failure with a reason, its post hooks do not write to the
// root disk, and the next run mounts it again.
func TestAVolumeThatIsUnmountedAtOnceIsNotDone(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{"", "post_mount", "post_mounts"} {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			if hook != "" {
				r.hooked(fmt.Sprintf("  hook %q {\n    command = [\"touch\", %q]\n  }\n", hook, filepath.Join(r.mounts[0], "written")))
			}
			if err := os.MkdirAll(r.mounts[0], 0o755); err != nil { // what the run makes it takes away again
				t.Fatal(err)
			}
			stop := r.unmountsAtOnce(r.mounts[0])
			out := r.wants(1, "is no longer mounted on "+r.mounts[0], "run", "mount", "db")
			if !strings.Contains(out, "/etc/fstab") {
				t.Errorf("it does not say where to look:\n%s", out)
			}
			stop()
			if e := entries(t, r.mounts[0]); len(e) > 1 {
				t.Errorf("the hook wrote to the root disk: %v", e)
			}
			id := r.only()
			r.must("resume", id)
			if m := r.mounted(); len(m) != 1 {
				t.Errorf("mounted: %v", m)
			}
			if e := entries(t, r.mounts[0]); hook != "" && len(e) != 2 {
				t.Errorf("the hook has not run on the volume: %v", e)
			}
		})
	}
}

// What is unmounted while the last hook runs is seen at the end.
func TestAVolumeThatIsUnmountedDuringTheLastHookIsNotDone(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.hooked(fmt.Sprintf("  hook \"post_mounts\" {\n    command    = [\"umount\", %q]\n    on_failure = \"continue\"\n  }\n", r.mounts[0]))
	r.wants(1, "is no longer mounted on "+r.mounts[0], "run", "mount", "db")
	r.must("resume", r.only()) // the mount was done, and is looked at again
	if m := r.mounted(); len(m) != 1 {
		t.Errorf("mounted: %v", m)
	}
}

func TestDoctorAndARunNameTheLineOfFstab(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	fstab := filepath.Join(r.dir, "fstab")
	if err := os.WriteFile(fstab, []byte("# none\nUUID=stale "+r.mounts[0]+" ext4 nofail 0 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.env = append(r.env, "LIBMOUNT_FSTAB="+fstab)
	if _, out := r.run("doctor"); !strings.Contains(out, fstab+":2 contains "+r.mounts[0]) {
		t.Errorf("doctor does not name the line:\n%s", out)
	}
	stop := r.unmountsAtOnce(r.mounts[0])
	r.wants(1, fstab+":2 names this mount point", "run", "mount", "db")
	stop()
	r.must("run", "mount", "db")
}

// owner, group and mode are those of a new file system alone, and a run that is killed after mkfs has them as well.
func TestOwnerGroupAndModeAreOfANewFileSystem(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	declare := func(owner string) {
		v := strings.TrimSuffix(r.volume(0, "ext4"), "  }\n")
		r.declare("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n" + v + fmt.Sprintf("    owner = %q\n    group = 1234\n    mode = \"0750\"\n  }\n}\n", owner))
	}
	is := func(uid, gid uint32, mode os.FileMode) {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(r.mounts[0], &st); err != nil || st.Uid != uid || st.Gid != gid || os.FileMode(st.Mode&0o7777) != mode {
			t.Errorf("it is %d:%d %o, %v; want %d:%d %o", st.Uid, st.Gid, st.Mode, err, uid, gid, mode)
		}
	}
	declare("nobody")
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		t.Skip("needs mkfs.ext4")
	}
	made := filepath.Join(r.dir, "made")
	wrapper := r.script("bin/mkfs.ext4", fmt.Sprintf("%s \"$@\" && touch %s && exec sleep 60\n", mkfs, made))
	r.pathFirst(filepath.Dir(wrapper))
	r.killWhen("mkfs", func() bool { _, err := os.Stat(made); return err == nil }, "run", "mount", "db")
	if err := os.Remove(wrapper); err != nil {
		t.Fatal(err)
	}
	r.must("resume")
	is(65534, 1234, 0o750)
	if err := os.Chown(r.mounts[0], 77, 77); err != nil {
		t.Fatal(err)
	}
	declare("4321")
	r.must("run", "mount", "db") // adopted
	is(77, 77, 0o750)
	r.must("run", "snapshot", "db")
	r.must("run", "unmount", "db")
	r.deleteDetached()
	r.must("run", "mount", "db") // restored
	is(77, 77, 0o750)
}

// carries attaches a volume with the rig's tags, and puts something on its device.
func (r *rig) carries(put func(node string)) string {
	r.t.Helper()
	ctx := context.Background()
	v, err := r.client.CreateVolume(ctx, ec2.CreateVolumeRequest{Zone: sandbox.Zone, Size: 1, Type: "gp3", ClientToken: "0123456789abcdef0123456789abcdef",
		Tags: map[string]string{"role": "db", "mount_point": r.mounts[0]}})
	if err != nil {
		r.t.Fatal(err)
	}
	self, err := r.client.Metadata().Identity(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.client.AttachVolume(ctx, v.ID, self.InstanceID, "/dev/sdf"); err != nil {
		r.t.Fatal(err)
	}
	put(r.node(v.ID))
	return v.ID
}

func (r *rig) partition(node, script string) {
	r.t.Helper()
	path, err := exec.LookPath("sfdisk")
	if err != nil {
		r.t.Skip("needs sfdisk")
	}
	cmd := exec.Command(path, "-q", node)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("sfdisk: %v: %s", err, out)
	}
}

func TestAVolumeThatCarriesNoFileSystemIsRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		put     func(r *rig, node string)
		message []string
	}{
		"two partitions": {func(r *rig, node string) { r.partition(node, "label: gpt\n,100M\n,\n") }, []string{"a partition table (gpt", "with 2 partitions", "lsblk -f"}},
		"an empty one":   {func(r *rig, node string) { r.partition(node, "label: dos\n,\n") }, []string{"whose only partition contains blank", "lsblk -f"}},
		"swap":           {func(r *rig, node string) { tool(t, "mkswap", node) }, []string{"swap space", "detach and delete it"}},
		"LVM": {func(_ *rig, node string) {
			put(t, node, 512, "LABELONE\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00LVM2 001")
		}, []string{"LVM", "pvs"}},
		"LUKS": {func(_ *rig, node string) { put(t, node, 0, "LUKS\xba\xbe\x00\x02") }, []string{"encrypted", "cryptsetup open"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			id := r.carries(func(node string) { tt.put(r, node) })
			before := edgeSum(t, r.node(id))
			out := r.wants(1, "cannot use "+id, "run", "mount", "db")
			for _, words := range tt.message {
				if !strings.Contains(out, words) {
					t.Errorf("it does not say %q:\n%s", words, out)
				}
			}
			if strings.Contains(out, "cannot make ext4") {
				t.Errorf("it says that it would make a file system:\n%s", out)
			}
			if edgeSum(t, r.node(id)) != before {
				t.Error("something was written to it")
			}
		})
	}
}

func put(t *testing.T, node string, at int64, text string) {
	t.Helper()
	f, err := os.OpenFile(node, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		t.Fatal(err)
	}
}

// A volume whose one partition holds a file system is mounted from that, frozen, unmounted and restored as any other.
func TestAVolumeWithOnePartitionIsMountedFromIt(t *testing.T) {
	t.Parallel()
	for _, label := range []string{"gpt", "dos"} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			id := r.carries(func(node string) {
				r.partition(node, "label: "+label+"\n,500M\n")
				_ = exec.Command("partx", "--add", node).Run() // where the kernel knows no tables
				tool(t, "mkfs.ext4", "-q", node+"p1")
			})
			r.wants(0, "on partition 1, the only one", "plan", "mount", "db")
			r.must("run", "mount", "db")
			m, mounted, err := linux.New(linux.Roots{}).MountAt(r.mounts[0])
			if err != nil || !mounted || m.Source != r.node(id)+"p1" {
				t.Fatalf("%+v, %v, %v", m, mounted, err)
			}
			r.must("run", "mount", "db") // adopted
			r.wants(0, "", "volumes", "db")
			r.precious()
			r.must("run", "snapshot", "db")
			r.must("run", "unmount", "db")
			r.deleteDetached()
			r.must("run", "mount", "db")
			m, mounted, err = linux.New(linux.Roots{}).MountAt(r.mounts[0])
			if err != nil || !mounted || !strings.HasSuffix(m.Source, "p1") {
				t.Errorf("restored: %+v, %v, %v", m, mounted, err)
			}
			if e := entries(t, r.mounts[0]); len(e) < 2 {
				t.Errorf("restored: %v", e)
			}
			r.must("run", "unmount", "db")
		})
	}
}
