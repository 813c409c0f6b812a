package engine

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"snaptastic/journal"
	"snaptastic/steps/recipe"
)

// systemdNotes say what systemd does not know of after an unmount: the mount
// unit is a service that has run, and stays active. Whatever requires it could
// then be started over the empty folder.
func systemdNotes(ctx context.Context, e RunResult) []string {
	if op, _ := recipe.Named(e.Plan.Operation); op.Leaves != recipe.Unmounted || e.Rollback || e.Result.Outcome != journal.RunDone {
		return nil
	}
	unit := "snaptastic-mount@" + e.Plan.Snapshotter + ".service"
	if !unitActive(ctx, unit) {
		return nil
	}
	return []string{fmt.Sprintf("%s is still active in systemd, which would start services that require it on the empty directories. "+
		"Run `systemctl stop %s` to stop it and them, or `systemctl restart %s` to mount the volumes again", unit, unit, unit)}
}

// unitActive says whether systemd runs here and calls the unit active.
func unitActive(ctx context.Context, unit string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "is-active", "--", unit).Output()
	return err == nil && strings.TrimSpace(string(out)) == "active"
}
