package flow

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// SnapshotRequest begins the snapshot of a cluster.
type SnapshotRequest struct {
	Cluster     string        `json:"cluster"`
	Snapshotter string        `json:"snapshotter"`
	Set         string        `json:"set"`
	Hosts       []Host        `json:"hosts"`
	Tagged      *Tagged       `json:"tagged,omitempty"` // instead of Hosts
	Lead        time.Duration `json:"lead"`             // nanoseconds, as Go has it
	Hold        time.Duration `json:"hold"`
	// Cell is the number of hosts that freeze at one instant. 0: all of them.
	// With fewer, each cell is a set of its own.
	Cell int `json:"cell,omitempty"`
	// Full is when EC2's bucket of requests is full again after the cells before; to an earlier build it was the earliest instant.
	Full time.Time `json:"not_before,omitzero"`
}

// SnapshotResult is the verdict over one set, or over those of all cells.
type SnapshotResult struct {
	Set       string           `json:"set"`
	Labelled  bool             `json:"labelled"`
	Instant   *Instant         `json:"instant,omitempty"`
	Snapshots int              `json:"snapshots"`
	Hosts     []HostState      `json:"hosts"`
	Cells     []SnapshotResult `json:"cells,omitempty"`
	Error     string           `json:"error,omitempty"`
	At        time.Time        `json:"at,omitzero"`      // the instant that was ordered
	Locked    int              `json:"locked,omitempty"` // snapshots
	// NotLocked is why not all are locked that should be. The set is labelled all the same.
	NotLocked string `json:"not_locked,omitempty"`
	// Undone are the snapshots that were deleted because there is no whole set.
	Undone []string `json:"undone,omitempty"`
}

// Snapshot is the coordinated snapshot: prepare everywhere, one instant a lead
// ahead, judge what the hosts measured, and label the whole set or undo all of it.
func Snapshot(ctx workflow.Context, req SnapshotRequest) (SnapshotResult, error) {
	named := req.Set != ""
	if !named {
		req.Set = identity(ctx, req.Cluster)
	}
	hosts, err := members(ctx, req.Hosts, req.Tagged)
	if err != nil {
		return SnapshotResult{}, err
	}
	req.Hosts, req.Tagged = hosts, nil
	if req.Cell <= 0 && len(req.Hosts) > MostInOneWindow {
		return SnapshotResult{}, refused(TooMany(len(req.Hosts)))
	}
	if req.Cell > MostInOneWindow {
		return SnapshotResult{}, refused(fmt.Sprintf("a cell has at most %d hosts", MostInOneWindow))
	}
	if req.Cell > 0 {
		return rolling(ctx, req)
	}
	s := &snapshot{req: req, named: named, states: newStates(req.Hosts), earliest: req.Full}
	s.phase = "preparing"
	if err := workflow.SetQueryHandler(ctx, "progress", s.progress); err != nil {
		return SnapshotResult{}, err
	}
	return s.run(ctx)
}

// TooMany says that so many hosts cannot freeze at one instant.
func TooMany(hosts int) string {
	return fmt.Sprintf("%d hosts cannot freeze at one instant: EC2 allows about %d. Use --rolling %d: cells of that many hosts, each a set of its own", hosts, MostInOneWindow, MostInOneWindow)
}

// identity names a set by its cluster and the time at which it was begun.
func identity(ctx workflow.Context, cluster string) string {
	return cluster + "-" + workflow.Now(ctx).UTC().Format("20060102T150405.000Z")
}

func refused(why string) error {
	return temporal.NewNonRetryableApplicationError(why, Refused, nil)
}

type snapshot struct {
	req    SnapshotRequest
	named  bool // the set has a name that somebody chose
	phase  string
	states *states
	at     time.Time // the instant, once there is one
	// earliest is when EC2 allows the requests of the instant.
	earliest time.Time
	// bearable: an earlier build began it, which took off what clocks differ by.
	bearable bool
	// earlier: an earlier build began it, which did not count the requests of prepare, armed what was cancelled while it waited, and
	// ended as failed where it was cancelled before.
	earlier bool
}

