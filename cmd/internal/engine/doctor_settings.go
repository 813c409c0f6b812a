package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"snaptastic/cmd/internal/settings"
	"snaptastic/linux"
	"snaptastic/steps/recipe"
)

// file reads the settings file. Without one the rest is looked at all the same.
func (d *doctor) file() {
	err := d.loadSettings()
	var diags *settings.Error
	switch {
	case errors.Is(err, settings.ErrNotFound):
		d.warn("settings", "write /etc/snaptastic.hcl, or pass a file with --settings", "none found: snapshotters, tools and hooks are not checked")
	case errors.As(err, &diags):
		for _, line := range diags.Lines() {
			d.fail("settings", "", "%s", line)
		}
	case err != nil:
		d.failed("settings", err)
	case len(d.Engine.file.Names()) == 0:
		d.warn("settings", `add a block snapshotter "NAME" { … }`, "%s declares no snapshotter", several(d.Engine.file.Paths()))
	default:
		d.ok("settings", "%s: %s", several(d.Engine.file.Paths()), several(d.Engine.file.Names()))
	}
}

// snapshotters evaluates each one with this instance's userdata.
func (d *doctor) snapshotters(ctx context.Context) {
	if d.Engine.file == nil {
		return
	}
	numbered := false
	for _, name := range d.Engine.file.Names() {
		check := "snapshotter " + name
		spec, err := d.readSpec(ctx, name, nil, func(w *settings.Error) {
			for i, diag := range w.Diagnostics() {
				what := check
				if diag.Summary == "Device name translated" {
					what, numbered = "device names", true
				}
				d.warn(what, "", "%s", w.Lines()[i])
			}
		})
		var diags *settings.Error
		switch {
		case errors.As(err, &diags):
			for _, line := range diags.Lines() {
				d.fail(check, "", "%s", line)
			}
			continue
		case err != nil:
			d.failed(check, err)
			continue
		}
		d.specs = append(d.specs, spec)
		var tags []string
		for _, k := range slices.Sorted(maps.Keys(spec.FilterTags)) {
			tags = append(tags, k+"="+spec.FilterTags[k])
		}
		d.ok(check, "%s of %s", volumesOf(len(spec.Volumes)), several(tags))
	}
	if !numbered && len(d.specs) > 0 {
		d.ok("device names", "all valid for EC2")
	}
}

func volumesOf(n int) string {
	if n == 1 {
		return "1 volume"
	}
	return fmt.Sprintf("%d volumes", n)
}

// tools looks for mkfs, and for the kernel's part, of each declared file system.
func (d *doctor) tools() {
	needed := map[string]bool{} // file system -> may an empty volume have to be formatted?
	for _, s := range d.specs {
		for _, v := range s.Volumes {
			needed[v.FileSystem] = needed[v.FileSystem] || s.OnMissing == recipe.CreateEmpty
		}
	}
	for _, fs := range slices.Sorted(maps.Keys(needed)) {
		check, missing := "file system "+fs, linux.MissingTools(fs)
		var programs, packages []string
		for _, t := range missing {
			programs = append(programs, t.Command)
			if !slices.Contains(packages, t.Package) {
				packages = append(packages, t.Package)
			}
		}
		fix := "install " + strings.Join(packages, " ")
		switch {
		case !linux.KernelSupports(fs):
			d.fail(check, "use another file_system, or a kernel that supports it", "the running kernel cannot mount it")
		case len(missing) > 0 && needed[fs]:
			d.fail(check, fix, "an empty volume could not be formatted: %s is missing", strings.Join(programs, ", "))
		case len(missing) > 0:
			d.warn(check, fix, "%s is missing; only volumes that have a snapshot can be mounted", strings.Join(programs, ", "))
		default:
			d.ok(check, "supported by the kernel, mkfs installed")
		}
	}
}

// hooks looks for the programs that hooks run. One may lie on a volume that
// is yet to be mounted, so a missing one is no failure.
func (d *doctor) hooks() {
	programs := map[string][]string{}
	for _, s := range d.specs {
		for name, h := range s.Hooks {
			programs[h.Command[0]] = append(programs[h.Command[0]], s.Name+"."+name)
		}
	}
	found := 0
	for _, p := range slices.Sorted(maps.Keys(programs)) {
		if _, err := exec.LookPath(p); err != nil {
			slices.Sort(programs[p])
			d.warn("hook program "+p, "install it, or use its full path", "not found; used by %s", several(programs[p]))
			continue
		}
		found++
	}
	if found > 0 && found == len(programs) {
		d.ok("hook programs", "all %d found", found)
	}
}
