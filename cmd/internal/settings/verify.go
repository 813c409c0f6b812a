package settings

import (
	"time"

	"github.com/hashicorp/hcl/v2"

	"snaptastic/linux"
	"snaptastic/steps/recipe"
)

// The arguments of verify.
var (
	probeAttr = plain("probe", `list of words`, `none: the volumes need only be mountable`,
		"a program and its arguments, run as root and without a shell, that looks at the restored data: see [Probes](restoring.md#probes). Exit code 0 is good; otherwise the last line on its stderr is the reason")
	drillTimeoutAttr = span("timeout", time.Second, 7*24*time.Hour, recipe.DefaultDrillTimeout, "how long the probe may take, and each file system check. A probe that takes longer is terminated with its process group, and the set has failed")
	everyAttr        = span("every", time.Hour, 400*24*time.Hour, 0, "how often a set has to pass a drill: `check` reports a snapshotter whose last one is longer ago").shownAs("never")
	checkAttr        = oneOf("check", []recipe.CheckKind{recipe.CheckFull, recipe.CheckMount}, "`\"full\"`: mount each file system and run its read-only check (`e2fsck -fn`, `xfs_repair -n`, `btrfs check --readonly`). `\"mount\"`: mount it only")
	devicesAttr      = plain("devices", `list of device names`, `those that are free`, "EC2 device names for the scratch volumes")
)

var verifyShape = &shape{attrs: []argument{probeAttr, drillTimeoutAttr, everyAttr, checkAttr, devicesAttr}}

// verify reads the block; without one the recipe's defaults hold, which are the same.
func (r *reader) verify(blocks hcl.Blocks, spec *recipe.Spec) {
	if len(blocks) == 0 {
		return
	}
	content, diags := blocks[0].Body.Content(verifyShape.schema())
	r.diags = append(r.diags, diags...)
	attrs := content.Attributes
	spec.Drill = recipe.Drill{Timeout: drillTimeoutAttr.value(r, attrs), Every: everyAttr.value(r, attrs), Check: checkAttr.value(r, attrs)}
	if attr := probeAttr.in(attrs); attr != nil {
		spec.Drill.Probe = r.command(attr)
	}
	if attr := devicesAttr.in(attrs); attr != nil {
		spec.Drill.Devices = r.spareDevices(attr, spec.Volumes)
	}
}

// spareDevices reads the names of devices that no volume of the snapshotter has.
func (r *reader) spareDevices(attr *hcl.Attribute, volumes []recipe.Volume) (names []string) {
	words, ok := r.words(attr, nil, `a list of device names, such as ["/dev/sdx", "/dev/sdy"]`)
	if !ok {
		return nil
	}
	taken := map[string]string{}
	for _, v := range volumes {
		taken[deviceKey(v.Device)] = "the volume mounted at " + v.MountPoint
	}
	for _, word := range words {
		name, _, err := linux.CanonicalDeviceName(word)
		if err != nil {
			r.invalid(attr, "%v.", err)
			continue
		}
		if who := taken[deviceKey(name)]; who != "" {
			r.invalid(attr, "%s is the device of %s already.", name, who)
		}
		taken[deviceKey(name)] = "another scratch volume"
		names = append(names, name)
	}
	if len(words) < len(volumes) {
		r.invalid(attr, "Expected a device name for each of the %d volumes; got %d.", len(volumes), len(words))
	}
	return names
}
