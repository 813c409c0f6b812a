package steps

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"snaptastic/ec2"
	"snaptastic/linux"
	"snaptastic/linux/guard"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// Cloud is what the steps ask of EC2; *ec2.Client has it.
type Cloud interface {
	AttachedVolumes(ctx context.Context, instanceID string) ([]ec2.Volume, error)
	Volume(ctx context.Context, id string) (ec2.Volume, error)
	VolumesByTag(ctx context.Context, tags map[string]string) ([]ec2.Volume, error)
	WaitVolume(ctx context.Context, id string, done func(ec2.Volume) (bool, error), progress func(ec2.Volume)) (ec2.Volume, error)
	CreateVolume(ctx context.Context, r ec2.CreateVolumeRequest) (ec2.Volume, error)
	DeleteVolume(ctx context.Context, id string) error
	AttachVolume(ctx context.Context, volumeID, instanceID, device string) (ec2.Attachment, error)
	DetachVolume(ctx context.Context, volumeID, instanceID, device string) error
	SetDeleteOnTermination(ctx context.Context, instanceID, device string, on bool) error

	Snapshots(ctx context.Context, query ec2.SnapshotQuery) ([]ec2.Snapshot, error)
	EachSnapshot(ctx context.Context, query ec2.SnapshotQuery, visit func(ec2.Snapshot)) error
	WaitSnapshot(ctx context.Context, id string, done func(ec2.Snapshot) (bool, error), progress func(ec2.Snapshot)) (ec2.Snapshot, error)
	CreateSnapshots(ctx context.Context, r ec2.CreateSnapshotsRequest) ([]ec2.Snapshot, error)
	CreateSnapshot(ctx context.Context, r ec2.CreateSnapshotRequest) (ec2.Snapshot, error)
	DeleteSnapshot(ctx context.Context, id string) error
	CopySnapshot(ctx context.Context, r ec2.CopySnapshotRequest) (string, error)
	ShareSnapshot(ctx context.Context, id string, accounts ...string) error
	DescribeShared(ctx context.Context, ids ...string) (map[string]ec2.Snapshot, error)

	SnapshotsByID(ctx context.Context, ids ...string) (map[string]ec2.Snapshot, error)
	Images(ctx context.Context, ids ...string) ([]ec2.Image, error)
	ImagesOf(ctx context.Context, snapshotIDs ...string) ([]ec2.Image, error)
	LockedSnapshots(ctx context.Context, ids ...string) (map[string]ec2.Lock, error)
	LockSnapshot(ctx context.Context, r ec2.LockRequest) (ec2.Lock, error)
	Instances(ctx context.Context, imageID string) ([]ec2.Instance, error)
	DeregisterImage(ctx context.Context, id string) error

	CreateTags(ctx context.Context, ids []string, tags map[string]string) error
	DeleteTags(ctx context.Context, ids []string, keys []string) error
	Warm(ctx context.Context) error
	// Now is the time by EC2's clock, as far as that is known; it asks nothing.
	Now() time.Time
	// Silence is for how long the region has answered nothing, and what became of the last request; 0: it answers.
	Silence() (time.Duration, string)
}

// Host is what the steps ask of this machine; *linux.Host has it.
type Host interface {
	FindDevice(ctx context.Context, q linux.DeviceQuery) (linux.Device, bool, error)
	WaitDevice(ctx context.Context, q linux.DeviceQuery) (linux.Device, error)
	VolumeOf(mountPoint string) (linux.Device, linux.Mount, error)
	MountAt(target string) (linux.Mount, bool, error)
	MountedBelow(target string) (linux.Mount, bool, error)
	MountsOf(dev linux.Device) ([]linux.Mount, error)
	Probe(ctx context.Context, path string) (linux.Signature, error)
	Format(ctx context.Context, q linux.FormatRequest) error
	Mount(ctx context.Context, q linux.MountRequest) (linux.Mounted, error)
	Unmount(ctx context.Context, target string) error
	Users(mountPoints []string) (map[string][]linux.Holder, error)
	RemoveCreated(created []string)
	DeviceFree(ctx context.Context, path string) error
	Growable(ctx context.Context, dev linux.Device, m linux.Mount) (bool, error)
	Grow(ctx context.Context, dev linux.Device, m linux.Mount) (linux.GrowResult, error)
	SyncFS(ctx context.Context, target string) (time.Duration, error)
	FreezeRisks(target string, extra []linux.NamedPath) ([]linux.FreezeRisk, error)
	RunHook(ctx context.Context, q linux.HookRequest) (linux.HookResult, error)
	CheckFileSystem(ctx context.Context, q linux.CheckRequest) (linux.CheckResult, error)
	NewFileSystemID(ctx context.Context, device string, partition int) error
	Warm(ctx context.Context, q linux.WarmRequest) (linux.Warmed, error)
	TakeDown(ctx context.Context, folder string) ([]linux.Holder, error)
	Clock() (linux.Clock, error)
	AwaitInstant(ctx context.Context, at time.Time) (stepped int, err error)
	Hasten() (relax func(), err error)
	StartHeldHook(ctx context.Context, q linux.HookRequest) (*linux.HeldHook, error)
}

