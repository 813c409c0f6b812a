// Package engine holds the use cases: plan, run, resume, rollback, abandon, status, show, thaw, check, clean, doctor, draft,
// volumes, snapshots. Each takes a context and a request and returns a result, or an error with a code and a hint. Here it
// is decided what becomes of volumes and runs.
//
// It binds step kinds to EC2 and to this machine, and imports every library of ours but those of the command line. It knows
// no flags, no terminal and no exit code, reads no environment and prints nothing: what it needs of these is in its Config.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/journal"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// Config is what an Engine works with.
type Config struct {
	StateDir string
	Sandbox  string   // folder of the local EC2; "" for Amazon's
	Environ  []string // NAME=value
	Roots    linux.Roots
	Version  string

	// CloudConfig is how to come to EC2, where the caller asks for a way: before what a run recorded, and before the settings.
	Reach journal.CloudConfig
	// Connect makes the client of EC2 and of the instance's metadata.
	Connect func(ctx context.Context, way journal.CloudConfig, patientUntil time.Time) (*ec2.Client, error)
	// Settings finds and parses the settings file.
	Settings func() (*settings.File, error)
	// UserData is given instead of the instance's own; nil where none is.
	UserData func() ([]byte, error)

	Settle, RetryMin time.Duration // of the runner; 0 for its defaults
	// MaxLag is how long EC2 may go without showing a label that this machine has given; 0 for the default of steps.Env.
	MaxLag time.Duration
	// SilentTime is for how long a region may answer nothing until the copies there fail; 0: an hour.
	SilentTime time.Duration
	// EventFile is where the caller writes events; "" or "-" for no file. Its file system is not frozen.
	EventFile string
	// PrivateMounts allows to mount in a mount namespace that the rest of the machine does not see.
	PrivateMounts bool

	Log      *slog.Logger
	Frontend Frontend
	// Command completes a command line of ours that somebody is told to type.
	Command func(string) string
}

// Frontend is how a use case talks to its caller while it is at work.
type Frontend interface {
	// Ask puts a question; false is a no. what says what cannot be done without an answer.
	Ask(ctx context.Context, what, question string) (bool, error)
	// Observe is told that a run begins or goes on, and returns who follows it.
	Observe(RunDetails) Observer
	// Ended is told how it ended.
	Ended(RunResult)
}

// Observer follows a run. Its methods are called from one goroutine, the scheduler's.
type Observer interface {
	Event(runner.Event)
	Window(open bool) // an atomic section opens, or the last one closed; nothing may be written between the two
	Close()
}

// EventSink is an Observer that also takes the events as programs get them. Take is called from the scheduler's goroutine and must
// not wait for anybody.
type EventSink interface {
	Take(Event)
}

// RunDetails is a run with all that its journal knows.
type RunDetails struct {
	journal.Summary
	Plan    *plan.Plan
	Records map[plan.StepID]journal.Record
}

// RunResult is a run that came to rest.
type RunResult struct {
	Run      plan.RunID
	Plan     *plan.Plan
	Result   runner.Result
	Took     time.Duration // at work on it, by this process and earlier ones
	Rollback bool          // a rollback ended, not the operation itself
	Key      string        // that the caller named it by; "" for none
	Repeated bool          // the run had ended before; this command did nothing
	Undoing  bool          // a rollback follows by itself, so there is nothing to advise
	Notes    []string      // sentences about the whole run that an operator should read
}

// Engine executes use cases, one at a time. What they share is made when first asked for.
type Engine struct {
	Config
	log *slog.Logger

	patience     patience
	recorded     *journal.CloudConfig // of the run that is gone on with
	file         *settings.File
	client       *ec2.Client
	ident        *ec2.Identity
	avoided      map[string]bool // device names that another run claimed meanwhile; see spares
	keyed        *keyed          // the key of the run that is to begin; nil without one
	attached     *[]ec2.Volume   // what EC2 showed when this command asked whether it answers, or which device names are free
	answersAgain bool            // a destination that could not be looked at answered during a run: this one is for what it lacks
	noAnswer     map[string]bool // regions with what older copies left that do not answer now; see awaitsRegion
	ahead        *steps.Ahead    // what it showed of the snapshots beside the preflight, for the run that is to begin
}

// New returns an Engine, and calls nobody.
func New(c Config) *Engine { return &Engine{Config: c, log: c.Log} }

// getenv looks a variable up in the environment that the engine was given.
func (e *Engine) getenv(name string) string {
	for _, pair := range e.Environ {
		if value, is := strings.CutPrefix(pair, name+"="); is {
			return value
		}
	}
	return ""
}

