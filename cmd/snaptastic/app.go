package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
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

	eventFile     string // of commands that execute a run
	privateMounts bool   // of commands that mount: in a mount namespace of its own all the same
	noColor       bool
}

const (
	defaultStateDir = "/var/lib/snaptastic"
	sandboxInState  = "STATE/sandbox" // --sandbox without a folder, as its help shows it
)

func (f *flags) register(set *pflag.FlagSet) {
	set.StringVar(&f.settings, "settings", "", "settings `file` (default: $SNAPTASTIC_SETTINGS, ./snaptastic.hcl, /etc/snaptastic.hcl, /etc/snaptastic/*.hcl)")
	set.StringVar(&f.userdata, "userdata", "", "instance userdata as `JSON` or @FILE, instead of the instance's")
	set.StringVar(&f.stateDir, "state-dir", defaultStateDir, "`directory` of the journals (also $SNAPTASTIC_STATE_DIR)")
	set.StringVar(&f.sandbox, "sandbox", "", "use a local EC2 sandbox with loop devices as volumes and its state in `DIR` (default STATE/sandbox; also $SNAPTASTIC_SANDBOX)")
	set.Lookup("sandbox").NoOptDefVal = sandboxInState
	set.StringVar(&f.region, "region", "", "AWS `region` (default: from the settings, the environment or the instance)")
	set.StringVar(&f.endpoint, "endpoint-url", "", "EC2 endpoint `URL`, for example of `snaptastic sandbox serve`")
	set.StringVar(&f.metadata, "metadata-url", "", "instance metadata `URL` (default: $AWS_EC2_METADATA_SERVICE_ENDPOINT, or the instance's)")
	set.StringVar(&f.logLevel, "log-level", "info", "log `level`: trace, debug, info, warn, error, off")
	set.StringVar(&f.logFormat, "log-format", "text", "log `format`: text or json")
	set.StringVarP(&f.output, "output", "o", "text", "output `format`: text, json, or jsonl for the events of a run as they happen")
	set.BoolVar(&f.yes, "yes", false, "do not ask for confirmation")
	set.BoolVar(&f.noColor, "no-color", false, "disable colors (also $NO_COLOR)")
}

// app is one invocation: its streams, its flags and its engine.
type app struct {
	flags
	*engine.Engine // once the flags are known
	stdin          *os.File
	stdoutFile     *os.File
	stderrFile     *os.File
	stdout         *render.Buffer // nothing is written while file systems are frozen
	stderr         *render.Buffer
	log            *slog.Logger

	wiring
	repeated render.Flags      // of this invocation that another command needs as well
	events   *render.EventFile // where --events or -o jsonl sends them; nil for nowhere
	listed   bool              // the runs of this command are written as one JSON list at its end
	ended    []engine.RunID    // runs that came to rest in this command
}

func newApp(stdin, stdout, stderr *os.File) *app {
	return &app{stdin: stdin, stdoutFile: stdout, stderrFile: stderr, stdout: render.NewBuffer(stdout), stderr: render.NewBuffer(stderr),
		log: slog.New(slog.DiscardHandler)}
}

// begin checks the global flags and whose the folders are; every command runs
// it first.
func (a *app) begin(c *cobra.Command) error {
	if a.logFormat != "text" && a.logFormat != "json" {
		return usageError("--log-format %q: must be text or json", a.logFormat)
	}
	switch lines := c.Annotations[jsonlAnnotation] != ""; {
	case a.output == "jsonl" && !lines:
		return usageError("--output jsonl: only commands that execute a run, and status --watch, print events; use json")
	case a.output != "text" && a.output != "json" && a.output != "jsonl":
		return usageError("--output %q: must be text or json, or jsonl for the events of a run", a.output)
	}
	for flag, value := range map[string]string{"endpoint-url": a.endpoint, "metadata-url": a.metadata} {
		if u, err := url.Parse(value); value != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			return usageError("--%s %q: invalid URL; expected something like http://127.0.0.1:4566", flag, value)
		}
	}
	a.fromEnvironment(c.Flags())
	log, err := render.NewLogger(a.stderr, a.logLevel, a.logFormat == "json", render.ToJournal(a.stderrFile, os.Getenv))
	if err != nil {
		return usageError("--log-level %w", err)
	}
	a.log = log
	if c.Flags().Lookup("events") != nil {
		if err := a.openEvents(); err != nil {
			return err
		}
	}
	a.Engine = engine.New(a.config())
	switch top(c).Name() {
	case "doctor", "validate", "version", "man", "help", "completion", c.Root().Name(): // doctor says it itself
		return nil
	}
	return a.Trusted()
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

func (a *app) json() bool { return a.output == "json" }

// style is how to write for the file: colour and width only on a terminal.
func (a *app) style(f *os.File) render.Style {
	s, _ := render.Detect(f, os.Getenv)
	s.Color = s.Color && !a.noColor
	s.Flags = a.repeated
	return s
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

// userdataFlag is what --userdata gives; nil without the flag.
func (a *app) userdataFlag() ([]byte, error) {
	name, isFile := strings.CutPrefix(a.userdata, "@")
	switch {
	case a.userdata == "":
		return nil, nil
	case isFile:
		b, err := os.ReadFile(name)
		if err != nil {
			if at, ok := errors.AsType[*fs.PathError](err); ok {
				err = at.Err
			}
			return nil, usageError("cannot read userdata %s: %w", name, err)
		}
		return b, nil
	}
	return []byte(a.userdata), nil
}
