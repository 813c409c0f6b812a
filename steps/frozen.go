package steps

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/linux"
	"snaptastic/linux/guard"
	"snaptastic/plan"
)

// probeTimeout bounds the freeze of a probe. It lasts milliseconds: who had the volume in use was asked to stop before.
const probeTimeout = 5 * time.Second

// refuseFrozen refuses to go on with a file system that somebody else has frozen. Unmounted, it would stay frozen where nobody can
// name it or thaw it; grown, it would hold this program uninterruptibly. The kernel shows a freeze nowhere, so that the one
// way to learn of it without risk of hanging is to freeze: FIFREEZE answers EBUSY where it is frozen already. A guard does
// it, which thaws whatever happens. What cannot be frozen is not frozen.
func (w *Env) refuseFrozen(ctx context.Context, a plan.Attempt, doing, mountPoint string) error {
	if w.Freezer == nil {
		return nil
	}
	probe, err := w.Freezer.Start(ctx, a.Run, "probe:"+string(a.Step), []guard.Mount{{Path: mountPoint}}, FreezeOptions{MaxHold: probeTimeout})
	if err != nil {
		w.log().Debug("cannot determine whether it is frozen", "mount_point", mountPoint, "error", err)
		return nil
	}
	frozen := probe.Freeze(ctx)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*probeTimeout)
	defer cancel()
	_, thawErr := probe.Thaw(closing)
	if err := errors.Join(thawErr, probe.Release()); err != nil {
		return plan.NeedsOperator("thaw it: `snaptastic thaw "+mountPoint+"`", err)
	}
	switch {
	case errors.Is(frozen, syscall.EBUSY):
		return plan.Refused(fmt.Sprintf("wait until it is thawed; if the freeze is stale, run `snaptastic thaw %s` (or `fsfreeze -u %s`)", mountPoint, mountPoint),
			fmt.Errorf("cannot %s %s: the file system is frozen by another program", doing, mountPoint))
	case frozen != nil:
		w.log().Debug("cannot determine whether it is frozen", "mount_point", mountPoint, "error", frozen)
	}
	return nil
}

// refuseFrozenElsewhere looks whether the device is mounted already, and frozen there: a second mount is of the same frozen file
// system, and whoever writes to it hangs.
func (w *Env) refuseFrozenElsewhere(ctx context.Context, a plan.Attempt, path string) error {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil { // mounting it says why
		return nil
	}
	mounts, err := w.Host.MountsOf(linux.Device{Path: path, Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)})
	if err != nil || len(mounts) == 0 {
		return err
	}
	return w.refuseFrozen(ctx, a, "mount again what is mounted on", mounts[0].Target)
}
