package steps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"snaptastic/linux"
	"snaptastic/plan"
)

// ReplayLog mounts a scratch volume once, read-write, so that the kernel replays the log of its file system, and unmounts it:
// what is checked afterwards is what a mount in life would see.
var ReplayLog = plan.Def[ReplayLogIn, Replayed]{Kind: "replay-log", ObserveBy: plan.ByState, Scope: plan.Cloud}

// ReplayLogIn says what to mount. Inside are folders, relative to its root, on which other volumes will be mounted.
type ReplayLogIn struct {
	Device     plan.Value[DeviceNode] `json:"device"`
	MountPoint string                 `json:"mount_point"` // of life
	Options    []string               `json:"options,omitempty"`
	Inside     []string               `json:"inside,omitempty"`
}

// Replayed is a file system whose log is empty.
type Replayed struct {
	Trial
	FileSystem string `json:"file_system,omitempty"`
	Partition  int    `json:"partition,omitempty"` // its number; 0 for the whole device
}

func (w *Env) replayLog() plan.Funcs[ReplayLogIn, Replayed] {
	return plan.Funcs[ReplayLogIn, Replayed]{
		Do: func(ctx context.Context, a plan.Attempt, in ReplayLogIn) (out Replayed, err error) {
			out.Trial, err = trial(func() (bad string, err error) {
				if err := w.unmountReplay(ctx, a, in); err != nil {
					return "", err
				}
				out.FileSystem, out.Partition, bad, err = w.scratchFileSystem(ctx, in.Device.Must())
				if bad != "" || err != nil {
					return bad, err
				}
				return w.replay(ctx, a, in, out)
			})
			return out, err
		},
		// What it wrote is on a volume that is deleted.
		Preview: func(ReplayLogIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewChange, "mount it once to replay its log, then unmount it")
		},
	}
}

// unmountReplay unmounts what an attempt that was cut off left mounted.
func (w *Env) unmountReplay(ctx context.Context, a plan.Attempt, in ReplayLogIn) error {
	at := w.replayPlace(a.Run, in.MountPoint)
	if _, mounted, err := w.Host.MountAt(at); err != nil || !mounted {
		return err
	}
	return w.Host.Unmount(ctx, at)
}

// scratchFileSystem says what is on a scratch volume, or why that cannot be mounted.
func (w *Env) scratchFileSystem(ctx context.Context, d DeviceNode) (fileSystem string, partition int, bad string, err error) {
	s, err := w.Host.Probe(ctx, d.Path)
	if err != nil {
		return "", 0, "", err
	}
	switch {
	case s.Class == linux.ClassFileSystem:
		return s.Type, 0, "", nil
	case s.Class == linux.ClassPartitionTable && s.Only != nil && s.Only.Class == linux.ClassFileSystem:
		return s.Only.Type, s.OnlyNumber, "", nil
	case s.Blank():
		return "", 0, "the volume is blank", nil
	}
	what, _ := notAFileSystem(s, d.Path)
	return "", 0, "the volume contains " + what + " instead of a file system", nil
}

// replay mounts and unmounts. A btrfs gets a UUID of its own first: the original may be mounted here.
func (w *Env) replay(ctx context.Context, a plan.Attempt, in ReplayLogIn, of Replayed) (bad string, err error) {
	d := in.Device.Must()
	if err := w.Host.NewFileSystemID(ctx, d.Path, of.Partition); err != nil {
		return "", err
	}
	if err := w.makeScratchFolders(a.Run); err != nil {
		return "", err
	}
	at := w.replayPlace(a.Run, in.MountPoint)
	q := linux.MountRequest{Source: d.Path, Partition: of.Partition, Target: at, FileSystem: of.FileSystem, Options: scratchOptions(in.Options, of.FileSystem, "rw")}
	if _, err := w.Host.Mount(ctx, q); err != nil {
		return judgeMount(in.MountPoint, err)
	}
	for _, inside := range in.Inside { // as a mount would make them in life
		if err := os.MkdirAll(filepath.Join(at, inside), 0o755); err != nil {
			w.log().Warn("cannot make a mount point on a scratch volume", "step", a.Step, "error", err)
		}
	}
	return "", w.Host.Unmount(ctx, at)
}

// judgeMount tells a file system that cannot be mounted from a machine that cannot mount it.
func judgeMount(mountPoint string, err error) (bad string, _ error) {
	if linux.Damaged(err) && !errors.Is(err, linux.ErrDuplicateUUID) {
		if cause := errors.Unwrap(err); cause != nil { // without the device and the folder, which are gone when somebody reads it
			err = cause
		}
		return fmt.Sprintf("%s cannot be mounted: %v", mountPoint, err), nil
	}
	return "", err
}

// scratchOptions are those of life but for how it is written to. XFS is never entered among the UUIDs that the kernel knows, so that the
// original can be mounted meanwhile.
func scratchOptions(options []string, fileSystem, how string) []string {
	return append(append(slices.Clone(options), how, "nodev", "nosuid"), linux.CopyOptions(fileSystem)...)
}

// makeScratchFolders makes the drill's folders. A probe may run a server as another user, which has to come through to them; it
// cannot list them.
func (w *Env) makeScratchFolders(run plan.RunID) error {
	const passable = 0o711
	own := w.scratchFolder(run)
	for _, dir := range []string{filepath.Dir(w.ScratchDir), w.ScratchDir, own, w.scratchRoot(run), filepath.Join(own, "replay"), filepath.Join(own, "scratch")} {
		if err := os.Mkdir(dir, passable); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		fi, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if fi.Mode().Perm()&passable == passable {
			continue
		}
		if err := os.Chmod(dir, fi.Mode().Perm()|passable); err != nil {
			return err
		}
	}
	return nil
}
