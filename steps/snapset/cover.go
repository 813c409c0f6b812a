package snapset

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan/units"
)

// A Scope is what is judged together: the volumes and snapshots with the same filter tags.
type Scope struct {
	Name     string            // the snapshotter's, or the tags in words
	Tags     map[string]string // filter tags
	Declared []string          // mount points; none when no settings are at hand
	Group    bool              // sets restore as a whole

	MaxVerifyAge time.Duration // of the last drill that succeeded; 0: none is needed
}

// A Finding is about one mount point, or about one volume in use.
type Finding struct {
	Subject    string     `json:"snapshotter"`
	MountPoint string     `json:"mount_point"`
	Region     string     `json:"region,omitempty"`    // of the copies that it is about; empty: about the region of the volumes
	VolumeID   string     `json:"volume_id,omitempty"` // empty: about the mount point
	InstanceID string     `json:"instance_id,omitempty"`
	Device     string     `json:"device,omitempty"`
	OK         bool       `json:"ok"`
	SnapshotID string     `json:"snapshot_id,omitempty"` // the newest that counts
	Started    *time.Time `json:"started,omitempty"`     // when it was begun, or copied
	DataTime   *time.Time `json:"data_time,omitempty"`   // when its data was so
	AgeSeconds *int64     `json:"age_seconds,omitempty"` // of its data
	Problem    string     `json:"problem,omitempty"`

	Verified       *time.Time `json:"verified,omitempty"`             // of a mount point: when a drill last found a set of it good
	RestoreSeconds int64      `json:"restore_seconds,omitempty"`      // that it took then
	VerifyFailed   *time.Time `json:"verify_failed,omitempty"`        // when the drill of the newest set that was drilled failed
	FailedReason   string     `json:"verify_failed_reason,omitempty"` // and why
}

// clockSlack is how far ahead of the clock a snapshot may have begun. Beyond it the clock is wrong, and then no age can
// be told.
const clockSlack = 5 * time.Minute

// Covered says, for each mount point and for each volume in use, whether there is a completed, restorable snapshot of it
// whose data is not older than maxAge. Now and the snapshots' times are instants, so neither time zones nor
// daylight-saving days matter. It costs what there are volumes and snapshots, not their product.
func Covered(s Scope, volumes []ec2.Volume, snapshots *Index, now time.Time, maxAge time.Duration) []Finding {
	c := coverage{Scope: s, now: now, maxAge: maxAge, used: map[string][]*usedVolume{}, of: map[string][]*Row{},
		countable: snapshots.only(func(r *Row) bool { return !r.Origin.Restorable() || r.Unready() == "" })}
	c.whole = c.countable.complete()
	for _, v := range volumes {
		if a, on := InUse(v); on && v.Tags[TagMountPoint] != "" {
			point := path.Clean(v.Tags[TagMountPoint])
			c.used[point] = append(c.used[point], &usedVolume{Volume: v, at: a})
		}
	}
	for _, used := range c.used {
		slices.SortFunc(used, func(a, b *usedVolume) int {
			return cmp.Or(strings.Compare(a.Tags[TagMountPoint], b.Tags[TagMountPoint]), strings.Compare(a.ID, b.ID))
		})
	}
	c.sort(snapshots.NewestFirst())
	var out []Finding
	for _, choice := range c.choices() {
		out = append(out, c.mountPoint(choice))
		for _, v := range c.used[path.Clean(choice.MountPoint)] {
			out = append(out, c.volume(v))
		}
	}
	return out
}

type usedVolume struct {
	ec2.Volume
	at ec2.Attachment
	of []*Row // what may cover it, newest first
}

// InUse reports whether the volume is attached to an instance; one on its way there or off is not.
func InUse(v ec2.Volume) (ec2.Attachment, bool) {
	i := slices.IndexFunc(v.Attachments, func(a ec2.Attachment) bool { return a.State == ebs.Attached || a.State == ebs.Busy })
	if i < 0 {
		return ec2.Attachment{}, false
	}
	return v.Attachments[i], true
}

// coverage holds what the findings are made from.
type coverage struct {
	Scope
	now       time.Time
	maxAge    time.Duration
	of        map[string][]*Row // all of a mount point, newest first
	countable *Index            // without those that are not completed, or asleep
	whole     map[*Row]bool
	used      map[string][]*usedVolume // by mount point
}

// sort gives each mount point and each volume in use its snapshots. What covers a volume is a snapshot of it, or the one
// that it was made from: as long as that one is recent, little was written since.
func (c *coverage) sort(newestFirst []*Row) {
	type key struct{ point, id string }
	of, from, on := map[key][]*usedVolume{}, map[key][]*usedVolume{}, map[key][]*usedVolume{}
	for point, used := range c.used {
		for _, u := range used {
			of[key{point, u.ID}] = append(of[key{point, u.ID}], u)
			from[key{point, u.SnapshotID}] = append(from[key{point, u.SnapshotID}], u)
			on[key{point, u.at.InstanceID}] = append(on[key{point, u.at.InstanceID}], u)
		}
	}
	for _, r := range newestFirst {
		point := r.point()
		if point == "" {
			continue
		}
		c.of[point] = append(c.of[point], r)
		for _, u := range of[key{point, r.VolumeID}] {
			u.add(r)
		}
		for _, u := range from[key{point, r.ID}] {
			u.add(r)
		}
		if r.Copy {
			for _, u := range on[key{point, r.Instance}] {
				if copyOf(r, u) {
					u.add(r)
				}
			}
		}
	}
}

func (u *usedVolume) add(r *Row) {
	if n := len(u.of); n == 0 || u.of[n-1] != r {
		u.of = append(u.of, r)
	}
}

