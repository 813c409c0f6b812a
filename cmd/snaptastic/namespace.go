package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/steps"
)

// privateMountsFlag is for every command that mounts or unmounts.
func privateMountsFlag(c *cobra.Command, a *app) {
	c.Flags().BoolVar(&a.privateMounts, "private-mounts", false, "mount and unmount in this process's own mount namespace, though the rest of the machine does not see it")
}

// errPrivateMounts: this process has a mount namespace of its own.
var errPrivateMounts = errors.New("this process has a mount namespace of its own (unshare, a container, or PrivateMounts=, PrivateTmp=, ProtectSystem= and the like in its unit): the rest of the machine would not see it")

// needSharedMounts refuses a plan that mounts or unmounts where nobody else would see it. A freeze is the file system's, and
// so the same in all namespaces.
func (a *app) needSharedMounts(p *plan.Plan) error {
	mounts := slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Kind == steps.Mount.Kind || s.Kind == steps.Unmount.Kind })
	if !mounts || a.privateMounts {
		return nil
	}
	switch shared, known := linux.New(a.roots()).MountsShared(); {
	case !known:
		a.log.Warn("cannot tell whether the rest of the machine sees what is mounted here: /proc does not show the mounts of PID 1")
	case !shared:
		return hinted("run it outside, with `nsenter --mount=/proc/1/ns/mnt`, or use --private-mounts to do it all the same", "cannot %s: %w", strings.TrimSpace(p.Operation+" "+p.Snapshotter), errPrivateMounts)
	}
	return nil
}

// fstab looks for lines that make systemd mount and unmount where a volume is declared.
func (d *doctor) fstab() {
	const check = "fstab"
	host, found := linux.New(d.roots()), false
	for _, s := range d.specs {
		for _, v := range s.Volumes {
			if line, there := host.FstabLine(v.MountPoint); there {
				found = true
				d.warn(check, "remove the line, then `systemctl daemon-reload`", "%s names %s, a mount point of %s: systemd mounts and unmounts there by itself (%s)", line.Place, v.MountPoint, s.Name, line.Text)
			}
		}
	}
	if !found && len(d.specs) > 0 {
		d.ok(check, "names no declared mount point")
	}
}

// namespace looks whether others see what is mounted here.
func (d *doctor) namespace() {
	const check = "mount namespace"
	switch shared, known := linux.New(d.roots()).MountsShared(); {
	case !known:
		d.warn(check, "", "cannot tell whether it is the machine's: /proc does not show the mounts of PID 1")
	case !shared:
		d.fail(check, "run it outside, with `nsenter --mount=/proc/1/ns/mnt`; in a unit, leave PrivateMounts=, PrivateTmp=, ProtectSystem= away", "%v", errPrivateMounts)
	default:
		d.ok(check, "the machine's: others see what is mounted")
	}
}
