package recipe

import (
	"errors"
	"slices"
	"time"

	"snaptastic/plan"
	"snaptastic/steps"
)

// Warming reads what is in use of a snapshotter's mounted volumes once, so that they are at full speed. It keeps nobody from the volumes: it
// claims only that no other run warms them, and a run that unmounts them stops it.
var Warming = Register(Operation{
	Name:        "warm",
	Short:       "Read what is in use of a snapshotter's restored volumes, so that they are at full speed",
	Resume:      plan.ResumeNextRun,
	Warms:       true,
	Volumes:     warmed,
	Claims:      func(v Volume) []string { return []string{warmClaim(v)} },
	Permissions: []Permission{{Action: "DescribeVolumes"}},
	Check: func(s Spec) error {
		if len(warmed(s)) == 0 {
			return plan.WithHint("set `warm = true` in a volume block", errors.New("none of its volumes is to be warmed"))
		}
		return nil
	},
	Compile: compiledBy((*compiler).warm),
})

// warmTimeout is no limit: a large volume at a low rate takes days.
const warmTimeout = 60 * 24 * time.Hour

func warmed(s Spec) []Volume {
	return slices.DeleteFunc(slices.Clone(s.Volumes), func(v Volume) bool { return v.Warm == nil })
}

// warmClaim keeps two runs from warming one volume, and one from being warmed while it is unmounted.
func warmClaim(v Volume) string { return "warm:" + v.Place() }

// warm looks at each volume and reads it.
func (c *compiler) warm() {
	for _, v := range outsideIn(c.spec.Volumes) {
		c.warmStep(v, steps.VolumeRef{Found: c.findVolume(v, steps.ToWarm)}, plan.InLane(v.MountPoint))
	}
}

func (c *compiler) warmStep(v Volume, of steps.VolumeRef, options ...plan.Option) plan.StepID {
	plan.Add(c.b, steps.Warm, id("warm", v), steps.WarmIn{VolumeRef: of, MountPoint: v.MountPoint, First: v.Warm.First, Rate: v.Warm.Rate}, together(options...),
		plan.Title("read what is in use of %s", v.MountPoint), plan.Within(warmTimeout))
	return id("warm", v)
}
