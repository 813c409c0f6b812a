package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares what render writes with testdata/NAME.
func golden(t *testing.T, name string, render func(io.Writer) error) {
	t.Helper()
	var b bytes.Buffer
	if err := render(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff.Diff(file, want, "got", b.Bytes()); d != nil {
		t.Errorf("the output differs from its golden file (go test -update rewrites it):\n%s", d)
	}
}

var (
	t0     = time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)
	pretty = Style{Unicode: true, Width: 120}
)

// step is a plan step in few words: lane "" for the whole plan.
func step(id plan.StepID, lane string, needs ...plan.StepID) plan.Step {
	kind, _, _ := strings.Cut(string(id), ":")
	s := plan.Step{ID: id, Kind: plan.Kind(kind), Lane: lane, Needs: needs, ObserveBy: plan.ByState, Scope: plan.Cloud}
	switch kind {
	case "find-volume", "find-snapshot":
		s.ReadOnly, s.ObserveBy = true, ""
	case "create-volume", "snapshot":
		s.ObserveBy = plan.ByToken
	case "hook":
		s.ObserveBy = plan.Blind
	}
	return s
}

// mountPlan mounts /srv, and /srv/db inside it, between two hooks.
func mountPlan(t *testing.T) *plan.Plan {
	t.Helper()
	p := &plan.Plan{Schema: plan.Schema, Operation: "mount", Snapshotter: "solr", Instance: "i-0c2d", ResumePolicy: plan.ResumeAnyBoot,
		Lanes: []plan.Lane{{ID: "/srv", Claims: []string{"mount:/srv", "device:/dev/sdf"}, Facts: plan.Facts{MountPoint: "/srv", Device: "/dev/sdf"}},
			{ID: "/srv/db", Claims: []string{"mount:/srv/db"}, Facts: plan.Facts{MountPoint: "/srv/db", Device: "/dev/sdg"}}},
		Sections: []plan.Section{{ID: "mounts", Kind: plan.Bracket, Open: "hook:pre_mounts", Close: plan.Closers{"hook:post_mounts"}}},
	}
	add := func(s plan.Step) { p.Steps = append(p.Steps, s) }
	add(step("hook:pre_mounts", ""))
	for _, l := range p.Lanes {
		add(step(plan.StepID("find-volume:"+l.ID), l.ID, "hook:pre_mounts"))
	}
	add(step("find-snapshot", "", "find-volume:/srv", "find-volume:/srv/db"))
	for i, l := range p.Lanes {
		on := func(kind string) plan.StepID { return plan.StepID(kind + ":" + l.ID) }
		create := step(on("create-volume"), l.ID, "find-snapshot")
		create.In = json.RawMessage(`{"choice":{"$step":"find-snapshot"},"device":"` + []string{"/dev/sdf", "/dev/sdg"}[i] + `","mount_point":"` + l.ID + `"}`)
		create.Title = "create a volume"
		add(create)
		add(step(on("attach"), l.ID, on("create-volume")))
		mount := step(on("mount"), l.ID, on("attach"))
		if i == 1 {
			mount.Needs = append(mount.Needs, "mount:/srv")
		}
		add(mount)
		p.Sections[0].Body = append(p.Sections[0].Body, on("find-volume"), on("create-volume"), on("attach"), on("mount"))
	}
	p.Sections[0].Body = append(p.Sections[0].Body, "find-snapshot")
	for i := range p.Steps {
		if s := &p.Steps[i]; s.ID != "hook:pre_mounts" {
			s.Needs = append([]plan.StepID{"hook:pre_mounts"}, without(s.Needs, "hook:pre_mounts")...)
		}
	}
	end := step("hook:post_mounts", "")
	end.Settled = append([]plan.StepID{"hook:pre_mounts"}, p.Sections[0].Body...)
	end.Tolerated = true
	add(end)
	return valid(t, p)
}

// snapshotPlan freezes /a and /b together.
func snapshotPlan(t *testing.T) *plan.Plan {
	t.Helper()
	p := &plan.Plan{Schema: plan.Schema, Operation: "snapshot", Snapshotter: "postgres", Instance: "i-0c2d", ResumePolicy: plan.ResumeThisBoot,
		Lanes:    []plan.Lane{{ID: "/a"}, {ID: "/b"}},
		Sections: []plan.Section{{ID: "frozen", Kind: plan.Atomic, Open: "freeze", Body: []plan.StepID{"snapshot"}, Close: plan.Closers{"thaw"}}},
	}
	thaw := step("thaw", "")
	thaw.Settled = []plan.StepID{"freeze", "snapshot"}
	p.Steps = []plan.Step{step("find-volume:/a", "/a"), step("find-volume:/b", "/b"),
		step("freeze", "", "find-volume:/a", "find-volume:/b"), step("snapshot", "", "freeze"), thaw,
		step("tag-snapshots", "", "thaw")}
	return valid(t, p)
}

func without(ids []plan.StepID, not plan.StepID) []plan.StepID {
	var out []plan.StepID
	for _, id := range ids {
		if id != not {
			out = append(out, id)
		}
	}
	return out
}

func valid(t *testing.T, p *plan.Plan) *plan.Plan {
	t.Helper()
	if err := p.Validate(); err != nil {
		t.Fatalf("the test's own plan: %v", err)
	}
	return p
}

