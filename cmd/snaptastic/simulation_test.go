package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/linux"
	"snaptastic/linux/guard"
	"snaptastic/plan"
	"snaptastic/steps"
)

// The in-process crash matrix runs real recipes, steps, runner and journal
// over the real EC2 client and the sandbox's API; only the kernel is played
// here, in memory, because a crash point in front of every effect would take
// real file systems minutes. Its disks are the sandbox's volume files, so
// snapshots and restored volumes carry what was written.

// failpoint blows at its n-th point: from then on nothing has an effect any more,
// as after SIGKILL.
type failpoint struct {
	mu        sync.Mutex
	at        int
	points    int
	triggered bool
	name      string
	kill      func()
}

var errKilled = errors.New("killed")

func (f *failpoint) reach(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.triggered {
		if f.points++; f.points == f.at {
			f.triggered, f.name = true, name
			f.kill()
		}
	}
	if f.triggered {
		return errKilled
	}
	return nil
}

// between runs an effect between two points: a crash before it, and a crash
// after it whose answer is lost.
func (f *failpoint) between(name string, effect func() error) error {
	if err := f.reach("before " + name); err != nil {
		return err
	}
	if err := effect(); err != nil {
		return err
	}
	return f.reach("after " + name)
}

// disk is what stands at the start of a volume's file: a file system.
type disk struct {
	Type  string            `json:"type"`
	UUID  string            `json:"uuid"`
	Files map[string]string `json:"files"`
}

// kernel is this machine, in memory. It outlives the process that crashes.
type kernel struct {
	t      testing.TB
	dir    string // the sandbox's
	mu     sync.Mutex
	mounts map[string]string // target -> device path
	frozen map[string]bool   // target -> by us
	formed int               // mkfs runs
	busy   string            // a mount point that somebody has entered since the check
	boot   string
	read   map[string]int // pieces of warmed volumes -> how often
}

func (k *kernel) devices() map[string]string { // volume id -> path
	out := map[string]string{}
	blocks := filepath.Join(k.dir, "sys", "block")
	names, _ := os.ReadDir(blocks)
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(blocks, n.Name(), "device", "serial"))
		path, err2 := os.Readlink(filepath.Join(k.dir, "dev", n.Name()))
		if _, gone := os.Stat(path); err == nil && err2 == nil && gone == nil {
			out[strings.Replace(strings.TrimSpace(string(b)), "vol", "vol-", 1)] = path
		}
	}
	return out
}

func (k *kernel) device(path, id string) linux.Device {
	var sum uint32
	for _, c := range path {
		sum = sum*31 + uint32(c)
	}
	return linux.Device{Path: path, Major: 259, Minor: sum, Size: 1 << 30, VolumeID: id, Serial: strings.Replace(id, "-", "", 1)}
}

const diskHead = 4096

func readDisk(path string) (*disk, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, diskHead)
	n, _ := f.ReadAt(head, 0)
	text := strings.TrimRight(string(head[:n]), "\x00 ")
	if text == "" {
		return nil, nil
	}
	var d disk
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return nil, err
	}
	return &d, nil
}

func writeDisk(path string, d disk) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(append(b, make([]byte, diskHead-len(b))...), 0)
	return err
}

// host is the kernel as one process sees it, with its fuse.
type host struct {
	*kernel
	fuse *failpoint
}

func (h host) FindDevice(_ context.Context, q linux.DeviceQuery) (linux.Device, bool, error) {
	path, ok := h.devices()[q.VolumeID]
	return h.device(path, q.VolumeID), ok, nil
}

