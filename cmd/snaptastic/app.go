package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"snaptastic/cmd/internal/render"
	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
	"snaptastic/linux"
	"snaptastic/plan"
)

// flags are the global ones.
type flags struct {
	settings  string
	userdata  string
	stateDir  string
	sandbox   string
	region    string
	endpoint  string
	metadata  string
	logLevel  string
	logFormat string
	output    string
	yes       bool

	privateMounts bool // of commands that mount: in a mount namespace of its own all the same
	noColor       bool
}

const (
	defaultStateDir = "/var/lib/snaptastic"
	sandboxInState  = "STATE/sandbox" // --sandbox without a folder, as its help shows it
)

func (f *flags) register(set *pflag.FlagSet) {
	set.StringVar(&f.settings, "settings", "", "settings `file` (default: $SNAPTASTIC_SETTINGS, ./snaptastic.hcl, /etc/snaptastic.hcl, /etc/snaptastic/*.hcl)")
	set.StringVar(&f.userdata, "userdata", "", "instance userdata, as `JSON` or @FILE, instead of the instance's own")
	set.StringVar(&f.stateDir, "state-dir", defaultStateDir, "`folder` of the journals (also $SNAPTASTIC_STATE_DIR)")
	set.StringVar(&f.sandbox, "sandbox", "", "use a local EC2 whose volumes are loop devices, with its state in `DIR` (default STATE/sandbox; also $SNAPTASTIC_SANDBOX)")
	set.Lookup("sandbox").NoOptDefVal = sandboxInState
	set.StringVar(&f.region, "region", "", "AWS `region` (default: the settings', the environment's, the instance's own)")
	set.StringVar(&f.endpoint, "endpoint-url", "", "EC2 endpoint `URL`, such as that of `snaptastic sandbox serve`")
	set.StringVar(&f.metadata, "metadata-url", "", "instance metadata `URL` (default: $AWS_EC2_METADATA_SERVICE_ENDPOINT, or the instance's own)")
	set.StringVar(&f.logLevel, "log-level", "info", "`level` of the log: trace, debug, info, warn, error, off")
	set.StringVar(&f.logFormat, "log-format", "text", "`format` of the log: text or json")
	set.StringVarP(&f.output, "output", "o", "text", "`format` of the output: text or json")
	set.BoolVar(&f.yes, "yes", false, "do not ask")
	set.BoolVar(&f.noColor, "no-color", false, "no colour (also $NO_COLOR)")
}

// app is one invocation: its streams, its flags, and what commands share,
// made when first asked for.
type app struct {
	flags
	stdin      *os.File
	stdoutFile *os.File
	stderrFile *os.File
	stdout     *render.Hold // nothing is written while file systems are frozen
	stderr     *render.Hold
	log        hclog.Logger

	patience patience
	recorded *journal.Reach // of the run that this command goes on with

	server   *sandbox.Server
	file     *settings.File
	client   *ec2.Client
	ident    *ec2.Identity
	repeated render.Flags // of this invocation that another command needs as well
	waiting  int          // runs that a resume left to an operator
	ends     []render.End // of the runs of one command, for a list of them all; nil where each is written at once
}

func newApp(stdin, stdout, stderr *os.File) *app {
	return &app{stdin: stdin, stdoutFile: stdout, stderrFile: stderr, stdout: render.NewHold(stdout), stderr: render.NewHold(stderr),
		log: hclog.NewNullLogger()}
}

// begin checks the global flags and whose the folders are; every command runs
// it first.
func (a *app) begin(c *cobra.Command) error {
	level := hclog.LevelFromString(a.logLevel)
	if level == hclog.NoLevel {
		return usageError("--log-level %q is not one of trace, debug, info, warn, error, off", a.logLevel)
	}
	if a.logFormat != "text" && a.logFormat != "json" {
		return usageError("--log-format %q is neither text nor json", a.logFormat)
	}
	if a.output != "text" && a.output != "json" {
		return usageError("--output %q is neither text nor json", a.output)
	}
	for flag, value := range map[string]string{"endpoint-url": a.endpoint, "metadata-url": a.metadata} {
		if u, err := url.Parse(value); value != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			return usageError("--%s %q: invalid URL; expected something like http://127.0.0.1:4566", flag, value)
		}
	}
	a.fromEnvironment(c.Flags())
	a.log = render.NewLogger(a.stderr, level, a.logFormat == "json", render.ToJournal(a.stderrFile, os.Getenv))
	switch top(c).Name() {
	case "doctor", "version", "man", "help", "completion", c.Root().Name(): // doctor says it itself
		return nil
	}
	return a.trusted()
}

