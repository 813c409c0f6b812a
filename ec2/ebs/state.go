package ebs

// VolumeState is the state of a volume.
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-describing-volumes.html
type VolumeState string

// States of a volume.
const (
	VolumeCreating  VolumeState = "creating"
	VolumeAvailable VolumeState = "available"
	VolumeInUse     VolumeState = "in-use"
	VolumeDeleting  VolumeState = "deleting"
	VolumeDeleted   VolumeState = "deleted"
	VolumeError     VolumeState = "error"
)

// Gone reports whether the volume is deleted or about to be.
func (s VolumeState) Gone() bool { return s == VolumeDeleting || s == VolumeDeleted }

// AttachmentState is the state of a volume's attachment to an instance.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VolumeAttachment.html
type AttachmentState string

// States of an attachment.
const (
	Attaching AttachmentState = "attaching"
	Attached  AttachmentState = "attached"
	Detaching AttachmentState = "detaching"
	Detached  AttachmentState = "detached"
	Busy      AttachmentState = "busy" // to be detached as soon as the instance releases the device
)

// Leaving reports whether the volume is being detached.
func (s AttachmentState) Leaving() bool { return s == Detaching || s == Busy }

// SnapshotState is the state of a snapshot.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Snapshot.html
type SnapshotState string

// States of a snapshot. A recoverable one is in the Recycle Bin.
const (
	SnapshotPending     SnapshotState = "pending"
	SnapshotCompleted   SnapshotState = "completed"
	SnapshotError       SnapshotState = "error"
	SnapshotRecoverable SnapshotState = "recoverable"
	SnapshotRecovering  SnapshotState = "recovering"
)

// InstanceState is the state of an instance.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
type InstanceState string

// States of an instance that matter here; the others are pending, shutting-down, stopping and stopped.
const (
	InstanceRunning    InstanceState = "running"
	InstanceTerminated InstanceState = "terminated"
)

// ImageState is the state of an AMI.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Image.html
type ImageState string

// States of an image that matter here; the others are available, disabled, failed and more.
const (
	ImagePending   ImageState = "pending"
	ImageTransient ImageState = "transient"
)

// Unfinished reports whether the image is still being made.
func (s ImageState) Unfinished() bool { return s == ImagePending || s == ImageTransient }

// StorageTier is where EBS keeps a snapshot; it is standard or archive.
// https://docs.aws.amazon.com/ebs/latest/userguide/snapshot-archive.html
type StorageTier string

// TierArchive has to be left before a volume can be created from the snapshot; that takes up to 72 hours.
const TierArchive StorageTier = "archive"
