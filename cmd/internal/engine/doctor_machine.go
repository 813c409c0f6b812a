package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/journal"
	"snaptastic/linux"
	"snaptastic/linux/guard"
	"snaptastic/plan"
)

const (
	littleSpace = 64 << 20 // bytes: a journal has a few hundred KiB, and 200 of them are kept
	noSpace     = 4 << 20
)

func (d *doctor) root() {
	if os.Geteuid() == 0 {
		d.ok("root", "yes")
		return
	}
	d.warn("root", "run it as root (sudo) for all checks", "no: runs need root to mount and freeze; some checks are skipped")
}

// state looks at the folder of the journals.
func (d *doctor) state() {
	const check = "state directory"
	dir, err := filepath.Abs(d.StateDir)
	if err != nil {
		d.failed(check, err)
		return
	}
	var u *linux.UntrustedPath
	if err := d.Trusted(); errors.As(err, &u) {
		d.fail(check, u.Fix, "all commands refuse it: %v", err)
		return
	}
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if parent := existingParent(dir); unix.Access(parent, unix.W_OK) != nil {
			d.unwritable(check, dir, "does not exist, and "+parent+" is not writable")
			return
		}
		d.ok(check, "%s does not exist yet; the first run creates it", dir)
		return
	case err != nil:
		d.failed(check, err)
		return
	case !fi.IsDir():
		d.fail(check, "choose another directory with --state-dir", "%s is not a directory", dir)
		return
	case unix.Access(dir, unix.W_OK) != nil:
		d.unwritable(check, dir, "is not writable")
		return
	}
	if m := fi.Mode().Perm(); m&0o077 != 0 {
		d.warn(check, "chmod 0700 "+dir, "%s is accessible to other users (mode %04o), and journals contain hook data", dir, m)
	}
	d.space(check, dir)
}

func (d *doctor) unwritable(check, dir, why string) {
	if os.Geteuid() != 0 {
		d.warn(check, "run it as root (sudo)", "%s %s for this user", dir, why)
		return
	}
	d.fail(check, "choose another directory with --state-dir, or make this one writable", "%s %s", dir, why)
}

func (d *doctor) space(check, dir string) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		d.failed(check, fmt.Errorf("cannot tell the free space of %s: %w", dir, err))
		return
	}
	free := st.Bavail * uint64(st.Bsize) // Bsize has another type on other machines
	switch {
	case st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC:
		d.warn(check, "choose a directory on a disk with --state-dir", "%s is in memory: the journals are lost at reboot", dir)
	case free < noSpace:
		d.fail(check, "free disk space: a run that cannot write its journal stops", "%s has %d KiB free", dir, free>>10)
	case free < littleSpace:
		d.warn(check, "free disk space", "%s has %d MiB free", dir, free>>20)
	default:
		d.ok(check, "%s, writable, %d MiB free", dir, free>>20)
	}
}

func existingParent(dir string) string {
	for dir != "/" {
		dir = filepath.Dir(dir)
		if _, err := os.Stat(dir); err == nil {
			break
		}
	}
	return dir
}

// runs looks for journals that are damaged and runs that are unfinished.
func (d *doctor) runs() {
	const check = "journal"
	if _, err := os.ReadDir(filepath.Join(d.StateDir, "runs")); err != nil {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			d.ok(check, "no runs yet")
		case errors.Is(err, fs.ErrPermission):
			d.warn(check, "run it as root (sudo)", "not checked: this user cannot read it")
		default:
			d.failed(check, err)
		}
		return
	}
	store, err := d.readState()
	if err != nil {
		d.failed(check, err)
		return
	}
	all, err := store.List()
	if err != nil {
		d.failed(check, err)
		return
	}
	before, live := len(d.findings), 0
	for _, r := range all {
		if r.Live {
			live++
			continue
		}
		d.run(check, r)
	}
	if len(d.findings) == before {
		d.ok(check, "%d runs, %d live, none unfinished", len(all), live)
	}
}

