package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	dir := t.TempDir()
	_ = os.Chmod(dir, 0o700)
	p := filepath.Join(dir, "fleet.hcl")
	if err := os.WriteFile(p, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, mode); err != nil {
		t.Fatal(err)
	}
	return p
}

const server = "server {\n  address = \"a:1\"\n  namespace = \"n\"\n}\n"

func TestTheExampleIsRead(t *testing.T) {
	text, err := os.ReadFile("../../../examples/fleet.hcl")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Read(write(t, string(text), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Cluster("shards")
	if err != nil || len(c.Hosts) != 3 || c.LeadTime() != 10*time.Second || c.HoldTime() != 2*time.Second || f.Worker.Probes[0].Limit() != 30*time.Second {
		t.Errorf("%v %+v", err, c)
	}
	if _, err := f.Cluster("shard"); err == nil || !strings.Contains(err.Error(), "shards") {
		t.Errorf("%v", err)
	}
}

func TestMistakesAreSaid(t *testing.T) {
	for text, want := range map[string]string{
		"server {": "fleet.hcl line 1",
		"cluster \"c\" {\n  snapshotter = \"db\"\n}":                                                                                              "server",
		server + "cluster \"c\" {\n  snapshotter = \"db\"\n}":                                                                                     "no host",
		server + "cluster \"c\" {\n  snapshotter = \"db\"\n  host \"a b\" {}\n}":                                                                  "letters",
		server + "cluster \"c\" {\n  snapshotter = \"db\"\n  host \"a\" {}\n  host \"a\" {}\n}":                                                   "twice",
		server + "cluster \"c\" {\n  snapshotter = \"db\"\n  lead = \"1s\"\n  host \"a\" {}\n}":                                                   "lead",
		server + "cluster \"c\" {\n  snapshotter = \"db\"\n  hold = \"long\"\n  host \"a\" {}\n}":                                                 "hold",
		server + "cluster \"c\" {\n  snapshotter = \"db\"\n  hold = \"61s\"\n  host \"a\" {}\n}":                                                  "at most 60s",
		server + "cluster \"c\" {\n  snapshoter = \"db\"\n  host \"a\" {}\n}":                                                                     "snapshoter",
		server + "cluster \"c\" {\n  snapshotter = \"db\"\n  host \"a\" {}\n  hosts {\n    tags = { a = \"b\" }\n    shard_tag = \"s\"\n  }\n}":   "not both",
		server + "cluster \"c\" {\n  snapshotter = \"db\"\n  hosts {\n    tags = {}\n    shard_tag = \"s\"\n  }\n}":                               "all instances",
		server + "cluster \"c\" {\n  snapshotter = \"db\"\n  hosts {\n    tags = { a = \"b\" }\n  }\n}":                                           "shard_tag",
		server + "cluster \"c\" {\n  snapshotter = \"db\"\n  hosts {\n    tags = { a = \"b\" }\n    shard_tag = \"s\"\n    at_least = -1\n  }\n}": "at_least",
		"server {\n  address = \"a:1\"\n  namespace = \"n\"\n  key_file = \"/k\"\n  key_command = [\"/bin/k\"]\n}":                                "both there",
		"server {\n  address = \"a:1\"\n  namespace = \"n\"\n  key_command = [\"aws\"]\n}":                                                        "absolute path",
		"server {\n  address = \"a:1\"\n  namespace = \"n\"\n  key_command = []\n}":                                                               "absolute path",
		"server {\n  address = \"a:1\"\n  namespace = \"n\"\n  read_key {\n    file = \"/k\"\n  }\n}":                                             "nothing would be encrypted",
		"server {\n  address = \"a:1\"\n  namespace = \"n\"\n  key_file = \"/k\"\n  read_key {}\n}":                                               "read_key has a file",
		"server {\n  address = \"a:1\"\n  namespace = \"n\"\n  key_file = \"/k\"\n  read_key {\n    command = [\"k\"]\n  }\n}":                    "absolute path",
		server + "worker {\n  allow = [\"snapshot\"]\n}":                                                                                          "snapshot db",
		server + "worker {\n  allow = [\"snapshot --yes\"]\n}":                                                                                    "snapshot db",
		server + "worker {\n  allow = []\n  probe \"p\" {\n    command = [\"ls\"]\n  }\n}":                                                        "absolute path",
		server + "worker {\n  allow = []\n  probe \"p\" {\n    command = [\"/bin/ls\"]\n    timeout = \"0s\"\n  }\n}":                             "duration",
	} {
		if _, err := Read(write(t, text, 0o600)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
}

func TestAFileThatOthersMayWriteIsRefused(t *testing.T) {
	if _, err := Read(write(t, server, 0o666)); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("%v", err)
	}
	p := write(t, server, 0o600)
	if err := os.Chmod(filepath.Dir(p), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(p); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("its folder: %v", err)
	}
	if _, err := Read("/nonexistent/fleet.hcl"); err == nil || !strings.Contains(err.Error(), "docs/fleet.md") {
		t.Errorf("%v", err)
	}
}

// A link to the file, or to a folder above it, does not lead around the check.
func TestWhatALinkLeadsToIsCheckedToo(t *testing.T) {
	outer := t.TempDir()
	folder := func(name string, mode os.FileMode) string {
		p := filepath.Join(outer, name)
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	safe, open, sticky := folder("safe", 0o700), folder("open", 0o777), folder("sticky", 0o777|os.ModeSticky)
	link := func(to, name string) string {
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
		return name
	}
	text := server + "cluster \"c\" {\n  snapshotter = \"db\"\n  host \"a\" {}\n}\n"
	for _, dir := range []string{safe, open, sticky} {
		if err := os.WriteFile(filepath.Join(dir, "fleet.hcl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, refused := range map[string]bool{
		link(safe+"/fleet.hcl", safe+"/to-safe"):                        false,
		link("../safe/fleet.hcl", safe+"/relative"):                     false,
		link(sticky+"/fleet.hcl", safe+"/to-sticky"):                    false,
		link(open+"/fleet.hcl", safe+"/to-open"):                        true,
		link(safe+"/fleet.hcl", open+"/in-open"):                        true,
		link(open+"/in-open", safe+"/through-open"):                     true,
		filepath.Join(link(open, safe+"/folder"), "fleet.hcl"):          true,
		filepath.Join(link(safe, safe+"/safe-folder"), "fleet.hcl"):     false,
		filepath.Join(link(sticky, safe+"/sticky-folder"), "fleet.hcl"): false,
	} {
		if _, err := Read(name); (err != nil) != refused || refused && !strings.Contains(err.Error(), open+" may be written by others") {
			t.Errorf("%s: %v", strings.TrimPrefix(name, outer), err)
		}
	}
	if _, err := Read(link(safe+"/loop", safe+"/loop")); err == nil || !strings.Contains(err.Error(), "cannot read the fleet's settings") {
		t.Errorf("a link to itself: %v", err)
	}
}

// Spare hosts are checked as the hosts are, and have a shard of their own name.
func TestSpareHostsAreCheckedAsHostsAre(t *testing.T) {
	with := func(spares string) string {
		return server + "cluster \"c\" {\n  snapshotter = \"db\"\n  host \"a\" { shard = \"1\" }\n" + spares + "}\n"
	}
	f, err := Read(write(t, with("  spare \"s\" {}\n  spare \"a\" { shard = \"1\" }\n"), 0o600))
	if err != nil || f.Clusters[0].Drill[0].Shard != "s" || f.Clusters[0].Drill[1].Shard != "1" {
		t.Errorf("%v %+v", err, f)
	}
	for spares, want := range map[string]string{
		"  spare \"a b\" {}\n":                                               `spare "a b": names and shards have letters`,
		"  spare \"s\" { shard = \"--x\" }\n":                                `spare "s": names and shards have letters`,
		"  spare \"s\" {}\n  spare \"s\" {}\n":                               `spare "s" or its shard "s" is there twice`,
		"  spare \"s\" { shard = \"1\" }\n  spare \"z\" { shard = \"1\" }\n": `spare "z" or its shard "1" is there twice`,
	} {
		if _, err := Read(write(t, with(spares), 0o600)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", spares, err, want)
		}
	}
}