// Freezer freezes file systems so that they are thawed again whatever happens; Guards is the real one.
type Freezer interface {
	// Start readies a freeze of these mounts; nothing is frozen yet.
	Start(ctx context.Context, run plan.RunID, section string, mounts []guard.Mount, how FreezeOptions) (Frozen, error)
	// ThawOwned thaws what freezers of dead processes left behind.
	ThawOwned(ctx context.Context) ([]guard.Thawed, error)
}

// FreezeOptions say how to freeze.
type FreezeOptions struct {
	MaxHold  time.Duration // from the first freeze on; 0 for the guard's default
	Expedite bool
	NotAfter time.Time // by the machine's clock: later than this nothing is frozen; zero: whenever
}

// Frozen is a freeze: *guard.Guard.
type Frozen interface {
	Freeze(ctx context.Context) error
	Thaw(ctx context.Context) (guard.Result, error)
	Release() error
	Broken() <-chan struct{}
}

// Guards is the Freezer that starts a guard process for each freeze.
type Guards struct {
	Executable string       // whose main calls guard.Enter first; "" for this program
	OwnedDir   string       // where the files lie that name what may be frozen
	Log        *slog.Logger // nil drops everything
}

// Start starts a guard.
func (g Guards) Start(ctx context.Context, run plan.RunID, section string, mounts []guard.Mount, how FreezeOptions) (Frozen, error) {
	live, err := guard.Start(ctx, mounts, guard.Options{Executable: g.Executable, MaxHold: how.MaxHold, OwnedDir: g.OwnedDir, NotAfter: how.NotAfter,
		Run: string(run), Section: section, Expedite: how.Expedite})
	if err != nil {
		return nil, err // not a nil *guard.Guard in an interface
	}
	for _, warning := range live.Warnings() {
		orDiscard(g.Log).Warn(warning)
	}
	return live, nil
}

// ThawOwned thaws what guards left frozen that were killed together with their parents.
func (g Guards) ThawOwned(ctx context.Context) ([]guard.Thawed, error) {
	return guard.ThawOwned(ctx, g.OwnedDir, false)
}

// An Instance is the one that this process runs on.
type Instance struct{ ID, Zone, Region, Account string }

// Env is all that the steps act on.
type Env struct {
	Cloud    Cloud
	Host     Host
	Freezer  Freezer
	Instance Instance
	// CloudIn is the client of another region; nil: there is only Cloud.
	CloudIn func(ctx context.Context, region string) (Cloud, error)
	// SilentTime is for how long a region may answer nothing until a copy there, or from there, fails; nil: an hour.
	SilentTime func(region string) time.Duration

	Version string // of this program, for hooks
	// Key is what the caller names the run by; what the run makes is tagged with it. "" for none.
	Key string
	// Protected are files that must never stand on a frozen file system: the journal, the log.
	Protected []linux.NamedPath
	// Environ is added to the environment of every hook, as NAME=value.
	Environ []string
	// HookDir is where the records of running hooks lie, so that whoever goes on after a crash ends them; "" for none.
	HookDir string
	// ScratchDir is below which drills mount their volumes, each in a folder of its run's.
	ScratchDir string
	// RecentlyLabelled gives the snapshots of this snapshotter that this machine labelled in the last minutes. A look at EC2 that does not
	// show them so is out of date.
	RecentlyLabelled func() []string
	// Ahead is what EC2 showed of the snapshots right before the run; the first look of a step may be answered from it. Nil: none did.
	Ahead *Ahead
	// RunsHere says what the unfinished runs of this machine are about, but for this one; nil: there are none.
	RunsHere func(self plan.RunID) (RunsHere, error)
	// ReadBy is the earlier run of this machine that has read all of a volume (Warm), "" for none; nil: there is none of any.
	ReadBy func(volumeID string) plan.RunID
	// CloudTime is EC2's time, or an error where this machine's clock is too far from it for a deletion; nil: Cloud.Now.
	CloudTime func(ctx context.Context) (time.Time, error)
	// MaxLag is how long such a look is repeated; 15 s when 0.
	MaxLag time.Duration
	// PreviewOnly makes the read-only steps look once and not wait: for showing a plan.
	PreviewOnly bool
	// DeleteKept are volumes that a rollback would keep, since they were in use once, and that an operator said to delete.
	DeleteKept map[string]bool
	// GiveWay is closed when another run is about to unmount volumes of this one, so that nobody reads them any more; nil: never.
	GiveWay <-chan struct{}
	// Fstab finds the line of fstab for a mount point; nil finds none.
	Fstab func(mountPoint string) (linux.FstabLine, bool)
	Log   *slog.Logger // nil drops everything
	// HookOutput takes each line that a hook writes; nil drops it.
	HookOutput func(step plan.StepID, line string)

	mu          sync.Mutex
	behindSince time.Time                   // when EC2 was first seen not to show what is RecentlyLabelled
	indexes     *ec2.Shared[*snapset.Index] // made when first asked; see candidates
	windows     map[string]*window          // live freezes, by run and section
	mountedAt   map[string]time.Time        // by mount point: what this process has mounted
	slots       map[string]*copySlots       // by region
}

