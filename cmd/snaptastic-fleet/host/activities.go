package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sys/unix"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
)

// A Worker does on its host what the server asks, as far as the host's own settings allow it.
type Worker struct {
	Name    string
	Program Program
	Config  config.Worker
	Now     func() time.Time                                         // this host's clock
	Kernel  func(*unix.Timex) (state int, err error)                 // what it says of the clock; nil for adjtimex(2)
	Pollers func(ctx context.Context, host string) ([]Poller, error) // nil: nobody is asked
	one     sync.Mutex                                               // one window at a time
}

// result is of `snaptastic run … -o json` what is used here; docs/json.md has all of it.
type result struct {
	Run      string  `json:"run"`
	Outcome  string  `json:"outcome"`
	Repeated bool    `json:"repeated"`
	Seconds  float64 `json:"seconds"`
	Lanes    []struct {
		Lane       string `json:"lane"`
		SnapshotID string `json:"snapshot_id"`
		VolumeID   string `json:"volume_id"`
		State      string `json:"state"`
	} `json:"lanes"`
	Freezes []struct {
		Mounts []struct {
			FrozenAt time.Time `json:"frozen_at"`
			ThawedAt time.Time `json:"thawed_at"`
		} `json:"mounts"`
		Clock *struct {
			Synchronized bool    `json:"synchronized"`
			ErrorSeconds float64 `json:"error_seconds"`
		} `json:"clock"`
	} `json:"freezes"`
	Failures []struct {
		Error string `json:"error"`
		Hint  string `json:"hint"`
	} `json:"failures"`
	Notes []string `json:"notes"`
}

// Window freezes at the instant, snapshots, holds and thaws: `run snapshot
// --at --hold-until`. It does not end when the server is lost, or when it is
// cancelled: what is armed happens, and is told when the server is back.
func (w *Worker) Window(ctx context.Context, req flow.WindowRequest) (flow.WindowResult, error) {
	if err := w.allowed("snapshot", req.Snapshotter); err != nil {
		return flow.WindowResult{}, err
	}
	if err := identities(req.Set, req.Key); err != nil {
		return flow.WindowResult{}, err
	}
	begun := w.Now()
	news := &news{}
	stop := beating(ctx, news) // also while an earlier attempt is at it: the server would give this one up
	defer stop()
	w.one.Lock()
	defer w.one.Unlock()
	args := append([]string{"run", "snapshot", req.Snapshotter, "--yes", "--key", req.Key}, w.armed(req.Set, req.Members, req.At, req.HoldUntil)...)
	var r result
	if err := w.Program.run(context.WithoutCancel(ctx), &r, news.take, args...); err != nil {
		return flow.WindowResult{Host: w.Name, Run: r.Run}, verdict(because(err, r))
	}
	out := flow.WindowResult{Host: w.Name, Run: r.Run}
	for _, l := range r.Lanes {
		if l.SnapshotID != "" {
			out.Snapshots = append(out.Snapshots, l.SnapshotID)
		}
	}
	for _, f := range r.Freezes {
		if f.Clock == nil {
			return out, failed("it does not know how wrong its clock was")
		}
		if f.Clock.Synchronized || !w.Config.TrustClock {
			out.ClockErrorSeconds = max(out.ClockErrorSeconds, f.Clock.ErrorSeconds)
		}
		for _, m := range f.Mounts {
			if m.FrozenAt.After(out.FrozenAt) {
				out.FrozenAt = m.FrozenAt
			}
			if out.ThawedAt.IsZero() || m.ThawedAt.Before(out.ThawedAt) {
				out.ThawedAt = m.ThawedAt
			}
		}
	}
	out.Begun, out.Ended = begun, w.Now()
	return out, nil
}

// armed are the options of a snapshot that is a part of a set and has its instant.
func (w *Worker) armed(set string, members int, at, until time.Time) []string {
	args := []string{"--set", set, "--members", fmt.Sprint(members), "--defer-label",
		"--at", at.UTC().Format(time.RFC3339Nano), "--hold-until", until.UTC().Format(time.RFC3339Nano)}
	if w.Config.TrustClock {
		args = append(args, "--trust-clock")
	}
	return args
}

// stoppable ends when the workflow is cancelled, and not when the server is
// lost or the worker stops: the program is asked to stop only by somebody who meant it.
func stoppable(ctx context.Context) context.Context {
	out, stop := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		if temporal.IsCanceledError(context.Cause(ctx)) {
			stop()
		}
	})
	return out
}

func (w *Worker) allowed(operation, snapshotter string) error {
	if !slices.Contains(w.Config.Allow, operation+" "+snapshotter) {
		return refused(fmt.Sprintf("this host does not allow %q: its fleet.hcl allows %s", operation+" "+snapshotter, strings.Join(w.Config.Allow, ", ")))
	}
	return nil
}

var identity = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,199}$`)

// identities refuses what could be taken for a flag or has characters that no identity has.
func identities(ids ...string) error {
	for _, id := range ids {
		if id != "" && !identity.MatchString(id) {
			return refused("a set or key has characters that are not allowed")
		}
	}
	return nil
}

// because prefers the failures of the result over the last line on stderr.
func because(err error, r result) error {
	var exit *Exit
	switch {
	case !errors.As(err, &exit):
		return err
	case len(r.Failures) == 0 && exit.Code == 130 && r.Run != "":
		return &Exit{Code: exit.Code, Stderr: "run " + r.Run + " was interrupted and can be resumed"}
	case len(r.Failures) == 0:
		return err
	}
	f := r.Failures[0]
	return &Exit{Code: exit.Code, Stderr: cut(f.Error + sentence(f.Hint))}
}

// verdict tells the engine whether to ask again: a program that was killed or interrupted, and one that another run
// stood in the way of, is asked again, with the same key. What failed has failed.
func verdict(err error) error {
	var exit *Exit
	if !errors.As(err, &exit) {
		return err
	}
	switch exit.Code {
	case -1, 5, 130:
		return again(exit.Error())
	}
	return failed(exit.Error())
}

// news is the newest step of a run, for the heartbeat.
type news struct {
	mu   sync.Mutex
	line string
	run  string
}

func (n *news) take(line []byte) {
	var e struct {
		Event, Run, Title, Lane, Text string
		Percent                       int
	}
	if json.Unmarshal(line, &e) != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.run = e.Run
	switch e.Event {
	case "started", "progress", "retry", "undoing":
		n.line = strings.TrimSpace(e.Lane + " " + e.Title)
		if e.Text != "" {
			n.line += ": " + e.Text
		}
	}
}

func (n *news) get() Beat {
	if n == nil {
		return Beat{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return Beat{Step: n.line, Run: n.run}
}

// Beat is what a heartbeat carries.
type Beat struct {
	Step string `json:"step,omitempty"`
	Run  string `json:"run,omitempty"`
}

const beat = 3 * time.Second

// beating sends heartbeats until the returned function is called.
func beating(ctx context.Context, n *news) (stop func()) {
	done := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		t := time.NewTicker(beat)
		defer t.Stop()
		for {
			activity.RecordHeartbeat(ctx, n.get())
			select {
			case <-t.C:
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-gone }
}
