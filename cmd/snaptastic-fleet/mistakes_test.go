package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each of these is refused with exit code 2 before the server is asked: there is none at the address.
func TestMistakesInTheCommandLineAndInTheSettingsAreRefused(t *testing.T) {
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		dir, _ = os.MkdirTemp("/var/tmp", "snaptastic-fleet-mistakes-")
		defer os.RemoveAll(dir)
	}
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	settings := func(more string) string {
		return "server {\n  address = \"127.0.0.1:1\"\n  namespace = \"x\"\n" + more + "}\ncluster \"shards\" {\n  snapshotter = \"db\"\n  host \"h1\" {}\n}\n"
	}
	good := write("fleet.hcl", settings(""))
	alone := write("alone.hcl", "server {\n  address = \"127.0.0.1:1\"\n  namespace = \"x\"\n}\n")
	noKey := write("nokey.hcl", settings("  key_file = \""+dir+"/none\"\n"))
	short := write("short", "AAAA\n")
	shortKey := write("shortkey.hcl", settings("  key_file = \""+short+"\"\n"))
	for _, c := range []struct{ args, config, want string }{
		{"snapshto shards", good, `unknown command "snapshto"`},
		{"snapshot", good, "missing argument CLUSTER. Usage: snaptastic-fleet snapshot CLUSTER"},
		{"snapshot shards h1", good, `unexpected argument "h1"`},
		{"status shards h1", good, `unexpected argument "h1"`},
		{"snapshot none", good, `there is no cluster "none"; declared are: shards`},
		{"snapshot shards --set ../x", good, "must be 1 to 100 letters"},
		{"restore shards", good, "--set is missing"},
		{"restore shards --set -x", good, "must be 1 to 100 letters"},
		{"restore shards --set x --again ../y", good, "must be 1 to 20 letters"},
		{"restore shards --set x --at-once -1", good, "must be 1 or more"},
		{"cancel shards", good, "missing argument OPERATION"},
		{"cancel shards snapshots", good, "must be one of snapshot, restore"},
		{"schedule shards restore --pause", good, "must be one of snapshot, verify, copy, clean"},
		{"schedule shards snapshot", good, "--cron is missing"},
		{"schedule shards snapshot --pause --delete", good, "must be one of them"},
		{"schedule shards snapshot --cron daily", good, "must be five fields"},
		{"status -o yaml", good, "--output is text or json"},
		{"status", filepath.Join(dir, "none.hcl"), "Write /etc/snaptastic/fleet.hcl"},
		{"status", alone, "declares no cluster here"},
		{"status shards", alone, "declares no cluster here"},
		{"snapshot shards", alone, "declares no cluster here"},
		{"status", noKey, "Copy the file of another machine"},
		{"status", shortKey, "is not 32 bytes in base64. Copy the file of another machine"},
	} {
		code, said := mistake(t, append(strings.Fields(c.args), "--config", c.config)...)
		if code != 2 || !strings.Contains(said, c.want) || !strings.HasPrefix(said, "error: ") {
			t.Errorf("%s: exit code %d, %s", c.args, code, said)
		}
	}
	if code, said := mistake(t, "status", "--config", good); code != 1 || !strings.Contains(said, "cannot reach Temporal at 127.0.0.1:1") {
		t.Errorf("no server: exit code %d, %s", code, said)
	}
}

// mistake runs a command and returns its exit code and what it said on stderr.
func mistake(t *testing.T, args ...string) (int, string) {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	was := os.Stderr
	defer func() { os.Stderr = was }()
	os.Stderr = file
	code := run(context.Background(), args)
	text, _ := os.ReadFile(file.Name())
	return code, string(text)
}
