package flow

import (
	"fmt"
	"testing"
)

func TestDifferentVersionsAreTold(t *testing.T) {
	var many []HostState
	for i := range 20 {
		many = append(many, HostState{Host: fmt.Sprintf("h%d", i+1), Version: "1.3.0"})
	}
	older := append([]HostState(nil), many...)
	for i := range 7 {
		older[i].Version = "1.2.0"
	}
	one := append([]HostState(nil), many...)
	one[4].Version, one[7].Version = "1.2.0", ""
	for _, c := range []struct {
		hosts []HostState
		want  string
	}{
		{many, ""},
		{nil, ""},
		{[]HostState{{Host: "a"}, {Host: "b", Version: "1.3.0"}}, ""}, // not asked yet
		{one, "the hosts have different versions of snaptastic: 1.2.0 on h5; 1.3.0 on h1 h2 h3 h4 h6 and 13 more"},
		{older, "the hosts have different versions of snaptastic: 1.2.0 on h1 h2 h3 h4 h5 and 2 more; 1.3.0 on h8 h9 h10 h11 h12 and 8 more"},
		{[]HostState{{Host: "a", Version: "1.2.0"}, {Host: "b", Version: "1.3.0"}}, "the hosts have different versions of snaptastic: 1.2.0 on a; 1.3.0 on b"},
	} {
		if got := Versions(c.hosts); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// A fleet that is being upgraded gets its snapshot, and each host's version is in the result and in what the query tells.
func TestDifferentVersionsAreNoFailure(t *testing.T) {
	w := &world{prepare: func(h string) (Ready, error) { return Ready{Members: 2, Version: "1.3.0-" + h}, nil }}
	for _, cell := range []int{0, 1} {
		e := w.env(t)
		req := request(2)
		req.Cell = cell
		e.ExecuteWorkflow(Snapshot, req)
		r, err := snapshotResult(t, e)
		if err != nil || !r.Labelled || r.Hosts[0].Version != "1.3.0-h1" || r.Hosts[1].Version != "1.3.0-h2" {
			t.Errorf("%+v, %v", r, err)
		}
		var p Progress
		if v, err := e.QueryWorkflow("progress"); err != nil || v.Get(&p) != nil || Versions(p.Hosts) == "" {
			t.Errorf("%+v, %v", p, err)
		}
	}
}
