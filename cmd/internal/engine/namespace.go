package engine

import (
	"errors"
	"slices"
	"strings"

	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/steps"
)

// errPrivateMounts: this process has a mount namespace of its own.
var errPrivateMounts = errors.New("this process has a mount namespace of its own (unshare, a container, or PrivateMounts=, PrivateTmp=, ProtectSystem= and the like in its unit): the rest of the machine would not see it")

// requireSharedMounts refuses a plan that mounts or unmounts where nobody else would see it. A freeze is the file system's, and
// so the same in all namespaces.
func (e *Engine) requireSharedMounts(p *plan.Plan) error {
	mounts := slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Kind == steps.Mount.Kind || s.Kind == steps.Unmount.Kind })
	if !mounts || e.PrivateMounts {
		return nil
	}
	switch shared, known := linux.New(e.Roots).MountsShared(); {
	case !known:
		e.log.Warn("cannot tell whether the rest of the machine sees what is mounted here: /proc does not show the mounts of PID 1")
	case !shared:
		return hinted("run it outside, with `nsenter --mount=/proc/1/ns/mnt`, or use --private-mounts to do it all the same", "cannot %s: %w", strings.TrimSpace(p.Operation+" "+p.Snapshotter), errPrivateMounts)
	}
	return nil
}
