package settings

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
)

const valid = "snapshotter \"s\" {\n  volume \"/dev/sdf\" { mount_point = \"/data\" }\n}\n"

// folder is a temporary folder that nobody else may write.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatCannotBeSettings(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		want string // %s is the path
	}{
		{"absent", func(t *testing.T, path string) {}, "cannot read settings %s: no such file or directory"},
		{"folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "cannot read settings %s: it is a directory; name a file"},
		{"FIFO", func(t *testing.T, path string) {
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "cannot read settings %s: it is not a regular file"},
		{"10 MB of garbage", func(t *testing.T, path string) { write(t, path, strings.Repeat("}{garbage", 1_111_112)) },
			"cannot read settings %s: it has 10000008 bytes, and a settings file has at most 1 MiB"},
		{"NUL", func(t *testing.T, path string) { write(t, path, "a = 1\nb = \x00\n") },
			"cannot read settings %s: line 2 holds a NUL byte; it is not a text file"},
		{"Latin-1", func(t *testing.T, path string) { write(t, path, "a = 1\n\nb = \"caf\xe9\"\n") },
			"cannot read settings %s: line 3 is not UTF-8"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(folder(t), "snaptastic.hcl")
			test.make(t, path)
			_, err := Load([]string{path})
			if want := strings.ReplaceAll(test.want, "%s", path); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestUnreadableFile(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads every file")
	}
	path := write(t, filepath.Join(folder(t), "snaptastic.hcl"), valid)
	chmod(t, path, 0)
	_, err := Load([]string{path})
	if want := "cannot read settings " + path + ": permission denied"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestAMebibyteOfGarbageIsRefusedBriefly(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // or a third of those seconds goes into collecting
	for name, text := range map[string]string{
		"words":      strings.Repeat("} { \"x\" = @\n", MaxBytes/12),
		"arguments":  strings.Repeat("volume \"a\" {}\n", MaxBytes/14),
		"parens":     "a = " + strings.Repeat("(", MaxBytes-10),
		"signs":      "a = " + strings.Repeat("-", MaxBytes-10),
		"sums":       "a = " + strings.Repeat("1+", MaxBytes/2-10),
		"choices":    "a = " + strings.Repeat("1?1:", MaxBytes/4-10),
		"splats":     "a = b" + strings.Repeat(".*", MaxBytes/2-10),
		"templates":  "a = " + strings.Repeat(`"${`, MaxBytes/3-10),
		"directives": `a = "` + strings.Repeat(`%{if a}`, MaxBytes/7-10),
		"blocks":     strings.Repeat("a {\n", MaxBytes/4-10),
		"lines":      "a = (\n" + strings.Repeat("1+\n", MaxBytes/3-10),
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, filepath.Join(folder(t), "snaptastic.hcl"), text)
			_, err := Load([]string{path})
			var mistake *Error
			if !errors.As(err, &mistake) {
				t.Fatalf("got %v, want diagnostics", err)
			}
			if text := err.Error(); len(text) > 64<<10 {
				t.Errorf("the message has %d bytes", len(text))
			}
		})
	}
}

func TestFilesThatOthersMayWriteAreRefused(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		want string // %s is the path, %d the folder; "" when the file is taken
	}{
		{"mine alone", func(t *testing.T, path string) {}, ""},
		{"read by all", func(t *testing.T, path string) { chmod(t, path, 0o644) }, ""},
		{"group", func(t *testing.T, path string) { chmod(t, path, 0o664) }, "(mode 0664)"},
		{"others", func(t *testing.T, path string) { chmod(t, path, 0o646) }, "run: chmod go-w %s"},
		{"folder of all", func(t *testing.T, path string) { chmod(t, filepath.Dir(path), 0o777) }, "run: chmod o-w %d"},
		{"sticky folder of all", func(t *testing.T, path string) { chmod(t, filepath.Dir(path), 0o777|os.ModeSticky) }, ""},
		{"a stranger's", func(t *testing.T, path string) {
			if os.Geteuid() != 0 {
				t.Skip("only root gives files away")
			}
			if err := os.Chown(path, 12345, -1); err != nil {
				t.Fatal(err)
			}
		}, "it is owned by uid 12345, and its hooks run as root; run: chown 0 %s"},
		{"a link into a folder of all", func(t *testing.T, path string) {
			open := filepath.Join(folder(t), "open")
			write(t, filepath.Join(open, "target"), valid)
			chmod(t, open, 0o777)
			if err := errors.Join(os.Remove(path), os.Symlink(filepath.Join(open, "target"), path)); err != nil {
				t.Fatal(err)
			}
		}, "any user can replace files in its directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, filepath.Join(folder(t), "snaptastic.hcl"), valid)
			test.make(t, path)
			f, err := Load([]string{path})
			if test.want == "" {
				if err != nil || len(f.Names()) != 1 {
					t.Errorf("got %v, want the file taken", err)
				}
				return
			}
			want := strings.NewReplacer("%s", path, "%d", filepath.Dir(path)).Replace(test.want)
			if err == nil || !strings.HasPrefix(err.Error(), "refusing settings "+path) || !strings.Contains(err.Error(), want) {
				t.Errorf("got  %v\nwant …%s", err, want)
			}
		})
	}
}

