package recipe

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"snaptastic/plan"
	"snaptastic/steps"
)

// DefaultTimeouts are those of a snapshotter that sets none.
var DefaultTimeouts = Timeouts{
	Snapshot: 30 * time.Minute, Volume: 10 * time.Minute, Attach: 90 * time.Second, Device: 2 * time.Minute, Detach: 5 * time.Minute,
	Complete: 12 * time.Hour, Mkfs: 30 * time.Minute, Mount: 10 * time.Minute,
}

const (
	describeTimeout = 2 * time.Minute  // a describe, throttling included
	write           = 10 * time.Minute // syncing, unmounting, tagging
	hookGrace       = 30 * time.Second // between a hook's own time-out and the step's: its group is ended meanwhile
	attachMore      = time.Minute      // to take a hanging attachment off again
	maxHold         = 10 * time.Second // the guard's default
)

// claims are what no other unfinished run may touch: the mount point, the folder that it leads to, and the device name, in
// the one spelling that all of its spellings have in common.
func claims(v Volume) []string {
	out := []string{"mount:" + v.MountPoint}
	if v.Place() != v.MountPoint {
		out = append(out, "mount:"+v.Place())
	}
	return append(out, "device:"+steps.DeviceKey(v.Device))
}

func (t Timeouts) orDefaults() Timeouts {
	or := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	d := DefaultTimeouts
	or(&t.Snapshot, d.Snapshot)
	or(&t.Volume, d.Volume)
	or(&t.Attach, d.Attach)
	or(&t.Device, d.Device)
	or(&t.Detach, d.Detach)
	or(&t.Complete, d.Complete)
	or(&t.Mkfs, d.Mkfs)
	or(&t.Mount, d.Mount)
	return t
}

// compiler is one compilation.
type compiler struct {
	b *plan.Builder
	Request
	spec     Spec
	timeouts Timeouts
	replaces bool // other volumes take the place of those that are unmounted
}

// compiledBy makes a recipe an operation's compile function.
func compiledBy(recipe func(*compiler)) func(*plan.Builder, Request) {
	return func(b *plan.Builder, r Request) {
		recipe(&compiler{b: b, Request: r, spec: r.Spec, timeouts: r.Spec.Timeouts.orDefaults()})
	}
}

// id names a volume's step: kind:mount point. What a step id cannot hold is written as %XX.
func id(kind string, v Volume) plan.StepID {
	var b strings.Builder
	b.WriteString(kind + ":")
	for _, r := range []byte(v.MountPoint) {
		if r <= ' ' || r == '%' || r == 0x7f {
			fmt.Fprintf(&b, "%%%02X", r)
			continue
		}
		b.WriteByte(r)
	}
	return plan.StepID(b.String())
}

// together makes one option of several; nil ones are left out.
func together(options ...plan.Option) plan.Option {
	return func(b *plan.Builder, s *plan.Step) {
		for _, o := range options {
			if o != nil {
				o(b, s)
			}
		}
	}
}

// outsideIn returns the volumes so that a mount point comes after the one that it lies in, and otherwise as declared.
func outsideIn(volumes []Volume) []Volume {
	var out []Volume
	placed := map[string]bool{}
	var place func(v Volume)
	place = func(v Volume) {
		if placed[v.MountPoint] {
			return
		}
		placed[v.MountPoint] = true
		if parent, nested := parentOf(v, volumes); nested {
			place(parent)
		}
		out = append(out, v)
	}
	for _, v := range volumes {
		place(v)
	}
	return out
}

// parentOf returns the volume whose mount point is the nearest above v's, by where they lead to.
func parentOf(v Volume, volumes []Volume) (Volume, bool) {
	for dir := path.Dir(v.Place()); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if i := slices.IndexFunc(volumes, func(o Volume) bool { return o.Place() == dir }); i >= 0 {
			return volumes[i], true
		}
	}
	return Volume{}, false
}

// findVolume adds the look that every lane begins with.
func (c *compiler) findVolume(v Volume, purpose steps.Purpose, options ...plan.Option) plan.Value[steps.FoundVolume] {
	in := steps.FindVolumeIn{For: purpose, Device: v.Device, NameOffset: v.DeviceNameOffset, Rivals: c.rivals(v), MountPoint: v.MountPoint,
		FilterTags: c.spec.FilterTags, IgnoreForeign: c.Options.Bool(IgnoreMounted)}
	return plan.Add(c.b, steps.FindVolume, id("find-volume", v), in, plan.InLane(v.MountPoint), plan.Within(describeTimeout),
		plan.Title("find the volume of %s at %s", v.MountPoint, v.Device), together(options...))
}

// rivals are the device names of other volumes that a kernel which shifts its names would show under v's; none where the
// settings say whether it does.
func (c *compiler) rivals(v Volume) []string {
	if v.Unshifted || v.DeviceNameOffset != 0 {
		return nil
	}
	var others []string
	for _, o := range c.spec.Volumes {
		if o.Device != v.Device && !o.Unshifted && o.DeviceNameOffset == 0 {
			others = append(others, o.Device)
		}
	}
	return steps.RivalNames(v.Device, others)
}

// tags are those that the volumes and snapshots of this snapshotter have in common.
func (c *compiler) tags() map[string]string {
	tags := map[string]string{steps.TagInstance: c.Target.InstanceID}
	maps.Copy(tags, c.spec.FilterTags)
	return tags
}

func ids[T any](of []T, name func(T) plan.StepID) []plan.StepID {
	var out []plan.StepID
	for _, x := range of {
		out = append(out, name(x))
	}
	return out
}
