package plan

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Facts are what a step's output means to people and to programs that do not know the step's kind. What is not known is left
// empty. Output types have a Facts method; the journal records what it says together with the output.
type Facts struct {
	VolumeID   string `json:"volume_id,omitempty"`
	SnapshotID string `json:"snapshot_id,omitempty"` // just taken, or that the volume was made from
	Device     string `json:"device,omitempty"`      // EC2's name for it: /dev/sdf
	Path       string `json:"path,omitempty"`        // the kernel's: /dev/nvme1n1
	MountPoint string `json:"mount_point,omitempty"` // absolute
	SizeGiB    int32  `json:"size_gib,omitempty"`    // of the volume
	SizeBytes  int64  `json:"size_bytes,omitempty"`  // of the file system
	// FrozenAt is when the file system stood still, by the machine's clock.
	FrozenAt time.Time `json:"frozen_at,omitzero"`
	// FrozenSeconds is how long a file system was frozen.
	FrozenSeconds float64 `json:"frozen_seconds,omitempty"`
	// ThawedAt is when that was over, by the machine's clock.
	ThawedAt time.Time `json:"thawed_at,omitzero"`
	Remarks  []string  `json:"remarks,omitempty"`  // what was chosen, and why
	Warnings []string  `json:"warnings,omitempty"` // what an operator should check
	Remains  string    `json:"remains,omitempty"`  // what is left and billed, in words
	// Clock is how right the machine's clock was.
	Clock *Clock `json:"clock,omitempty"`
	// Drill is what a drill of a set of snapshots came to.
	Drill *Drill `json:"drill,omitempty"`
	// Warming is what reading a volume once came to.
	Warming *Warming `json:"warming,omitempty"`
	// Each has the facts of the single volumes, told apart by mount point, where the step is about several.
	Each []Facts `json:"each,omitempty"`
}

// A Warming is what reading what is in use of a volume came to.
type Warming struct {
	InUseBytes     int64   `json:"in_use_bytes,omitempty"` // what files have on the volume
	ReadBytes      int64   `json:"read_bytes,omitempty"`   // what was read twice after a crash included
	Seconds        float64 `json:"seconds,omitempty"`      // the time that it was not running not included
	BytesPerSecond float64 `json:"bytes_per_second,omitempty"`
	Percent        int     `json:"percent"`           // 100 when all is read
	Skipped        string  `json:"skipped,omitempty"` // why the volume is at full speed without
	ReadBy         RunID   `json:"read_by,omitempty"` // the earlier run that has read all of it
	Stopped        string  `json:"stopped,omitempty"` // why it stopped before all was read
}

// A Drill is what restoring a set of snapshots to scratch volumes came to.
type Drill struct {
	Set            string     `json:"set"` // as its snapshots name it
	OK             bool       `json:"ok"`
	Reason         string     `json:"reason,omitempty"`           // why the set is bad
	RestoreSeconds float64    `json:"restore_seconds"`            // from the start of the run until the result was known: the RTO
	DataTime       *time.Time `json:"data_time,omitempty"`        // when the data was so
	DataAgeSeconds float64    `json:"data_age_seconds,omitempty"` // at the moment of the result: the RPO
	Phases         []Phase    `json:"phases"`                     // in their order; volumes go through them side by side, and the longest of each counts
}

// A Phase is a part of a drill.
type Phase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// A Clock is how right the machine's clock was, as its kernel knows (adjtimex).
type Clock struct {
	Synchronized   bool    `json:"synchronized"`
	ErrorSeconds   float64 `json:"error_seconds"`           // a bound
	EstimatedError float64 `json:"estimated_error_seconds"` // an estimate
}

// Empty reports whether nothing is known.
func (f *Facts) Empty() bool {
	return f == nil || reflect.ValueOf(*f).IsZero()
}

// Add takes over what o knows, a later step about the same volume. A snapshot that was chosen once the volume was known is
// not where the volume comes from, so it is passed over. Each is not taken over: it is about other volumes too.
func (f *Facts) Add(o Facts) {
	if f.VolumeID != "" && o.VolumeID == "" && o.SnapshotID != "" {
		o.SnapshotID, o.Remarks, o.Warnings = "", nil, nil
	}
	f.VolumeID, f.SnapshotID = cmp.Or(o.VolumeID, f.VolumeID), cmp.Or(o.SnapshotID, f.SnapshotID)
	f.Device, f.Path, f.MountPoint = cmp.Or(o.Device, f.Device), cmp.Or(o.Path, f.Path), cmp.Or(o.MountPoint, f.MountPoint)
	f.Drill, f.Warming, f.Clock = cmp.Or(o.Drill, f.Drill), cmp.Or(o.Warming, f.Warming), cmp.Or(o.Clock, f.Clock)
	f.Remains = cmp.Or(o.Remains, f.Remains)
	f.SizeGiB, f.SizeBytes = cmp.Or(o.SizeGiB, f.SizeGiB), cmp.Or(o.SizeBytes, f.SizeBytes)
	f.FrozenSeconds = cmp.Or(o.FrozenSeconds, f.FrozenSeconds)
	f.FrozenAt, f.ThawedAt = cmp.Or(o.FrozenAt, f.FrozenAt), cmp.Or(o.ThawedAt, f.ThawedAt)
	f.Remarks, f.Warnings = union(f.Remarks, o.Remarks), union(f.Warnings, o.Warnings)
}

// union appends the words that the list does not have yet. It leaves the list's own array alone.
func union(list, more []string) []string {
	for _, w := range more {
		if w != "" && !slices.Contains(list, w) {
			list = append(slices.Clip(list), w)
		}
	}
	return list
}

// AllWarnings are those of a step, each with the mount point that it is about.
func (f *Facts) AllWarnings() (all []string) {
	if f == nil {
		return nil
	}
	for _, w := range f.Warnings {
		if f.MountPoint != "" {
			w = f.MountPoint + ": " + w
		}
		all = append(all, w)
	}
	for i := range f.Each {
		all = append(all, f.Each[i].AllWarnings()...)
	}
	return all
}

// An Output is what a step came to: the value that later steps refer to, and what it means.
type Output struct {
	Value json.RawMessage
	Facts *Facts // nil where there are none
	text  fmt.Stringer
}

// Text says in a few words what the output means ("snap-0abc, 2 h ago"): the output's String method, "" without one.
func (o Output) Text() string {
	if o.text == nil {
		return ""
	}
	return o.text.String()
}
