package snapset

import (
	"cmp"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"snaptastic/ec2/ebs"
)

// A Stock is all snapshots of a snapshotter, and what a mount would make of
// them. There may be many thousand, so that what is said of one is made when it
// is written.
type Stock struct {
	Snapshots []*Row              // newest first, those of a set together
	Choices   Choices             // one for each declared mount point
	Name      string              // of the snapshotter
	KeepRules bool                // it has rules of what to keep
	Kept      Holding             // what the sets hold that are kept: by the rules, or all without rules
	NotKept   Holding             // those that no rule keeps. Some may stay all the same: the newest, or what is locked
	reasons   map[string][]Reason // of a set, by SetID or the id of its snapshot
	chosen    map[string]string   // why, by the id of a snapshot
	declared  map[string]bool     // mount points
	now       time.Time
}

// A StockView is what is said of one. Its JSON is part of the command
// line's contract.
type StockView struct {
	SnapshotID  string            `json:"snapshot_id"`
	MountPoint  string            `json:"mount_point"`
	VolumeID    string            `json:"volume_id"`
	Started     time.Time         `json:"started"`             // of this snapshot, which may be a copy
	DataTime    *time.Time        `json:"data_time,omitempty"` // when the data was so; missing where that is not known
	AgeSeconds  int64             `json:"age_seconds"`         // of the data
	Size        int32             `json:"size_gib"`
	FullSize    int64             `json:"full_size_bytes,omitempty"` // of all its blocks; missing where EC2 does not say
	State       ebs.SnapshotState `json:"state"`
	Progress    int               `json:"progress_percent"`
	Tier        ebs.StorageTier   `json:"tier"`
	Expires     *time.Time        `json:"expires,omitempty"`
	Overdue     bool              `json:"overdue,omitempty"`
	Consistency Origin            `json:"consistency"`
	Copy        bool              `json:"copy,omitempty"`
	Set         string            `json:"set,omitempty"`        // the same for all snapshots of one moment
	LargerSet   string            `json:"larger_set,omitempty"` // that its set is a part of, with those of other hosts
	Run         string            `json:"run,omitempty"`        // that made it
	Members     int               `json:"members,omitempty"`    // of its set

	Drill          DrillState `json:"drill,omitempty"`                // of the last `run verify` of it
	Verified       *time.Time `json:"verified,omitempty"`             // when a drill last found it good
	RestoreSeconds int64      `json:"restore_seconds,omitempty"`      // that it took then
	VerifyFailed   *time.Time `json:"verify_failed,omitempty"`        // when a drill last failed
	FailedReason   string     `json:"verify_failed_reason,omitempty"` // and why

	KeepRules bool     `json:"-"`                 // the snapshotter has rules of what to keep
	KeptBy    []Reason `json:"kept_by,omitempty"` // by which of them its set is kept

	Declared bool   `json:"declared"` // the settings have its mount point
	Chosen   bool   `json:"chosen"`   // a mount would take it
	Reason   string `json:"reason,omitempty"`

	now time.Time // when it was looked at
}

// StockOf chooses as a mount of the mount points would.
func StockOf(snapshots *Index, r Request, now time.Time) Stock {
	s := Stock{Snapshots: bySet(snapshots), Choices: snapshots.Choose(r), chosen: map[string]string{}, declared: map[string]bool{}, now: now}
	for _, c := range s.Choices {
		if c.SnapshotID != "" {
			s.chosen[c.SnapshotID] = cmp.Or(c.Reason, "the newest")
		}
	}
	for _, mp := range r.MountPoints {
		s.declared[path.Clean(mp)] = true
	}
	return s
}

