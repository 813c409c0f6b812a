package main

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/steps"
)

// A backupScope is what is judged together: the volumes and snapshots that bear
// the same filter tags.
type backupScope struct {
	Name     string            // the snapshotter's, or the tags in words
	Tags     map[string]string // filter tags
	Declared []string          // mount points; none when no settings are at hand
	Group    bool              // sets restore as a whole
}

// A verdict is about one mount point, or about one volume in use.
type verdict struct {
	Subject    string     `json:"snapshotter"`
	MountPoint string     `json:"mount_point"`
	VolumeID   string     `json:"volume_id,omitempty"` // empty: about the mount point
	InstanceID string     `json:"instance_id,omitempty"`
	Device     string     `json:"device,omitempty"`
	OK         bool       `json:"ok"`
	SnapshotID string     `json:"snapshot_id,omitempty"` // the newest that counts
	Started    *time.Time `json:"started,omitempty"`
	AgeSeconds *int64     `json:"age_seconds,omitempty"`
	Problem    string     `json:"problem,omitempty"`
}

// clockSlack is how far ahead of the clock a snapshot may have begun. Beyond
// it the clock is wrong, and then no age can be told.
const clockSlack = 5 * time.Minute

// judge says, for each mount point and for each volume in use, whether there
// is a completed, restorable snapshot of it that is not older than maxAge. It
// is pure: now and the snapshots' start times are instants, so neither time
// zones nor daylight-saving days matter.
func judge(s backupScope, volumes []ec2.Volume, snapshots []ec2.Snapshot, now time.Time, maxAge time.Duration) []verdict {
	c := court{backupScope: s, now: now, maxAge: maxAge, all: newestFirst(snapshots)}
	for _, snap := range c.all {
		if origin := steps.OriginOf(snap.Tags); !origin.Restorable() || steps.Unready(snap) == "" {
			c.countable = append(c.countable, snap)
		}
	}
	c.whole = steps.Whole(c.countable)
	for _, v := range volumes {
		if a, on := inUse(v); on && v.Tags[steps.TagMountPoint] != "" {
			c.used = append(c.used, usedVolume{v, a})
		}
	}
	slices.SortFunc(c.used, func(a, b usedVolume) int {
		return cmp.Or(strings.Compare(a.Tags[steps.TagMountPoint], b.Tags[steps.TagMountPoint]), strings.Compare(a.ID, b.ID))
	})
	var out []verdict
	choices := c.choices()
	for _, choice := range choices {
		out = append(out, c.mountPoint(choice))
		for _, v := range c.used {
			if samePath(v.Tags[steps.TagMountPoint], choice.MountPoint) {
				out = append(out, c.volume(v))
			}
		}
	}
	return out
}

type usedVolume struct {
	ec2.Volume
	at ec2.Attachment
}

// inUse says whether the volume is attached to an instance; one on its way
// there or off is not.
func inUse(v ec2.Volume) (ec2.Attachment, bool) {
	i := slices.IndexFunc(v.Attachments, func(a ec2.Attachment) bool { return a.State == "attached" || a.State == "busy" })
	if i < 0 {
		return ec2.Attachment{}, false
	}
	return v.Attachments[i], true
}

// court holds what the verdicts are made from.
type court struct {
	backupScope
	now       time.Time
	maxAge    time.Duration
	all       []ec2.Snapshot // newest first
	countable []ec2.Snapshot // without those that are not completed, or asleep
	whole     map[string]bool
	used      []usedVolume
}

// choices are what a mount would take of the completed snapshots: for the
// declared mount points together, for others that are in use each by itself.
func (c *court) choices() []steps.Choice {
	out := steps.Choose(steps.Wish{MountPoints: c.Declared, Group: c.Group}, c.countable)
	for _, v := range c.used {
		mp := v.Tags[steps.TagMountPoint]
		if slices.ContainsFunc(out, func(o steps.Choice) bool { return samePath(o.MountPoint, mp) }) {
			continue
		}
		out = append(out, steps.Choose(steps.Wish{MountPoints: []string{path.Clean(mp)}, Group: c.Group}, c.countable)...)
	}
	return out
}

