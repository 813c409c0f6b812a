package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.temporal.io/sdk/client"

	"snaptastic-fleet/flow"
)

// What one version of control has begun ends under it, also when a newer one is there; the next is the newer one's.
func TestAWorkflowEndsUnderTheVersionThatBeganIt(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the server to learn of both versions")
	}
	needFleet(t)
	old, newer := filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "new")
	for bin, stamp := range map[string]string{old: "1.0", newer: "2.0"} {
		if out, err := exec.Command("go", "build", "-ldflags", "-X main.stamp="+stamp, "-o", bin, ".").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	r := newRig(t, 1)
	h1 := r.hosts["h1"]
	r.must(h1, "run", "mount", "db")
	r.must(h1, "run", "snapshot", "db")
	r.control.kill()
	r.onControl = r.onControl[:len(r.onControl)-1] + "  pinned  = true\n}"
	r.write("fleet.hcl", r.settings(r.onControl))
	first := r.spawn(old, "control", "--config", r.dir+"/fleet.hcl")
	r.eventually("the old control works", func() bool { return first.working() })

	version := func() string {
		c, err := client.Dial(client.Options{HostPort: r.address(), Namespace: "fleet", Logger: quiet{}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		d, err := c.DescribeWorkflow(context.Background(), flowID("verify", "shards"), "")
		if err != nil {
			return err.Error()
		}
		return d.RawResponse.GetWorkflowExecutionInfo().GetVersioningInfo().GetDeploymentVersion().GetBuildId()
	}
	ended := make(chan error, 1)
	var got flow.HostsResult
	go func() { ended <- r.fleet(&got, "verify", "shards") }()
	r.eventually("the old control has begun it", func() bool { return version() == "1.0" })
	second := r.spawn(newer, "control", "--config", r.dir+"/fleet.hcl")
	r.eventually("the new control works", func() bool { return second.working() })
	if err := <-ended; err != nil || got.Done != 1 {
		t.Fatalf("%v %+v", err, got)
	}
	if v := version(); v != "1.0" {
		t.Errorf("it has ended under %s", v)
	}
	first.kill()
	if err := r.fleet(&got, "verify", "shards", "--again", "x"); err != nil || got.Done != 1 {
		t.Fatalf("%v %+v", err, got)
	}
	if v := version(); v != "2.0" {
		t.Errorf("the next one was of %s", fmt.Sprint(v))
	}
}

// The program stays below 25 MB as it is shipped.
func TestTheProgramStaysSmall(t *testing.T) {
	needFleet(t)
	bin, err := programs()
	if errors.Is(err, errNotCached) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(bin.fleet)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB", float64(info.Size())/1e6)
	if info.Size() > 25e6 {
		t.Errorf("%.1f MB, 25 are the most", float64(info.Size())/1e6)
	}
}
