// Package flow has the fleet's workflows: what runs where, when, and whether all
// of it succeeded. They are deterministic: no clock but the workflow's, no I/O.
// What happens on a host is told as ids, times and counts; never a command or
// a secret. Errors are told as the host says them: they may name mount points
// and files, but no flags that do.
package flow

import "time"

// MostMembers is how many snapshots a set has at most: one call labels it.
const MostMembers = 1000

// Host is a machine of a cluster, and the part of the data that it has.
type Host struct {
	Name  string `json:"name"`
	Shard string `json:"shard"`
}

// Tagged says how the hosts of a cluster are found when the work begins: they are the running instances with all of these tags.
type Tagged struct {
	Tags     map[string]string `json:"tags"`
	ShardTag string            `json:"shard_tag"`          // whose value is an instance's shard
	NameTag  string            `json:"name_tag,omitempty"` // whose value its worker calls itself; empty: by the instance's id
	AtLeast  int               `json:"at_least,omitempty"` // fewer are an error
}

// Members are the hosts that were found.
type Members struct {
	Hosts []Host `json:"hosts"`
}

// HostQueue is the task queue of a host. Its worker is the only one that reads it.
func HostQueue(host string) string { return "snaptastic-host-" + host }

// ControlQueue is the task queue of workflows and of what touches only the account.
const ControlQueue = "snaptastic-control"

// Names of the activities, as the workers register them.
const (
	ActPrepare = "prepare"
	ActWindow  = "window"
	ActRun     = "run"
	ActProbe   = "probe"
	ActAllows  = "allows"
	ActMembers = "members"
	ActLook    = "look"
	ActWhole   = "whole"
	ActWhen    = "when"
	ActLabel   = "label"
	ActUndo    = "undo"
	ActClean   = "clean"
	ActCopy    = "copy"
)

// Kinds of errors, by which a workflow tells what became of an order. All but Again are final.
const (
	Refused  = "Refused"  // nothing was begun, by the settings or by what was asked
	NotReady = "NotReady" // nothing was begun, and a snapshot would fail
	Failed   = "Failed"   // it was at it
	Again    = "Again"    // it may pass
	Partly   = "Partly"   // a run is done but for some volumes. Who asks again is told so again
)

// PrepareRequest asks a host whether it could snapshot now. Nothing is changed.
type PrepareRequest struct {
	Snapshotter string        `json:"snapshotter"`
	Set         string        `json:"set,omitempty"`
	Hold        time.Duration `json:"hold,omitempty"` // 0 in an order of an earlier build
}

// Ready is a host's answer.
type Ready struct {
	Members           int     `json:"members"` // snapshots that it will make
	ClockErrorSeconds float64 `json:"clock_error_seconds"`
	Version           string  `json:"version"`
	// Begun and Ended are by the host's clock, when it was asked and when it answers.
	Begun time.Time `json:"begun,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
}

// WindowRequest arms a host: freeze at At, thaw at HoldUntil. Key makes it happen once.
type WindowRequest struct {
	Snapshotter string    `json:"snapshotter"`
	Set         string    `json:"set"`
	Key         string    `json:"key"`
	Members     int       `json:"members"` // of the whole set, over all hosts
	At          time.Time `json:"at"`
	HoldUntil   time.Time `json:"hold_until"`
}

// WindowResult is what the host did. FrozenAt is the latest of its file systems, ThawedAt the earliest.
type WindowResult struct {
	Host              string    `json:"host"`
	Run               string    `json:"run"`
	Snapshots         []string  `json:"snapshots"`
	FrozenAt          time.Time `json:"frozen_at"`
	ThawedAt          time.Time `json:"thawed_at"`
	ClockErrorSeconds float64   `json:"clock_error_seconds"`
	Begun             time.Time `json:"begun,omitzero"` // as of Ready
	Ended             time.Time `json:"ended,omitzero"`
}

// RunRequest runs an operation on a host, once for its key and generation.
type RunRequest struct {
	Operation   string `json:"operation"`
	Snapshotter string `json:"snapshotter"`
	Set         string `json:"set,omitempty"`
	Key         string `json:"key"`
}

// RunResult is what became of it.
type RunResult struct {
	Host     string   `json:"host"`
	Run      string   `json:"run"`
	Outcome  string   `json:"outcome"`
	Seconds  float64  `json:"seconds"`
	Volumes  int      `json:"volumes"`
	Repeated bool     `json:"repeated,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// ProbeRequest runs a health check of the host, by its name in the host's own settings.
type ProbeRequest struct {
	Name string `json:"name"`
}

// AllowsRequest asks a host whether its settings allow what is about to be asked of it. Nothing is run.
type AllowsRequest struct {
	Operation   string `json:"operation"`
	Snapshotter string `json:"snapshotter"`
	Probe       string `json:"probe,omitempty"` // afterwards
}

// WholeRequest asks whether a set can be restored on hosts of these shards.
type WholeRequest struct {
	Set    string   `json:"set"`
	Shards []string `json:"shards"`
}

// WholeResult is what the account has of the set.
type WholeResult struct {
	Members  int      `json:"members"`           // that it should have; 0: there is no such set
	Labelled int      `json:"labelled"`          // that it has, and can be restored
	Missing  []string `json:"missing,omitempty"` // shards that it has nothing of
}

// SetRequest labels, undoes or cleans in the account.
type SetRequest struct {
	Snapshotter string `json:"snapshotter,omitempty"`
	Set         string `json:"set,omitempty"`
	Members     int    `json:"members,omitempty"`
}

// SetResult is what it came to.
type SetResult struct {
	Snapshots []string `json:"snapshots,omitempty"`
	Deleted   []string `json:"deleted,omitempty"`
	// DeletedSets are sets that were deleted as a whole (ActClean).
	DeletedSets []string `json:"deleted_sets,omitempty"`
	Copied      int      `json:"copied,omitempty"` // sets (ActCopy)
	Already     bool     `json:"already,omitempty"`
	Locked      []string `json:"locked,omitempty"`     // of a labelled set
	NotLocked   string   `json:"not_locked,omitempty"` // why not all that should be locked are
	// Unlabelled and Labelled are how many snapshots the account has of the set (ActLook), or how many labelled ones were kept (ActUndo).
	Unlabelled int `json:"unlabelled,omitempty"`
	Labelled   int `json:"labelled,omitempty"`
}

// HostState is one line of `fleet status`.
type HostState struct {
	Host  string `json:"host"`
	Shard string `json:"shard,omitempty"`
	State string `json:"state"` // waiting, preparing, ready, armed, running, probing, done, failed, not begun
	Step  string `json:"step,omitempty"`
	Run   string `json:"run,omitempty"`
	Error string `json:"error,omitempty"`
	// Repeated: its run was done before, under the same key.
	Repeated bool `json:"repeated,omitempty"`
	// Version of snaptastic there, once a snapshot has asked for it.
	Version string `json:"version,omitempty"`
}

// Progress is what the query "progress" answers.
type Progress struct {
	Phase string      `json:"phase"`
	Set   string      `json:"set,omitempty"`
	Hosts []HostState `json:"hosts"`
	Cell  string      `json:"cell,omitempty"` // the workflow that tells more of some of the hosts
}
