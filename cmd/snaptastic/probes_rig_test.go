package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// probeRig has one file system per mount point on loop devices, for a live server, and what a drill would give to a probe: copies of them,
// taken while all were frozen, mounted read-only below another folder.
type probeRig struct {
	t          *testing.T
	dir        string
	fileSystem string
	life       []string // mount points
	images     []string
	uid        int
	env        []string
	drills     int
	root       string // SNAPTASTIC_VERIFY_ROOT of the last drill
	scratch    string
	loads      []func() // each ends one
}

// newProbeRig skips where the server or its user cannot be had.
func newProbeRig(t *testing.T, owner, fileSystem string, volumes []string, tools ...string) *probeRig {
	t.Helper()
	if os.Getenv("SNAPTASTIC_DATABASES") == "" {
		t.Skip("real databases: make test-databases")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, tool := range append(tools, "losetup", "setpriv", "fsfreeze", "mkfs."+fileSystem) {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	u, err := user.Lookup(owner)
	if err != nil {
		t.Skipf("there is no user %s", owner)
	}
	dir, err := os.MkdirTemp("/var/tmp", "probe") // short: the name of a socket has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	r := &probeRig{t: t, dir: dir, fileSystem: fileSystem, env: os.Environ()}
	r.uid, _ = strconv.Atoi(u.Uid)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r.sh("chmod 0755 .; mkdir run; chown %d run", r.uid)
	for i, name := range volumes {
		image, point := fmt.Sprintf("%s/image%d", dir, i), filepath.Join(dir, "life", name)
		r.sh("truncate -s 400M %s; mkfs.%s -q %s; mkdir -p '%s'", image, fileSystem, image, point)
		r.life, r.images = append(r.life, point), append(r.images, image)
		r.mount(image, point, "rw")
		r.sh("rmdir '%s/lost+found' 2>/dev/null || :; chown %d '%s'; chmod 0700 '%s'", point, r.uid, point, point)
	}
	return r
}

// sh runs a shell script in the rig's folder, as root.
func (r *probeRig) sh(format string, args ...any) string {
	r.t.Helper()
	out, err := r.try(fmt.Sprintf(format, args...))
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", fmt.Sprintf(format, args...), err, out)
	}
	return strings.TrimSpace(out)
}

func (r *probeRig) try(script string) (string, error) {
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir, cmd.Env = r.dir, r.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// as is the prefix that runs a command as the owner of the data.
func (r *probeRig) as() string {
	return fmt.Sprintf("setpriv --reuid=%d --regid=%d --clear-groups", r.uid, r.uid)
}

// mount attaches an image to a loop device and mounts it. Both end with the test, or with unmount.
func (r *probeRig) mount(image, point, options string) {
	r.t.Helper()
	device := r.sh("losetup --find --show %s", image)
	r.t.Cleanup(func() { r.detach(point, image) })
	if r.fileSystem == "xfs" {
		options += ",nouuid"
	}
	r.sh("mkdir -p '%s'; mount -o %s %s '%s'", point, options, device, point)
}

// detach waits for processes that were killed. It looks which device has the image: the one that it had may be somebody else's by now.
func (r *probeRig) detach(point, image string) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := r.try("findmnt '" + point + "'"); err != nil {
			break
		}
		out, err := r.try("umount '" + point + "'")
		if err != nil && time.Now().After(deadline) {
			r.t.Errorf("%s is still mounted: %s", point, out)
			return
		}
	}
	_, _ = r.try("losetup -j '" + image + "' | cut -d: -f1 | xargs -r losetup -d")
}

func (r *probeRig) unmount(point string) {
	r.t.Helper()
	r.sh("device=$(findmnt -n -o SOURCE '%s'); umount '%s'; losetup -d $device", point, point)
}

// copies are what snapshots of the live volumes would be, taken at one moment. The load ends after it.
func (r *probeRig) copies() (images []string) {
	r.t.Helper()
	r.drills++
	thaw := func() {
		for _, p := range r.life {
			_, _ = r.try("fsfreeze --unfreeze '" + p + "'")
		}
	}
	defer func() {
		thaw()
		for _, end := range r.loads {
			end()
		}
		r.loads = nil
	}()
	for _, p := range r.life {
		r.sh("fsfreeze --freeze '%s'", p)
	}
	for i, image := range r.images {
		images = append(images, fmt.Sprintf("%s/copy%d.%d", r.dir, r.drills, i))
		r.sh("cp --sparse=always %s %s", image, images[i])
	}
	return images
}

