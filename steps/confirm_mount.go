package steps

import (
	"context"
	"fmt"
	"time"

	"snaptastic/linux"
	"snaptastic/plan"
)

// ConfirmMount looks once more, at the end of all, whether a lane's volume is still mounted: systemd unmounts at once what a
// stale line in fstab says is not to be there, and the service would then write to the root disk.
var ConfirmMount = plan.Def[ConfirmMountIn, Confirmed]{Kind: "confirm-mount", Scope: plan.Boot, ReadOnly: true}

// ConfirmMountIn names the mount.
type ConfirmMountIn struct {
	Mounted plan.Value[Mounted] `json:"mounted"`
}

// Confirmed is a mount that was there at the end.
type Confirmed struct {
	MountPoint string `json:"mount_point"`
}

// Facts are where it is mounted.
func (c Confirmed) Facts() plan.Facts { return plan.Facts{MountPoint: c.MountPoint} }

// How long a mount has to have been there before it is believed to stay. A line in fstab, or a unit, makes systemd act on
// it, which takes it longer than one look; a hook that writes is worth a moment.
const (
	mountedFor      = 25 * time.Millisecond
	stayedForHook   = 100 * time.Millisecond
	stayedInFstab   = time.Second
	noLongerMounted = "find out what unmounted it: an /etc/fstab line whose device is missing, or a unit (`systemctl status MOUNT.mount`, `journalctl -b`); then run mount again"
)

func (w *Env) confirmMount() plan.Funcs[ConfirmMountIn, Confirmed] {
	return plan.Funcs[ConfirmMountIn, Confirmed]{
		Do: func(ctx context.Context, _ plan.Attempt, in ConfirmMountIn) (Confirmed, error) {
			m := in.Mounted.Must()
			return Confirmed{m.MountPoint}, w.stillMounted(ctx, m, mountedFor)
		},
		Preview: func(ConfirmMountIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewRead, "check that it is still mounted")
		},
	}
}

// noteMount notes when this process mounted something: what was mounted before, or by another, has proved to stay.
func (w *Env) noteMount(mountPoint string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mountedAt == nil {
		w.mountedAt = map[string]time.Time{}
	}
	w.mountedAt[mountPoint] = time.Now()
}

// stillMounted reports whether a volume is mounted where this run has mounted or found it, once the mount has been there for a
// while.
func (w *Env) stillMounted(ctx context.Context, m Mounted, age time.Duration) error {
	var line linux.FstabLine
	inFstab := false
	if w.Fstab != nil {
		line, inFstab = w.Fstab(m.MountPoint)
	}
	if inFstab && age > 0 {
		age = stayedInFstab
	}
	w.mu.Lock()
	at, ours := w.mountedAt[m.MountPoint]
	w.mu.Unlock()
	if left := age - time.Since(at); ours && left > 0 {
		t := time.NewTimer(left)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	now, err := w.occupantOf(m.MountPoint)
	if err != nil {
		return err
	}
	if now.mounted && w.isMounted(m, now) {
		return nil
	}
	why := "it was unmounted by another program"
	if now.mounted {
		why = now.String() + " is mounted there now"
	}
	if inFstab {
		why += fmt.Sprintf(" (%s names this mount point: %s)", line.Place, line.Text)
	}
	return plan.Terminal(noLongerMounted, fmt.Errorf("%s is no longer mounted on %s: %s", m.VolumeID, m.MountPoint, why))
}

// isMounted reports whether what is at a mount point is what was mounted there.
func (w *Env) isMounted(m Mounted, now occupant) bool {
	if now.device != nil && now.device.VolumeID != "" {
		return now.device.VolumeID == m.VolumeID
	}
	return now.mount.Source == m.Source || now.device != nil && now.device.Path == m.Source
}

// checkHookMounts looks, before a hook that follows mounting, at what the hook will work on.
func (w *Env) checkHookMounts(ctx context.Context, in HookIn) error {
	if in.Name != "post_mount" && in.Name != "post_mounts" {
		return nil
	}
	for _, v := range in.Volumes {
		m, known := v.Mounted.Get()
		if !known || in.Of != "" && in.Of != v.MountPoint {
			continue
		}
		if err := w.stillMounted(ctx, m, stayedForHook); err != nil {
			return fmt.Errorf("the %s hook was not run: %w", in.Name, err)
		}
	}
	return nil
}
