package main

import (
	"strings"
	"testing"

	"snaptastic-fleet/flow"
)

// A fleet whose hosts have different versions is told so, once, wherever its hosts are shown.
func TestDifferentVersionsAreShown(t *testing.T) {
	hosts := []flow.HostState{{Host: "h1", State: "done", Version: "1.3.0"}, {Host: "h2", State: "done", Version: "1.2.0"}}
	const want = "note: the hosts have different versions of snaptastic: 1.2.0 on h2; 1.3.0 on h1\n"
	show := func() string {
		var out strings.Builder
		printWork(&out, []work{{Cluster: "c", Operation: "snapshot", State: "done", Hosts: hosts}})
		return out.String()
	}
	if got := show(); strings.Count(got, want) != 1 {
		t.Error(got)
	}
	hosts[1].Version = "1.3.0"
	if got := show(); strings.Contains(got, "note") {
		t.Error(got)
	}
}

func TestStatusSaysWhyItFailed(t *testing.T) {
	show := func(hosts ...flow.HostState) string {
		var out strings.Builder
		printWork(&out, []work{{Cluster: "c", Operation: "snapshot", State: "failed", Error: "no proof", Hosts: hosts}})
		return out.String()
	}
	if got := show(flow.HostState{Host: "h1", State: "done", Run: "r"}); !strings.Contains(got, "\n  error: no proof\n  h1  done  r\n") {
		t.Error(got)
	}
	if got := show(flow.HostState{Host: "h1", State: "failed", Error: "busy"}); strings.Contains(got, "no proof") || !strings.Contains(got, "busy\n") {
		t.Errorf("the error of a host is said twice: %s", got)
	}
}
