// Package recipe compiles an operation on a snapshotter into a plan.
//
// A recipe is a pure function: no clock, no I/O, no environment. The same
// Spec and Target always give the same plan, byte for byte, which is what lets
// a second `run mount` recognise its own unfinished run. It imports plan and
// steps and snapset, and nothing else of ours.
package recipe

import (
	"cmp"
	"time"

	"snaptastic/steps/snapset"
)

// A Spec is one snapshotter as the settings file declares it, with every
// expression evaluated. The settings package makes it; nothing later reads the
// settings file again.
type Spec struct {
	Name         string            `json:"name"`
	Volumes      []Volume          `json:"volumes"`
	FilterTags   map[string]string `json:"filter_tags"` // mount_point is always added per volume
	ExpireAfter  time.Duration     `json:"expire_after,omitempty"`
	Keep         *snapset.Keep     `json:"keep,omitempty"` // nil: the date on each snapshot counts
	Lock         *Lock             `json:"lock,omitempty"` // nil: sets are not locked
	CleanAfter   bool              `json:"clean_after,omitempty"`
	Consistency  Consistency       `json:"consistency"`
	OnMissing    OnMissing         `json:"on_missing"`
	OnlyVerified bool              `json:"only_verified,omitempty"` // restore only sets whose last drill succeeded
	MaxHold      time.Duration     `json:"max_hold,omitempty"`
	Expedite     bool              `json:"freeze_expedite,omitempty"`
	Hooks        map[string]Hook   `json:"hooks,omitempty"` // by name: pre_mounts, post_snapshot, …
	Timeouts     Timeouts          `json:"timeouts"`
	Drill        Drill             `json:"verify"`
	Copies       []Destination     `json:"copies,omitempty"`
	ShareWith    []string          `json:"share_with,omitempty"` // accounts that each set is shared with
	CopyFrom     string            `json:"copy_from,omitempty"`  // the manifest of a set that another account shares with this one; "" for none
}

// A Destination is a region that sets are copied to.
type Destination struct {
	Region   string        `json:"region"`
	KMSKeyID string        `json:"kms_key_id,omitempty"` // of that region; "": as the source is encrypted
	Keep     *snapset.Keep `json:"keep,omitempty"`       // nil: the date on each snapshot counts
	MaxLag   time.Duration `json:"max_lag,omitempty"`    // 0: as old as `check` allows the snapshots themselves
}

// Together: the volumes are snapshotted and unmounted as one.
func (s Spec) Together() bool { return s.Consistency != ByVolume }

// expiry is the time after which a snapshot may go by itself: 0 for never, and where rules say what is kept.
func (s Spec) expiry() time.Duration {
	if s.Keep != nil {
		return 0
	}
	return s.ExpireAfter
}

// A Lock is how new sets are locked, once they are labelled.
type Lock struct {
	Mode    LockMode `json:"mode"`
	Days    int32    `json:"days"`
	CoolOff int32    `json:"cool_off_hours,omitempty"` // of compliance
}

// LockMode says who can unlock a snapshot before its lock expires.
type LockMode string

const (
	Governance LockMode = "governance" // whoever may; the default
	Compliance LockMode = "compliance" // nobody, after the cooling-off period
)

// Consistency says what is consistent: the whole group of volumes, or each volume by itself.
type Consistency string

const (
	ByGroup  Consistency = "group" // the default
	ByVolume Consistency = "volume"
)

// OnMissing says what a mount does for a mount point of which no snapshot exists.
type OnMissing string

const (
	CreateEmpty   OnMissing = "create" // the default
	FailIfMissing OnMissing = "fail"
)