func (s *snapshot) progress() (Progress, error) {
	return Progress{Phase: s.phase, Set: s.req.Set, Hosts: s.states.list()}, nil
}

func (s *snapshot) run(ctx workflow.Context) (SnapshotResult, error) {
	s.earlier = workflow.GetVersion(ctx, "requests", workflow.DefaultVersion, 1) == workflow.DefaultVersion
	members, err := s.begin(ctx)
	if !s.earlier && ctx.Err() != nil {
		s.phase = "cancelled"
		return SnapshotResult{}, temporal.NewCanceledError(SnapshotResult{Set: s.req.Set, Hosts: s.states.list(), Error: "it was cancelled: nothing was frozen"})
	}
	if err != nil {
		s.phase = "not begun"
		r := SnapshotResult{Set: s.req.Set, Hosts: s.states.list(), Error: err.Error()}
		return r, failed(r, "nothing was frozen: %v", err)
	}
	if members > MostMembers {
		return SnapshotResult{}, refused(fmt.Sprintf("the set would have %d snapshots, and one call labels at most 1,000. Use --rolling", members))
	}
	if err := ctx.Err(); err != nil {
		return SnapshotResult{}, err // cancelled: nothing was frozen
	}
	// From here on a cancelled workflow still judges, and labels or undoes: what is armed freezes whether we listen or not.
	done, _ := workflow.NewDisconnectedContext(ctx)
	windows, clocks, failure := s.window(done, members)
	result := SnapshotResult{Set: s.req.Set, At: s.at, Hosts: s.states.list()}
	for _, w := range windows {
		result.Snapshots += len(w.Snapshots)
	}
	if failure == nil && result.Snapshots != members {
		failure = fmt.Errorf("%d snapshots were made of %d", result.Snapshots, members)
	}
	if failure == nil {
		var in Instant
		in, failure = Judge(windows, clocks)
		result.Instant = &in
	}
	if failure == nil {
		failure = s.restored(done, s.at)
	}
	if failure == nil && ctx.Err() != nil {
		failure = errors.New("the snapshot was cancelled")
	}
	if failure == nil {
		labelled, err := s.label(done, members)
		if err == nil {
			return s.labelled(result, labelled), nil
		}
		// EC2 may have labelled the set, and its answer may be lost: what is undone next tells.
		return s.undone(done, result, fmt.Errorf("the set could not be labelled: %s", cause(err)), members)
	}
	return s.undone(done, result, failure, 0)
}

// begin does all that can be cancelled: nothing is frozen. It returns how many snapshots the set will have.
func (s *snapshot) begin(ctx workflow.Context) (members int, err error) {
	if err := s.unused(ctx); err != nil {
		return 0, err
	}
	if err := s.restored(ctx, workflow.Now(ctx)); err != nil {
		return 0, err
	}
	ec2, hosts := bucket{s.req.Full}, len(s.req.Hosts)
	if !s.earlier {
		if err := s.waitUntil(ctx, ec2.has(hosts)); err != nil {
			return 0, err
		}
	}
	s.phase = "preparing"
	ready, err := s.prepare(ctx)
	if err != nil {
		return 0, err
	}
	for _, r := range ready {
		members += r.Members
	}
	if s.earlier || members > MostMembers {
		return members, nil
	}
	s.earliest = ec2.took(hosts, workflow.Now(ctx)).has(hosts)
	return members, s.waitUntil(ctx, s.earliest.Add(-s.req.Lead))
}

// waitUntil is for EC2 to allow enough requests.
func (s *snapshot) waitUntil(ctx workflow.Context, t time.Time) error {
	early := t.Sub(workflow.Now(ctx))
	if early <= 0 {
		return nil
	}
	s.phase = "waiting for EC2's limit of requests"
	return workflow.Sleep(ctx, early)
}

