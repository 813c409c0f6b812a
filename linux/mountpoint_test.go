package linux

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// otherUser is a user who is neither root nor the one who runs the tests.
const otherUser = 65534

// makeTree makes folders and symlinks: "folder", "folder theirs", "link -> target", "link -> target theirs".
func makeTree(t *testing.T, root string, what ...string) {
	t.Helper()
	for _, w := range what {
		name, rest, _ := strings.Cut(w, " ")
		target, isLink := strings.CutPrefix(rest, "-> ")
		target, theirs := strings.CutSuffix(" "+target, " theirs")
		p := filepath.Join(root, name)
		if isLink {
			must(t, os.Symlink(strings.ReplaceAll(strings.TrimPrefix(target, " "), "ROOT", root), p))
		} else {
			must(t, os.MkdirAll(p, 0o755))
		}
		if theirs {
			must(t, os.Lchown(p, otherUser, otherUser))
		}
		if strings.Contains(rest, "sticky") {
			must(t, os.Chmod(p, 0o777|os.ModeSticky))
		} else if strings.Contains(rest, "open") {
			must(t, os.Chmod(p, 0o777))
		}
	}
}

func TestAMountPointIsWhatItsPathLeadsTo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("gives folders to other users")
	}
	for _, c := range []struct {
		name    string
		place   []string
		ask     string
		want    string // below the root, or an absolute path
		err     error
		message string
	}{
		{"plain", []string{"real"}, "real", "real", nil, ""},
		{"not there yet", nil, "a/b", "a/b", nil, ""},
		{"link", []string{"real", "link -> ROOT/real"}, "link", "real", nil, ""},
		{"relative link", []string{"a/real", "a/link -> real"}, "a/link", "a/real", nil, ""},
		{"link with dots", []string{"a/b", "real", "a/b/link -> ../../real"}, "a/b/link/x", "real/x", nil, ""},
		{"link in the middle", []string{"srv/inner", "data -> ROOT/srv"}, "data/inner", "srv/inner", nil, ""},
		{"dots after a link leave its target", []string{"a/b", "l -> ROOT/a/b", "m -> l/../c"}, "m", "a/c", nil, ""},
		{"chain", []string{"real", "one -> two", "two -> ROOT/real"}, "one", "real", nil, ""},
		{"dangling", []string{"link -> ROOT/nowhere"}, "link/x", "nowhere/x", nil, ""},
		{"loop", []string{"one -> two", "two -> one"}, "one", "", unix.ELOOP, "one"},
		{"to /boot", []string{"link -> /boot"}, "link", "", ErrSystemPath, "/boot"},
		{"to /etc by dots", []string{"link -> /usr/../etc/"}, "link", "", ErrSystemPath, "/etc"},
		{"into /sys", []string{"link -> /sys/kernel"}, "link/x", "", ErrSystemPath, "/sys/kernel/x"},
		{"to /", []string{"link -> /"}, "link", "", ErrSystemPath, "resolves to /"},
		{"through a system folder elsewhere", []string{"real", "link -> /etc/.." + "ROOT/real"}, "link", "real", nil, ""},
		{"a folder of a service user", []string{"theirs theirs", "theirs/data theirs"}, "theirs/data", "theirs/data", nil, ""},
		{"a link of a service user", []string{"theirs theirs", "theirs/data -> ROOT/real theirs"}, "theirs/data", "", ErrUntrustedLink, "nobody"},
		{"root's link in a folder of a service user", []string{"theirs theirs", "theirs/data -> ROOT/real"}, "theirs/data", "", ErrUntrustedLink, "theirs"},
		{"deeper in one", []string{"theirs theirs", "theirs/sub", "theirs/sub/data -> ROOT/real"}, "theirs/sub/data", "", ErrUntrustedLink, ""},
		{"a link into a folder of a service user", []string{"theirs theirs", "link -> ROOT/theirs/data"}, "link", "theirs/data", nil, ""},
		{"a link that leads to theirs", []string{"theirs theirs", "theirs/data -> ROOT/real theirs", "link -> ROOT/theirs"}, "link/data", "", ErrUntrustedLink, ""},
		{"their link in a sticky folder", []string{"tmp sticky", "tmp/link -> ROOT/real theirs"}, "tmp/link", "", ErrUntrustedLink, "nobody"},
		{"our link in a sticky folder", []string{"tmp sticky", "tmp/link -> ROOT/real"}, "tmp/link", "real", nil, ""},
		{"our link in a folder that all may write to", []string{"tmp open", "tmp/link -> ROOT/real"}, "tmp/link", "", ErrUntrustedLink, "any user"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, err := filepath.EvalSymlinks(t.TempDir())
			must(t, err)
			must(t, os.Chmod(filepath.Dir(root), 0o755))
			makeTree(t, root, c.place...)
			got, err := ResolveMountPoint(filepath.Join(root, c.ask))
			if !errors.Is(err, c.err) {
				t.Fatalf("ResolveMountPoint = %q, %v; want %v", got, err, c.err)
			}
			if err != nil {
				wantError(t, err, c.message)
				return
			}
			want := filepath.Join(root, c.want)
			if got != want || LeadsTo(filepath.Join(root, c.ask)) != want {
				t.Errorf("it leads to %q, to look at %q; want %q", got, LeadsTo(filepath.Join(root, c.ask)), want)
			}
			if _, err := os.Lstat(filepath.Join(root, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
				t.Error("looking made a folder")
			}
		})
	}
}

