package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
	"snaptastic/linux"
	"snaptastic/linux/guard"
)

// fastPoll suits the sandbox, whose states change in milliseconds.
const fastPoll = 20 * time.Millisecond

// enterGuard makes this process a guard where it was started as one, and does not return then.
func enterGuard() { guard.Enter() }

// wiring is what an invocation has of the libraries that the engine works with.
type wiring struct {
	server *sandbox.Server // inside this process
	set    []string        // environment variables of the run that is gone on with
}

// config is what the engine works with, from the flags and the environment.
func (a *app) config() engine.Config {
	c := engine.Config{
		StateDir: a.stateDir, Sandbox: a.sandboxDir(), Environ: os.Environ(), Roots: a.roots(), Version: version(),
		Reach:   journal.CloudConfig{Region: a.region, EndpointURL: a.endpoint, MetadataURL: a.metadata},
		Connect: a.connect, Settings: a.loadFile, UserData: a.userdataFlag,
		PrivateMounts: a.privateMounts, EventFile: a.eventFile, Log: a.log, Frontend: a, Command: a.repeated.After,
	}
	if c.Sandbox != "" { // only EC2's eventual consistency asks for longer waits
		c.MaxLag, c.SilentTime = fromEnvironment("SNAPTASTIC_LAG", 0), fromEnvironment("SNAPTASTIC_SILENT", 0)
		c.Settle, c.RetryMin = fromEnvironment("SNAPTASTIC_SETTLE", 2*time.Second), 100*time.Millisecond
	}
	return c
}

func fromEnvironment(name string, standard time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv(name)); err == nil && d > 0 {
		return d
	}
	return standard
}

func (a *app) loadFile() (*settings.File, error) {
	paths, err := settings.Find(a.settings, os.Getenv)
	if err != nil {
		return nil, err
	}
	return settings.Load(paths)
}

// roots are where /dev, /sys and the boot id are.
func (a *app) roots() linux.Roots {
	out := linux.Roots{Fstab: os.Getenv("LIBMOUNT_FSTAB")} // as mount(8) has it
	dir := a.sandboxDir()
	if dir == "" {
		return out
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	r := sandbox.RootsOf(dir)
	out.Dev, out.Sys, out.BootID = r.Dev, r.Sys, r.BootID
	return out
}

// connect makes the client of EC2: Amazon's, or the sandbox's inside this process.
func (a *app) connect(ctx context.Context, way journal.CloudConfig, patientUntil time.Time) (*ec2.Client, error) {
	a.surround(way.Environ)
	conf := ec2.Config{Region: way.Region, EndpointURL: way.EndpointURL, MetadataURL: way.MetadataURL, Profile: way.Profile, UserAgent: "snaptastic/" + version(),
		PatientUntil: patientUntil,
		Log:          a.log}
	if dir := a.sandboxDir(); dir != "" {
		if err := a.embed(ctx, dir); err != nil {
			return nil, err
		}
		if a.server != nil {
			conf.EndpointURL, conf.MetadataURL = a.server.URL(), a.server.URL()
		} else if conf.MetadataURL == "" && os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT") == "" {
			conf.MetadataURL = conf.EndpointURL // a sandbox serves both
		}
		_, world := sandbox.SplitDir(dir)
		conf.Region = cmp.Or(a.region, world.Region)
		conf.Credentials = ec2.Credentials{ID: world.AccessKey(), Secret: "sandbox"}
		conf.PollMin, conf.SettleWindow = fromEnvironment("SNAPTASTIC_POLL", fastPoll), fromEnvironment("SNAPTASTIC_APPEAR", 0)
	}
	return ec2.New(ctx, conf)
}

// connectSandbox is connect for a command about the sandbox itself.
func (a *app) connectSandbox(ctx context.Context) (*ec2.Client, error) {
	return a.connect(ctx, journal.CloudConfig{EndpointURL: a.endpoint, MetadataURL: a.metadata}, time.Time{})
}

// surround gives the SDK the environment that a run recorded, where this process has none of its own, and takes that of the
// run before away.
func (a *app) surround(environ map[string]string) {
	for _, name := range a.set {
		_ = os.Unsetenv(name)
	}
	a.set = nil
	for name, value := range environ {
		if _, there := os.LookupEnv(name); !there && value != "" && ec2.IsConfigVar(name) {
			_ = os.Setenv(name, value) // the SDK's own way in
			a.set = append(a.set, name)
		}
	}
}

// embed starts the sandbox inside this process, unless --endpoint-url names
// one that runs elsewhere.
func (a *app) embed(ctx context.Context, dir string) error {
	if a.endpoint != "" || a.server != nil {
		return nil
	}
	if err := sandbox.Missing(); err != nil {
		return &engine.Error{Code: engine.Failed, Err: engine.WithHint("run it as root (sudo); or use `snaptastic sandbox serve --files-only`, which needs no root",
			fmt.Errorf("cannot use the sandbox in %s: %w", dir, errors.Unwrap(err)))}
	}
	ud, err := a.userdataFlag()
	if err != nil {
		return err
	}
	if a.server, err = sandbox.Serve(context.WithoutCancel(ctx), sandbox.Config{Dir: dir, UserData: string(ud)}, "127.0.0.1:0"); err != nil {
		return fmt.Errorf("cannot start the sandbox in %s: %w", dir, err)
	}
	return nil
}

func (a *app) close() {
	if a.events != nil {
		a.events.Close()
	}
	if a.server != nil {
		_ = a.server.Close()
	}
}