// drill mounts copies as `run verify` does. damage may change them before; life is where a mount point is to be found meanwhile.
func (r *probeRig) drill(images []string, damage func(life func(string) string)) {
	r.t.Helper()
	r.drills++
	r.root, r.scratch = fmt.Sprintf("%s/drill%d", r.dir, r.drills), fmt.Sprintf("%s/scratch%d", r.dir, r.drills)
	r.sh("mkdir -m 0700 %s %s", r.root, r.scratch)
	below := func(p string) string { return filepath.Join(r.root, p) }
	for i := range images {
		image := fmt.Sprintf("%s/scratch%d.%d", r.dir, r.drills, i)
		r.sh("cp --sparse=always %s %s", images[i], image)
		r.mount(image, below(r.life[i]), "rw")
	}
	if damage != nil {
		damage(below)
	}
	for i := len(images) - 1; i >= 0; i-- {
		r.unmount(below(r.life[i]))
	}
	for i := range images {
		r.mount(fmt.Sprintf("%s/scratch%d.%d", r.dir, r.drills, i), below(r.life[i]), "ro")
	}
	r.t.Cleanup(r.takeDown)
}

// takeDown is what `run verify` does after the probe: it fails when the probe left anything that keeps the volumes busy.
func (r *probeRig) takeDown() {
	r.t.Helper()
	if r.root == "" {
		return
	}
	for i := len(r.life) - 1; i >= 0; i-- {
		point := filepath.Join(r.root, r.life[i])
		device, err := r.try("findmnt -n -o SOURCE '" + point + "'")
		if err != nil {
			continue
		}
		r.sh("umount '%s'", point)
		device = strings.TrimSpace(device)
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			f, err := os.OpenFile(device, os.O_RDONLY|os.O_EXCL, 0)
			if err == nil {
				_ = f.Close()
				break
			}
			if time.Now().After(deadline) {
				r.t.Errorf("%s is still in use: %v", device, err)
				break
			}
		}
		r.sh("losetup -d %s", device)
	}
	if left := r.sh("grep -F %s/ /proc/self/mountinfo || :", r.scratch); left != "" {
		r.t.Errorf("the probe left mounts:\n%s", left)
	}
	r.root = ""
}

// command is a probe of the examples, as the drill runs it.
func (r *probeRig) command(probe string, args ...string) *exec.Cmd {
	path, err := filepath.Abs(filepath.Join(repository, "examples/probes", probe))
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = "/", append(r.env, "SNAPTASTIC_VERIFY_ROOT="+r.root, "SNAPTASTIC_VERIFY_SCRATCH="+r.scratch)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// probe runs one and returns its exit code, the last line of stderr, and all that it said.
func (r *probeRig) probe(name string, args ...string) (code int, reason, all string) {
	r.t.Helper()
	cmd := r.command(name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	late := time.AfterFunc(2*time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) })
	defer late.Stop()
	_ = cmd.Wait()
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	return cmd.ProcessState.ExitCode(), lines[len(lines)-1], stdout.String() + stderr.String()
}

// sound fails unless the probe finds the restored data good; it returns what the probe said.
func (r *probeRig) sound(name string, args ...string) string {
	r.t.Helper()
	code, _, out := r.probe(name, args...)
	if code != 0 {
		r.t.Fatalf("%s: exit code %d\n%s", name, code, out)
	}
	r.takeDown()
	return out
}

// finds fails unless the probe rejects the restored data with a reason that contains want.
func (r *probeRig) finds(want, name string, args ...string) {
	r.t.Helper()
	code, reason, out := r.probe(name, args...)
	if code == 0 || !strings.Contains(reason, want) {
		r.t.Errorf("%s: exit code %d, reason %q, want %q\n%s", name, code, reason, want, out)
	}
	r.t.Logf("%s: %s", name, reason)
	r.takeDown()
}

// load keeps a client busy with statements until copies were taken, and returns when it has written many.
func (r *probeRig) load(many int, statement func(n int) string, name string, args ...string) {
	r.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = r.env
	in, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	written, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for n := 1; ; n++ {
			if _, err := io.WriteString(in, statement(n)); err != nil {
				return
			}
			if n == many {
				close(written)
			}
		}
	}()
	end := sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = in.Close(); <-over; _ = cmd.Wait() })
	r.loads = append(r.loads, end)
	r.t.Cleanup(end)
	select {
	case <-written:
	case <-over:
		r.t.Fatalf("%s ended early", name)
	}
}

// server starts one that runs until the test ends, and waits until ready, a shell command, succeeds.
func (r *probeRig) server(ready, script string) {
	r.t.Helper()
	cmd := exec.Command("sh", "-c", "exec "+script)
	cmd.Dir, cmd.Env = r.dir, r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(filepath.Join(r.dir, "server.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := r.try(ready); err == nil {
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			r.t.Fatalf("the server does not answer:\n%s", said)
		}
	}
}

// flip inverts bytes of a file.
func flip(t *testing.T, path string, offset int64, count int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, count)
	if _, err := f.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] ^= 0xff
	}
	if _, err := f.WriteAt(b, offset); err != nil {
		t.Fatal(err)
	}
}