// foreseen is what `plan mount solr` would find.
func foreseen(p *plan.Plan) map[plan.StepID]runner.Preview {
	will := func(action plan.PreviewAction, text string) runner.Preview {
		return runner.Preview{Preview: plan.Preview{Action: action, Text: text}}
	}
	conflict := will(plan.PreviewConflict, "")
	conflict.Err = plan.Terminal("unmount it first", errors.New("/dev/sdz1 is mounted at /srv/db"))
	return map[plan.StepID]runner.Preview{
		"hook:pre_mounts":        will(plan.PreviewRun, "run systemctl stop solr"),
		"find-volume:/srv":       will(plan.PreviewRead, "nothing is attached as /dev/sdf"),
		"find-volume:/srv/db":    will(plan.PreviewRead, "vol-0a1b is attached as /dev/sdg"),
		"find-snapshot":          will(plan.PreviewRead, "snap-0abc of 2 h ago for /srv"),
		"create-volume:/srv":     will(plan.PreviewCreate, "create 20 GiB gp3 from snap-0abc (2 h old)"),
		"attach:/srv":            will(plan.PreviewChange, "attach as /dev/sdf"),
		"mount:/srv":             will(plan.PreviewUnknown, "known after attach:/srv"),
		"create-volume:/srv/db":  will(plan.PreviewAdopt, "vol-0a1b is there"),
		"attach:/srv/db":         will(plan.PreviewAdopt, "already set"),
		"mount:/srv/db":          conflict,
		"hook:post_mounts":       will(plan.PreviewRun, "run chown -R solr: /srv"),
		"not-a-step-of-the-plan": will(plan.PreviewDelete, "is passed over"),
	}
}

// done is a step that has ended; what its output means is written as JSON.
func done(from, seconds int, in, out string) journal.Record {
	r := journal.Record{State: journal.Done, Generation: 1, Attempts: 1, EverDone: true, Token: "0123456789abcdef0123456789abcdef",
		StartedAt: t0.Add(time.Duration(from) * time.Second), EndedAt: t0.Add(time.Duration(from+seconds) * time.Second)}
	if in != "" {
		r.Input = json.RawMessage(in)
	}
	if out != "" {
		r.Output, r.Facts = json.RawMessage(out), &plan.Facts{}
		if err := json.Unmarshal(r.Output, r.Facts); err != nil {
			panic(err)
		}
		if r.Facts.Empty() {
			r.Facts = nil
		}
	}
	return r
}

const choices = `{"each":[{"mount_point":"/srv","snapshot_id":"snap-0abc","remarks":["snap-0def is newer and in state error"]},{"mount_point":"/srv/db","snapshot_id":"snap-0bbb"}]}`

// failedMount is a run whose second volume did not attach.
func failedMount() map[plan.StepID]journal.Record {
	failed := done(12, 90, "", "")
	failed.State, failed.Attempts, failed.Error, failed.EverDone = journal.Failed, 3, "cannot attach vol-0bbb to i-0c2d as /dev/sdg: the name is in use by vol-0e3f", false
	failed.Hint = "detach vol-0e3f, or choose another device name"
	adopted := done(1, 1, "", `{"volume_id":"vol-0aaa"}`)
	adopted.Seen = plan.Satisfied
	hook := done(103, 2, "", "")
	hook.State, hook.Error = journal.Failed, "exit status 3"
	return map[plan.StepID]journal.Record{
		"hook:pre_mounts":       done(0, 1, "", `{"exit":0}`),
		"find-volume:/srv":      done(1, 0, "", `{"found":false}`),
		"find-volume:/srv/db":   done(1, 0, "", `{"found":false}`),
		"find-snapshot":         done(1, 2, "", choices),
		"create-volume:/srv":    done(3, 8, `{"choice":`+choices+`,"device":"/dev/sdf","mount_point":"/srv"}`, `{"volume_id":"vol-0aaa"}`),
		"attach:/srv":           done(11, 21, "", `{"volume_id":"vol-0aaa","device":"/dev/sdf","path":"/dev/nvme1n1"}`),
		"mount:/srv":            done(32, 1, "", `{"mount_point":"/srv"}`),
		"create-volume:/srv/db": done(3, 9, "", `{"volume_id":"vol-0bbb"}`),
		"attach:/srv/db":        failed,
		"mount:/srv/db":         {State: journal.Skipped, Note: "attach:/srv/db did not succeed"},
		"hook:post_mounts":      hook,
	}
}

func failedEnd(p *plan.Plan) RunResult {
	records := failedMount()
	f := records["attach:/srv/db"]
	return RunResult{RunResult: engine.RunResult{Run: "20260301T040000000-a1b2", Plan: p, Took: 105 * time.Second, Result: runner.Result{
		Outcome: journal.RunFailed, Records: records, Done: []string{"/srv"}, FailedLanes: []string{"/srv/db"},
		Failures: []runner.Failure{{Step: "attach:/srv/db", Lane: "/srv/db", Err: plan.WithHint(f.Hint, errors.New(f.Error))}},
	}}, Now: t0.Add(105 * time.Second)}
}

// A failing writer takes some bytes and then no more.
type failingWriter struct{ left int }

func (f *failingWriter) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errors.New("broken pipe")
	}
	return len(b), nil
}
