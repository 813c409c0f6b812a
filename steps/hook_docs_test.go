package steps

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"snaptastic/plan"
)

// What docs/settings.md says a hook is told is what it is told.
func TestTheDocumentedContextOfAHookIsTheRealOne(t *testing.T) {
	page, err := os.ReadFile("../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{} // variable -> path in the JSON
	for _, row := range regexp.MustCompile("(?m)^\\| `(SNAPTASTIC_[A-Z_]+)` \\| `([a-z_.]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = row[2]
	}
	w := &Env{Version: "1.2.3", Instance: Instance{ID: "i-1", Zone: "eu-west-1a", Region: "eu-west-1", Account: "123456789012"}}
	volume := HookVolume{Device: "/dev/sdf", MountPoint: "/mnt/a", FileSystem: "ext4", Volume: plan.Literal(Volume{VolumeID: "vol-1", SnapshotID: "snap-1"})}
	r := w.hookRequest(plan.Attempt{Run: "R"}, HookIn{Name: "pre_mount", Operation: "mount", Snapshotter: "db", Volumes: []HookVolume{volume}, Of: "/mnt/a"})
	told := map[string]string{}
	for _, e := range r.Env {
		name, value, _ := strings.Cut(e, "=")
		told[name] = value
	}
	if got, want := slices.Sorted(maps.Keys(told)), slices.Sorted(maps.Keys(documented)); !slices.Equal(got, want) {
		t.Errorf("told are\n%q, documented\n%q", got, want)
	}
	var body map[string]any
	if err := json.Unmarshal(r.Stdin, &body); err != nil {
		t.Fatal(err)
	}
	for name, path := range documented {
		at := any(body)
		for _, key := range strings.Split(path, ".") {
			m, _ := at.(map[string]any)
			at = m[key]
		}
		if at != told[name] {
			t.Errorf("%s is %q and %s in the JSON is %v", name, told[name], path, at)
		}
	}
	// Nothing is in the JSON that is not documented.
	known := append(slices.Collect(maps.Values(documented)), "volumes", "instance", "volume")
	for key, v := range body {
		if m, is := v.(map[string]any); is {
			for k := range m {
				if !slices.Contains(known, key+"."+k) {
					t.Errorf("%s.%s is not documented", key, k)
				}
			}
		}
		if !slices.Contains(known, key) {
			t.Errorf("%s is not documented", key)
		}
	}
}
