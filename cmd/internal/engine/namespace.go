package engine

import (
	"errors"
	"slices"
	"strings"

	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/steps"
)

// errPrivateMounts: this process is in a private mount namespace.
var errPrivateMounts = errors.New("this process is in a private mount namespace (unshare, a container, or PrivateMounts=, PrivateTmp=, ProtectSystem= or similar in its unit): no other process would see the mounts")

// requireSharedMounts refuses a plan that mounts or unmounts where nobody else would see it. A freeze is the file system's, and
// so the same in all namespaces.
func (e *Engine) requireSharedMounts(p *plan.Plan) error {
	mounts := slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Kind == steps.Mount.Kind || s.Kind == steps.Unmount.Kind })
	if !mounts || e.PrivateMounts {
		return nil
	}
	switch shared, known := linux.New(e.Roots).MountsShared(); {
	case !known:
		e.log.Warn("cannot determine whether this is the host's mount namespace: /proc does not show the mounts of PID 1")
	case !shared:
		return hinted("run it with `nsenter --mount=/proc/1/ns/mnt`, or use --private-mounts to mount in this namespace", "cannot %s: %w", strings.TrimSpace(p.Operation+" "+p.Snapshotter), errPrivateMounts)
	}
	return nil
}
