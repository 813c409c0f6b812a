package sandbox

import (
	"maps"
	"slices"
	"time"
)

// The default account and region of every sandbox, and the first zone there. See [World] for others.
const (
	Account = "123456789012"
	Region  = "eu-west-1"
	Zone    = "eu-west-1a"

	amazonAccount = "137112412989" // owns Amazon Linux images
)

// TagValue is a tag's value.
type TagValue struct {
	Value string `json:"value"`
}

// Tags are a resource's tags by key.
type Tags map[string]TagValue

// plain returns the tags' values by key.
func (t Tags) plain() map[string]string {
	plain := make(map[string]string, len(t))
	for key, tag := range t {
		plain[key] = tag.Value
	}
	return plain
}

// Volume is an EBS volume. Sizes are GiB, throughput MiB/s.
type Volume struct {
	ID                 string        `json:"id"`
	Zone               string        `json:"zone"`
	Type               string        `json:"type"`
	Size               int           `json:"size"`
	IOPS               int           `json:"iops,omitempty"`
	Throughput         int           `json:"throughput,omitempty"`
	Encrypted          bool          `json:"encrypted,omitempty"`
	KMSKey             string        `json:"kms_key,omitempty"`
	SnapshotID         string        `json:"snapshot_id,omitempty"`
	InitializationRate int           `json:"initialization_rate,omitempty"`
	Created            time.Time     `json:"created"`
	AvailableAt        time.Time     `json:"available_at,omitzero"`
	VanishAt           time.Time     `json:"vanish_at,omitzero"` // a bad KMS key: EC2 drops the volume without a word
	ErrorAt            time.Time     `json:"error_at,omitzero"`  // from then on its state is error, unless it is attached
	Forced             string        `json:"forced,omitempty"`   // a state that overrules the computed one
	Tags               Tags          `json:"tags,omitempty"`
	Attachment         *Attachment   `json:"attachment,omitempty"`
	Modification       *Modification `json:"modification,omitempty"`
	Snapshotted        time.Time     `json:"snapshotted,omitzero"` // when the last snapshot of it was asked for
	Copying            []time.Time   `json:"copying,omitempty"`    // until when each snapshot goes on that was deleted while it was pending
	version[Volume]
}

// Attachment is a volume's place on an instance.
type Attachment struct {
	InstanceID          string    `json:"instance_id"`
	Device              string    `json:"device"`
	DeleteOnTermination bool      `json:"delete_on_termination,omitempty"`
	AttachTime          time.Time `json:"attach_time"`
	AttachedAt          time.Time `json:"attached_at"`
	Forced              string    `json:"forced,omitempty"`
	Bare                bool      `json:"bare,omitempty"`    // only a record, no device: the root volume, another instance's
	Machine             string    `json:"machine,omitempty"` // name of the machine that has its device; empty for the world's own
	NVMe                int       `json:"nvme,omitempty"`    // n of /dev/nvme<n>n1
	Xen                 string    `json:"xen,omitempty"`     // its name on a kernel that tells no serials, such as xvdf; no NVMe device then
	Published           bool      `json:"published,omitempty"`
	Detaching           bool      `json:"detaching,omitempty"`
	DetachedAt          time.Time `json:"detached_at,omitzero"` // set once the device is gone
}

// Modification is the last ModifyVolume of a volume.
type Modification struct {
	Started        time.Time `json:"started"`
	DoneAt         time.Time `json:"done_at"`
	FromType       string    `json:"from_type"`
	FromSize       int       `json:"from_size"`
	FromIOPS       int       `json:"from_iops"`
	FromThroughput int       `json:"from_throughput"`
	ToType         string    `json:"to_type"`
	ToSize         int       `json:"to_size"`
	ToIOPS         int       `json:"to_iops"`
	ToThroughput   int       `json:"to_throughput"`
}