// fromEnvironment takes for flags that are not given what the environment says, and keeps those that are given.
func (a *app) fromEnvironment(set *pflag.FlagSet) {
	given := func(name, value string) string {
		if set.Changed(name) {
			return value
		}
		return ""
	}
	sandbox := given("sandbox", a.sandbox)
	if sandbox == sandboxInState {
		sandbox = a.sandboxDir()
	}
	a.repeated = render.FlagsOf([2]string{"--state-dir ", given("state-dir", a.stateDir)}, [2]string{"--settings ", given("settings", a.settings)},
		[2]string{"--sandbox=", sandbox}, [2]string{"--endpoint-url ", given("endpoint-url", a.endpoint)}, [2]string{"--metadata-url ", given("metadata-url", a.metadata)},
		[2]string{"--region ", given("region", a.region)})
	for name, flag := range map[string]*string{"state-dir": &a.stateDir, "sandbox": &a.sandbox} {
		value := os.Getenv("SNAPTASTIC_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
		if value != "" && !set.Changed(name) {
			*flag = value
		}
	}
}

// top is the command right below the root.
func top(c *cobra.Command) *cobra.Command {
	for c.HasParent() && c.Parent().HasParent() {
		c = c.Parent()
	}
	return c
}

// trusted refuses folders that others may write: what is in them is run,
// mounted and written as root.
func (a *app) trusted() error {
	folders := []struct{ what, flag, path string }{
		{"state folder", "--state-dir", a.stateDir},
		{"state folder", "--state-dir", filepath.Join(a.stateDir, "runs")},
		{"state folder", "--state-dir", filepath.Join(a.stateDir, "claims")},
		{"state folder", "--state-dir", filepath.Join(a.stateDir, "frozen")},
	}
	if dir := a.sandboxDir(); dir != "" {
		folders = append(folders, struct{ what, flag, path string }{"sandbox folder", "--sandbox", dir})
	}
	for _, f := range folders {
		err := linux.CheckFolder(f.path)
		var u *linux.Untrusted
		switch {
		case errors.As(err, &u):
			return &codeError{code: exitUsage, err: fmt.Errorf("refusing %s %s: %w", f.what, f.path, u),
				hint: "what is in it is run and written as root. Make it yours alone, or choose another one with " + f.flag}
		case err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.ENOTDIR): // whoever opens it says more
			return &codeError{code: exitUsage, err: fmt.Errorf("cannot use %s %s: %w", f.what, f.path, err)}
		}
	}
	return nil
}

func (a *app) close() {
	if a.server != nil {
		_ = a.server.Close()
	}
}

func (a *app) json() bool { return a.output == "json" }

// style is how to write for the file: colour and width only on a terminal.
func (a *app) style(f *os.File) render.Style {
	s, _ := render.Detect(f, os.Getenv)
	s.Color = s.Color && !a.noColor
	s.Flags = a.repeated
	return s
}

func (a *app) terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// sandboxDir is the sandbox's folder; "" without --sandbox.
func (a *app) sandboxDir() string {
	switch a.sandbox {
	case "":
		return ""
	case sandboxInState:
		return filepath.Join(a.stateDir, "sandbox")
	}
	return a.sandbox
}

// bootID is the kernel's, or the sandbox's.
func (a *app) bootID() (string, error) { return linux.New(a.roots()).BootID() }

// roots are where /dev, /sys and the boot id are.
func (a *app) roots() linux.Roots {
	dir := a.sandboxDir()
	if dir == "" {
		return linux.Roots{Fstab: os.Getenv("LIBMOUNT_FSTAB")} // as mount(8) has it
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	r := sandbox.RootsOf(dir)
	return linux.Roots{Dev: r.Dev, Sys: r.Sys, BootID: r.BootID, Fstab: os.Getenv("LIBMOUNT_FSTAB")}
}

// cloud is the client of EC2: Amazon's, or the sandbox's inside this process.
func (a *app) cloud(ctx context.Context) (*ec2.Client, error) {
	if a.client != nil {
		return a.client, nil
	}
	way := a.way()
	conf := ec2.Config{Region: way.Region, EndpointURL: way.EndpointURL, MetadataURL: way.MetadataURL, Profile: way.Profile, UserAgent: "snaptastic/" + version(),
		Log: func(level, message string, kv ...any) {
			if level == "warn" {
				a.log.Warn(message, kv...)
			} else {
				a.log.Debug(message, kv...)
			}
		}}
	if dir := a.sandboxDir(); dir != "" {
		if err := a.embed(ctx, dir); err != nil {
			return nil, err
		}
		if a.server != nil {
			conf.EndpointURL, conf.MetadataURL = a.server.URL(), a.server.URL()
		} else if conf.MetadataURL == "" && os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT") == "" {
			conf.MetadataURL = conf.EndpointURL // a sandbox serves both
		}
		conf.Region = sandbox.Region
		conf.Credentials = ec2.Credentials{ID: "sandbox", Secret: "sandbox"}
		conf.PollMin = fastPoll
		if d, err := time.ParseDuration(os.Getenv("SNAPTASTIC_POLL")); err == nil && d > 0 {
			conf.PollMin = d
		}
	}
	if until := a.patientUntil(); a.patience.unattended {
		conf.PatientUntil = until
	}
	c, err := ec2.New(ctx, conf)
	if err != nil {
		return nil, err
	}
	a.mustAnswer(c)
	a.client = c
	return c, nil
}

