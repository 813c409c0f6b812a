package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
)

// Allows says whether this host's settings allow an operation, and have the probe that is to run after it. Nothing is run.
func (w *Worker) Allows(ctx context.Context, req flow.AllowsRequest) error {
	if err := w.namesake(ctx); err != nil {
		return refused(err.Error())
	}
	if err := w.allowed(req.Operation, req.Snapshotter); err != nil || req.Probe == "" {
		return err
	}
	_, err := w.probe(req.Probe)
	return err
}

func (w *Worker) probe(name string) (config.Probe, error) {
	i := slices.IndexFunc(w.Config.Probes, func(p config.Probe) bool { return p.Name == name })
	if i < 0 {
		return config.Probe{}, refused(fmt.Sprintf("this host has no probe %q: declare it in the worker block of its fleet.hcl", name))
	}
	return w.Config.Probes[i], nil
}

// Probe runs one of this host's own health checks. It is killed with all that it has begun when its time is over, or when somebody cancels.
func (w *Worker) Probe(ctx context.Context, req flow.ProbeRequest) error {
	p, err := w.probe(req.Name)
	if err != nil {
		return err
	}
	stop := beating(ctx, nil)
	defer stop()
	limited, cancel := context.WithTimeout(stoppable(ctx), p.Limit())
	defer cancel()
	c := exec.CommandContext(limited, p.Command[0], p.Command[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	out, err := c.CombinedOutput()
	switch {
	case errors.Is(limited.Err(), context.DeadlineExceeded):
		return failed(fmt.Sprintf("probe %q took longer than %s", req.Name, p.Limit()))
	case limited.Err() != nil:
		return failed(fmt.Sprintf("probe %q was stopped", req.Name))
	case err != nil:
		return failed(cut(fmt.Sprintf("probe %q: %v: %s", req.Name, err, lastError(string(out)))))
	}
	return nil
}
