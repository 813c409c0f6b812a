package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"snaptastic-fleet/flow"
)

// most generations of one key are tried.
const most = 1000

// Run runs an operation once for its key. Where what the key stands for is of no use any more, a next generation of the
// key begins it again: that is what whoever asks again wants.
func (w *Worker) Run(ctx context.Context, req flow.RunRequest) (flow.RunResult, error) {
	if err := w.allowed(req.Operation, req.Snapshotter); err != nil {
		return flow.RunResult{}, err
	}
	if err := identities(req.Set, req.Key); err != nil {
		return flow.RunResult{}, err
	}
	news := &news{run: heard(ctx)}
	before := news.run
	stop := beating(ctx, news)
	defer stop()
	for generation := 1; generation <= most; generation++ {
		args := []string{"run", req.Operation, req.Snapshotter, "--yes", "--key", fmt.Sprintf("%s/%d", req.Key, generation)}
		if req.Set != "" {
			args = append(args, "--set", req.Set)
		}
		var r result
		err := w.Program.run(stoppable(ctx), &r, news.take, args...)
		next, bad := w.next(ctx, req, r, err)
		if bad != nil {
			return flow.RunResult{}, verdict(bad)
		}
		if !next {
			r.Repeated = r.Repeated && r.Run != before // otherwise the worker was lost after this order had begun it
			return w.ran(req, r, err)
		}
	}
	return flow.RunResult{}, failed(fmt.Sprintf("%d runs with the key %s have ended on this host", most, req.Key))
}

// heard is the run that the last heartbeat of this order told of, before its worker was lost.
func heard(ctx context.Context) string {
	var last Beat
	if activity.HasHeartbeatDetails(ctx) {
		_ = activity.GetHeartbeatDetails(ctx, &last)
	}
	return last.Run
}

// next says whether what the key stands for was done, or has failed, earlier and is not there any more.
func (w *Worker) next(ctx context.Context, req flow.RunRequest, r result, err error) (bool, error) {
	switch {
	case !r.Repeated:
		return false, nil
	case r.Outcome != "done":
		return err != nil, nil // it was rolled back
	case req.Operation == "mount":
		return true, nil // what is mounted stays so; after a reboot nothing is
	case req.Operation == "restore":
		return w.replaced(ctx, req.Snapshotter, r.Run)
	}
	return false, nil
}

// replaced says whether a later restore has put something else in the place of what this one has restored. A mount, as at boot, has not.
func (w *Worker) replaced(ctx context.Context, snapshotter, run string) (bool, error) {
	var runs []struct { // oldest first
		Run     string `json:"run"`
		Asked   string `json:"asked"`
		Outcome string `json:"outcome"`
	}
	if err := w.Program.run(context.WithoutCancel(ctx), &runs, nil, "runs", "--operation", "restore", "--snapshotter", snapshotter); err != nil {
		return false, err
	}
	asked, replaced := "", false
	for _, r := range runs {
		switch {
		case r.Run == run:
			asked, replaced = r.Asked, false
		case !slices.Contains([]string{"rolled-back", "aborted"}, r.Outcome):
			replaced = r.Outcome != "done" || r.Asked != asked // the same set may have been ordered under another word
		}
	}
	return replaced, nil
}

// ran is what became of a run, in the words of the fleet.
func (w *Worker) ran(req flow.RunRequest, r result, err error) (flow.RunResult, error) {
	out := flow.RunResult{Host: w.Name, Run: r.Run, Outcome: r.Outcome, Seconds: r.Seconds, Repeated: r.Repeated}
	for _, n := range r.Notes {
		out.Notes = append(out.Notes, cut(n))
	}
	for _, l := range r.Lanes {
		if l.VolumeID != "" {
			out.Volumes++
		}
	}
	if err == nil {
		return out, nil
	}
	err = because(err, r)
	var exit *Exit
	if errors.As(err, &exit) && exit.Code == someVolumes && r.Outcome == "done" && req.Operation != "mount" {
		// Its key says the same from now on.
		return out, temporal.NewNonRetryableApplicationError(exit.Error(), flow.Partly, nil)
	}
	return out, verdict(err)
}

// someVolumes is the exit code of a run that is done for some volumes only.
const someVolumes = 3