func TestSystemPathsAreThoseTheyLeadTo(t *testing.T) {
	for path, want := range map[string]bool{"/": true, "/boot": true, "/etc": true, "/dev/x": true, "/etc/x": false, "/mnt": false, "/bootx": false, "/run/x": false} {
		if IsSystemPath(path) != want {
			t.Errorf("IsSystemPath(%s) is not %v", path, want)
		}
	}
	if leads, err := filepath.EvalSymlinks("/lib"); err == nil && !IsSystemPath(leads) {
		t.Errorf("/lib leads to %s, which is not one", leads)
	}
}

func TestMountFollowsOnlyTheExpectedLink(t *testing.T) {
	h := New(Roots{})
	d := formatted(t, h, "ext4", 32*mib)
	root := t.TempDir()
	must(t, os.Chmod(filepath.Dir(root), 0o755))
	makeTree(t, root, "real", "link -> ROOT/real", "theirs theirs", "theirs/l -> ROOT/real theirs", "boot -> /boot")
	for target, words := range map[string]string{"theirs/l": "may have created it", "boot": "resolves to /boot", "theirs/l/deeper": "may have created it"} {
		_, err := h.Mount(t.Context(), MountRequest{Source: d.path, Target: filepath.Join(root, target), FileSystem: "ext4"})
		wantError(t, err, words)
	}
	_, err := h.Mount(t.Context(), MountRequest{Source: d.path, Target: filepath.Join(root, "link"), FileSystem: "ext4", LeadsTo: filepath.Join(root, "elsewhere")})
	wantError(t, err, "resolves to "+filepath.Join(root, "real")+", but")
	m := mountedAt(t, h, d, "ext4", filepath.Join(root, "link", "new"))
	if want := filepath.Join(root, "real", "new"); m.Mount.Target != want || len(m.Created) != 1 || m.Created[0] != want {
		t.Errorf("Mount = %+v; want it on %s", m, want)
	}
}

func TestMountRefusesToHideAMountBelow(t *testing.T) {
	h := New(Roots{})
	inner, outer := formatted(t, h, "ext4", 32*mib), formatted(t, h, "ext4", 32*mib)
	root := t.TempDir()
	mountedAt(t, h, inner, "ext4", filepath.Join(root, "srv", "a", "inner"))
	makeTree(t, root, "link -> ROOT/srv")
	for _, target := range []string{"srv", "link", "srv/a"} {
		_, err := h.Mount(t.Context(), MountRequest{Source: outer.path, Target: filepath.Join(root, target), FileSystem: "ext4"})
		wantError(t, err, inner.path+" is mounted below it", filepath.Join(root, "srv/a/inner"))
	}
	mountedAt(t, h, outer, "ext4", filepath.Join(root, "srv", "a", "inner2")) // a name that only begins alike
}

func TestANewFolderIs0755WhateverTheUmask(t *testing.T) {
	h := New(Roots{})
	d := formatted(t, h, "ext4", 32*mib)
	root := t.TempDir()
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	m := mountedAt(t, h, d, "ext4", filepath.Join(root, "a", "b", "c"))
	must(t, h.Unmount(t.Context(), m.Mount.Target))
	for _, p := range m.Created {
		fi, err := os.Stat(p)
		must(t, err)
		if fi.Mode().Perm() != 0o755 {
			t.Errorf("%s has mode %o", p, fi.Mode().Perm())
		}
	}
	if len(m.Created) != 3 {
		t.Errorf("made %v", m.Created)
	}
}

func TestADeviceThatSomebodyElseMountedThereMeanwhileIsMounted(t *testing.T) {
	h := New(Roots{})
	d, other := formatted(t, h, "ext4", 32*mib), formatted(t, h, "ext4", 32*mib)
	m := mounted(t, h, d, "ext4", "noatime")
	again, err := h.Mount(t.Context(), MountRequest{Source: d.path, Target: m.Mount.Target, FileSystem: "ext4"})
	if err != nil || !again.Already || again.Mount.ID != m.Mount.ID || len(again.Notes) != 1 {
		t.Errorf("Mount = %+v, %v", again, err)
	}
	_, err = h.Mount(t.Context(), MountRequest{Source: other.path, Target: m.Mount.Target, FileSystem: "ext4"})
	wantError(t, err, d.path, "already mounted there")
}