// embed starts the sandbox inside this process, unless --endpoint-url names
// one that runs elsewhere.
func (a *app) embed(ctx context.Context, dir string) error {
	if a.endpoint != "" || a.server != nil {
		return nil
	}
	if err := sandbox.Missing(); err != nil {
		return hinted("run it as root (sudo); `snaptastic sandbox serve` answers API calls without, from plain files", "cannot use the sandbox in %s: %w", dir, errors.Unwrap(err))
	}
	ud := ""
	if raw, err := a.userdataFlag(); err != nil {
		return err
	} else if raw != nil {
		ud = string(raw)
	}
	s, err := sandbox.Serve(context.WithoutCancel(ctx), sandbox.Config{Dir: dir, UserData: ud}, "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot start the sandbox in %s: %w", dir, err)
	}
	a.server = s
	return nil
}

// identity is this instance, from its metadata.
func (a *app) identity(ctx context.Context) (ec2.Identity, error) {
	if a.ident != nil {
		return *a.ident, nil
	}
	c, err := a.cloud(ctx)
	if err != nil {
		return ec2.Identity{}, err
	}
	var id ec2.Identity
	if err := a.patiently(ctx, func(ctx context.Context) (err error) {
		id, err = c.Metadata().Identity(ctx)
		return err
	}); err != nil {
		return id, err
	}
	a.ident = &id
	return id, nil
}

// identityNow is identity for those who would not wait for it.
func (a *app) identityNow(ctx context.Context) (ec2.Identity, error) {
	if a.ident != nil {
		return *a.ident, nil
	}
	c, err := a.cloud(ctx)
	if err != nil {
		return ec2.Identity{}, err
	}
	id, err := c.Metadata().Identity(ctx)
	if err == nil {
		a.ident = &id
	}
	return id, err
}

// userdataFlag is what --userdata gives; nil without the flag.
func (a *app) userdataFlag() ([]byte, error) {
	name, isFile := strings.CutPrefix(a.userdata, "@")
	switch {
	case a.userdata == "":
		return nil, nil
	case isFile:
		b, err := os.ReadFile(name)
		if err != nil {
			var at *fs.PathError
			if errors.As(err, &at) {
				err = at.Err
			}
			return nil, usageError("cannot read userdata %s: %w", name, err)
		}
		return b, nil
	}
	return []byte(a.userdata), nil
}

// loadSettings finds and parses the settings file.
func (a *app) loadSettings() error {
	if a.file != nil {
		return nil
	}
	paths, err := settings.Find(a.settings, os.Getenv)
	if err != nil {
		return &codeError{code: exitUsage, err: err, hint: "write one, for instance /etc/snaptastic.hcl, or name it with --settings; docs/settings.md has the smallest"}
	}
	f, err := settings.Load(paths)
	if err != nil {
		var diags *settings.Error
		if errors.As(err, &diags) {
			return err
		}
		return &codeError{code: exitUsage, err: err}
	}
	a.file = f
	return nil
}

// stateForLooking opens the state folder for a command that only looks: it makes
// none. The error wraps journal.ErrNoState where there is none.
func (a *app) stateForLooking() (*journal.Store, error) {
	s, err := journal.FindStore(a.stateDir)
	if err != nil {
		return nil, hinted("check --state-dir", "%w", err)
	}
	return s, nil
}

// stateOf is stateForLooking for a command that was told a run.
func (a *app) stateOf(run plan.RunID) (*journal.Store, error) {
	s, err := a.stateForLooking()
	if errors.Is(err, journal.ErrNoState) {
		err = hinted("check --state-dir", "there is no run %s: %w", run, err)
	}
	return s, err
}

// store opens the state folder, and makes it where it is missing.
func (a *app) store() (*journal.Store, error) {
	s, err := journal.OpenStore(a.stateDir)
	if err != nil {
		return nil, hinted("choose another one with --state-dir, or make this one writable", "%w", err)
	}
	return s, nil
}
