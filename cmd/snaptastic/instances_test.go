package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/ec2/sandbox"
)

// The instances of a cluster are those that run and have all the tags; whoever asks changes nothing, and needs no settings.
func TestRunningInstancesAreListedByTag(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	for shard, i := range map[string]sandbox.Instance{"1": {}, "2": {}, "3": {Stopped: true}, "4": {Terminated: time.Now()}} {
		i.Tags = sandbox.Tags{"cluster": {Value: "shards"}, "shard": {Value: shard}}
		if _, err := a.server.Sandbox.AddInstance(i); err != nil {
			t.Fatal(err)
		}
	}
	list := func(args ...string) (found []engine.Instance) {
		t.Helper()
		if err := json.Unmarshal([]byte(a.run(0, append([]string{"instances", "-o", "json"}, args...)...)), &found); err != nil {
			t.Fatal(err)
		}
		return found
	}
	found := list("--tag", "cluster=shards")
	if len(found) != 2 || found[0].Tags["shard"] == found[1].Tags["shard"] || found[0].Zone != sandbox.Zone || found[0].Launched.IsZero() {
		t.Errorf("%+v", found)
	}
	if found := list("--tag", "cluster=shards", "--tag", "shard=2"); len(found) != 1 || found[0].Tags["shard"] != "2" {
		t.Errorf("with two tags: %+v", found)
	}
	if out := a.run(0, "instances", "--tag", "cluster=none", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("none: %s", out)
	}
	if out := a.run(0, "instances", "--tag", "shard=2"); !strings.Contains(out, "cluster=shards shard=2") || strings.Contains(out, "shard=1") {
		t.Errorf("as a table: %s", out)
	}
	self, err := a.server.Sandbox.InstanceID()
	if found := list("--self"); err != nil || len(found) != 1 || found[0].ID != self {
		t.Errorf("this one, %s: %+v", self, found)
	}
	if err := sandbox.SetFaults(a.sandbox(), sandbox.Latency{}, sandbox.Fault{Action: "DescribeInstances", Error: "UnauthorizedOperation"}); err != nil {
		t.Fatal(err)
	}
	if out := a.run(1, "instances", "--tag", "cluster=shards"); !strings.Contains(out, "ec2:DescribeInstances") {
		t.Errorf("denied: %s", out)
	}
	if found := list("--self"); len(found) != 1 || found[0].ID != self {
		t.Errorf("it needs no permission: %+v", found)
	}
	if a.deletions() != 0 {
		t.Error("something was deleted")
	}
}
