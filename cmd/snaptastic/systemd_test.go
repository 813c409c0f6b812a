package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const unitsDir = "../../packaging/systemd"

// unitsFor copies the units into a folder as a machine with one snapshotter
// would have them: templates instantiated, the program where it can be found.
func unitsFor(t *testing.T, edit func(name, text string) string) (dir string, names []string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(unitsDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(unitsDir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(raw), "/usr/bin/snaptastic", "/bin/true")
		if edit != nil {
			text = edit(e.Name(), text)
		}
		if e.Name() == "example.conf" {
			write("solr.service.d/snaptastic.conf", text)
			continue
		}
		write(e.Name(), text)
		if name := strings.Replace(e.Name(), "@.", "@solr.", 1); name != e.Name() {
			write(name, text)
			names = append(names, name)
			continue
		}
		names = append(names, e.Name())
	}
	write("solr.service", "[Service]\nExecStart=/bin/true\n")
	return dir, append(names, "solr.service")
}

// verify returns what systemd has to say about our units; what it says about
// others of this machine is not ours to fix.
func verify(t *testing.T, dir string, names []string) (said []string) {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	args := []string{"verify", "--man=no"}
	for _, n := range names {
		args = append(args, filepath.Join(dir, n))
	}
	cmd := exec.Command(tool, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	out, err := cmd.CombinedOutput()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "snaptastic") || strings.Contains(line, "solr.service") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	return said
}

func TestSystemdFindsNoFaultWithTheUnits(t *testing.T) {
	dir, names := unitsFor(t, nil)
	for _, line := range verify(t, dir, names) {
		t.Error(line)
	}
	dir, names = unitsFor(t, func(_, text string) string { return strings.Replace(text, "KillMode=process", "KillMode=nobody", 1) })
	if len(verify(t, dir, names)) == 0 {
		t.Error("systemd-analyze lets a mistake pass, so that its silence says nothing")
	}
}

// TestUnitsKeepWhatTheFreezeRestsOn: without these a stopped or killed unit
// could leave file systems frozen, or mounts where nobody sees them.
func TestUnitsKeepWhatTheFreezeRestsOn(t *testing.T) {
	services, err := filepath.Glob(filepath.Join(unitsDir, "*.service"))
	if err != nil || len(services) != 6 {
		t.Fatalf("found %v, %v", services, err)
	}
	for _, path := range services {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{}
		for line := range strings.Lines(string(raw)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
				settings[key] = value
			}
		}
		wanted := map[string]string{"Type": "oneshot", "KillMode": "process", "TimeoutStartSec": "infinity", "Restart": "on-failure",
			"ExecStopPost": "-/usr/bin/snaptastic thaw --owned"}
		drill := strings.Contains(path, "verify") // it freezes nothing, and a set that failed stays failed
		if drill {
			wanted["Restart"], wanted["ExecStopPost"] = "", ""
		}
		if strings.Contains(path, "copy") { // it freezes nothing
			wanted["ExecStopPost"] = ""
		}
		warms := strings.Contains(path, "warm")
		if warms { // it has no children and freezes nothing; as a oneshot it would keep the boot from being finished
			wanted = map[string]string{"Type": "exec", "Restart": "on-failure", "WantedBy": "snaptastic-mount@%i.service", "SuccessExitStatus": "130"}
			if !strings.Contains(settings["After"], "snaptastic-mount@%i.service") {
				t.Errorf("%s does not start after the mount: After=%s", path, settings["After"])
			}
		}
		for key, want := range wanted {
			if settings[key] != want {
				t.Errorf("%s: %s=%s, want %s", filepath.Base(path), key, settings[key], want)
			}
		}
		for _, key := range []string{"RestartSec", "StartLimitIntervalSec", "StartLimitBurst"} {
			if settings[key] == "" && !drill {
				t.Errorf("%s: no %s: it would be tried again without an end", filepath.Base(path), key)
			}
		}
		for _, code := range []string{fmt.Sprint(exitUsage), fmt.Sprint(exitOperator)} {
			if !drill && !slices.Contains(strings.Fields(settings["RestartPreventExitStatus"]), code) {
				t.Errorf("%s: exit %s, which only a person can fix, is tried again", filepath.Base(path), code)
			}
		}
		for _, key := range []string{"PrivateTmp", "PrivateMounts", "ProtectSystem", "ProtectHome", "MountFlags", "CapabilityBoundingSet", "DynamicUser"} {
			if value, set := settings[key]; set {
				t.Errorf("%s: %s=%s keeps it from mounting for others or from freezing", filepath.Base(path), key, value)
			}
		}
	}
}

// A service that requires the mount unit must not start over the empty folder
// when the unit is active and its volume was unmounted since.
func TestTheExampleDropInAssertsEachMountPointItNeeds(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(unitsDir, "example.conf"))
	if err != nil {
		t.Fatal(err)
	}
	values := func(key string) (out []string) {
		for line := range strings.Lines(string(raw)) {
			if v, is := strings.CutPrefix(strings.TrimSpace(line), key+"="); is {
				out = append(out, v)
			}
		}
		return out
	}
	needed, asserted := values("RequiresMountsFor"), values("AssertPathIsMountPoint")
	if len(needed) == 0 || strings.Join(needed, " ") != strings.Join(asserted, " ") {
		t.Errorf("it needs %q and asserts %q", needed, asserted)
	}
	dir, names := unitsFor(t, func(_, text string) string {
		return strings.ReplaceAll(text, "AssertPathIsMountPoint=", "AssertPathIsMountpoint=")
	})
	if len(verify(t, dir, names)) == 0 {
		t.Error("systemd does not know the assertion by its name, and would not have told")
	}
}

// What the operations guide enables is enabled then, by the real systemctl in a folder that stands for the machine; its
// drop-in is the example's.
func TestTheOperationsGuideEnablesTheUnits(t *testing.T) {
	t.Parallel()
	systemctl, err := exec.LookPath("systemctl")
	if err != nil {
		t.Skip("systemctl is not installed")
	}
	part := section(t, document(t, "docs/operations.md"), "systemd")
	root, bin := t.TempDir(), t.TempDir()
	units := filepath.Join(root, "usr/lib/systemd/system")
	if err := os.MkdirAll(units, 0o755); err != nil {
		t.Fatal(err)
	}
	copyTree(t, unitsDir, units)
	if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte("#!/bin/sh\nexec "+systemctl+" --root="+root+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := reader{t: t, dir: root, paths: strings.NewReplacer(), env: []string{"PATH=" + bin + ":" + os.Getenv("PATH")}}
	for _, b := range commandBlocks(part) {
		r.follow(commands(b))
	}
	for unit, target := range map[string]string{"snaptastic-resume.service": "multi-user", "snaptastic-mount@solr.service": "multi-user", "snaptastic-snapshot@solr.timer": "timers"} {
		to, err := os.Readlink(filepath.Join(root, "etc/systemd/system", target+".target.wants", unit))
		if want := "/usr/lib/systemd/system/" + strings.Replace(unit, "@solr.", "@.", 1); err != nil || to != want {
			t.Errorf("%s.target wants %q for %s, want %s: %v", target, to, unit, want, err)
		}
	}
	example, err := os.ReadFile(filepath.Join(unitsDir, "example.conf"))
	if text := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(string(example), ""); err != nil || text != block(t, part, "ini") {
		t.Errorf("the guide's drop-in is not that of packaging/systemd/example.conf: %v", err)
	}
}
