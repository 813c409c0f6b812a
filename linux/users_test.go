package linux

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Whatever would keep a volume from being unmounted or taken off is found beforehand, and what goes away with it is not
// taken for a user.
func TestUsersOfAMountAreFoundWhateverTheyAre(t *testing.T) {
	h := New(Roots{})
	shared := filepath.Join(t.TempDir(), "shared")
	must(t, os.Mkdir(shared, 0o755))
	run(t, "mount", "-t", "tmpfs", "tmpfs", shared)
	t.Cleanup(func() { run(t, "umount", shared) })
	run(t, "mount", "--make-private", shared)
	run(t, "mount", "--make-shared", shared)
	target, idle := filepath.Join(shared, "used"), filepath.Join(shared, "idle")
	mountedAt(t, h, formatted(t, h, "ext4", 64*mib), "ext4", target)
	mountedAt(t, h, formatted(t, h, "ext4", 32*mib), "ext4", idle)
	shell, err := exec.LookPath("sh")
	must(t, err)
	run(t, "cp", "-L", shell, target+"/prog")
	run(t, "dd", "if=/dev/zero", "of="+target+"/file", "bs=1M", "count=8", "status=none")

	process := func(script string) func(*testing.T) string {
		return func(t *testing.T) string {
			return "pid " + strconv.Itoa(startHolder(t, strings.ReplaceAll(script, "MNT", target), nil))
		}
	}
	elsewhere := func(propagation, script string) func(*testing.T) string {
		return process("exec unshare -m --propagation " + propagation + " sh -c '" + script + "; echo ready; read -r line'")
	}
	kernel := func(how string, up, down []string) func(*testing.T) string {
		return func(t *testing.T) string {
			run(t, up[0], up[1:]...)
			t.Cleanup(func() { run(t, down[0], down[1:]...) })
			return how
		}
	}
	inside, other := filepath.Join(target, "inside"), filepath.Join(shared, "other")
	must(t, os.Mkdir(inside, 0o755))
	must(t, os.Mkdir(other, 0o755))
	for _, c := range []struct {
		name string
		use  func(*testing.T) string // what the answer has to say; "" for no user
	}{
		{"nobody", func(*testing.T) string { return "" }},
		{"a working directory", process("cd MNT")},
		{"a deleted file", process("exec 7>MNT/gone; rm MNT/gone")},
		{"a program", process("exec MNT/prog -c 'echo ready; read -r line'")},
		{"a mount inside", kernel(NestedMount+" "+inside, []string{"mount", "-t", "tmpfs", "tmpfs", inside}, []string{"umount", inside})},
		{"the volume mounted elsewhere as well", kernel("mounted on "+other, []string{"mount", "--bind", target, other}, []string{"umount", other})},
		{"a file of it through another mount", func(t *testing.T) string {
			run(t, "mount", "--bind", target, other)
			t.Cleanup(func() { run(t, "umount", other) })
			return "pid " + strconv.Itoa(startHolder(t, "exec 7<"+other+"/file", nil))
		}},
		{"a loop device over a file", func(t *testing.T) string {
			dev := strings.TrimSpace(run(t, "losetup", "-f", "--show", target+"/file"))
			t.Cleanup(func() { run(t, "losetup", "-d", dev) })
			return "loop backing file of " + dev
		}},
		{"a swap file", func(t *testing.T) string {
			run(t, "chmod", "600", target+"/file")
			run(t, "mkswap", target+"/file")
			run(t, "swapon", target+"/file")
			t.Cleanup(func() { run(t, "swapoff", target+"/file") })
			return "swap " + target + "/file"
		}},
		{"a namespace that keeps its own mount", elsewhere("private", "true")},
		{"a namespace that gives its mount up", func(t *testing.T) string { elsewhere("slave", "true")(t); return "" }},
		{"a file open in such a namespace", elsewhere("slave", "exec 7<MNT/file")},
		{"a working directory in such a namespace", elsewhere("slave", "cd MNT")},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := c.use(t)
			users, err := h.Users([]string{target, idle})
			must(t, err)
			if len(users[idle]) != 0 && !strings.Contains(c.name, "keeps its own") { // of all that there is
				t.Errorf("the idle one is used by %v", users[idle])
			}
			said := InUse(target, users[target]).Error()
			if want == "" && len(users[target]) != 0 || want != "" && !strings.Contains(said, want) {
				t.Errorf("want %q: %s", want, said)
			}
		})
	}
	if _, err := h.Users([]string{inside}); !errors.Is(err, ErrNotMountPoint) {
		t.Errorf("Users of a plain folder = %v", err)
	}
}