func (d *doctor) run(check string, r journal.Summary) {
	what := fmt.Sprintf("run %s (%s %s)", r.Run, r.Operation, r.Snapshotter)
	finish := fmt.Sprintf("run `snaptastic resume %s` to finish it or `snaptastic rollback %s` to undo it", r.Run, r.Run)
	switch {
	case r.Damaged:
		d.fail(check, "run `snaptastic resume` to move it to damaged/", "%s", r.Problem)
	case r.Problem != "":
		d.fail(check, "", "run %s: %s", r.Run, r.Problem)
	case r.Outcome.Ended():
	case d.self.InstanceID != "" && r.InstanceID != d.self.InstanceID:
		d.warn(check, "run `snaptastic resume` to move it to damaged/", "%s belongs to instance %s: it was baked into the image", what, r.InstanceID)
	case r.RollingBack:
		d.warn(check, fmt.Sprintf("run `snaptastic rollback %s` to continue", r.Run), "%s was interrupted during its rollback", what)
	case r.Outcome == journal.RunFailed:
		d.warn(check, finish, "%s failed: %s", what, oneLine(r.Error))
	default:
		d.warn(check, finish, "%s was interrupted", what)
	}
}

// frozen looks for what guards left that were killed with their parents.
func (d *doctor) frozen(ctx context.Context) {
	const check = "frozen"
	left, err := guard.ListFrozen(ctx, filepath.Join(d.StateDir, "frozen"))
	switch {
	case errors.Is(err, fs.ErrPermission):
		d.warn(check, "run it as root (sudo)", "not checked: this user cannot read it")
		return
	case err != nil:
		d.failed(check, err)
	}
	var live []string
	for _, l := range left {
		if l.Outcome == guard.IsLive {
			live = append(live, l.Path)
			continue
		}
		d.fail(check, "`snaptastic thaw --owned`", "%s may have been left frozen by run %s, which was killed", l.Path, plan.RunID(l.Run))
	}
	if err == nil && len(live) == len(left) {
		d.ok(check, "no file system was left frozen%s", during(live))
	}
}

func during(live []string) string {
	if len(live) == 0 {
		return ""
	}
	return "; a live run will freeze " + several(live)
}

// guard starts the process that freezes, on a file system that cannot be
// frozen and is not asked to, and lets it go.
func (d *doctor) guard(ctx context.Context) {
	const check = "freeze guard"
	if os.Geteuid() != 0 {
		d.warn(check, "run it as root (sudo)", "not started: freezing needs root")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	g, err := guard.Start(ctx, []guard.Mount{{Path: "/proc"}}, guard.Options{})
	if err != nil {
		d.fail(check, "check that /proc is mounted and that this program is executable", "%s", oneLine(err.Error()))
		return
	}
	if err := g.Release(); err != nil {
		d.failed(check, err)
		return
	}
	if weak := g.Warnings(); len(weak) > 0 {
		d.warn(check, "run it with CAP_SYS_RESOURCE and CAP_IPC_LOCK", "%s", strings.Join(weak, "; "))
		return
	}
	d.ok(check, "starts, protected from the OOM killer, memory locked")
}

// fstab looks for lines that make systemd mount and unmount where a volume is declared.
func (d *doctor) fstab() {
	const check = "fstab"
	host, found := linux.New(d.Roots), false
	for _, s := range d.specs {
		for _, v := range s.Volumes {
			if line, there := host.FstabLine(v.MountPoint); there {
				found = true
				d.warn(check, "remove the line, then `systemctl daemon-reload`", "%s contains %s, a mount point of %s, so systemd mounts and unmounts it too (%s)", line.Place, v.MountPoint, s.Name, line.Text)
			}
		}
	}
	if !found && len(d.specs) > 0 {
		d.ok(check, "contains no declared mount point")
	}
}

// namespace looks whether others see what is mounted here.
func (d *doctor) namespace() {
	const check = "mount namespace"
	switch shared, known := linux.New(d.Roots).MountsShared(); {
	case !known:
		d.warn(check, "", "cannot determine whether it is the host's: /proc does not show the mounts of PID 1")
	case !shared:
		d.fail(check, "run it with `nsenter --mount=/proc/1/ns/mnt`; in a unit, remove PrivateMounts=, PrivateTmp= and ProtectSystem=", "%v", errPrivateMounts)
	default:
		d.ok(check, "the host's: mounts are visible to all processes")
	}
}
