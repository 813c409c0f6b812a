package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
	"snaptastic/linux"
	"snaptastic/linux/guard"
	"snaptastic/plan"
	"snaptastic/runner"
)

// TestMain: a freeze guard and a hook's launcher are this program, started again.
func TestMain(m *testing.M) {
	guard.Enter()
	listenAsNobody()
	os.Exit(m.Run())
}

// A rig is an instance in the sandbox, inside this process: no binary, no terminal, no environment.
type rig struct {
	t      *testing.T
	dir    string
	server *sandbox.Server
	mounts []string

	answer bool // to every question
	asked  []string
	ends   []RunResult
	stopAt string // cut a run off when a step begins whose id starts so
	stop   context.CancelFunc
}

func newRig(t *testing.T, volumes int) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts and loop devices")
	}
	if err := sandbox.Missing(); err != nil {
		t.Skipf("the sandbox cannot make loop devices here: %v", err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "snaptastic-rig-")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, answer: true}
	t.Cleanup(r.clean)
	for i := range volumes {
		r.mounts = append(r.mounts, filepath.Join(dir, "mnt", string(rune('a'+i))))
	}
	if r.server, err = sandbox.Serve(context.Background(), sandbox.Config{Dir: r.sandbox()}, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) sandbox() string { return filepath.Join(r.dir, "sandbox") }

func (r *rig) clean() {
	for _, m := range r.mounts {
		_ = guard.ThawMount(m)
	}
	if r.server != nil {
		_ = r.server.Close()
	}
	if err := errors.Join(sandbox.Reset(r.sandbox()), os.RemoveAll(r.dir)); err != nil {
		r.t.Error(err)
	}
}

// declared are settings with the volumes of the rig.
func (r *rig) declared() (*settings.File, error) {
	var hcl strings.Builder
	hcl.WriteString("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n")
	for i, m := range r.mounts {
		fmt.Fprintf(&hcl, "  volume \"/dev/sd%c\" {\n    mount_point = %q\n    size = 1\n    file_system = \"ext4\"\n  }\n", 'f'+i, m)
	}
	hcl.WriteString("}\n")
	return settings.Parse("test.hcl", []byte(hcl.String()))
}

// engine is a new one, as each command has.
func (r *rig) engine() *Engine {
	roots := sandbox.RootsOf(r.sandbox())
	return New(Config{
		StateDir: filepath.Join(r.dir, "state"), Sandbox: r.sandbox(), Version: "test",
		Roots:    linux.Roots{Dev: roots.Dev, Sys: roots.Sys, BootID: roots.BootID},
		Settings: r.declared, UserData: func() ([]byte, error) { return []byte("{}"), nil },
		Connect: func(ctx context.Context, _ journal.CloudConfig, until time.Time) (*ec2.Client, error) {
			return ec2.New(ctx, ec2.Config{Region: sandbox.Region, EndpointURL: r.server.URL(), MetadataURL: r.server.URL(),
				Credentials: ec2.Credentials{ID: "a", Secret: "b"}, PollMin: 10 * time.Millisecond, PatientUntil: until})
		},
		Settle: time.Second, RetryMin: 100 * time.Millisecond,
		PrivateMounts: true, Log: slog.New(slog.DiscardHandler), Frontend: r, Command: func(c string) string { return c },
	})
}

func (r *rig) Ask(_ context.Context, what, _ string) (bool, error) {
	r.asked = append(r.asked, what)
	return r.answer, nil
}

func (r *rig) Observe(RunDetails) Observer { return r }
func (r *rig) Window(bool)                 {}
func (r *rig) Close()                      {}
func (r *rig) Ended(e RunResult)           { r.ends = append(r.ends, e) }

func (r *rig) Event(e runner.Event) {
	if r.stopAt != "" && e.Record.State == journal.Started && strings.HasPrefix(string(e.Step.ID), r.stopAt) {
		r.stop()
	}
}

// run executes an operation, and cuts it off when a step begins whose id starts with at.
func (r *rig) run(op, at string) error {
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	r.stopAt, r.stop = at, cancel
	return second(r.engine().Run(ctx, RunRequest{Operation: op, Name: "db"}))
}

// must is run of what must succeed.
func (r *rig) must(op string) {
	r.t.Helper()
	if err := r.run(op, ""); err != nil {
		r.t.Fatal(err)
	}
}

// cutOff is run of what must be interrupted; it returns the run.
func (r *rig) cutOff(op, at string) plan.RunID {
	r.t.Helper()
	r.fails(Interrupted, r.run(op, at))
	return r.ends[len(r.ends)-1].Run
}

func (r *rig) fails(want Code, err error) {
	r.t.Helper()
	if err == nil || ErrorOf(err).Code != want {
		r.t.Fatalf("it ended with %v, want %s", err, want)
	}
}

// mounted counts the volumes that are mounted.
func (r *rig) mounted() (n int) {
	r.t.Helper()
	for _, m := range r.mounts {
		if _, there, err := linux.New(linux.Roots{}).MountAt(m); err != nil {
			r.t.Fatal(err)
		} else if there {
			n++
		}
	}
	return n
}

func (r *rig) outcome(run plan.RunID) journal.Outcome {
	r.t.Helper()
	s, err := r.engine().Show(run)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Outcome
}
