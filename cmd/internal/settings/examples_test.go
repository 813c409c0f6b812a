package settings

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"snaptastic/ec2/ebs"
	"snaptastic/linux"
	"snaptastic/steps/recipe"
)

const examples = "../../../examples/"

// TestExamples loads every file of examples/ and evaluates each snapshotter.
func TestExamples(t *testing.T) {
	usual := `{"role": "r", "cluster": "c", "environment": "e"}`
	tests := map[string]struct {
		snapshotter, userdata string // userdata begins with @ for a file
		volumes               int
		hooks                 string
	}{
		"snaptastic.hcl": {"data", "", 1, ""},
		"solr.hcl":       {"solr", usual, 1, "post_mount post_mounts pre_mounts pre_snapshots pre_unmounts"},
		"postgres.hcl":   {"postgres", "@postgres.userdata.json", 15, "post_mount post_mounts pre_mounts pre_snapshots pre_unmounts"},
		"mysql.hcl":      {"mysql", usual, 2, "post_mount post_mounts pre_mounts pre_snapshots pre_unmounts"},
		"sqlite.hcl":     {"sqlite", usual, 1, "post_mounts pre_mounts pre_unmounts"},
		"redis.hcl":      {"redis", usual, 1, "post_mount post_mounts pre_mounts pre_unmounts"},
		"mongodb.hcl":    {"mongodb", usual, 2, "post_mount post_mounts post_snapshots pre_mounts pre_snapshots pre_unmounts"},
	}
	paths, err := filepath.Glob(examples + "*.hcl")
	paths = slices.DeleteFunc(paths, func(p string) bool { return filepath.Base(p) == "fleet.hcl" }) // of another program
	if err != nil || len(paths) != len(tests) {
		t.Fatalf("examples are %q, and %d are tested (%v)", paths, len(tests), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			test, ok := tests[filepath.Base(path)]
			if !ok {
				t.Fatal("no test")
			}
			got := spec(t, example(t, path), test.snapshotter, Context{
				UserData: userdataOf(t, test.userdata),
				Warn:     func(w *Error) { t.Errorf("an example is warned of: %v", w) },
			})
			checkSpec(t, got)
			if len(got.Volumes) != test.volumes {
				t.Errorf("it has %d volumes, want %d", len(got.Volumes), test.volumes)
			}
			if hooks := strings.Join(slices.Sorted(maps.Keys(got.Hooks)), " "); hooks != test.hooks {
				t.Errorf("its hooks are %s\nwant %s", hooks, test.hooks)
			}
		})
	}
}

// TestPostgresExampleIsTheOriginals holds the fifteen volumes of the Python
// Snaptastic's example: the same mount points and sizes, a letter for each.
func TestPostgresExampleIsTheOriginals(t *testing.T) {
	got := spec(t, example(t, examples+"postgres.hcl"), "postgres", Context{UserData: userdataOf(t, "@postgres.userdata.json")})
	letters, total := "", 0
	for _, v := range got.Volumes {
		letters += strings.TrimPrefix(v.Device, "/dev/sd")
		total += int(v.Size)
		if !strings.HasPrefix(v.MountPoint, "/var/lib/postgresql/9.1/") || v.VolumeType != "gp3" || v.IOPS != 0 {
			t.Errorf("unexpected volume %+v", v)
		}
	}
	if letters != "fghijklmnopqrst" {
		t.Errorf("devices are %s", letters)
	}
	if total != 514 {
		t.Errorf("they have %d GiB, want 514", total)
	}
}

func example(t *testing.T, path string) *File {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(path, text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func userdataOf(t *testing.T, text string) []byte {
	t.Helper()
	name, isFile := strings.CutPrefix(text, "@")
	if !isFile {
		return []byte(text)
	}
	data, err := os.ReadFile(examples + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestTheReferenceIsWhatIsDeclared compares docs/settings.md with what the reader knows: each argument has its declared
// row in the table of its block, and nothing else is undocumented.
func TestTheReferenceIsWhatIsDeclared(t *testing.T) {
	const path = "../../../docs/settings.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]*shape{"## Top level": fileShape, "### `aws`": awsShape, "### `telemetry`": telemetryShape, "## `snapshotter`": snapshotterShape,
		"## `volume`": volumeShape, "## `hook`": hookShape, "## `keep`": keepShape, "## `copy`": copyShape, "## `lock`": lockShape, "## `timeouts`": timeoutsShape, "## `verify`": verifyShape}
	var in *shape
	rows := map[*shape]int{}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "#") {
			in = sections[line]
		}
		if in == nil {
			continue
		}
		for _, a := range in.attrs {
			r := a.row()
			if !strings.HasPrefix(line, "| `"+r.name+"` |") {
				continue
			}
			rows[in]++
			want := fmt.Sprintf("| `%s` | %s | %s | %s |", r.name, r.kind, r.def, r.meaning)
			if in == timeoutsShape {
				want = fmt.Sprintf("| `%s` | %s | %s |", r.name, r.def, r.meaning)
			}
			if line != want && !*update {
				t.Errorf("docs/settings.md has %s\nwant %s", line, want)
			}
			lines[i] = want
		}
	}
	for heading, s := range sections {
		want := len(s.attrs)
		if s == snapshotterShape {
			want -= len(fileShape.attrs) // said once, at the top level
		}
		if rows[s] != want {
			t.Errorf("%s has %d rows of arguments; want %d", heading, rows[s], want)
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for _, s := range sections {
		names = append(names, slices.Collect(maps.Keys(s.blocks))...)
	}
	names = slices.Concat(names, recipe.HookNames, linux.FileSystems(), ebs.TypeNames, slices.Collect(maps.Keys(functions)), linux.SystemPaths(), foreignMounts)
	for _, name := range names {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/settings.md does not name `%s`", name)
		}
	}
}

// TestTheReferencesExamplesLoad parses every hcl block of docs/settings.md.
func TestTheReferencesExamplesLoad(t *testing.T) {
	text, err := os.ReadFile("../../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```hcl\n")[1:]
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		f, err := Parse("settings.md", []byte(block))
		if err != nil {
			t.Errorf("%s\n%v", block, err)
			continue
		}
		for _, name := range f.Names() {
			got := spec(t, f, name, Context{
				UserData: []byte(`{"role": "r", "cluster": "c", "environment": "e", "group": "g", "volumes": [{"device": "/dev/sdx", "mount_point": "/x", "size": 7}]}`),
				Instance: func() (Instance, error) { return Instance{ID: "i-1", Region: "eu-west-1"}, nil },
			})
			checkSpec(t, got)
		}
	}
	if len(blocks) < 5 {
		t.Errorf("found only %d examples", len(blocks))
	}
}