// Snapshot is an EBS snapshot. Size is GiB.
type Snapshot struct {
	ID          string    `json:"id"`
	VolumeID    string    `json:"volume_id"`
	OwnerID     string    `json:"owner_id"`
	Size        int       `json:"size"`
	Description string    `json:"description,omitempty"`
	Encrypted   bool      `json:"encrypted,omitempty"`
	KMSKey      string    `json:"kms_key,omitempty"`
	Started     time.Time `json:"started"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	ErrorAt     int       `json:"error_at,omitempty"` // percent at which it fails
	Why         string    `json:"why,omitempty"`      // it fails: its StateMessage
	Forced      string    `json:"forced,omitempty"`   // pending, completed, error, recoverable, recovering
	Tier        string    `json:"tier,omitempty"`     // "" is standard; archive
	Restored    time.Time `json:"restored,omitzero"`  // until when an archived snapshot is restored for a while
	Lock        *Lock     `json:"lock,omitempty"`
	FullSize    int64     `json:"full_size,omitempty"` // bytes of its blocks; 0: not told, as of an old snapshot
	Tags        Tags      `json:"tags,omitempty"`      // its owner's
	OurTags     Tags      `json:"our_tags,omitempty"`  // those that this account gave to a snapshot that another one shares with it
	Source      *Source   `json:"source,omitempty"`    // of a copy
	Shared      []string  `json:"shared,omitempty"`    // accounts that may create volumes from it; "all"

	// The tags that other accounts gave to it: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
	GuestTags map[string]*Tags `json:"guest_tags,omitempty"`
	guest     string           // the account that looks at it, where it is not its owner
	version[Snapshot]
}

// Source is what a snapshot is a copy of.
type Source struct {
	ID      string `json:"id"`
	Region  string `json:"region"`            // of the source
	Minutes int    `json:"minutes,omitempty"` // CompletionDurationMinutes, of a time-based copy
}

// Lock is a snapshot lock (EBS snapshot lock).
type Lock struct {
	Mode         string    `json:"mode"` // governance, compliance
	Created      time.Time `json:"created"`
	Starts       time.Time `json:"starts,omitzero"` // its duration: when the snapshot was completed, where that is later
	Expires      time.Time `json:"expires"`
	CoolOffUntil time.Time `json:"cool_off_until,omitzero"`
}

// Instance is an EC2 instance.
type Instance struct {
	ID         string    `json:"id"`
	Type       string    `json:"type"`
	Zone       string    `json:"zone"`
	ImageID    string    `json:"image_id"`
	RootDevice string    `json:"root_device"`
	Launched   time.Time `json:"launched"`
	RunningAt  time.Time `json:"running_at,omitzero"`
	Stopped    bool      `json:"stopped,omitempty"`
	Terminated time.Time `json:"terminated,omitzero"`
	PrivateIP  string    `json:"private_ip"`
	Token      string    `json:"token,omitempty"`
	Tags       Tags      `json:"tags,omitempty"`
	CPU        *float64  `json:"cpu,omitempty"` // percent, as CloudWatch tells it
	version[Instance]
}

// Image is an AMI.
type Image struct {
	ID          string        `json:"id"`
	OwnerID     string        `json:"owner_id"`
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	InstanceID  string        `json:"instance_id,omitempty"`
	Created     time.Time     `json:"created"`
	AvailableAt time.Time     `json:"available_at,omitzero"`
	Forced      string        `json:"forced,omitempty"`
	RootDevice  string        `json:"root_device"`
	Disks       []ImageVolume `json:"disks,omitempty"`
	Tags        Tags          `json:"tags,omitempty"`
	version[Image]
}

// ImageVolume is one entry of an image's block device mapping.
type ImageVolume struct {
	Device              string `json:"device"`
	SnapshotID          string `json:"snapshot_id"`
	Size                int    `json:"size"`
	Type                string `json:"type"`
	DeleteOnTermination bool   `json:"delete_on_termination,omitempty"`
}

// token remembers what a ClientToken made.
type token struct {
	ID     string `json:"id"`
	Digest string `json:"digest"` // of the request's parameters
}

// settings are the stored facts that are not resources.
type settings struct {
	InstanceID string `json:"instance_id"`
	UserData   string `json:"user_data,omitempty"`
	HostBootID string `json:"host_boot_id,omitempty"`
	FilesOnly  bool   `json:"files_only,omitempty"`
}

func (v *Volume) clone() *Volume {
	c := *v
	c.Tags = maps.Clone(v.Tags)
	c.Copying = slices.Clone(v.Copying)
	if v.Attachment != nil {
		a := *v.Attachment
		c.Attachment = &a
	}
	if v.Modification != nil {
		m := *v.Modification
		c.Modification = &m
	}
	return &c
}

func (s *Snapshot) clone() *Snapshot {
	c := *s
	c.Tags, c.OurTags, c.Shared, c.GuestTags = maps.Clone(s.Tags), maps.Clone(s.OurTags), slices.Clone(s.Shared), maps.Clone(s.GuestTags)
	for account, tags := range c.GuestTags {
		own := maps.Clone(*tags)
		c.GuestTags[account] = &own
	}
	if s.Lock != nil {
		l := *s.Lock
		c.Lock = &l
	}
	return &c
}

func (i *Instance) clone() *Instance {
	c := *i
	c.Tags = maps.Clone(i.Tags)
	return &c
}

func (i *Image) clone() *Image {
	c := *i
	c.Tags = maps.Clone(i.Tags)
	c.Disks = slices.Clone(i.Disks)
	return &c
}

// gone reports whether EC2 has silently dropped the volume.
func (v *Volume) gone(now time.Time) bool {
	return !v.VanishAt.IsZero() && !now.Before(v.VanishAt)
}

// attached returns the attachment as it is at now, or nil.
func (v *Volume) attached(now time.Time) *Attachment {
	a := v.Attachment
	if a == nil || !a.DetachedAt.IsZero() && !now.Before(a.DetachedAt) {
		return nil
	}
	return a
}

// status is the state that DescribeVolumes shows.
func (v *Volume) status(now time.Time) string {
	switch {
	case v.Forced != "":
		return v.Forced
	case v.Attachment == nil && !v.ErrorAt.IsZero() && !now.Before(v.ErrorAt):
		return "error"
	case now.Before(v.AvailableAt):
		return "creating"
	case v.attached(now) != nil:
		return "in-use"
	}
	return "available"
}

// status is the state of the attachment at now. A detach that waits for the
// instance to release its device shows as busy.
func (a *Attachment) status(now time.Time) string {
	switch {
	case a.Forced != "":
		return a.Forced
	case a.Detaching && a.DetachedAt.IsZero():
		return "busy"
	case a.Detaching:
		return "detaching"
	case now.Before(a.AttachedAt):
		return "attaching"
	}
	return "attached"
}

// progress is the share copied at now, in percent.
func (s *Snapshot) progress(now time.Time) int {
	percent := 100
	if total := s.CompletedAt.Sub(s.Started); total > 0 && now.Before(s.CompletedAt) {
		percent = max(0, int(100*now.Sub(s.Started)/total))
	}
	if s.Forced == "pending" {
		percent = min(percent, 99)
	}
	if s.ErrorAt > 0 {
		percent = min(percent, s.ErrorAt)
	}
	return percent
}

// status is the state that DescribeSnapshots shows.
func (s *Snapshot) status(now time.Time) string {
	percent := s.progress(now)
	switch {
	case s.Forced != "":
		return s.Forced
	case s.ErrorAt > 0 && percent >= s.ErrorAt:
		return "error"
	case now.Before(s.CompletedAt):
		return "pending"
	}
	return "completed"
}

// tier is the storage tier that describes show.
func (s *Snapshot) tier() string {
	if s.Tier == "" {
		return "standard"
	}
	return s.Tier
}

// lockState is the state that DescribeLockedSnapshots shows, "" when unlocked.
func (s *Snapshot) lockState(now time.Time) string {
	switch {
	case s.Lock == nil:
		return ""
	case !now.Before(s.Lock.Expires):
		return "expired"
	case s.Lock.Mode == "governance":
		return "governance"
	case now.Before(s.Lock.CoolOffUntil):
		return "compliance-cooloff"
	}
	return "compliance"
}

// status is the state that DescribeImages shows.
func (i *Image) status(now time.Time) string {
	switch {
	case i.Forced != "":
		return i.Forced
	case now.Before(i.AvailableAt):
		return "pending"
	}
	return "available"
}

// status returns the state's code and name as DescribeInstances shows them.
func (i *Instance) status(now time.Time) (int, string) {
	switch {
	case !i.Terminated.IsZero():
		return 48, "terminated"
	case i.Stopped:
		return 80, "stopped"
	case now.Before(i.RunningAt):
		return 0, "pending"
	}
	return 16, "running"
}
