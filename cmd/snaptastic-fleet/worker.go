package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
	"snaptastic-fleet/host"
	"snaptastic-fleet/link"
)

func (a *app) workerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "worker", Short: "Do on this host what the fleet asks, as far as fleet.hcl allows it (as root)", Args: arguments(),
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := a.file()
			if err != nil {
				return err
			}
			if f.Worker == nil {
				return usage{fmt.Errorf("%s has no worker block: it says which operations this host allows", a.config)}
			}
			if os.Geteuid() != 0 {
				return usage{errors.New("a worker runs as root: it freezes and mounts file systems. Start it by systemctl start snaptastic-fleet-worker")}
			}
			p, err := host.Find(f.Worker.Program, f.Worker.Args)
			if err != nil {
				return usage{err}
			}
			name := f.Worker.Host
			switch name {
			case "":
				name, err = os.Hostname()
			case config.ByInstanceID:
				name, err = host.InstanceID(c.Context(), p)
			}
			if err != nil {
				return err
			}
			w := &host.Worker{Name: name, Program: p, Config: *f.Worker, Now: time.Now, Pollers: host.Pollers}
			return a.serve(c.Context(), f, flow.HostQueue(name), worker.Options{
				Identity:              host.Identity(name),
				DisableWorkflowWorker: true,
				// One poller a host: two of each of a thousand hosts reach the frontend's limit.
				MaxConcurrentActivityTaskPollers: 1,
				// A window may be armed while a long operation is under way.
				MaxConcurrentActivityExecutionSize: 4,
			}, func(r worker.Worker) { registerHost(r, w) })
		},
	}
}

func (a *app) controlCommand() *cobra.Command {
	return &cobra.Command{
		Use: "control", Short: "Decide and judge, and label, undo and clean in the account (needs no root)", Args: arguments(),
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := a.file()
			if err != nil {
				return err
			}
			var conf config.Control
			if f.Control != nil {
				conf = *f.Control
			}
			p, err := host.Find(conf.Program, conf.Args)
			if err != nil {
				return usage{err}
			}
			control := &host.Control{Program: p}
			name, _ := os.Hostname()
			o := worker.Options{Identity: "control " + name}
			if conf.Pinned {
				o.DeploymentOptions = worker.DeploymentOptions{
					UseVersioning: true, DefaultVersioningBehavior: workflow.VersioningBehaviorPinned,
					Version: worker.WorkerDeploymentVersion{DeploymentName: deployment, BuildID: stamp},
				}
			}
			return a.serve(c.Context(), f, flow.ControlQueue, o, func(r worker.Worker) {
				registerFlows(r)
				named(r, flow.ActMembers, control.Members)
				named(r, flow.ActLook, control.Look)
				named(r, flow.ActWhole, control.Whole)
				named(r, flow.ActWhen, control.When)
				named(r, flow.ActLabel, control.Label)
				named(r, flow.ActUndo, control.Undo)
				named(r, flow.ActClean, control.Clean)
				named(r, flow.ActCopy, control.Copy)
			})
		},
	}
}

// deployment is the name of control's versions at the server.
const deployment = "snaptastic-fleet"

// becomeCurrent has new workflows begin on this version. The server knows of it once its worker polls.
func becomeCurrent(ctx context.Context, c client.Client) error {
	var err error
	for range 60 {
		_, err = c.WorkerDeploymentClient().GetHandle(deployment).SetCurrentVersion(ctx, client.WorkerDeploymentSetCurrentVersionOptions{
			BuildID: stamp, IgnoreMissingTaskQueues: true,
		})
		if err == nil {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("cannot make version %s the current one: %w", stamp, err)
}

func registerFlows(r worker.WorkflowRegistry) {
	r.RegisterWorkflowWithOptions(flow.Snapshot, workflow.RegisterOptions{Name: "Snapshot"})
	r.RegisterWorkflowWithOptions(flow.Hosts, workflow.RegisterOptions{Name: "Hosts"})
	r.RegisterWorkflowWithOptions(flow.Scheduled, workflow.RegisterOptions{Name: "Scheduled"})
	r.RegisterWorkflowWithOptions(flow.Clean, workflow.RegisterOptions{Name: "Clean"})
	r.RegisterWorkflowWithOptions(flow.Copy, workflow.RegisterOptions{Name: "Copy"})
}

func registerHost(r worker.Worker, w *host.Worker) {
	named(r, flow.ActPrepare, w.Prepare)
	named(r, flow.ActWindow, w.Window)
	named(r, flow.ActRun, w.Run)
	named(r, flow.ActProbe, w.Probe)
	named(r, flow.ActAllows, w.Allows)
}

func named(r worker.Worker, name string, f any) {
	r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
}

// serve works on a queue until the context ends. It waits for a server that is not there yet, or that has not got the
// namespace (yet, or any more): a host that boots must not give up, nor one whose server was replaced.
func (a *app) serve(ctx context.Context, f *config.File, queue string, o worker.Options, register func(worker.Worker)) error {
	c, err := a.patiently(ctx, f.Server, o.Identity)
	if err != nil {
		return err
	}
	defer c.Close()
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		err := a.work(ctx, c, f, queue, o, register)
		if !errors.As(err, new(*serviceerror.NamespaceNotFound)) {
			return err
		}
		fmt.Fprintf(os.Stderr, "the server at %s has no namespace %s. Next try in %s\n", f.Server.Address, f.Server.Namespace, wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// work works on a queue until the context ends, or the server does not want it to.
func (a *app) work(ctx context.Context, c client.Client, f *config.File, queue string, o worker.Options, register func(worker.Worker)) error {
	o.MaxHeartbeatThrottleInterval = 5 * time.Second // so that `fleet status` is no older
	o.WorkerStopTimeout = 5 * time.Second
	fatal := make(chan error, 8) // more than one poller may say it
	o.OnFatalError = func(err error) {
		select {
		case fatal <- err:
		default:
		}
	}
	w := worker.New(c, queue, o)
	register(w)
	if err := w.Start(); err != nil {
		return fmt.Errorf("cannot work on queue %s: %w", queue, err)
	}
	defer w.Stop()
	if o.DeploymentOptions.UseVersioning {
		if err := becomeCurrent(ctx, c); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "snaptastic-fleet %s: working on queue %s of namespace %s at %s\n", stamp, queue, f.Server.Namespace, f.Server.Address)
	select {
	case <-ctx.Done():
		return nil
	case err := <-fatal:
		return fmt.Errorf("the server ended this worker: %w", err)
	}
}

// patiently connects as soon as there is a key and a server.
func (a *app) patiently(ctx context.Context, s config.Server, identity string) (client.Client, error) {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		var c client.Client
		o, err := link.Options(ctx, s, a.log)
		var later link.CommandError
		if err != nil && !errors.As(err, &later) {
			return nil, usage{err}
		}
		if err == nil {
			o.Identity = identity
			if c, err = link.Dial(ctx, o); err == nil {
				return c, nil
			}
		}
		if ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "%v. Next try in %s\n", err, wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, errors.New("stopped before it had a key and the server answered")
		}
	}
}
