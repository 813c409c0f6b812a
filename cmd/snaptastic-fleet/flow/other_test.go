package flow

import "testing"

func TestWhoAsksForSomethingElseIsNotJoinedToWhatIsUnderWay(t *testing.T) {
	hosts := []Host{{"h1", "1"}, {"h2", "2"}}
	snapshot := SnapshotRequest{Cluster: "c", Snapshotter: "db", Hosts: hosts, Lead: 1}
	restore := HostsRequest{Cluster: "c", Snapshotter: "db", Operation: "restore", Set: "a", Key: "a", Hosts: hosts, AtOnce: 1}
	snap := func(edit func(*SnapshotRequest)) SnapshotRequest { r := snapshot; edit(&r); return r }
	rest := func(edit func(*HostsRequest)) HostsRequest { r := restore; edit(&r); return r }
	for _, c := range []struct{ name, got, want string }{
		{"the same snapshot", snapshot.Other(snapshot), ""},
		{"a snapshot without a name joins one with a name", snapshot.Other(snap(func(r *SnapshotRequest) { r.Set = "x" })), ""},
		{"another lead", snapshot.Other(snap(func(r *SnapshotRequest) { r.Lead = 2 })), ""},
		{"another set's name", snap(func(r *SnapshotRequest) { r.Set = "y" }).Other(snap(func(r *SnapshotRequest) { r.Set = "x" })), "it makes set x"},
		{"a name, and none", snap(func(r *SnapshotRequest) { r.Set = "y" }).Other(snapshot), "it was begun without --set"},
		{"all at once, and groups", snapshot.Other(snap(func(r *SnapshotRequest) { r.Cell = 1 })), "it is --rolling"},
		{"groups, and all at once", snap(func(r *SnapshotRequest) { r.Cell = 1 }).Other(snapshot), "it is not --rolling"},
		{"hosts by tag", snapshot.Other(snap(func(r *SnapshotRequest) { r.Hosts, r.Tagged = nil, &Tagged{} })), "it is of other hosts than fleet.hcl has"},
		{"the same restore, more at once", rest(func(r *HostsRequest) { r.AtOnce = 2 }).Other(restore), ""},
		{"a restore of another set", rest(func(r *HostsRequest) { r.Set = "b" }).Other(restore), "it is of set a"},
		{"a restore on fresh hosts", rest(func(r *HostsRequest) { r.Operation = "mount" }).Other(restore), "it does restore on the hosts, not mount"},
		{"another word", rest(func(r *HostsRequest) { r.Again = "x" }).Other(restore), "its --again is another word"},
		{"other hosts", rest(func(r *HostsRequest) { r.Hosts = hosts[:1] }).Other(restore), "it is of other hosts than fleet.hcl has"},
		{"another snapshotter's clean-up", SetRequest{Snapshotter: "a"}.Other(SetRequest{Snapshotter: "b"}), "it is of snapshotter b"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
}
