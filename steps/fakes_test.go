package steps

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/linux"
	"snaptastic/linux/guard"
	"snaptastic/plan"
)

// fakeCloud answers what a test gives it and panics at everything else.
type fakeCloud struct {
	Cloud
	attached  []ec2.Volume
	volume    func(id string) (ec2.Volume, error)
	attach    func(id, device string) error
	wait      func(id string) (ec2.Volume, error)
	snapshots func(ec2.SnapshotQuery) ([]ec2.Snapshot, error)
	calls     []string
}

func (c *fakeCloud) AttachedVolumes(context.Context, string) ([]ec2.Volume, error) {
	c.calls = append(c.calls, "AttachedVolumes")
	return c.attached, nil
}

func (c *fakeCloud) Volume(_ context.Context, id string) (ec2.Volume, error) { return c.volume(id) }

func (c *fakeCloud) Now() time.Time { return time.Now() }

func (c *fakeCloud) Silence() (time.Duration, string) { return 0, "" }

func (c *fakeCloud) AttachVolume(_ context.Context, id, _, device string) (ec2.Attachment, error) {
	c.calls = append(c.calls, "AttachVolume")
	return ec2.Attachment{}, c.attach(id, device)
}

func (c *fakeCloud) DetachVolume(_ context.Context, id, _, _ string) error {
	c.calls = append(c.calls, "DetachVolume "+id)
	return nil
}

func (c *fakeCloud) WaitVolume(ctx context.Context, id string, done func(ec2.Volume) (bool, error), _ func(ec2.Volume)) (ec2.Volume, error) {
	if c.wait != nil {
		return c.wait(id)
	}
	v, err := c.volume(id)
	if err != nil {
		return v, err
	}
	if ok, err := done(v); ok || err != nil {
		return v, err
	}
	<-ctx.Done()
	return v, &ec2.Fault{Class: ec2.Canceled, Doing: "wait for " + id, Message: "timed out"}
}

func (c *fakeCloud) Snapshots(_ context.Context, q ec2.SnapshotQuery) ([]ec2.Snapshot, error) {
	c.calls = append(c.calls, "Snapshots")
	return c.snapshots(q)
}

func (c *fakeCloud) EachSnapshot(ctx context.Context, q ec2.SnapshotQuery, visit func(ec2.Snapshot)) error {
	all, err := c.Snapshots(ctx, q)
	for _, s := range all {
		visit(s)
	}
	return err
}

// fakeHost is a machine whose mounts are given by mount point.
type fakeHost struct {
	Host
	mounts map[string]linux.Device // mount point -> device; a zero one is no volume
	nitro  map[string]linux.Device // volume id -> device, as this boot names it
	probe  func(path string) (linux.Signature, error)
	format func(linux.FormatRequest) error
	hook   func(linux.HookRequest) (linux.HookResult, error)
	warm   func(context.Context, linux.WarmRequest) (linux.Warmed, error)
	risks  func(target string, extra []linux.NamedPath) []linux.FreezeRisk
}

func (h *fakeHost) MountAt(target string) (linux.Mount, bool, error) {
	d, ok := h.mounts[target]
	m := linux.Mount{Target: target, Source: d.Path, FileSystem: "ext4", Options: []string{"rw", "noatime"}}
	if d.Path == "" {
		m.Source, m.FileSystem = "tmpfs", "tmpfs"
	}
	return m, ok, nil
}

func (h *fakeHost) MountedBelow(target string) (linux.Mount, bool, error) {
	for inner := range h.mounts {
		if strings.HasPrefix(inner, target+"/") {
			return h.MountAt(inner)
		}
	}
	return linux.Mount{}, false, nil
}

func (h *fakeHost) VolumeOf(target string) (linux.Device, linux.Mount, error) {
	m, ok, _ := h.MountAt(target)
	switch {
	case !ok:
		return linux.Device{}, m, linux.ErrNotMountPoint
	case m.FileSystem == "tmpfs":
		return linux.Device{}, m, linux.ErrNotVolume
	}
	return h.mounts[target], m, nil
}

func (h *fakeHost) MountsOf(d linux.Device) (of []linux.Mount, err error) {
	for target, on := range h.mounts {
		if on.Same(d) {
			m, _, _ := h.MountAt(target)
			of = append(of, m)
		}
	}
	return of, nil
}

func (h *fakeHost) FindDevice(_ context.Context, q linux.DeviceQuery) (linux.Device, bool, error) {
	if d, there := h.nitro[q.VolumeID]; there {
		return d, true, nil
	}
	for _, d := range h.mounts {
		if q.Name != "" && q.Name == d.Path { // a Xen machine with plain names
			return d, true, nil
		}
	}
	return linux.Device{}, false, nil
}

func (h *fakeHost) Probe(_ context.Context, path string) (linux.Signature, error) {
	return h.probe(path)
}
func (h *fakeHost) Warm(ctx context.Context, q linux.WarmRequest) (linux.Warmed, error) {
	return h.warm(ctx, q)
}
func (h *fakeHost) Format(_ context.Context, q linux.FormatRequest) error { return h.format(q) }
func (h *fakeHost) RunHook(_ context.Context, q linux.HookRequest) (linux.HookResult, error) {
	return h.hook(q)
}
func (h *fakeHost) FreezeRisks(target string, extra []linux.NamedPath) ([]linux.FreezeRisk, error) {
	return h.risks(target, extra), nil
}

// fakeFreezer freezes nothing and says what it was told.
type fakeFreezer struct {
	freezeErr error
	hold      guard.Result
	thawErr   error
	broken    chan struct{}
	owned     []guard.Thawed
	started   func() // called by Start; may be nil
	how       FreezeOptions

	mu  sync.Mutex
	log []string
}

func (f *fakeFreezer) note(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, what)
}

// soFar is what was asked of it, for those who ask from another goroutine.
func (f *fakeFreezer) soFar() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.log, " ")
}

func (f *fakeFreezer) Start(_ context.Context, _ plan.RunID, _ string, _ []guard.Mount, how FreezeOptions) (Frozen, error) {
	f.note("start")
	f.how = how
	if f.started != nil {
		f.started()
	}
	return f, nil
}

func (f *fakeFreezer) ThawOwned(context.Context) ([]guard.Thawed, error) {
	f.note("thaw owned")
	return f.owned, nil
}

func (f *fakeFreezer) Freeze(context.Context) error {
	f.note("freeze")
	return f.freezeErr
}

func (f *fakeFreezer) Thaw(context.Context) (guard.Result, error) {
	f.note("thaw")
	return f.hold, f.thawErr
}

func (f *fakeFreezer) Release() error {
	f.note("release")
	return nil
}

func (f *fakeFreezer) Broken() <-chan struct{} { return f.broken }

func attempt(step plan.StepID) plan.Attempt {
	return plan.Attempt{Run: "20260301T120000000-ab12", Step: step, Generation: 1, Token: "0123456789abcdef0123456789abcdef", Report: func(plan.Progress) {}}
}

func asJSON(t testing.TB, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func decoded[T any](t testing.TB, raw json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}
