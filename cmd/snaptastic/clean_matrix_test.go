package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
	"snaptastic/runner"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// cleanRig is an account with something of each kind to delete, and a state folder.
type cleanRig struct {
	t       *testing.T
	sandbox *sandbox.Sandbox
	client  *ec2.Client
	store   *journal.Store
	stay    []string // snapshots
}

func newCleanRig(t *testing.T) *cleanRig {
	t.Helper()
	dir := memory(t)
	l := &cleanRig{t: t}
	l.sandbox, l.client = openSandbox(t, filepath.Join(dir, "sandbox"))
	var err error
	if l.store, err = journal.OpenStore(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		l.add(time.Duration(9+i)*oneDay, ours("/m", fmt.Sprint(i), oneDay))
	}
	l.stay = []string{l.add(time.Hour, ours("/m", "new", -oneDay))}
	old := time.Now().Add(-9 * oneDay)
	image := sandbox.Image{Created: old, Disks: []sandbox.ImageVolume{{SnapshotID: l.add(9*oneDay, nil)}, {SnapshotID: l.add(9*oneDay, nil)}}}
	if _, err := l.sandbox.AddImage(image); err != nil {
		t.Fatal(err)
	}
	_, err = l.client.CreateVolume(t.Context(), ec2.CreateVolumeRequest{ClientToken: "v", Zone: sandbox.Zone, Size: 1, Type: "gp3",
		Tags: map[string]string{"snaptastic:token": "v", "snaptastic:run": "R", "snaptastic:detached": old.UTC().Format(time.RFC3339)}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *cleanRig) add(age time.Duration, tags map[string]string) string {
	l.t.Helper()
	s := sandbox.Snapshot{Started: time.Now().Add(-age), Tags: sandbox.Tags{}}
	for key, value := range tags {
		s.Tags[key] = sandbox.TagValue{Value: value}
	}
	id, err := l.sandbox.AddSnapshot(s)
	if err != nil {
		l.t.Fatal(err)
	}
	return id
}

// begin looks, decides and makes the run.
func (l *cleanRig) begin() *journal.Run {
	l.t.Helper()
	e := engine.New(engine.Config{StateDir: l.store.Dir(), Log: slog.New(slog.DiscardHandler),
		Connect:  func(context.Context, journal.CloudConfig, time.Time) (*ec2.Client, error) { return l.client, nil },
		Settings: func() (*settings.File, error) { return nil, settings.ErrNotFound }})
	c, err := e.PlanClean(l.t.Context(), engine.CleanRequest{Operation: recipe.CleanAll.Name, AllImages: true, Unsaved: true})
	if err != nil {
		l.t.Fatal(err)
	}
	p, err := recipe.CleanAll.Plan(recipe.Request{Decisions: c.Decisions})
	if err != nil || len(p.Steps) != 4+3+1 {
		l.t.Fatalf("plan: %+v %v", p, err)
	}
	run, err := l.store.Begin(journal.Meta{Run: "20260101T000000000-0001"}, p)
	if err != nil {
		l.t.Fatal(err)
	}
	return run
}

// process is one life of the program.
func (l *cleanRig) process(run *journal.Run, fuseAt int) (runner.Result, *failpoint) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer run.Close()
	f := &failpoint{at: fuseAt, kill: cancel}
	w := &steps.Env{Cloud: failpointClient{l.client, f}}
	return runner.Execute(ctx, runner.Config{Plan: run.Plan(), Run: run.Meta().Run, Records: run.Records(), Journal: failpointJournal{run, f}, Handlers: steps.Handlers(w),
		BootID: "boot", Settle: 5 * time.Millisecond, RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond, StopGrace: time.Second, Timeout: 20 * time.Second}), f
}

// failpointClient is the real client with a point before and after each deletion.
type failpointClient struct {
	*ec2.Client
	fuse *failpoint
}

func (s failpointClient) DeleteSnapshot(ctx context.Context, id string) error {
	return s.fuse.between("DeleteSnapshot", func() error { return s.Client.DeleteSnapshot(ctx, id) })
}

func (s failpointClient) DeleteVolume(ctx context.Context, id string) error {
	return s.fuse.between("DeleteVolume", func() error { return s.Client.DeleteVolume(ctx, id) })
}

func (s failpointClient) DeregisterImage(ctx context.Context, id string) error {
	return s.fuse.between("DeregisterImage", func() error { return s.Client.DeregisterImage(ctx, id) })
}

func TestACleanUpEndsTheSameWhereverItIsCutOff(t *testing.T) {
	t.Parallel()
	l := newCleanRig(t)
	if res, f := l.process(l.begin(), 0); res.Outcome != journal.RunDone {
		t.Fatalf("undisturbed it ends as %s: %+v", res.Outcome, res.Failures)
	} else {
		for at := 1; at <= f.points; at++ {
			t.Run(fmt.Sprint(at), func(t *testing.T) { cutOff(t, at) })
		}
	}
}

func cutOff(t *testing.T, at int) {
	l := newCleanRig(t)
	run := l.begin()
	id := run.Meta().Run
	res, f := l.process(run, at)
	if f.triggered && res.Outcome == journal.RunDone {
		t.Fatalf("cut off at %s it is done", f.name)
	}
	run, err := l.store.Resume(id)
	if err != nil {
		t.Fatal(err)
	}
	if res, _ = l.process(run, 0); res.Outcome != journal.RunDone {
		t.Fatalf("cut off at %s and resumed it ends as %s: %+v", f.name, res.Outcome, res.Failures)
	}
	var left []string
	all, err := l.client.Snapshots(t.Context(), ec2.SnapshotQuery{})
	for _, s := range all {
		left = append(left, s.ID)
	}
	images, err2 := l.client.Images(t.Context())
	volumes, err3 := l.client.VolumesWithTag(t.Context(), steps.TagToken)
	if err != nil || err2 != nil || err3 != nil || !slices.Equal(left, l.stay) || len(images)+len(volumes) > 0 {
		t.Errorf("cut off at %s: left are %v, %v, %v; %v %v %v", f.name, left, images, volumes, err, err2, err3)
	}
	for step, r := range res.Records {
		if r.State != journal.Done || r.Adopted() {
			t.Errorf("cut off at %s: %s is %s, adopted %v", f.name, step, r.State, r.Adopted())
		}
	}
}
