package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.temporal.io/sdk/client"

	"snaptastic-fleet/flow"
)

// With --watch, status prints what there is every two seconds, also into a pipe or as JSON, and ends when nothing is under way.
func TestStatusIsWatchedUntilNothingIsUnderWay(t *testing.T) {
	r := newRig(t, 1)
	h := r.hosts["h1"]
	r.must(h, "run", "mount", "db")
	r.must(h, "run", "snapshot", "db")
	h.worker.kill()
	var got flow.HostsResult
	ended := r.begun(&got, "verify", "shards")
	r.eventually("a drill is asked for", func() bool { return states(r.status("verify").Hosts) == "running" })

	bin, _ := programs()
	watch := func(output string) *process {
		return r.spawn(bin.fleet, "status", "shards", "--watch", "-o", output, "--config", r.dir+"/fleet.hcl")
	}
	text, lists := watch("text"), watch("json")
	r.eventually("both have shown it twice", func() bool {
		return strings.Count(text.out.String(), "verify shards: running") > 1 && strings.Count(lists.out.String(), `"state": "running",`) > 3
	})
	h.worker = r.startWorker(h)
	if err := <-ended; err != nil || got.Done != 1 {
		t.Fatalf("%v %+v", err, got)
	}
	for _, p := range []*process{text, lists} {
		r.eventually("the watch ends", p.ended)
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("exit code %d: %s", code, p.out)
		}
	}
	out := text.out.String()
	if last := out[strings.LastIndex(out, "verify shards: "):]; !strings.HasPrefix(last, "verify shards: done (") || !strings.Contains(last, "\n  h1  done  ") {
		t.Errorf("it ends with %s", last)
	}
	if strings.ContainsAny(out, "\r\x1b") {
		t.Errorf("control characters in a pipe: %q", out)
	}
	var seen []string
	for d := json.NewDecoder(strings.NewReader(lists.out.String())); d.More(); {
		var list []work
		if err := d.Decode(&list); err != nil || len(list) != 1 || len(list[0].Hosts) != 1 {
			t.Fatalf("%v: %s", err, lists.out)
		}
		seen = append(seen, list[0].State)
	}
	if s := strings.Join(seen, " "); !strings.HasPrefix(s, "running running") || !strings.HasSuffix(s, " done") {
		t.Errorf("the lists say %s", s)
	}
}

// Each operation is waited for by itself: of many clusters with work under way, control's silence is told as such.
func TestStatusOfManyClustersSaysThatControlDoesNotAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for what does not answer")
	}
	r := newRig(t, 0, func(r *rig) { r.inCluster = "  host \"h1\" {}\n" })
	r.control.kill()
	c, err := client.Dial(client.Options{HostPort: r.address(), Namespace: "fleet", Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	settings := r.settings(r.onControl)
	const clusters = 26
	for i := range clusters {
		name := fmt.Sprintf("c%d", i)
		settings += fmt.Sprintf("cluster %q {\n  snapshotter = \"db\"\n  host \"h1\" {}\n}\n", name)
		for _, op := range operations {
			o := client.StartWorkflowOptions{ID: flowID(op, name), TaskQueue: flow.ControlQueue}
			if _, err := c.ExecuteWorkflow(context.Background(), o, "Clean", flow.SetRequest{Snapshotter: "db"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.write("fleet.hcl", settings)
	var list []work
	if err := r.fleet(&list, "status"); err != nil || len(list) != clusters*len(operations) {
		t.Fatalf("%d of %d: %v", len(list), clusters*len(operations), err)
	}
	for _, w := range list {
		if w.State != "running" || !strings.Contains(w.Phase, "control does not answer") {
			t.Errorf("%+v", w)
		}
	}
}