func (s *snapshot) labelled(r SnapshotResult, l SetResult) SnapshotResult {
	s.phase = "labelled"
	r.Labelled, r.Locked, r.NotLocked = true, len(l.Locked), l.NotLocked
	return r
}

// failed ends the workflow as failed, with the result in the error: a workflow returns the one or the other.
func failed(result any, format string, args ...any) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), Failed, nil, result)
}

// unused refuses a chosen name that snapshots have already: those of the earlier order would be labelled or deleted with the new ones.
func (s *snapshot) unused(ctx workflow.Context) error {
	if !s.named || workflow.GetVersion(ctx, "look", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return nil
	}
	var there SetResult
	if err := workflow.ExecuteActivity(onControl(ctx, 10*time.Minute), ActLook, SetRequest{Set: s.req.Set}).Get(ctx, &there); err != nil {
		return fmt.Errorf("cannot look whether there is a set %s: %s", s.req.Set, cause(err))
	}
	switch {
	case there.Labelled > 0:
		return fmt.Errorf("there is a set %s, which can be restored. Choose another name", s.req.Set)
	case there.Unlabelled > 0:
		return fmt.Errorf("there are %d unlabelled snapshots of a set %s. Delete them (snaptastic undo --set %s) or choose another name", there.Unlabelled, s.req.Set, s.req.Set)
	}
	return nil
}

// prepare asks every host whether it could. One that cannot ends it: nothing was frozen anywhere.
func (s *snapshot) prepare(ctx workflow.Context) ([]Ready, error) {
	ready, clocks := make([]Ready, len(s.req.Hosts)), make([]reading, len(s.req.Hosts))
	errs := each(ctx, len(s.req.Hosts), func(ctx workflow.Context, i int) error {
		h := s.req.Hosts[i]
		s.states.set(h.Name, "preparing", nil)
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			TaskQueue:              HostQueue(h.Name),
			ScheduleToStartTimeout: time.Minute,
			StartToCloseTimeout:    5 * time.Minute,
			ScheduleToCloseTimeout: 6 * time.Minute,
			HeartbeatTimeout:       10 * time.Second,
			// What passes: another run that has a volume, a worker that is started again.
			RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 20 * time.Second, MaximumAttempts: 30},
		})
		asked := workflow.Now(ctx)
		err := workflow.ExecuteActivity(ctx, ActPrepare, PrepareRequest{Snapshotter: s.req.Snapshotter, Set: s.req.Set, Hold: s.req.Hold}).Get(ctx, &ready[i])
		clocks[i] = reading{h.Name, asked, workflow.Now(ctx), ready[i].Begun, ready[i].Ended, seconds(ready[i].ClockErrorSeconds)}
		if err == nil && ready[i].Members < 1 {
			err = errors.New("it has no volume to snapshot")
		}
		s.states.line(h.Name).Version = ready[i].Version
		s.states.set(h.Name, "ready", err)
		return err
	})
	if err := joined(s.req.Hosts, errs); err != nil {
		return ready, err
	}
	version := workflow.GetVersion(ctx, "clocks", workflow.DefaultVersion, 2)
	if s.bearable = version < 2; version == workflow.DefaultVersion {
		return ready, nil // begun by a build that did not look at them here
	}
	return ready, checkClocks(clocks, s.req.Hold, s.bearable)
}