// Keep applies a snapshotter's rules of what to keep, nil for none, and counts how much its sets hold.
func (s *Stock) Keep(name string, k *Keep, filter map[string]string) error {
	var own []*Row
	for _, r := range s.Snapshots {
		if r.Origin.Restorable() && r.MountPoint != "" && (r.filterKeys < 0 || r.filterKeys == len(filter)) {
			own = append(own, r)
		}
	}
	sets := setsOf(own)
	s.Name, s.KeepRules, s.reasons = name, k != nil, map[string][]Reason{}
	var reasons map[*Set][]Reason
	if k != nil {
		var err error
		if reasons, err = k.judge(sets, s.now); err != nil {
			return err
		}
	}
	for _, one := range sets {
		if why := reasons[one]; k == nil || len(why) > 0 || one.ours() < len(one.rows()) {
			s.reasons[setKey(one.Members[0].Best())] = why
			s.Kept.add(one)
		} else {
			s.NotKept.add(one)
		}
	}
	return nil
}

// setKey is the same for all snapshots of a set.
func setKey(r *Row) string { return cmp.Or(r.SetID, r.ID) }

// KeptText says which rules keep the snapshot's set; "" for none.
func (v StockView) KeptText() string { return reasonsText(v.KeptBy) }

// A ChoiceView is a choice with its unit in the name, which the journal's form lacks.
type ChoiceView struct {
	Choice
	Size    *struct{} `json:"size,omitempty"` // hides the choice's own
	SizeGiB int32     `json:"size_gib,omitempty"`
}

// ChoiceViews returns the choices for programs.
func (s Stock) ChoiceViews() []ChoiceView {
	views := []ChoiceView{}
	for _, c := range s.Choices {
		views = append(views, ChoiceView{Choice: c, SizeGiB: c.Size})
	}
	return views
}

// Views says what there is to say of each snapshot.
// View says what there is to say of one snapshot.
func (s Stock) Views() iter.Seq[StockView] {
	return func(yield func(StockView) bool) {
		for _, r := range s.Snapshots {
			if !yield(s.View(r)) {
				return
			}
		}
	}
}

// View says what there is to say of one snapshot.
func (s Stock) View(r *Row) StockView {
	members, _ := strconv.Atoi(r.Members) // of a tag that anybody may have written
	v := StockView{now: s.now, SnapshotID: r.ID, MountPoint: r.MountPoint, VolumeID: r.VolumeID, Started: r.Started(),
		Size: r.Size, FullSize: r.FullSize, KeepRules: s.KeepRules, KeptBy: s.reasons[setKey(r)], State: r.State, Progress: r.Progress, Tier: r.Tier, Consistency: r.Origin, Copy: r.Copy,
		Set: r.SetTag(), LargerSet: r.LargerSet, Run: r.Run(), Members: members, Declared: r.MountPoint != "" && s.declared[path.Clean(r.MountPoint)]}
	if at := r.DataTime(); !at.IsZero() {
		v.DataTime, v.AgeSeconds = &at, int64(s.now.Sub(at)/time.Second)
	}
	if at := r.Expires(); !at.IsZero() {
		v.Expires, v.Overdue = &at, s.now.After(at)
	}
	v.Reason, v.Chosen = s.chosen[r.ID]
	d := r.Drill()
	v.Drill, v.FailedReason, v.RestoreSeconds = d.State(), d.Reason(), int64(d.RestoreTime()/time.Second)
	v.Verified, v.VerifyFailed = known(d.VerifiedAt()), known(d.FailedAt())
	return v
}

// known is nil for a time that is not known.
func known(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// bySet sorts newest first; the snapshots of a set stand together, at the
// place of its newest.
func bySet(snapshots *Index) []*Row {
	out := snapshots.NewestFirst()
	key := setKey
	place := map[string]int{}
	for i, r := range out {
		if _, known := place[key(r)]; !known {
			place[key(r)] = i
		}
	}
	slices.SortStableFunc(out, func(a, b *Row) int {
		return cmp.Or(place[key(a)]-place[key(b)], strings.Compare(a.MountPoint, b.MountPoint))
	})
	return out
}

// Since returns how long ago a time was when the snapshots were looked at.
func (v StockView) Since(at time.Time) time.Duration { return v.now.Sub(at) }

// ExpiresIn returns the time left of a snapshot that expires; it is negative once that is over.
func (v StockView) ExpiresIn() time.Duration { return v.Expires.Sub(v.now) }