func TestFindTakesTheFirstPlace(t *testing.T) {
	tests := []struct {
		name, flag, env string
		files           []string
		want            []string
	}{
		{"flag", "a.hcl", "b.hcl", []string{"here/snaptastic.hcl"}, []string{"a.hcl"}},
		{"environment", "", "b.hcl", []string{"here/snaptastic.hcl"}, []string{"b.hcl"}},
		{"this folder", "", "", []string{"here/snaptastic.hcl", "etc/snaptastic.hcl"}, []string{"here/snaptastic.hcl"}},
		{"system", "", "", []string{"etc/snaptastic.hcl"}, []string{"etc/snaptastic.hcl"}},
		{"pieces", "", "", []string{"etc/snaptastic/b.hcl", "etc/snaptastic/a.hcl", "etc/snaptastic/c.bak"},
			[]string{"etc/snaptastic/a.hcl", "etc/snaptastic/b.hcl"}},
		{"system and pieces", "", "", []string{"etc/snaptastic/a.hcl", "etc/snaptastic.hcl"},
			[]string{"etc/snaptastic.hcl", "etc/snaptastic/a.hcl"}},
		{"a fleet's settings beside them", "", "", []string{"etc/snaptastic/fleet.hcl", "etc/snaptastic/a.hcl"}, []string{"etc/snaptastic/a.hcl"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := folder(t)
			for _, name := range test.files {
				write(t, filepath.Join(root, name), valid)
			}
			getenv := func(name string) string { return map[string]string{EnvPath: test.env}[name] }
			got, err := find(test.flag, getenv, filepath.Join(root, "here"), filepath.Join(root, "etc"))
			if err != nil {
				t.Fatal(err)
			}
			for i, path := range got {
				got[i] = strings.TrimPrefix(path, root+"/")
			}
			if strings.Join(got, " ") != strings.Join(test.want, " ") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFindErrorListsThePathsTried(t *testing.T) {
	root := folder(t)
	_, err := find("", func(string) string { return "" }, root, root)
	if !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"--settings", "$SNAPTASTIC_SETTINGS", root + "/snaptastic.hcl", root + "/snaptastic/*.hcl"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not name %s", err, want)
		}
	}
}

func TestSeveralFilesAreOneBody(t *testing.T) {
	dir := folder(t)
	a := write(t, filepath.Join(dir, "a.hcl"), "aws { region = \"eu-west-1\" }\nmax_hold = \"5s\"\n"+valid)
	b := write(t, filepath.Join(dir, "b.hcl"), strings.ReplaceAll(valid, `"s"`, `"t"`))
	f, err := Load([]string{a, b})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.Names(), " "); got != "s t" {
		t.Errorf("snapshotters are %s", got)
	}
	spec := spec(t, f, "t", Context{UserData: []byte(`{"role":"r","cluster":"c","environment":"e"}`)})
	if spec.MaxHold.String() != "5s" {
		t.Errorf("max_hold of another file is %v, want 5s", spec.MaxHold)
	}

	write(t, b, "max_hold = \"6s\"\naws {}\n"+valid)
	_, err = Load([]string{a, b})
	var mistake *Error
	if !errors.As(err, &mistake) {
		t.Fatalf("got %v, want diagnostics", err)
	}
	for _, want := range []string{
		b + ":1: Duplicate setting: max_hold is set already at " + a + ":2",
		b + ":2: Duplicate aws block: There is one already at " + a + ":1",
	} {
		if !strings.Contains(strings.Join(mistake.Lines(), "\n"), want) {
			t.Errorf("%s\nis not in\n%s", want, strings.Join(mistake.Lines(), "\n"))
		}
	}
	write(t, b, valid)
	if _, err = Load([]string{a, b}); err == nil || !strings.Contains(err.Error(), a+":3; names must differ") {
		t.Errorf("got %v, want the place of the other snapshotter", err)
	}
}

func TestRenderColoursAndWraps(t *testing.T) {
	_, err := Parse("a.hcl", []byte("snapshotter \"s\" {\n  volume \"/dev/sdf\" {\n    mount_point = \"/a\"\n    colour = 1\n  }\n}\n"))
	var mistake *Error
	if !errors.As(err, &mistake) {
		t.Fatalf("got %v", err)
	}
	var plain, fancy bytes.Buffer
	if err := errors.Join(mistake.Render(&plain, 40, false), mistake.Render(&fancy, 40, true)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "\x1b") || !strings.Contains(fancy.String(), "\x1b[31mError") {
		t.Errorf("colours: plain %q, coloured %q", plain.String(), fancy.String())
	}
	for line := range strings.Lines(plain.String()) {
		if len(line) > 42 {
			t.Errorf("line is wider than 40 columns: %q", line)
		}
	}
}
