package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/fleet.md says of a fleet on one machine is typed as it is there, with another folder and port.
func TestTheFleetOnOneMachineOfTheDocument(t *testing.T) {
	t.Parallel()
	needFleet(t)
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile("(?s)### On one machine.*?```sh\nmake [^\n]*\n(.*?)```.*?remove all of it: `(.*?)`").FindSubmatch(text)
	if said == nil {
		t.Fatal("docs/fleet.md does not say it any more")
	}
	dir, err := os.MkdirTemp("/var/tmp", "snaptastic-fleet-lab-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	lab := dir + "/lab"
	defer func() { _ = command(bin.snaptastic, "--sandbox="+lab+"/sandbox", "sandbox", "reset", "--yes") }()
	for name, program := range map[string]string{"snaptastic": bin.snaptastic, "snaptastic-fleet": bin.fleet, "temporal-server": bin.server} {
		if err := os.MkdirAll(dir+"/bin", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	script := strings.NewReplacer("/root/fleet-lab", lab, "7233", fmt.Sprint(freePorts(t))).Replace(string(said[1]))
	c := exec.Command("timeout", "300", "bash", "-c", "trap 'kill $(jobs -p) 2>/dev/null' EXIT\n"+script+"\n"+string(said[2]))
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), ": 3 snapshots on 3 hosts, labelled. All stood still together for ") || !strings.Contains(string(out), "\n  h3  done  ") {
		t.Errorf("%v\n%s", err, tail(string(out), 20))
	}
	if _, err := os.Stat(lab); err == nil {
		t.Error("not all of it was removed")
	}
}
