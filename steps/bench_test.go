package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/linux"
	"snaptastic/linux/guard"
	"snaptastic/plan"
)

// TestMain: this binary is its own freeze guard.
func TestMain(m *testing.M) {
	guard.Enter()
	os.Exit(m.Run())
}

// bench is a sandbox with real devices where root allows, and the steps that act on it.
type bench struct {
	*testing.T
	sandbox  *sandbox.Sandbox
	dir      string // the sandbox's
	mounts   string // where volumes are mounted
	cloud    *ec2.Client
	env      *Env
	handlers plan.Handlers
}

// newBench makes one. Without devices it has the API alone.
func newBench(t *testing.T, devices bool, faults ...sandbox.Fault) *bench {
	t.Helper()
	if devices {
		if err := sandbox.Missing(); err != nil {
			t.Skip(err)
		}
	}
	root := t.TempDir()
	b := &bench{T: t, dir: filepath.Join(root, "sandbox"), mounts: filepath.Join(root, "mnt")}
	var err error
	if b.sandbox, err = sandbox.Open(sandbox.Config{Dir: b.dir, FilesOnly: !devices, Faults: faults}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.sandbox.Close(); err != nil {
			t.Error(err)
		}
		if err := sandbox.Reset(b.dir); err != nil { // unmounts too
			t.Error(err)
		}
	})
	id, err := b.sandbox.InstanceID()
	if err != nil {
		t.Fatal(err)
	}
	b.cloud, err = ec2.New(t.Context(), ec2.Config{Region: sandbox.Region, EndpointURL: "http://sandbox.invalid", Transport: b.sandbox.RoundTripper(),
		Credentials: ec2.Credentials{ID: "key", Secret: "secret"}, PollMin: 5 * time.Millisecond, PollMax: 50 * time.Millisecond, SettleWindow: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	roots := b.sandbox.Roots()
	host := linux.New(linux.Roots{Dev: roots.Dev, Sys: roots.Sys, BootID: roots.BootID})
	b.env = &Env{Cloud: b.cloud, Host: host, Freezer: Guards{OwnedDir: filepath.Join(root, "frozen")}, Version: "test",
		Instance: Instance{ID: id, Zone: sandbox.Zone, Region: sandbox.Region, Account: sandbox.Account}}
	b.handlers = Handlers(b.env)
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.mounts, name) }

// picture is all that a step can change: volumes, snapshots, mounts and the folders under them.
func (b *bench) picture() string {
	b.Helper()
	var lines []string
	attached, err := b.cloud.AttachedVolumes(b.Context(), b.env.Instance.ID)
	if err != nil {
		b.Fatal(err)
	}
	ours, err := b.cloud.VolumesByTag(b.Context(), map[string]string{"role": "search"})
	if err != nil {
		b.Fatal(err)
	}
	for _, v := range slices.Concat(attached, ours) {
		line := fmt.Sprintf("volume %s %s %v", v.ID, v.State, sorted(v.Tags))
		for _, a := range v.Attachments {
			line += fmt.Sprintf(" as %s %s %t", a.Device, a.State, a.DeleteOnTermination)
		}
		lines = append(lines, line)
	}
	snapshots, err := b.cloud.Snapshots(b.Context(), ec2.SnapshotQuery{})
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range snapshots {
		lines = append(lines, fmt.Sprintf("snapshot %s %s %v", s.ID, s.VolumeID, sorted(s.Tags)))
	}
	mounts, err := b.env.Host.(*linux.Host).Mounts()
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range mounts {
		if strings.HasPrefix(m.Target, b.mounts) {
			lines = append(lines, fmt.Sprintf("mount %s %s %v", m.Target, m.FileSystem, m.Options))
		}
	}
	_ = filepath.WalkDir(b.mounts, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			lines = append(lines, "folder "+path)
		}
		return nil
	})
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

func sorted(tags map[string]string) (words []string) {
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		if k != TagDetached && k != TagReplaced { // hold the time
			words = append(words, k+"="+tags[k])
		} else {
			words = append(words, k)
		}
	}
	return words
}

// do looks, and acts where the effect is absent, as the runner does. It returns the output.
func do[In, Out any](b *bench, d plan.Def[In, Out], in In) (Out, plan.Attempt) {
	b.Helper()
	a := b.attempt(string(d.Kind))
	h := b.handlers[d.Kind]
	if !d.ReadOnly && d.ObserveBy != plan.Blind {
		o, err := h.Observe(b.Context(), a, asJSON(b, in))
		if err != nil {
			b.Fatalf("%s: look: %v", d.Kind, err)
		}
		switch o.State {
		case plan.Conflict:
			b.Fatalf("%s: conflict: %s", d.Kind, o.Note)
		case plan.Ours, plan.Satisfied:
			return decoded[Out](b, o.Output.Value), a
		}
		a.Before = o.Before
	}
	var out plan.Output
	err := patiently(func() (err error) {
		out, err = h.Do(b.Context(), a, asJSON(b, in))
		return err
	})
	if err != nil {
		b.Fatalf("%s: %v", d.Kind, err)
	}
	return decoded[Out](b, out.Value), a
}

