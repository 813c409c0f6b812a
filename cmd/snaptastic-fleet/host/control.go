package host

import (
	"context"
	"errors"
	"fmt"
	"os"

	"snaptastic-fleet/flow"
)

// Control does what touches only the account: it labels sets, undoes them, and cleans up. It needs no root.
type Control struct{ Program Program }

type setAnswer struct {
	Snapshots []string `json:"snapshots"`
	Deleted   []string `json:"deleted"`
	Already   bool     `json:"already"`
	Locked    []string `json:"locked"`
	LockError string   `json:"lock_error"`
	Kept      []struct {
		SnapshotID string `json:"snapshot_id"`
		Reason     string `json:"reason"`
		Labelled   bool   `json:"labelled"`
	} `json:"kept"`
}

// labelled counts the snapshots that were kept because they can be restored.
func (a setAnswer) labelled() (n int) {
	for _, k := range a.Kept {
		if k.Labelled {
			n++
		}
	}
	return n
}

// Label labels a whole set in one call, and locks what its hosts' settings ask to lock. It fails when a member is missing or has failed;
// not for a lock that is refused, since what is labelled is not undone.
func (c *Control) Label(ctx context.Context, req flow.SetRequest) (flow.SetResult, error) {
	r, err := c.onSet(ctx, req, "label", "--set", req.Set)
	var exit *Exit
	if errors.As(err, &exit) && exit.Code == 3 && r.NotLocked != "" {
		return r, nil
	}
	return r, err
}

// Look counts what the account has of a set. It changes nothing.
func (c *Control) Look(ctx context.Context, req flow.SetRequest) (flow.SetResult, error) {
	r, err := c.onSet(ctx, req, "undo", "--set", req.Set, "--dry-run")
	r.Unlabelled, r.Deleted = len(r.Deleted), nil
	return r, err
}

// Undo deletes all unlabelled snapshots of a set, of hosts that are lost as well. Labelled ones stay, and are counted: to ask
// again would not change that.
func (c *Control) Undo(ctx context.Context, req flow.SetRequest) (flow.SetResult, error) {
	return c.onSet(ctx, req, "undo", "--set", req.Set, "--yes")
}

func (c *Control) onSet(ctx context.Context, req flow.SetRequest, args ...string) (flow.SetResult, error) {
	if err := identities(req.Set); err != nil {
		return flow.SetResult{}, err
	}
	if req.Set == "" {
		return flow.SetResult{}, fmt.Errorf("%s: no set is named", args[0])
	}
	stop := beating(ctx, nil)
	defer stop()
	var a setAnswer
	err := c.Program.run(context.WithoutCancel(ctx), &a, nil, args...)
	r := flow.SetResult{Snapshots: a.Snapshots, Deleted: a.Deleted, Already: a.Already, Locked: a.Locked, NotLocked: cut(a.LockError), Labelled: len(a.Kept)}
	var exit *Exit
	switch {
	case len(a.Kept) == 0 || err == nil:
	case errors.As(err, &exit) && exit.Code == 1 && a.labelled() == len(a.Kept):
		return r, nil
	default:
		return r, fmt.Errorf("%s was kept: %s", a.Kept[0].SnapshotID, cut(a.Kept[0].Reason))
	}
	return r, err // tried again by the workflow, as long as it allows
}

// Copy copies what the copy blocks of the control side's settings lack. It has no key: a copy that was cut off is finished by the next one,
// and while another process is at it, this is asked again.
func (c *Control) Copy(ctx context.Context, req flow.SetRequest) (flow.SetResult, error) {
	if err := identities(req.Snapshotter); err != nil {
		return flow.SetResult{}, err
	}
	stop := beating(ctx, nil)
	defer stop()
	var all results
	err := c.Program.run(stoppable(ctx), &all, nil, "run", "copy", req.Snapshotter, "--yes")
	var out flow.SetResult
	for _, r := range all {
		if err != nil {
			err = because(err, r)
		}
		for _, l := range r.Lanes {
			if l.State == "done" {
				out.Copied++
			}
		}
	}
	if err != nil {
		return flow.SetResult{}, verdict(here(err))
	}
	return out, nil
}

// here says on which machine a command failed: whoever asked for it may be at another one, and there may be two of control.
func here(err error) error {
	if exit := (*Exit)(nil); errors.As(err, &exit) {
		name, _ := os.Hostname()
		return &Exit{Code: exit.Code, Stderr: "control on " + name + ": " + exit.Error()}
	}
	return err
}

// Clean deletes what the retention rules of the control side's settings let go.
func (c *Control) Clean(ctx context.Context, req flow.SetRequest) (flow.SetResult, error) {
	if err := identities(req.Snapshotter); err != nil {
		return flow.SetResult{}, err
	}
	stop := beating(ctx, nil)
	defer stop()
	var r result
	if err := c.Program.run(context.WithoutCancel(ctx), &r, nil, "clean", "snapshots", req.Snapshotter, "--larger-sets", "--yes"); err != nil {
		return flow.SetResult{}, verdict(here(because(err, r)))
	}
	var out flow.SetResult
	for _, l := range r.Lanes {
		switch {
		case l.State != "done":
		case l.SnapshotID != "":
			out.Deleted = append(out.Deleted, l.SnapshotID)
		default: // by rules that keep sets, the lane is a set
			out.DeletedSets = append(out.DeletedSets, l.Lane)
		}
	}
	return out, nil
}