// Trusted refuses folders that others may write: what is in them is run,
// mounted and written as root.
func (e *Engine) Trusted() error {
	folders := []struct{ what, flag, path string }{
		{"state directory", "--state-dir", e.StateDir},
		{"state directory", "--state-dir", filepath.Join(e.StateDir, "runs")},
		{"state directory", "--state-dir", filepath.Join(e.StateDir, "claims")},
		{"state directory", "--state-dir", filepath.Join(e.StateDir, "frozen")},
	}
	if e.Sandbox != "" {
		folders = append(folders, struct{ what, flag, path string }{"sandbox directory", "--sandbox", e.Sandbox})
	}
	for _, f := range folders {
		err := linux.CheckFolder(f.path)
		var u *linux.UntrustedPath
		switch {
		case errors.As(err, &u):
			return &Error{Code: Usage, Err: plan.WithHint("its contents are executed and written as root. Make it writable only by you, or choose another one with "+f.flag,
				fmt.Errorf("refusing %s %s: %w", f.what, f.path, u))}
		case err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.ENOTDIR): // whoever opens it says more
			return &Error{Code: Usage, Err: fmt.Errorf("cannot use %s %s: %w", f.what, f.path, err)}
		}
	}
	return nil
}

// bootID is the kernel's, or the sandbox's.
func (e *Engine) bootID() (string, error) { return linux.New(e.Roots).BootID() }

// cloud is the client of EC2.
func (e *Engine) cloud(ctx context.Context) (*ec2.Client, error) {
	if e.client != nil {
		return e.client, nil
	}
	until := e.patientUntil()
	if !e.patience.unattended {
		until = time.Time{}
	}
	c, err := e.Connect(ctx, e.cloudConfig(), until)
	if err != nil {
		return nil, err
	}
	e.failIfSilent(c)
	e.client = c
	return c, nil
}

// identity is this instance, from its metadata.
func (e *Engine) identity(ctx context.Context) (ec2.Identity, error) {
	return e.identityBy(ctx, e.retry)
}

// identityNow is identity for those who would not wait for it.
func (e *Engine) identityNow(ctx context.Context) (ec2.Identity, error) {
	return e.identityBy(ctx, func(ctx context.Context, ask func(context.Context) error) error { return ask(ctx) })
}

func (e *Engine) identityBy(ctx context.Context, try func(context.Context, func(context.Context) error) error) (id ec2.Identity, err error) {
	if e.ident != nil {
		return *e.ident, nil
	}
	c, err := e.cloud(ctx)
	if err != nil {
		return id, err
	}
	err = try(ctx, func(ctx context.Context) (err error) {
		id, err = c.Metadata().Identity(ctx)
		return err
	})
	if err == nil {
		e.ident = &id
	}
	return id, err
}

// loadSettings finds and parses the settings file.
func (e *Engine) loadSettings() error {
	if e.file != nil {
		return nil
	}
	f, err := e.Settings()
	if err != nil {
		var diags *settings.Error
		switch {
		case errors.As(err, &diags):
			return err
		case errors.Is(err, settings.ErrNotFound):
			return &Error{Code: Usage, Err: plan.WithHint("write a settings file, for example /etc/snaptastic.hcl, or pass it with --settings; see docs/settings.md", err)}
		}
		return &Error{Code: Usage, Err: err}
	}
	e.file = f
	return nil
}

// readState opens the state folder for a command that only looks: it makes
// none. The error wraps journal.ErrNoState where there is none.
func (e *Engine) readState() (*journal.Store, error) {
	s, err := journal.FindStore(e.StateDir)
	if err != nil {
		return nil, hinted("check --state-dir", "%w", err)
	}
	return s, nil
}

// stateOf is readState for a use case that was told a run, by its id, the beginning of its id, or "last".
func (e *Engine) stateOf(word plan.RunID) (*journal.Store, plan.RunID, error) {
	s, err := e.readState()
	if errors.Is(err, journal.ErrNoState) {
		err = hinted("check --state-dir", "run %s not found: %w", word, err)
	}
	if err != nil {
		return nil, "", err
	}
	id, err := findRun(s, word)
	return s, id, err
}

// store opens the state folder, and makes it where it is missing.
func (e *Engine) store() (*journal.Store, error) {
	s, err := journal.OpenStore(e.StateDir)
	if err != nil {
		return nil, hinted("choose another directory with --state-dir, or make this one writable", "%w", err)
	}
	return s, nil
}

// Names of the libraries' types for callers that do not import them.
type (
	RunID        = plan.RunID
	Options      = recipe.Options
	Operation    = recipe.Operation
	Stock        = snapset.Stock
	StockView    = snapset.StockView
	Holding      = snapset.Holding
	CheckFinding = snapset.Finding
	// CleanDecision is what a clean-up does with one thing, and why.
	CleanDecision = snapset.Decision
)

// States of EC2 that callers tell apart.
const (
	VolumeInUse     = ebs.VolumeInUse
	SnapshotPending = ebs.SnapshotPending
)

// Operations returns what Run and Plan can be asked for.
func Operations() []*Operation { return recipe.Operations() }

// CleanUps returns what PlanClean can be asked for.
func CleanUps() []*Operation { return recipe.CleanUps() }

// WithHint adds what an operator can do about err.
func WithHint(hint string, err error) error { return plan.WithHint(hint, err) }

// HintOf returns what an operator can do about err; "" where nobody said.
func HintOf(err error) string { return plan.HintOf(err) }

// StepIDs makes step ids of words.
func StepIDs(words []string) (ids []plan.StepID) {
	for _, w := range words {
		ids = append(ids, plan.StepID(w))
	}
	return ids
}

// NoState says of an error that it came because there is no state folder.
func NoState(err error) bool { return errors.Is(err, journal.ErrNoState) }
