package snapset

import (
	"math"
	"path"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan/units"
)

// A Row is what is kept of a snapshot: all that choosing, judging and listing need. An account may have many thousand
// snapshots, so that what many of them share is kept once.
type Row struct {
	ID       string
	VolumeID string
	SetID    string // see IDOf
	*traits

	started, data, expires moment

	FullSize int64  // bytes of all its blocks; 0 where EC2 does not say
	drill    *Drill // nil: none
}

// traits are what many snapshots of one volume have in common.
type traits struct {
	MountPoint   string // as it is tagged
	Instance     string // that it was taken on, by its tag
	State        ebs.SnapshotState
	StateMessage string
	Tier         ebs.StorageTier
	LargerSet    string // that its set is a part of, with those of other hosts; "" for none
	Members      string // how many snapshots its set has, as it is tagged
	Origin       Origin
	Size         int32 // GiB
	Progress     int   // percent
	Copy         bool
	Ours         bool // made by Snaptastic or the original, and theirs to delete; never a copy

	filterKeys int // how many of its tags are filter tags; -1 where that is not recorded

	run string // by TagRun, where the set does not say
}

// SetTag is the value of TagSet; "" for a snapshot of an older build, or of the original.
func (r *Row) SetTag() string {
	if tag, is := strings.CutPrefix(r.SetID, setPrefix); is {
		return tag
	}
	return ""
}

// Run is the run that made it; see RunOf.
func (r *Row) Run() string {
	if run, _, is := strings.Cut(r.SetTag(), "/"); is {
		return run
	}
	if name, is := strings.CutPrefix(r.SetID, runPrefix); is {
		return name[:strings.LastIndexByte(name, ' ')]
	}
	return r.run
}

// moment is a time in microseconds since 1970, in a third of the space.
type moment int64

const noTime moment = math.MinInt64

func momentOf(t time.Time) moment {
	if t.IsZero() {
		return noTime
	}
	return moment(t.UnixMicro())
}

func (m moment) time() time.Time {
	if m == noTime {
		return time.Time{}
	}
	return time.UnixMicro(int64(m)).UTC()
}

// Started is when it was begun, or copied.
func (r *Row) Started() time.Time { return r.started.time() }

// DataTime is when its data was so; zero where that is not known. See the function DataTime.
func (r *Row) DataTime() time.Time { return r.data.time() }

// Expires is when its retention ends; zero where it does not say.
func (r *Row) Expires() time.Time { return r.expires.time() }

// Unready says why it cannot be restored at this moment; "" when it can.
func (r *Row) Unready() string { return Unready(r.condition()) }

func (r *Row) dormant() string { return Dormant(r.condition()) }

func (r *Row) because() string { return reasons(r.condition()) }

func (r *Row) condition() ec2.Snapshot {
	return ec2.Snapshot{State: r.State, StateMessage: r.StateMessage, StorageTier: r.Tier, Progress: r.Progress}
}

// point is the mount point's name in an index; "" where it has none.
func (r *Row) point() string {
	if r.MountPoint == "" {
		return ""
	}
	return path.Clean(r.MountPoint)
}

// shared keeps one of each of the values that rows have in common.
type shared struct {
	sets   map[string]string
	traits map[traits]*traits
	drills map[Drill]*Drill
}

func newShared() *shared {
	return &shared{sets: map[string]string{}, traits: map[traits]*traits{}, drills: map[Drill]*Drill{}}
}

func (k *shared) setOf(s ec2.Snapshot) string {
	id := IDOf(s)
	if membersOf(s) == 1 {
		return id // nobody has it in common
	}
	if one, known := k.sets[id]; known {
		return one
	}
	k.sets[id] = id
	return id
}

func (k *shared) traitsOf(s ec2.Snapshot) *traits {
	t := traits{MountPoint: s.Tags[TagMountPoint], Instance: s.Tags[TagInstance], State: s.State, StateMessage: s.StateMessage,
		Tier: s.StorageTier, LargerSet: s.Tags[TagLargerSet], Members: s.Tags[TagMembers], Origin: OriginOf(s), Size: s.VolumeSize, Progress: s.Progress, Copy: IsCopy(s)}
	_, t.Ours = maker(s)
	if keys, known := RecordedKeys(s.Tags); known {
		t.filterKeys = len(keys)
	} else {
		t.filterKeys = -1
	}
	if tag := s.Tags[TagSet]; tag != "" && !strings.Contains(tag, "/") || IDOf(s) == "" {
		t.run = s.Tags[TagRun]
	}
	one := k.traits[t]
	if one == nil {
		one = &t
		k.traits[t] = one
	}
	return one
}

// fill makes a row of a snapshot.
func (k *shared) fill(r *Row, s ec2.Snapshot) {
	*r = Row{ID: s.ID, VolumeID: s.VolumeID, SetID: k.setOf(s), traits: k.traitsOf(s),
		started: momentOf(s.Started), data: momentOf(DataTime(s)), expires: noTime,
		FullSize: s.FullSize, drill: k.drillOf(s.Tags, s.Started)}
	if at, _, ok := units.ParseTime(s.Tags[TagExpires]); ok {
		r.expires = momentOf(at)
	}
}
