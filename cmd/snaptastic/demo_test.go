package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The demo wipes what it made itself, and nothing else that its folder may be.
func TestTheDemoLeavesAFolderAloneThatItDidNotMake(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the demo is for root")
	}
	for _, script := range []string{"run", "clean"} {
		for name, make := range map[string]func(dir string) error{
			"a folder":       func(dir string) error { return os.Mkdir(dir, 0o755) },
			"a file":         func(dir string) error { return os.WriteFile(dir, []byte("precious"), 0o600) },
			"a link":         func(dir string) error { return os.Symlink("/nowhere/at/all", dir) },
			"somebody's own": func(dir string) error { return os.MkdirAll(filepath.Join(dir, "state", "sandbox", "precious"), 0o755) },
		} {
			t.Run(script+" over "+name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "demo")
				if err := make(dir); err != nil {
					t.Fatal(err)
				}
				before := listing(t, dir)
				cmd := exec.Command("../../examples/demo/"+script, "/bin/false")
				cmd.Env = append(os.Environ(), "DEMO="+dir)
				out, err := cmd.CombinedOutput()
				if err == nil || !strings.Contains(string(out), "will not delete it") {
					t.Errorf("%v: %s", err, out)
				}
				if after := listing(t, dir); after != before {
					t.Errorf("it was\n%s\nand is\n%s", before, after)
				}
			})
		}
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil {
			names = append(names, path+" "+d.Type().String())
		}
		return nil
	})
	return strings.Join(names, "\n")
}

// The demo installs what it needs and none of what only tests need.
func TestTheDemoInstallsNothingThatOnlyTestsNeed(t *testing.T) {
	bin := t.TempDir() // a machine without any tool of file systems
	log := filepath.Join(bin, "log")
	for name, body := range map[string]string{"apt-get": `echo "$@" >>` + log, "cat": "exit 0"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script, err := os.ReadFile("../../packaging/deps")
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.NewReplacer(`"/sbin/$1"`, "/none", `"/usr/sbin/$1"`, "/none").Replace(string(script))
	cmd := exec.Command("/bin/sh", "-c", deps, "deps", "demo")
	cmd.Env = []string{"PATH=" + bin}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(strings.TrimSpace(string(said)), "--no-install-recommends xfsprogs e2fsprogs") {
		t.Errorf("apt-get was asked for\n%s", said)
	}
}
