package flow

import (
	"errors"
	"strings"
	"testing"

	"go.temporal.io/sdk/temporal"
)

// taggedRequest is a snapshot of whatever hosts have the tags when it begins.
func taggedRequest() SnapshotRequest {
	r := request(0)
	r.Tagged = &Tagged{Tags: map[string]string{"cluster": "c"}, ShardTag: "shard"}
	return r
}

// One request, as a schedule repeats it, follows the cluster as it grows and shrinks.
func TestHostsAreThoseThatHaveTheTagsWhenTheWorkBegins(t *testing.T) {
	w := &world{}
	for _, n := range []int{3, 5, 2} {
		e := w.env(t)
		w.members = func() ([]Host, error) { return request(n).Hosts, nil }
		e.ExecuteWorkflow(Snapshot, taggedRequest())
		if r, err := snapshotResult(t, e); err != nil || !r.Labelled || r.Snapshots != 2*n || len(r.Hosts) != n {
			t.Errorf("%d hosts: %v %+v", n, err, r)
		}
	}
	e := w.env(t)
	w.members = func() ([]Host, error) { return request(5).Hosts, nil }
	req := taggedRequest()
	req.Cell = 2
	e.ExecuteWorkflow(Snapshot, req)
	if r, err := snapshotResult(t, e); err != nil || len(r.Cells) != 3 || r.Snapshots != 10 {
		t.Errorf("in cells: %v %+v", err, r)
	}
	w.begun = nil
	e = w.env(t)
	e.RegisterWorkflow(Hosts)
	e.ExecuteWorkflow(Hosts, HostsRequest{Operation: "verify", Key: "k", Tagged: taggedRequest().Tagged, AtOnce: 1, StopAfter: 1})
	if err := e.GetWorkflowError(); err != nil || strings.Join(w.begun, " ") != "h1 h2 h3 h4 h5" {
		t.Errorf("a drill: %v, begun on %v", err, w.begun)
	}
}

func TestNothingIsBegunUnlessTheHostsAreFound(t *testing.T) {
	for why, err := range map[string]error{
		"i-1 and i-2 both have shard=1": temporal.NewNonRetryableApplicationError("i-1 and i-2 both have shard=1", "Refused", nil),
		"EC2 does not answer":           errors.New("EC2 does not answer"), // for five minutes
	} {
		w := &world{members: func() ([]Host, error) { return nil, err }}
		e := w.env(t)
		e.ExecuteWorkflow(Snapshot, taggedRequest())
		_, got := snapshotResult(t, e)
		if got == nil || !strings.Contains(got.Error(), "nothing was begun: "+why) || w.armed != 0 || len(w.undone)+len(w.labelled) != 0 {
			t.Errorf("%s: %v, %d armed, undone %v", why, got, w.armed, w.undone)
		}
		e = w.env(t)
		e.RegisterWorkflow(Hosts)
		e.ExecuteWorkflow(Hosts, HostsRequest{Operation: "restore", Key: "k", Tagged: taggedRequest().Tagged})
		if got := e.GetWorkflowError(); got == nil || !strings.Contains(got.Error(), why) || len(w.begun) != 0 {
			t.Errorf("%s: a restore: %v, begun on %v", why, got, w.begun)
		}
	}
}

func TestAListedClusterWithoutHostsIsRefused(t *testing.T) {
	w := &world{}
	e := w.env(t)
	e.ExecuteWorkflow(Snapshot, request(0))
	if _, err := snapshotResult(t, e); err == nil || !strings.Contains(err.Error(), "no host") {
		t.Errorf("%v", err)
	}
}