// copyOf reports whether a copy is of a snapshot of the volume: EC2 does not say which volume that was of, but its tags say
// of which instance, and when.
func copyOf(r *Row, u *usedVolume) bool {
	return r.Copy && r.Instance == u.at.InstanceID && !u.Created.IsZero() && r.DataTime().After(u.Created)
}

// choices are what a mount would take of the completed snapshots: for the declared mount points together, for others
// that are in use each by itself.
func (c *coverage) choices() []Choice {
	out := c.countable.Choose(Request{MountPoints: c.Declared, Group: c.Group})
	declared := map[string]bool{}
	for _, mp := range c.Declared {
		declared[path.Clean(mp)] = true
	}
	for _, point := range slices.Sorted(maps.Keys(c.used)) {
		if !declared[point] {
			out = append(out, c.countable.Choose(Request{MountPoints: []string{point}, Group: c.Group})...)
		}
	}
	return out
}

func (c *coverage) mountPoint(choice Choice) Finding {
	f := Finding{Subject: c.Name, MountPoint: choice.MountPoint}
	of := c.of[path.Clean(choice.MountPoint)]
	f.decide(c, of, slices.IndexFunc(of, func(r *Row) bool { return r.ID == choice.SnapshotID }))
	if len(c.used[path.Clean(choice.MountPoint)]) == 0 {
		f.OK, f.Problem = false, joined("no volume is in use", f.Problem)
	}
	f.proven(c, of)
	return f
}

// proven says when a drill last succeeded, on whatever set of the mount point, and whether the newest one that was drilled is bad. It is a
// gap where that is asked for.
func (f *Finding) proven(c *coverage, of []*Row) {
	asked := false
	for _, r := range of {
		d := r.Drill()
		if !asked && d.State() != Untested {
			asked = true
			if d.State() == DrillFailed {
				f.VerifyFailed, f.FailedReason = known(d.FailedAt()), cmp.Or(d.Reason(), "the reason is not known")
			}
		}
		if at := d.VerifiedAt(); !at.IsZero() && d.State() == Verified && (f.Verified == nil || at.After(*f.Verified)) {
			f.Verified, f.RestoreSeconds = &at, int64(d.RestoreTime()/time.Second)
		}
	}
	problem, limit := "", c.MaxVerifyAge
	switch {
	case f.FailedReason != "": // whoever drills wants to know
		problem = "its newest drilled set failed: " + f.FailedReason
	case limit == 0:
	case f.Verified == nil:
		problem = "no set was ever verified: use `snaptastic run verify`"
	case c.now.Sub(*f.Verified) < -clockSlack:
		problem = "its last drill is in the future: a clock is wrong"
	case c.now.Sub(*f.Verified) > limit:
		problem = fmt.Sprintf("its last successful drill was %s ago (limit %s)", units.Limit(c.now.Sub(*f.Verified)), units.Limit(limit))
	}
	if problem != "" {
		f.OK = false
		if f.Problem != "" {
			problem = f.Problem + "; " + problem
		}
		f.Problem = problem
	}
}

func (c *coverage) volume(u *usedVolume) Finding {
	f := Finding{Subject: c.Name, MountPoint: path.Clean(u.Tags[TagMountPoint]), VolumeID: u.ID, InstanceID: u.at.InstanceID, Device: u.at.Device}
	f.decide(c, u.of, slices.IndexFunc(u.of, func(r *Row) bool { return c.uncounted(r) == "" }))
	return f
}

// uncounted says why a snapshot does not count, whatever its age.
func (c *coverage) uncounted(r *Row) string {
	switch unready := r.Unready(); {
	case r.Origin == OriginUnverified:
		return "not labelled " + Consistent
	case r.Origin == OriginCopied:
		return "from another tool that copied our tags"
	case unready != "":
		return unready
	case c.Group && !c.whole[r]:
		return "part of an incomplete set"
	}
	return ""
}

// decide judges by the age of the best of some snapshots; best is -1 where none counts.
func (f *Finding) decide(c *coverage, of []*Row, best int) {
	switch {
	case len(of) == 0:
		f.Problem = "no snapshot exists"
		return
	case best < 0:
		f.Problem = "no valid snapshot: " + c.passedOver(of)
		return
	}
	s := of[best]
	began, at := s.Started(), s.DataTime()
	f.SnapshotID, f.Started = s.ID, &began
	if at.IsZero() {
		f.Problem = fmt.Sprintf("its newest snapshot %s is a copy of unknown data age", s.ID)
		return
	}
	age := c.now.Sub(at)
	seconds := int64(age / time.Second)
	f.DataTime, f.AgeSeconds = &at, &seconds
	switch {
	case age < -clockSlack:
		f.Problem = fmt.Sprintf("%s started %s in the future: a clock is wrong", s.ID, units.Limit(-age))
	case age > c.maxAge:
		f.Problem = fmt.Sprintf("its newest snapshot %s is %s old (limit %s)", s.ID, units.Limit(age), units.Limit(c.maxAge))
		newer := slices.DeleteFunc(slices.Clone(of[:best]), func(r *Row) bool { return r.data <= s.data }) // a copy is as old
		if len(newer) > 0 {
			f.Problem += "; newer: " + c.passedOver(newer)
		}
	default:
		f.OK = true
	}
}

// passedOver says of the newest few why they do not count.
func (c *coverage) passedOver(of []*Row) string {
	const enough = 3
	var words []string
	for _, s := range of[:min(len(of), enough)] {
		words = append(words, s.ID+" is "+cmp.Or(c.uncounted(s), "not in the newest complete set"))
	}
	if more := len(of) - enough; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, ", ")
}
