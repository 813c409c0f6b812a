package linux

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// startHolder starts a shell in dir that has a file open, says so, and lives until its input ends.
func startHolder(t *testing.T, script string, attr *syscall.SysProcAttr) int {
	t.Helper()
	cmd := exec.Command("sh", "-c", script+"; echo ready; read -r line")
	cmd.SysProcAttr = attr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // read answers 1 at the end of its input
	})
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatal("the holding shell did not get ready")
	}
	return cmd.Process.Pid
}

func TestABusyMountNamesItsHolders(t *testing.T) {
	h := New(Roots{})
	d := formatted(t, h, "ext4", 32*mib)
	m := mounted(t, h, d, "ext4")
	target := m.Mount.Target
	cwd := startHolder(t, "cd "+target, nil)
	file := startHolder(t, "exec 7>"+target+"/open", nil)
	err := h.Unmount(t.Context(), target)
	var busy *BusyError
	if !errors.As(err, &busy) || !errors.Is(err, ErrBusy) || errors.Is(err, ErrDeviceBusy) {
		t.Fatalf("Unmount = %v, want a BusyError that is ErrBusy", err)
	}
	wantError(t, err, "cannot unmount "+target, "pid "+strconv.Itoa(cwd), "pid "+strconv.Itoa(file))
	has := func(pid int, how, path string) bool {
		return slices.ContainsFunc(busy.Holders, func(o Holder) bool {
			return o.PID == pid && o.How == how && o.Path == path && strings.HasPrefix(o.Command, "sh ") && o.User == "root"
		})
	}
	if !has(cwd, "cwd", target) || !has(file, "fd 7", target+"/open") {
		t.Errorf("Holders = %+v", busy.Holders)
	}
	if _, ok, _ := h.MountAt(target); !ok {
		t.Error("the busy mount is gone")
	}
}

func TestAProgramThatRunsFromTheMountIsAHolder(t *testing.T) {
	h := New(Roots{})
	target := mounted(t, h, formatted(t, h, "ext4", 32*mib), "ext4").Mount.Target
	shell, err := exec.LookPath("sh")
	must(t, err)
	run(t, "cp", "-L", shell, target+"/prog")
	pid := startHolder(t, "exec "+target+`/prog -c 'echo ready; read -r line'; false`, nil)
	users, err := h.Users([]string{target})
	must(t, err)
	if holders := users[target]; !slices.ContainsFunc(holders, func(o Holder) bool { return o.PID == pid && o.How == "exe" && o.Path == target+"/prog" }) {
		t.Errorf("exe of pid %d is missing in %+v", pid, holders)
	}
}

func TestANestedMountIsAHolder(t *testing.T) {
	h := New(Roots{})
	outer, inner := formatted(t, h, "ext4", 32*mib), formatted(t, h, "xfs", 320*mib)
	m := mounted(t, h, outer, "ext4")
	in := mountedAt(t, h, inner, "xfs", filepath.Join(m.Mount.Target, "in/side"))
	wantError(t, h.Unmount(t.Context(), m.Mount.Target), "nested mount "+in.Mount.Target)
	must(t, h.Unmount(t.Context(), in.Mount.Target))
	must(t, h.Unmount(t.Context(), m.Mount.Target))
}

func TestALoopBackingFileIsAHolder(t *testing.T) {
	h := New(Roots{})
	m := mounted(t, h, formatted(t, h, "ext4", 64*mib), "ext4")
	image := filepath.Join(m.Mount.Target, "image")
	must(t, os.WriteFile(image, make([]byte, mib), 0o600))
	loop := attach(t, image)
	wantError(t, h.Unmount(t.Context(), m.Mount.Target), "loop backing file of "+loop.path, image)
}

func TestDeviceFreeSeesOtherMountNamespaces(t *testing.T) {
	h := New(Roots{})
	d := formatted(t, h, "ext4", 32*mib)
	m := mounted(t, h, d, "ext4")
	target := m.Mount.Target
	wantError(t, h.DeviceFree(t.Context(), d.path), d.path, "mounted on "+target)
	pid := startHolder(t, "true", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS})
	must(t, h.Unmount(t.Context(), target))
	err := h.DeviceFree(t.Context(), d.path)
	if err == nil {
		t.Skip("mounts propagate into new mount namespaces here")
	}
	if !errors.Is(err, ErrDeviceBusy) {
		t.Errorf("DeviceFree = %v, want ErrDeviceBusy", err)
	}
	wantError(t, err, "pid "+strconv.Itoa(pid), "mount namespace, mounted on "+target)
}

func TestSwapsAreRead(t *testing.T) {
	proc := t.TempDir()
	// proc_swaps(5): the name is escaped, so the fields stay apart.
	must(t, os.WriteFile(filepath.Join(proc, "swaps"), []byte("Filename\t\t\tType\t\tSize\tUsed\tPriority\n/mnt/my\\040swap\t\tfile\t100\t0\t-2\n/dev/xvdb partition 1 0 -3\n"), 0o600))
	if got := New(Roots{Proc: proc}).swapFiles(); !slices.Equal(got, []string{"/mnt/my swap"}) {
		t.Errorf("swapFiles = %q", got)
	}
}
