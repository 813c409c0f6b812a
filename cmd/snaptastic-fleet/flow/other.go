package flow

import (
	"maps"
	"slices"
)

// Each Other compares a request with what work under way was begun as, for whoever would join it: nothing where it is what is asked for.
// How it goes over the hosts, as with at_once, may differ.

// Other says in which way the snapshot that was begun is another one. Who names no set takes any.
func (r SnapshotRequest) Other(begun SnapshotRequest) string {
	switch {
	case r.Set != "" && begun.Set == "":
		return "it was begun without --set"
	case r.Set != "" && r.Set != begun.Set:
		return "it makes set " + begun.Set
	case r.Cell == 0 && begun.Cell > 0:
		return "it is --rolling"
	case r.Cell > 0 && begun.Cell == 0:
		return "it is not --rolling"
	case r.Cell != begun.Cell:
		return "its --rolling is another number"
	case r.Snapshotter != begun.Snapshotter:
		return "it is of snapshotter " + begun.Snapshotter
	}
	return otherHosts(r.Hosts, begun.Hosts, r.Tagged, begun.Tagged)
}

// Other says in which way the work on the hosts that was begun is another one.
func (r HostsRequest) Other(begun HostsRequest) string {
	switch {
	case r.Set != begun.Set && begun.Set == "":
		return "it was begun without --set"
	case r.Set != begun.Set:
		return "it is of set " + begun.Set
	case r.Operation != begun.Operation:
		return "it does " + begun.Operation + " on the hosts, not " + r.Operation
	case r.Again != begun.Again:
		return "its --again is another word"
	case r.Snapshotter != begun.Snapshotter:
		return "it is of snapshotter " + begun.Snapshotter
	}
	return otherHosts(r.Hosts, begun.Hosts, r.Tagged, begun.Tagged)
}

// Other says in which way what was begun in the account is something else.
func (r SetRequest) Other(begun SetRequest) string {
	if r.Snapshotter != begun.Snapshotter {
		return "it is of snapshotter " + begun.Snapshotter
	}
	return ""
}

func otherHosts(asked, begun []Host, by, begunBy *Tagged) string {
	same := slices.Equal(asked, begun) && (by == nil) == (begunBy == nil)
	if same && by != nil {
		same = maps.Equal(by.Tags, begunBy.Tags) && by.ShardTag == begunBy.ShardTag && by.NameTag == begunBy.NameTag
	}
	if same {
		return ""
	}
	return "it is of other hosts than fleet.hcl has"
}