// window arms all hosts for one instant, a lead ahead of now, and waits for what they say.
func (s *snapshot) window(ctx workflow.Context, members int) ([]WindowResult, apart, error) {
	s.at = s.instant(ctx)
	if err := s.waitUntil(ctx, s.at.Add(-s.req.Lead)); err != nil { // in one that an earlier build began
		return nil, apart{}, err
	}
	s.phase = "armed"
	at := s.at
	until := at.Add(s.req.Hold)
	results, clocks := make([]WindowResult, len(s.req.Hosts)), make([]reading, len(s.req.Hosts))
	errs := each(ctx, len(s.req.Hosts), func(ctx workflow.Context, i int) error {
		h := s.req.Hosts[i]
		s.states.set(h.Name, "armed", nil)
		var asked time.Time
		var err error
		results[i], asked, err = s.order(ctx, h.Name, members, until)
		results[i].Host = h.Name
		clocks[i] = reading{h.Name, asked, workflow.Now(ctx), results[i].Begun, results[i].Ended, seconds(results[i].ClockErrorSeconds)}
		s.states.ran(h.Name, results[i].Run)
		s.states.set(h.Name, "done", err)
		return err
	})
	err := joined(s.req.Hosts, errs)
	if err != nil {
		s.outwait(ctx, errs, until)
	}
	differ := compare(clocks)
	differ.bearable = s.bearable
	return results, differ, err
}

// order arms a host, and returns what it says, and when it was asked. One that is not heard, because it or the server was away, is asked
// again until all would be undone: it may have been in the window.
func (s *snapshot) order(ctx workflow.Context, host string, members int, until time.Time) (r WindowResult, asked time.Time, err error) {
	options := workflow.ActivityOptions{
		TaskQueue: HostQueue(host),
		// A host that has not taken it by then would be late: it must not begin.
		ScheduleToStartTimeout: s.req.Lead,
		StartToCloseTimeout:    s.req.Lead + s.req.Hold + 10*time.Minute,
		HeartbeatTimeout:       30 * time.Second,
		// Asked again, the host joins what it began under this key, or tells its result again.
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 10 * time.Second, MaximumAttempts: 20},
	}
	req := WindowRequest{
		Snapshotter: s.req.Snapshotter, Set: s.req.Set, Key: fmt.Sprintf("%s/%d", key(s.req.Set, host, "snapshot"), s.at.UnixMilli()),
		Members: members, At: s.at, HoldUntil: until,
	}
	asked = workflow.Now(ctx)
	err = workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), ActWindow, req).Get(ctx, &r)
	left := until.Add(afterWindow).Sub(workflow.Now(ctx))
	if !unheard(err) || left <= 0 || workflow.GetVersion(ctx, "ask again", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return r, asked, err
	}
	first := err
	asked = workflow.Now(ctx)
	options.ScheduleToStartTimeout, options.ScheduleToCloseTimeout = left, left
	err = workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), ActWindow, req).Get(ctx, &r)
	if unheard(err) {
		err = first
	}
	return r, asked, err
}

func unheard(err error) bool { return errors.As(err, new(*temporal.TimeoutError)) }

// instant is a lead ahead of now, or later if it must be.
func (s *snapshot) instant(ctx workflow.Context) time.Time {
	return later(workflow.Now(ctx).Add(s.req.Lead), s.earliest).Truncate(time.Millisecond)
}

// key makes an operation happen once on a host. A generation follows it: that of a snapshot is its instant, so that an order
// of another server, which knows nothing of the first one, is another one.
func key(of, host, operation string) string { return of + "/" + host + "/" + operation }

func (s *snapshot) label(ctx workflow.Context, members int) (SetResult, error) {
	s.phase = "labelling"
	ctx = onControl(ctx, 10*time.Minute)
	var r SetResult
	err := workflow.ExecuteActivity(ctx, ActLabel, SetRequest{Set: s.req.Set, Members: members}).Get(ctx, &r)
	return r, err
}

// onControl is for what touches only the account. It is tried again until it is done, or its time is over.
func onControl(ctx workflow.Context, limit time.Duration) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              ControlQueue,
		ScheduleToCloseTimeout: limit,
		StartToCloseTimeout:    10 * time.Minute,
		HeartbeatTimeout:       30 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: time.Minute},
	})
}