// patiently tries again as long as the verdict asks for it.
func patiently(f func() error) error {
	for deadline := time.Now().Add(20 * time.Second); ; {
		err := f()
		if err == nil || plan.ActionOf(err).Action != plan.ActRetry || time.Now().After(deadline) {
			return err
		}
	}
}

var attempts int

func (b *bench) attempt(step string) plan.Attempt {
	attempts++
	return plan.Attempt{Run: "20260301T120000000-ab12", Step: plan.StepID(step), Generation: 1, Token: fmt.Sprintf("%032x", attempts),
		Section: "freeze", Report: func(plan.Progress) {}}
}

// checkContract checks the contract of a handler whose effect is absent now: looking changes nothing, twice is once, a look finds
// it, and undoing, once or twice, brings back what was. It returns the output, with the effect taken back.
func checkContract[In, Out any](b *bench, d plan.Def[In, Out], in In) {
	b.Helper()
	h, a, raw := b.handlers[d.Kind], b.attempt(string(d.Kind)), asJSON(b, in)
	before := b.picture()
	look := func(want ...plan.ObservedState) plan.Observation {
		b.Helper()
		was := b.picture()
		o, err := h.Observe(b.Context(), a, raw)
		if err != nil || !slices.Contains(want, o.State) {
			b.Fatalf("%s: a look saw %q (%s), error %v; want %v", d.Kind, o.State, o.Note, err, want)
		}
		b.same("a look", was)
		return o
	}
	act := func() string {
		b.Helper()
		out, err := h.Do(b.Context(), a, raw)
		if err != nil {
			b.Fatalf("%s: %v", d.Kind, err)
		}
		return string(out.Value)
	}
	undo := func(out json.RawMessage) {
		b.Helper()
		if err := patiently(func() error { return h.Undo(b.Context(), a, raw, out) }); err != nil {
			b.Fatalf("%s: undo: %v", d.Kind, err)
		}
	}
	a.Before = look(plan.Absent).Before
	once := act()
	done := b.picture()
	if done == before {
		b.Errorf("%s: doing it changed nothing", d.Kind)
	}
	if twice := act(); twice != once {
		b.Errorf("%s: twice gave %s and once %s", d.Kind, twice, once)
	}
	b.same(string(d.Kind)+" a second time", done)
	a.Resumed = true
	o := look(plan.Ours, plan.Satisfied)
	undo(o.Output.Value)
	b.same(string(d.Kind)+" undone", before)
	undo(o.Output.Value)
	b.same(string(d.Kind)+" undone twice", before)
	look(plan.Absent)
}

func (b *bench) same(what, before string) {
	b.Helper()
	if after := b.picture(); after != before {
		b.Fatalf("%s left:\n%s\nwant:\n%s", what, after, before)
	}
}

// aVolume makes and attaches a new empty volume for a mount point.
func (b *bench) aVolume(device, mountPoint string, choice Choice) (Volume, Attached, DeviceNode) {
	b.Helper()
	v, _ := do(b, CreateVolume, b.createIn(mountPoint, choice))
	v, _ = do(b, WaitAvailable, WaitAvailableIn{plan.Literal(v)})
	at, _ := do(b, Attach, AttachIn{Volume: plan.Literal(v), Device: device, Patience: plan.Duration(5 * time.Second)})
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
	defer cancel()
	d, err := b.env.waitDevice().Do(ctx, b.attempt("wait-device"), WaitDeviceIn{Attached: plan.Literal(at), Device: device})
	if err != nil {
		b.Fatal(err)
	}
	return v, at, d
}

func (b *bench) createIn(mountPoint string, choice Choice) CreateVolumeIn {
	return CreateVolumeIn{Found: plan.Literal(FoundVolume{}), Choice: plan.Literal(choice), MountPoint: mountPoint, Zone: sandbox.Zone, Size: 1, Type: "gp3",
		Tags: map[string]string{"role": "search", TagMountPoint: mountPoint, TagInstance: b.env.Instance.ID}}
}

// aMount makes, attaches, formats and mounts a new volume.
func (b *bench) aMount(device, name, fileSystem string, choice Choice) (Volume, Mounted) {
	b.Helper()
	v, _, d := b.aVolume(device, b.path(name), choice)
	f, _ := do(b, MkfsOrSkip, MkfsOrSkipIn{Volume: plan.Literal(v), Device: plan.Literal(d), FileSystem: fileSystem})
	m, _ := do(b, Mount, MountIn{Device: plan.Literal(d), FileSystem: plan.Literal(f), MountPoint: b.path(name)})
	return v, m
}

// found is what a snapshot or an unmount finds.
func (b *bench) found(op Purpose, device, name string) FoundVolume {
	b.Helper()
	f, _ := do(b, FindVolume, FindVolumeIn{For: op, Device: device, MountPoint: b.path(name), FilterTags: map[string]string{"role": "search"}})
	return f
}

// query finds this snapshotter's snapshots.
func (b *bench) query() ec2.SnapshotQuery {
	return ec2.SnapshotQuery{Tags: map[string][]string{"role": {"search"}}}
}
