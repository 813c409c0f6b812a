package flow

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// HostsRequest runs one operation on many hosts, some at a time.
type HostsRequest struct {
	Cluster     string `json:"cluster"`
	Snapshotter string `json:"snapshotter"`
	Operation   string `json:"operation"` // restore, mount, verify, warm
	Set         string `json:"set,omitempty"`
	// Key is the same whenever this is asked for again: a host that has it done tells so, and does nothing.
	// Empty: the cluster's name and the time, so that each order is a new one. Again makes it another one.
	Key       string  `json:"key"`
	Again     string  `json:"again,omitempty"`
	Hosts     []Host  `json:"hosts"`
	Tagged    *Tagged `json:"tagged,omitempty"` // instead of Hosts
	AtOnce    int     `json:"at_once"`
	StopAfter int     `json:"stop_after"`
	Probe     string  `json:"probe,omitempty"`
}

// HostsResult is what became of each.
type HostsResult struct {
	Set    string      `json:"set,omitempty"`
	Done   int         `json:"done"`
	Failed int         `json:"failed"`
	Hosts  []HostState `json:"hosts"`
	Runs   []RunResult `json:"runs"`
}

// longest is how long one host may take: a large restore, a drill with a full check, or a warm-up.
const longest = 24 * time.Hour

// Hosts runs the operation on every host, AtOnce at a time, with a probe after
// each, and begins no further host once StopAfter have failed.
func Hosts(ctx workflow.Context, req HostsRequest) (HostsResult, error) {
	goesOn := req.Key != ""
	if !goesOn {
		req.Key = identity(ctx, req.Cluster)
	}
	if req.Again != "" {
		req.Key += "@" + req.Again
	}
	found, err := members(ctx, req.Hosts, req.Tagged)
	if err != nil {
		return HostsResult{}, err
	}
	req.Hosts = found
	h := &hosts{req: req, goesOn: goesOn, phase: req.Operation, states: newStates(req.Hosts), runs: make([]RunResult, len(req.Hosts))}
	if err := workflow.SetQueryHandler(ctx, "progress", func() (Progress, error) {
		return Progress{Phase: h.phase, Set: req.Set, Hosts: h.states.list()}, nil
	}); err != nil {
		return HostsResult{}, err
	}
	// Before, nothing was checked beforehand, and a cancelled workflow ended before its hosts had.
	if h.waits = workflow.GetVersion(ctx, "hosts", workflow.DefaultVersion, 1) != workflow.DefaultVersion; h.waits {
		if err := h.check(ctx); err != nil {
			return h.result(ctx, err)
		}
	}
	slots := workflow.NewSemaphore(ctx, int64(max(1, req.AtOnce)))
	wg := workflow.NewWaitGroup(ctx)
	for i := range req.Hosts {
		if err := slots.Acquire(ctx, 1); err != nil || h.stopped() {
			break
		}
		wg.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer wg.Done()
			defer slots.Release(1)
			h.one(ctx, i)
		})
	}
	wg.Wait(ctx)
	return h.result(ctx, nil)
}

type hosts struct {
	req    HostsRequest
	goesOn bool // whoever asks again leaves hosts alone that are done
	phase  string
	waits  bool // until a host that was asked to stop has
	states *states
	runs   []RunResult
	done   int
	failed int
	partly bool // one is done but for some volumes
}

func (h *hosts) stopped() bool { return h.failed >= max(1, h.req.StopAfter) }

func (h *hosts) one(ctx workflow.Context, i int) {
	name := h.req.Hosts[i].Name
	h.states.set(name, "running", nil)
	err := workflow.ExecuteActivity(h.onHost(ctx, name), ActRun, RunRequest{
		Operation: h.req.Operation, Snapshotter: h.req.Snapshotter, Set: h.req.Set,
		Key: key(h.req.Key, name, h.req.Operation),
	}).Get(ctx, &h.runs[i])
	h.runs[i].Host = name
	h.states.ran(name, h.runs[i].Run)
	h.states.line(name).Repeated = h.runs[i].Repeated
	if err == nil && h.req.Probe != "" {
		h.states.set(name, "probing", nil)
		err = workflow.ExecuteActivity(h.onHost(ctx, name), ActProbe, ProbeRequest{Name: h.req.Probe}).Get(ctx, nil)
	}
	h.states.set(name, "done", err)
	if err != nil {
		h.failed++
		h.partly = h.partly || kind(err) == Partly
		return
	}
	h.done++
}

// onHost is for long work on a host: it says every few seconds that it is alive, and is asked again when its worker was lost.
func (h *hosts) onHost(ctx workflow.Context, host string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              HostQueue(host),
		ScheduleToStartTimeout: 10 * time.Minute,
		StartToCloseTimeout:    longest,
		HeartbeatTimeout:       30 * time.Second,
		WaitForCancellation:    h.waits,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: time.Minute, MaximumAttempts: 100},
	})
}

// result is what became of all; refusal is why none was begun.
func (h *hosts) result(ctx workflow.Context, refusal error) (HostsResult, error) {
	h.states.notBegun()
	r := HostsResult{Set: h.req.Set, Done: h.done, Failed: h.failed, Hosts: h.states.list(), Runs: h.runs}
	if ctx.Err() != nil {
		return r, temporal.NewCanceledError(r)
	}
	if refusal != nil {
		return r, failed(r, "%s: no host was begun: %v", h.req.Operation, refusal)
	}
	if h.failed > 0 {
		why := ""
		for _, l := range r.Hosts {
			if l.State == "failed" {
				why += fmt.Sprintf("; %s: %s", l.Host, l.Error)
			}
		}
		return r, failed(r, "%s: %d of %d hosts done, %d failed, %d not begun%s. %s",
			h.req.Operation, h.done, len(r.Hosts), h.failed, len(r.Hosts)-h.done-h.failed, why, h.next())
	}
	return r, nil
}

// next is what to do once hosts have failed.
func (h *hosts) next() string {
	switch {
	case !h.goesOn:
		return "The same command begins again with all hosts"
	case h.partly:
		return "A host that is done but for some volumes stays so for this command. When that is fixed, order it under another word, with --again WORD: all hosts do it again"
	}
	return "Run the same command again: hosts that are done are left as they are"
}
