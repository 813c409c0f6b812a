package linux

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A folder is trusted when nobody but root and the running user can change what
// it holds or put another in its place.
func TestWhichFoldersAreTrusted(t *testing.T) {
	stranger := func(path string) {
		if os.Geteuid() != 0 {
			t.Skip("only root gives files away")
		}
		if err := os.Lchown(path, 12345, -1); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		make func(base string) string // base is ours, 0755; returns the folder to ask about
		want string                   // "" when it is trusted
	}{
		{"ours", func(b string) string { return mkdir(t, b, "state", 0o700) }, ""},
		{"read by all", func(b string) string { return mkdir(t, b, "state", 0o755) }, ""},
		{"not there", func(b string) string { return filepath.Join(b, "a", "b", "c") }, ""},
		{"written by a group", func(b string) string { return mkdir(t, b, "state", 0o770) }, "users other than its owner can write to it (mode 0770); run: chmod go-w "},
		{"written by all", func(b string) string { return mkdir(t, b, "state", 0o707) }, "(mode 0707)"},
		{"sticky itself", func(b string) string { return mkdir(t, b, "state", 0o777|os.ModeSticky) }, "users other than its owner can write to it"},
		{"a stranger's", func(b string) string { p := mkdir(t, b, "state", 0o700); stranger(p); return p }, "it is owned by uid 12345; run: chown "},
		{"in a sticky folder", func(b string) string { return mkdir(t, mkdir(t, b, "tmp", 0o777|os.ModeSticky), "state", 0o700) }, ""},
		{"in an open folder", func(b string) string { return mkdir(t, mkdir(t, b, "open", 0o777), "state", 0o700) }, "any user can replace files in its directory"},
		{"not there, in an open folder", func(b string) string { return filepath.Join(mkdir(t, b, "open", 0o777), "state") }, "any user can replace files"},
		{"far below an open folder", func(b string) string {
			return mkdir(t, mkdir(t, mkdir(t, b, "open", 0o777), "a", 0o755), "state", 0o700)
		}, "any user can replace files"},
		{"in a group's folder", func(b string) string { return mkdir(t, mkdir(t, b, "open", 0o775), "state", 0o700) }, "a group can replace files"},
		{"in a stranger's folder", func(b string) string {
			p := mkdir(t, b, "home", 0o755)
			s := mkdir(t, p, "state", 0o700)
			stranger(p)
			return s
		}, "is owned by uid 12345, who can replace it"},
		{"through a link", func(b string) string { return link(t, mkdir(t, b, "real", 0o700), filepath.Join(b, "state")) }, ""},
		{"through a relative link", func(b string) string {
			mkdir(t, b, "real", 0o700)
			return link(t, "./x/../real", filepath.Join(b, "state"))
		}, ""},
		{"through a stranger's link", func(b string) string {
			p := link(t, mkdir(t, b, "real", 0o700), filepath.Join(mkdir(t, b, "tmp", 0o777|os.ModeSticky), "state"))
			stranger(p)
			return p
		}, "the link"},
		{"through a link into an open folder", func(b string) string {
			return link(t, mkdir(t, mkdir(t, b, "open", 0o777), "real", 0o700), filepath.Join(b, "state"))
		}, "any user can replace files"},
		{"below a link into an open folder", func(b string) string {
			link(t, mkdir(t, b, "open", 0o777), filepath.Join(b, "var"))
			return mkdir(t, filepath.Join(b, "var"), "state", 0o700)
		}, "any user can replace files"},
		{"a loop of links", func(b string) string { return link(t, filepath.Join(b, "state"), filepath.Join(b, "state")) }, "too many symbolic links"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			base := mkdir(t, t.TempDir(), "base", 0o755)
			mkdir(t, base, "x", 0o755)
			err := CheckFolder(test.make(base))
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want …%s…", err, test.want)
			}
			if u, ok := errors.AsType[*UntrustedPath](err); ok && (u.Fix == "" || u.Path == "") {
				t.Errorf("it does not say what to do: %+v", u)
			}
		})
	}
}

func mkdir(t *testing.T, in, name string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(in, name)
	if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func link(t *testing.T, to, path string) string {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file of the program's own is neither a link, nor a pipe, nor another's.
func TestWhichFilesAreItsOwn(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	link(t, victim, path("link"))
	link(t, path("nowhere"), path("dangling"))
	if err := errors.Join(os.Link(victim, path("hard")), syscall.Mkfifo(path("fifo"), 0o600), os.WriteFile(path("mine"), nil, 0o600),
		os.WriteFile(path("open"), nil, 0o600), os.Chmod(path("open"), 0o666)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"link": "symbolic link", "dangling": "symbolic link", "hard": "hard link", "fifo": "regular file", "open": "can write to it", "mine": "", "new": ""} {
		f, err := OpenOwned(path(name), os.O_RDWR|os.O_CREATE, 0o600)
		if f != nil {
			_ = f.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	if _, err := os.Lstat(path("nowhere")); err == nil {
		t.Error("a file was made through a dangling link")
	}
}