func (c *court) mountPoint(choice steps.Choice) verdict {
	v := verdict{Subject: c.Name, MountPoint: choice.MountPoint}
	of := c.of(func(s ec2.Snapshot) bool { return samePath(s.Tags[steps.TagMountPoint], choice.MountPoint) })
	i := slices.IndexFunc(of, func(s ec2.Snapshot) bool { return s.ID == choice.SnapshotID })
	v.decide(c, of, i)
	if !slices.ContainsFunc(c.used, func(u usedVolume) bool { return samePath(u.Tags[steps.TagMountPoint], choice.MountPoint) }) {
		v.OK, v.Problem = false, strings.TrimSuffix("no volume of it is in use; "+v.Problem, "; ")
	}
	return v
}

// volume: what covers it is a snapshot of it, or the one that it was made
// from: as long as that one is recent, little was written since.
func (c *court) volume(u usedVolume) verdict {
	v := verdict{Subject: c.Name, MountPoint: path.Clean(u.Tags[steps.TagMountPoint]), VolumeID: u.ID, InstanceID: u.at.InstanceID, Device: u.at.Device}
	of := c.of(func(s ec2.Snapshot) bool {
		return (s.VolumeID == u.ID || s.ID == u.SnapshotID) && samePath(s.Tags[steps.TagMountPoint], v.MountPoint)
	})
	v.decide(c, of, slices.IndexFunc(of, func(s ec2.Snapshot) bool { return c.uncounted(s) == "" }))
	return v
}

func (c *court) of(is func(ec2.Snapshot) bool) []ec2.Snapshot {
	return slices.DeleteFunc(slices.Clone(c.all), func(s ec2.Snapshot) bool { return !is(s) })
}

// uncounted says why a snapshot does not count, whatever its age.
func (c *court) uncounted(s ec2.Snapshot) string {
	switch origin, unready := steps.OriginOf(s.Tags), steps.Unready(s); {
	case origin == steps.OriginUnverified:
		return "not labelled " + steps.Consistent
	case origin == steps.OriginCopied:
		return "another tool's, with our tags copied"
	case unready != "":
		return unready
	case c.Group && !c.whole[s.ID]:
		return "of a set that is not complete"
	}
	return ""
}

// decide judges by the age of the best of some snapshots; best is -1 where
// none counts.
func (v *verdict) decide(c *court, of []ec2.Snapshot, best int) {
	switch {
	case len(of) == 0:
		v.Problem = "no snapshot of it exists"
		return
	case best < 0:
		v.Problem = "no snapshot of it counts: " + c.passedOver(of)
		return
	}
	s := of[best]
	age := c.now.Sub(s.Started)
	seconds, started := int64(age/time.Second), s.Started.UTC()
	v.SnapshotID, v.Started, v.AgeSeconds = s.ID, &started, &seconds
	switch {
	case age < -clockSlack:
		v.Problem = fmt.Sprintf("%s began %s in the future: a clock is wrong", s.ID, toTheSecond(-age))
	case age > c.maxAge:
		v.Problem = fmt.Sprintf("its newest snapshot %s is %s old, which is over %s", s.ID, toTheSecond(age), toTheSecond(c.maxAge))
		if newer := c.passedOver(of[:best]); newer != "" {
			v.Problem += "; newer: " + newer
		}
	default:
		v.OK = true
	}
}

// passedOver says of the newest few why they do not count.
func (c *court) passedOver(of []ec2.Snapshot) string {
	const enough = 3
	var words []string
	for _, s := range of[:min(len(of), enough)] {
		words = append(words, s.ID+" is "+cmp.Or(c.uncounted(s), "not of the newest complete set"))
	}
	if more := len(of) - enough; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, ", ")
}

func newestFirst(snapshots []ec2.Snapshot) []ec2.Snapshot {
	out := slices.Clone(snapshots)
	slices.SortFunc(out, func(a, b ec2.Snapshot) int {
		return cmp.Or(b.Started.Compare(a.Started), strings.Compare(b.ID, a.ID))
	})
	return out
}

func samePath(a, b string) bool { return a != "" && path.Clean(a) == path.Clean(b) }

// toTheSecond writes a duration to the second, rounded up so that what is over
// a limit also reads so: 26h, 26h1s, 90m.
func toTheSecond(d time.Duration) string {
	if rest := d % time.Second; rest > 0 {
		d += time.Second - rest
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