func (w *Env) log() *slog.Logger { return orDiscard(w.Log) }

func orDiscard(log *slog.Logger) *slog.Logger { return cmp.Or(log, slog.New(slog.DiscardHandler)) }

// remark is a list of one, or of none.
func remark(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// Handlers binds every kind to this world.
func Handlers(w *Env) plan.Handlers {
	h := plan.Handlers{}
	plan.Bind(h, Hook, w.hook())
	plan.Bind(h, FindVolume, w.findVolume())
	plan.Bind(h, FindSnapshot, w.findSnapshot())
	plan.Bind(h, WaitSnapshot, w.waitSnapshot())
	plan.Bind(h, CreateVolume, w.createVolume())
	plan.Bind(h, WaitAvailable, w.waitAvailable())
	plan.Bind(h, Attach, w.attach())
	plan.Bind(h, WaitDevice, w.waitDevice())
	plan.Bind(h, DeleteOnTermination, w.deleteOnTermination())
	plan.Bind(h, MkfsOrSkip, w.mkfsOrSkip())
	plan.Bind(h, Mount, w.mount())
	plan.Bind(h, ConfirmMount, w.confirmMount())
	plan.Bind(h, HandOver, w.handOver())
	plan.Bind(h, UndoHook, w.undoHook())
	plan.Bind(h, MarkReplaced, w.markReplaced())
	plan.Bind(h, FindReplaced, w.findReplaced())
	plan.Bind(h, Grow, w.grow())
	plan.Bind(h, Warm, w.warm())
	plan.Bind(h, Sync, w.sync())
	plan.Bind(h, Arm, w.arm())
	plan.Bind(h, Freeze, w.freeze())
	plan.Bind(h, Snapshot, w.snapshot())
	plan.Bind(h, Thaw, w.thaw())
	plan.Bind(h, TagSnapshots, w.tagSnapshots())
	plan.Bind(h, LockSnapshots, w.lockSnapshots())
	plan.Bind(h, ShareSet, w.shareSet())
	plan.Bind(h, CheckInUse, w.checkInUse())
	plan.Bind(h, Unmount, w.unmount())
	plan.Bind(h, Detach, w.detach())
	plan.Bind(h, WaitDetached, w.waitDetached())
	plan.Bind(h, FindExpired, w.findExpired())
	plan.Bind(h, DeleteSets, w.deleteSets())
	plan.Bind(h, DeleteSnapshot, w.deleteCleanedSnapshot())
	plan.Bind(h, DeleteVolume, w.deleteOneVolume())
	plan.Bind(h, ReplayLog, w.replayLog())
	plan.Bind(h, CheckFileSystem, w.checkFileSystem())
	plan.Bind(h, MountScratch, w.mountScratch())
	plan.Bind(h, Probe, w.probe())
	plan.Bind(h, TakeDown, w.takeDown())
	plan.Bind(h, TagDrill, w.tagDrill())
	plan.Bind(h, DeregisterImage, w.deregisterImage())
	plan.Bind(h, FindLacking, w.findLacking())
	plan.Bind(h, FindSource, w.findSource())
	plan.Bind(h, CopySnapshot, w.copySnapshot())
	plan.Bind(h, WaitCopied, w.waitCopied())
	plan.Bind(h, LabelCopies, w.labelCopies())
	for _, kind := range []plan.Kind{FindSource.Kind, CopySnapshot.Kind, WaitCopied.Kind, LabelCopies.Kind} {
		h[kind] = whileAnswers{h[kind], w}
	}
	return tellRetries(h)
}
