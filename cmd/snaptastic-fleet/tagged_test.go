package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"snaptastic-fleet/flow"
)

// instanceID is the instance of the sandbox that a host is.
func (r *rig) instanceID(h *testHost) string {
	r.t.Helper()
	var self []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(r.must(h, "instances", "--self", "-o", "json")), &self); err != nil || len(self) != 1 {
		r.t.Fatalf("%v %v", self, err)
	}
	return self[0].ID
}

// tagger tags instances of the rig's sandbox as somebody with EC2's API does.
func (r *rig) tagger() func(h *testHost, key, value string) {
	r.t.Helper()
	bin, _ := programs()
	p := r.spawn(bin.snaptastic, "--sandbox="+r.dir+"/sandbox", "--state-dir="+r.dir+"/tagger", "sandbox", "serve")
	address := regexp.MustCompile(`AWS_ENDPOINT_URL=(http://\S+)`)
	r.eventually("the sandbox serves", func() bool { return address.MatchString(p.out.String()) })
	endpoint := address.FindStringSubmatch(p.out.String())[1]
	return func(h *testHost, key, value string) {
		r.t.Helper()
		form := url.Values{"Action": {"CreateTags"}, "Version": {"2016-11-15"}, "ResourceId.1": {r.instanceID(h)}, "Tag.1.Key": {key}, "Tag.1.Value": {value}}
		req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
		if err != nil {
			r.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIASANDBOX000000000/20260101/eu-west-1/ec2/aws4_request, SignedHeaders=host, Signature=00")
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			r.t.Fatal(answer.Status)
		}
	}
}

// The hosts of a cluster are the instances that have its tags when an operation begins: one that joins is in the next set, and one whose tags
// are wrong stops it before anything is frozen.
func TestHostsAreFoundByTheTagsOfTheirInstances(t *testing.T) {
	r := newRig(t, 2, func(r *rig) { r.byTag = true })
	tag := r.tagger()
	join := func(h *testHost) {
		r.must(h, "run", "mount", "db")
		tag(h, "shard", h.shard)
		tag(h, "cluster", "shards")
	}
	var got flow.SnapshotResult
	if err := r.fleet(&got, "snapshot", "shards"); err == nil || !strings.Contains(err.Error(), "0 running instances have the tags cluster=shards") {
		t.Errorf("without tags: %v", err)
	}
	join(r.hosts["h1"])
	join(r.hosts["h2"])
	if err := r.fleet(&got, "snapshot", "shards"); err != nil || !got.Labelled || got.Snapshots != 2 || got.Hosts[0].Host != r.instanceID(r.hosts["h1"]) {
		t.Fatalf("%v %+v", err, got)
	}
	h3 := r.addHost("h3", "3")
	join(h3)
	if err := r.fleet(&got, "snapshot", "shards"); err != nil || !got.Labelled || got.Snapshots != 3 || got.Hosts[2].Shard != "3" {
		t.Fatalf("with one more host: %v %+v", err, got)
	}
	r.saveHistory("snapshot of hosts by tag", flowID("snapshot", "shards"))
	before := r.must(h3, "runs", "-o", "json")
	tag(h3, "shard", "2")
	err := r.fleet(&got, "snapshot", "shards")
	if err == nil || !strings.Contains(err.Error(), "both have shard=2") {
		t.Errorf("one shard twice: %v", err)
	}
	if after := r.must(h3, "runs", "-o", "json"); after != before {
		t.Errorf("something was begun: %s", after)
	}
	r.nothingFrozen(t)
	tag(h3, "cluster", "other")
	var drills flow.HostsResult
	if err := r.fleet(&drills, "verify", "shards"); err != nil || drills.Done != 2 {
		t.Errorf("with one host less: %v %+v", err, drills)
	}
}