// A Volume is one declared volume.
type Volume struct {
	Device              string   `json:"device"`             // EC2 device name, canonical: /dev/sdf
	MountPoint          string   `json:"mount_point"`        // absolute, cleaned, as declared: it is what the tags say
	LeadsTo             string   `json:"leads_to,omitempty"` // the folder it leads to, every symlink followed; "" for itself
	Size                int32    `json:"size"`               // GiB
	FileSystem          string   `json:"file_system"`
	MountOptions        []string `json:"mount_options,omitempty"` // words; none for "defaults"
	MkfsOptions         []string `json:"mkfs_options,omitempty"`  // words
	Owner               string   `json:"owner,omitempty"`         // of the root of a new file system: a name or a number
	Group               string   `json:"group,omitempty"`
	Mode                string   `json:"mode,omitempty"` // octal
	VolumeType          string   `json:"volume_type"`
	IOPS                int32    `json:"iops,omitempty"`
	Throughput          int32    `json:"throughput,omitempty"` // MiB/s
	Encrypted           *bool    `json:"encrypted,omitempty"`  // nil: the account's default
	KMSKeyID            string   `json:"kms_key_id,omitempty"`
	InitializationRate  int32    `json:"initialization_rate,omitempty"` // MiB/s
	DeleteOnTermination bool     `json:"delete_on_termination"`
	Warm                *Warm    `json:"warm,omitempty"` // nil: it is not warmed
	DeviceNameOffset    int      `json:"device_name_offset,omitempty"`
	Unshifted           bool     `json:"unshifted,omitempty"` // the settings say that the offset is 0
	Description         string   `json:"description"`         // of its snapshots
}

// Warm says how a volume is read once after it was restored.
type Warm struct {
	First []string `json:"first,omitempty"` // globs below the mount point, most important first; the rest follows
	Rate  int32    `json:"rate,omitempty"`  // MiB/s; 0 for no limit
}

// Place is the folder that the volume is mounted on: two volumes are at one place, or one inside the other, by this.
func (v Volume) Place() string { return cmp.Or(v.LeadsTo, v.MountPoint) }

// A Hook is a user's program at one of the twelve places.
type Hook struct {
	Command    []string      `json:"command"` // argv, no shell
	Timeout    time.Duration `json:"timeout"`
	Repeatable bool          `json:"repeatable"`
	OnFailure  OnFailure     `json:"on_failure"`
	When       When          `json:"when"`
	Hold       bool          `json:"hold,omitempty"`
}

// OnFailure says what a hook's failure does to the run.
type OnFailure string

const (
	FailRun     OnFailure = "fail" // the default
	ContinueRun OnFailure = "continue"
)

// When says when a hook runs. Empty, of a pre hook, is always.
type When string

const (
	Always  When = "always"
	Success When = "success" // of a post hook
	Changed When = "changed" // of a mount's hooks: where something is mounted
)

// Timeouts bound each wait. Zero values take the defaults of DefaultTimeouts.
type Timeouts struct {
	Snapshot time.Duration `json:"snapshot"` // a pending snapshot to restore from; default 30 min
	Volume   time.Duration `json:"volume"`   // creating → available; default 10 min
	Attach   time.Duration `json:"attach"`   // attaching → attached; default 90 s
	Device   time.Duration `json:"device"`   // attached → device node; default 2 min
	Detach   time.Duration `json:"detach"`   // detaching → available; default 5 min
	Complete time.Duration `json:"complete"` // snapshot completed under --wait; default 12 h
	Mkfs     time.Duration `json:"mkfs"`     // default 30 min
	Mount    time.Duration `json:"mount"`    // default 10 min: a journal replay takes its time
}

// HookNames are the twelve places, in the order the original ran them.
var HookNames = []string{
	"pre_mounts", "pre_mount", "post_mount", "post_mounts",
	"pre_unmounts", "pre_unmount", "post_unmount", "post_unmounts",
	"pre_snapshots", "pre_snapshot", "post_snapshot", "post_snapshots",
}

// A Target is the instance a plan is compiled for.
type Target struct {
	InstanceID string `json:"instance_id"`
	Region     string `json:"region"`
	Zone       string `json:"zone"`
	AccountID  string `json:"account_id,omitempty"`
}
