package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"snaptastic-fleet/flow"
)

// versions are two builds of the program, 1.0 and 2.0.
var versions = sync.OnceValues(func() (map[string]string, error) {
	dir, err := buildDir()
	built := map[string]string{}
	for _, stamp := range []string{"1.0", "2.0"} {
		built[stamp] = filepath.Join(dir, stamp)
		if err == nil {
			err = command("go", "build", "-ldflags", "-X main.stamp="+stamp, "-o", built[stamp], ".")
		}
	}
	return built, err
})

// pinnedRig is a rig without control, in which controls are pinned to their version.
func pinnedRig(t *testing.T, shards int) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("waits for the server to learn of both versions")
	}
	needFleet(t)
	r := newRig(t, shards)
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	r.control.kill()
	r.onControl = r.onControl[:len(r.onControl)-1] + "  pinned  = true\n}"
	r.write("fleet.hcl", r.settings(r.onControl))
	return r
}

func (r *rig) startVersion(stamp string) *process {
	r.t.Helper()
	built, err := versions()
	if err != nil {
		r.t.Fatal(err)
	}
	p := r.spawn(built[stamp], "control", "--config", r.dir+"/fleet.hcl")
	r.eventually("control "+stamp+" works", p.working)
	return p
}

// version is the one under which an operation is done.
func (r *rig) version(operation string) string {
	r.t.Helper()
	c, err := client.Dial(client.Options{HostPort: r.address(), Namespace: "fleet", Logger: quiet{}})
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	d, err := c.DescribeWorkflow(context.Background(), flowID(operation, "shards"), "")
	if err != nil {
		return err.Error()
	}
	return d.RawResponse.GetWorkflowExecutionInfo().GetVersioningInfo().GetDeploymentVersion().GetBuildId()
}

// What one version of control has begun ends under it, also when a newer one is there; the next is the newer one's.
func TestAWorkflowEndsUnderTheVersionThatBeganIt(t *testing.T) {
	r := pinnedRig(t, 1)
	r.must(r.hosts["h1"], "run", "snapshot", "db")
	first := r.startVersion("1.0")
	ended := make(chan error, 1)
	var got flow.HostsResult
	go func() { ended <- r.fleet(&got, "verify", "shards") }()
	r.eventually("the old control has begun it", func() bool { return r.version("verify") == "1.0" })
	r.startVersion("2.0")
	if err := <-ended; err != nil || got.Done != 1 {
		t.Fatalf("%v %+v", err, got)
	}
	if v := r.version("verify"); v != "1.0" {
		t.Errorf("it has ended under %s", v)
	}
	first.kill()
	if err := r.fleet(&got, "verify", "shards", "--again", "x"); err != nil || got.Done != 1 {
		t.Fatalf("%v %+v", err, got)
	}
	if v := r.version("verify"); v != "2.0" {
		t.Errorf("the next one was of %s", v)
	}
}

// Control is replaced by another version while a snapshot is armed: the hosts thaw as they were told, and nobody judges or labels with other
// code than that which has ordered the window. It is judged when that version is there again.
func TestAWindowIsNotJudgedByAnotherVersion(t *testing.T) {
	r := pinnedRig(t, 2)
	first := r.startVersion("1.0")
	ended := make(chan error, 1)
	var got, next flow.SnapshotResult
	go func() { ended <- r.fleet(&got, "snapshot", "shards") }()
	_, until := r.armed(r.hosts["h1"])
	r.armed(r.hosts["h2"])
	first.kill()
	second := r.startVersion("2.0")
	r.eventually("the window is over", func() bool {
		return time.Now().After(until) && r.armedProcess(r.hosts["h1"])+r.armedProcess(r.hosts["h2"]) == 0
	})
	r.nothingFrozen(t)
	if err := r.fleet(nil, "verify", "shards"); err == nil || r.version("verify") != "2.0" { // what is new is answered meanwhile: there is no set
		t.Errorf("%v, by %s", err, r.version("verify"))
	}
	if w := r.status("snapshot"); w.State != "running" || r.labelledSnapshots() != 0 {
		t.Errorf("judged without its version: %+v", w)
	}
	r.startVersion("1.0")
	if err := <-ended; err != nil || !got.Labelled || got.Instant == nil || r.version("snapshot") != "1.0" {
		t.Errorf("%v %+v, by %s", err, got, r.version("snapshot"))
	}
	second.kill()
	r.startVersion("2.0") // the one that was started last begins what is next
	if err := r.fleet(&next, "snapshot", "shards"); err != nil || !next.Labelled || r.version("snapshot") != "2.0" {
		t.Errorf("%v %+v, by %s", err, next, r.version("snapshot"))
	}
}

// The program stays below 25 MB as it is shipped.
func TestTheProgramStaysSmall(t *testing.T) {
	file := filepath.Join(t.TempDir(), "snaptastic-fleet")
	if err := compileFleet(file); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB", float64(info.Size())/1e6)
	if info.Size() > 25e6 {
		t.Errorf("%.1f MB, 25 are the most", float64(info.Size())/1e6)
	}
}