func (h host) WaitDevice(ctx context.Context, q linux.DeviceQuery) (linux.Device, error) {
	for {
		if d, ok, _ := h.FindDevice(ctx, q); ok {
			return d, nil
		}
		select {
		case <-ctx.Done():
			return linux.Device{}, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

func (h host) VolumeOf(target string) (linux.Device, linux.Mount, error) {
	m, ok, err := h.MountAt(target)
	if err != nil || !ok {
		return linux.Device{}, m, errors.Join(err, linux.ErrNotMountPoint)
	}
	for id, path := range h.devices() {
		if path == m.Source {
			return h.device(path, id), m, nil
		}
	}
	return linux.Device{}, m, fmt.Errorf("%s is of no volume", target)
}

func (h host) MountAt(target string) (linux.Mount, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	src, ok := h.mounts[target]
	if !ok {
		return linux.Mount{}, false, nil
	}
	return h.mountOf(target, src), true, nil
}

func (h host) MountedBelow(target string) (linux.Mount, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for other, src := range h.mounts {
		if strings.HasPrefix(other, target+"/") {
			return h.mountOf(other, src), true, nil
		}
	}
	return linux.Mount{}, false, nil
}

func (h host) mountOf(target, src string) linux.Mount {
	fs := "?"
	if d, err := readDisk(src); err == nil && d != nil {
		fs = d.Type
	}
	dev := h.device(src, "")
	return linux.Mount{Target: target, Source: src, FileSystem: fs, Options: []string{"rw", "noatime"}, Major: dev.Major, Minor: dev.Minor, Root: "/"}
}

func (h host) MountsOf(d linux.Device) ([]linux.Mount, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []linux.Mount
	for target, src := range h.mounts {
		if src == d.Path {
			out = append(out, h.mountOf(target, src))
		}
	}
	return out, nil
}

func (h host) Probe(_ context.Context, path string) (linux.Signature, error) {
	d, err := readDisk(path)
	if err != nil || d == nil {
		return linux.Signature{}, err
	}
	return linux.Signature{Class: linux.ClassFileSystem, Type: d.Type, UUID: d.UUID}, nil
}

func (h host) Format(ctx context.Context, q linux.FormatRequest) error {
	return h.fuse.between("mkfs", func() error {
		sig, err := h.Probe(ctx, q.Device)
		if err != nil {
			return err
		}
		if !sig.Blank() && sig.UUID != q.UUID {
			return fmt.Errorf("formatted over %s", sig)
		}
		h.mu.Lock()
		h.formed++
		h.mu.Unlock()
		return writeDisk(q.Device, disk{Type: q.FileSystem, UUID: q.UUID, Files: map[string]string{}})
	})
}

func (h host) Mount(_ context.Context, q linux.MountRequest) (linux.Mounted, error) {
	err := h.fuse.between("mount "+q.Target, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if at, busy := h.mounts[q.Target]; busy {
			return fmt.Errorf("%s is mounted on %s already", at, q.Target)
		}
		h.mounts[q.Target] = q.Source
		return nil
	})
	m, _, _ := h.MountAt(q.Target)
	return linux.Mounted{Mount: m}, err
}

func (h host) Unmount(_ context.Context, target string) error {
	return h.fuse.between("unmount "+target, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		for other := range h.mounts {
			if strings.HasPrefix(other, target+"/") {
				return fmt.Errorf("%s is mounted below %s", other, target)
			}
		}
		if target == h.busy {
			return linux.InUse(target, nil)
		}
		delete(h.mounts, target)
		return nil
	})
}

func (h host) Users([]string) (map[string][]linux.Holder, error) { return nil, nil }
func (h host) RemoveCreated([]string)                            {}

func (h host) DeviceFree(_ context.Context, path string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for target, src := range h.mounts {
		if src == path {
			return fmt.Errorf("%s is mounted on %s: %w", path, target, linux.ErrDeviceBusy)
		}
	}
	return nil
}

func (h host) Growable(context.Context, linux.Device, linux.Mount) (bool, error) { return false, nil }
func (h host) Grow(context.Context, linux.Device, linux.Mount) (linux.GrowResult, error) {
	return linux.GrowResult{}, nil
}

// warmPieces are what is in use of a disk, and their size.
const warmPieces, warmPiece = 10, 1 << 20

func (h host) Warm(ctx context.Context, q linux.WarmRequest) (linux.Warmed, error) {
	mark := q.From
	for i := mark.Offset / warmPiece; i < warmPieces; i++ {
		if err := cmp.Or(ctx.Err(), h.fuse.reach("before a piece is read")); err != nil {
			return linux.Warmed{}, err
		}
		h.mu.Lock()
		h.read[fmt.Sprint(q.Target, " ", i)]++
		h.mu.Unlock()
		mark.Offset, mark.Read = (i+1)*warmPiece, mark.Read+warmPiece
		q.Progress(linux.WarmProgress{WarmMark: mark, Done: mark.Offset, InUse: warmPieces * warmPiece})
	}
	return linux.Warmed{InUse: warmPieces * warmPiece, Read: mark.Read}, nil
}
func (h host) SyncFS(context.Context, string) (time.Duration, error) { return 0, nil }
func (h host) FreezeRisks(string, []linux.NamedPath) ([]linux.FreezeRisk, error) {
	return nil, nil
}
func (h host) RunHook(context.Context, linux.HookRequest) (linux.HookResult, error) {
	return linux.HookResult{}, nil
}

// CheckFileSystem finds what writeDisk would not have written.
func (h host) CheckFileSystem(_ context.Context, q linux.CheckRequest) (linux.CheckResult, error) {
	r := linux.CheckResult{Command: []string{"fsck"}}
	if d, err := readDisk(q.Device); err != nil || d == nil {
		r.Problem = "fsck found errors"
	}
	return r, h.fuse.reach("fsck")
}

func (h host) NewFileSystemID(context.Context, string, int) error { return h.fuse.reach("new UUID") }

func (h host) TakeDown(ctx context.Context, folder string) ([]linux.Holder, error) {
	h.mu.Lock()
	var inside []string
	for target := range h.mounts {
		if strings.HasPrefix(target, folder+"/") {
			inside = append(inside, target)
		}
	}
	h.mu.Unlock()
	slices.SortFunc(inside, func(a, b string) int { return len(b) - len(a) })
	for _, target := range inside {
		if err := h.Unmount(ctx, target); err != nil {
			return nil, err
		}
	}
	return nil, h.fuse.between("remove "+folder, func() error { return os.RemoveAll(folder) })
}

func (h host) Clock() (linux.Clock, error) {
	return linux.Clock{Synchronized: true, MaxError: time.Millisecond}, nil
}

func (h host) Hasten() (func(), error) { return func() {}, nil }

func (h host) AwaitInstant(ctx context.Context, at time.Time) (int, error) {
	if err := h.fuse.reach("armed"); err != nil {
		return 0, err
	}
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return 0, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func (h host) StartHeldHook(context.Context, linux.HookRequest) (*linux.HeldHook, error) {
	return nil, errors.New("no held hooks here")
}

// freezer plays the guard: it thaws when its parent dies.
type freezer struct{ host }

func (f freezer) Start(_ context.Context, _ plan.RunID, _ string, mounts []guard.Mount, _ steps.FreezeOptions) (steps.Frozen, error) {
	w := &freeze{host: f.host, broken: make(chan struct{})}
	for _, m := range mounts {
		w.targets = append(w.targets, m.Path)
	}
	return w, f.fuse.reach("guard started")
}

func (f freezer) ThawOwned(context.Context) ([]guard.Thawed, error) { return nil, nil }

type freeze struct {
	host
	targets []string
	broken  chan struct{}
	held    bool
}

func (z *freeze) set(on bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, t := range z.targets {
		if on {
			z.frozen[t] = true
		} else {
			delete(z.frozen, t)
		}
	}
}

func (z *freeze) Freeze(context.Context) error {
	err := z.fuse.between("freeze", func() error { z.set(true); z.held = true; return nil })
	if errors.Is(err, errKilled) {
		z.set(false) // the guard sees its parent's pipe end
	}
	return err
}

func (z *freeze) Thaw(context.Context) (guard.Result, error) {
	err := z.fuse.between("thaw", func() error { z.set(false); return nil })
	if errors.Is(err, errKilled) {
		z.set(false)
	}
	return guard.Result{Unbroken: z.held && err == nil, Frozen: time.Millisecond}, err
}

func (z *freeze) Release() error          { return nil }
func (z *freeze) Broken() <-chan struct{} { return z.broken }

// cloud is the real client with a point before and after each effect, and the
// note of what was frozen when a snapshot was taken.
type cloud struct {
	steps.Cloud
	k     *kernel
	fuse  *failpoint
	taken *takes
}

// takes remembers, for each snapshot, how many file systems were frozen.
type takes struct {
	mu     sync.Mutex
	frozen map[string]int
}

func (c cloud) CreateVolume(ctx context.Context, r ec2.CreateVolumeRequest) (v ec2.Volume, err error) {
	err = c.fuse.between("CreateVolume", func() (err error) { v, err = c.Cloud.CreateVolume(ctx, r); return })
	return v, err
}

func (c cloud) DeleteVolume(ctx context.Context, id string) error {
	return c.fuse.between("DeleteVolume", func() error { return c.Cloud.DeleteVolume(ctx, id) })
}

func (c cloud) AttachVolume(ctx context.Context, v, i, d string) (a ec2.Attachment, err error) {
	err = c.fuse.between("AttachVolume", func() (err error) { a, err = c.Cloud.AttachVolume(ctx, v, i, d); return })
	return a, err
}

func (c cloud) DetachVolume(ctx context.Context, v, i, d string) error {
	c.k.mu.Lock()
	for target, src := range c.k.mounts {
		if c.k.devices()[v] == src {
			c.k.t.Errorf("%s is detached while mounted on %s", v, target)
		}
	}
	c.k.mu.Unlock()
	return c.fuse.between("DetachVolume", func() error { return c.Cloud.DetachVolume(ctx, v, i, d) })
}

func (c cloud) SetDeleteOnTermination(ctx context.Context, i, d string, on bool) error {
	return c.fuse.between("SetDeleteOnTermination", func() error { return c.Cloud.SetDeleteOnTermination(ctx, i, d, on) })
}

func (c cloud) DeleteSnapshot(ctx context.Context, id string) error {
	return c.fuse.between("DeleteSnapshot", func() error { return c.Cloud.DeleteSnapshot(ctx, id) })
}

func (c cloud) CreateTags(ctx context.Context, ids []string, tags map[string]string) error {
	return c.fuse.between("CreateTags", func() error { return c.Cloud.CreateTags(ctx, ids, tags) })
}

func (c cloud) DeleteTags(ctx context.Context, ids, keys []string) error {
	return c.fuse.between("DeleteTags", func() error { return c.Cloud.DeleteTags(ctx, ids, keys) })
}

func (c cloud) LockSnapshot(ctx context.Context, r ec2.LockRequest) (lock ec2.Lock, err error) {
	err = c.fuse.between("LockSnapshot", func() (err error) { lock, err = c.Cloud.LockSnapshot(ctx, r); return })
	return lock, err
}

func (c cloud) ShareSnapshot(ctx context.Context, id string, accounts ...string) error {
	return c.fuse.between("ShareSnapshot", func() error { return c.Cloud.ShareSnapshot(ctx, id, accounts...) })
}

func (c cloud) take(name string, f func() ([]ec2.Snapshot, error)) (all []ec2.Snapshot, err error) {
	err = c.fuse.between(name, func() error {
		c.k.mu.Lock()
		n := len(c.k.frozen)
		c.k.mu.Unlock()
		if all, err = f(); err != nil {
			return err
		}
		c.taken.mu.Lock()
		defer c.taken.mu.Unlock()
		for _, s := range all {
			c.taken.frozen[s.ID] = n
		}
		return nil
	})
	if errors.Is(err, errKilled) { // the process died in the call: its guard thaws
		c.k.mu.Lock()
		clear(c.k.frozen)
		c.k.mu.Unlock()
	}
	return all, err
}

func (c cloud) CreateSnapshots(ctx context.Context, r ec2.CreateSnapshotsRequest) ([]ec2.Snapshot, error) {
	return c.take("CreateSnapshots", func() ([]ec2.Snapshot, error) { return c.Cloud.CreateSnapshots(ctx, r) })
}

func (c cloud) CreateSnapshot(ctx context.Context, r ec2.CreateSnapshotRequest) (ec2.Snapshot, error) {
	all, err := c.take("CreateSnapshot", func() ([]ec2.Snapshot, error) {
		s, err := c.Cloud.CreateSnapshot(ctx, r)
		return []ec2.Snapshot{s}, err
	})
	if err != nil {
		return ec2.Snapshot{}, err
	}
	return all[0], nil
}

// openSandbox is the sandbox's API over files, and a client of it, without a
// socket.
func openSandbox(t testing.TB, dir string) (*sandbox.Sandbox, *ec2.Client) {
	t.Helper()
	w, err := sandbox.Open(sandbox.Config{Dir: dir, FilesOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	c, err := ec2.New(context.Background(), ec2.Config{Region: sandbox.Region, EndpointURL: "http://sandbox", MetadataURL: "http://sandbox",
		Credentials: ec2.Credentials{ID: "a", Secret: "b"}, Transport: w.RoundTripper(), PollMin: time.Millisecond, PollMax: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return w, c
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
