package host

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"snaptastic-fleet/flow"
)

// tentative is how far ahead the instant is that a host is asked about: snaptastic asks on for minutes where EC2 or metadata do not
// answer, and the instant must not be over then.
const tentative = 20 * time.Minute

// planned is of `snaptastic plan snapshot -o json` what is used here.
type planned struct {
	Lanes []struct {
		ID string `json:"id"`
	} `json:"lanes"`
	Steps []struct {
		Problem string `json:"problem"`
	} `json:"steps"`
}

// Prepare says whether this host could snapshot now, and freeze for as long as it is to. It changes nothing.
func (w *Worker) Prepare(ctx context.Context, req flow.PrepareRequest) (flow.Ready, error) {
	if err := w.allowed("snapshot", req.Snapshotter); err != nil {
		return flow.Ready{}, err
	}
	if err := identities(req.Set); err != nil {
		return flow.Ready{}, err
	}
	if err := w.namesake(ctx); err != nil {
		return flow.Ready{}, again(err.Error())
	}
	begun := w.Now()
	clock, err := w.clock()
	if err != nil {
		return flow.Ready{}, err
	}
	stop := beating(ctx, nil)
	defer stop()
	var p planned
	err = w.Program.run(ctx, &p, nil, w.question(ctx, req)...)
	for _, s := range p.Steps {
		if s.Problem != "" {
			return flow.Ready{}, temporal.NewNonRetryableApplicationError(cut(s.Problem), flow.NotReady, nil)
		}
	}
	if err != nil {
		return flow.Ready{}, verdict(err)
	}
	var version struct {
		Version string `json:"version"`
	}
	if err := w.Program.run(ctx, &version, nil, "version"); err != nil {
		return flow.Ready{}, verdict(err)
	}
	return flow.Ready{Members: len(p.Lanes), ClockErrorSeconds: clock, Version: version.Version, Begun: begun, Ended: w.Now()}, nil
}

// question is the plan of the snapshot, with the options that it will have: what the host would refuse at its instant, it refuses now.
// How many snapshots the set has is not known yet. An order of an earlier build has no hold, and is asked about as it was then.
func (w *Worker) question(ctx context.Context, req flow.PrepareRequest) []string {
	args := []string{"plan", "snapshot", req.Snapshotter}
	if req.Hold <= 0 {
		return args
	}
	// Asked so, it asks on by itself for what passes, such as metadata that does not answer, and ends at once for what does not.
	patience := 4 * time.Minute
	if left := time.Until(activity.GetInfo(ctx).Deadline) - 20*time.Second; left < patience {
		patience = max(left, 10*time.Second)
	}
	at := w.Now().Add(tentative)
	return append(append(args, "--timeout", fmt.Sprintf("%ds", int(patience.Seconds()))), w.armed(req.Set, flow.MostMembers, at, at.Add(req.Hold))...)
}
