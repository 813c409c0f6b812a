package ec2

import (
	"regexp"
	"strings"
)

// classes are the EC2 error codes whose class does not follow from their suffix.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
var classes = map[string]Class{
	"RequestLimitExceeded":      Throttled,
	"Throttling":                Throttled,
	"ThrottlingException":       Throttled,
	"ThrottledException":        Throttled,
	"EC2ThrottledException":     Throttled,
	"RequestThrottled":          Throttled,
	"RequestThrottledException": Throttled,
	"TooManyRequestsException":  Throttled,
	"BandwidthLimitExceeded":    Throttled,
	"SlowDown":                  Throttled,

	"InternalError":           Transient,
	"InternalFailure":         Transient,
	"ServiceUnavailable":      Transient,
	"Unavailable":             Transient,
	"ConcurrentTagAccess":     Transient,
	"RequestTimeout":          Transient,
	"PriorRequestNotComplete": Transient,

	"IncorrectState":             SettleLater,
	"IncorrectInstanceState":     SettleLater,
	"IncorrectModificationState": SettleLater,
	"InvalidAttachment.Status":   SettleLater,

	"InvalidVolume.Unknown": NotFound,

	"VolumeInUse":           InUse,
	"InvalidDevice.InUse":   InUse,
	"InvalidSnapshot.InUse": InUse,

	// These limits free up as pending snapshots complete.
	"SnapshotCreationPerVolumeRateExceeded": RateExceeded,
	"PendingSnapshotLimitExceeded":          RateExceeded,
	"ConcurrentSnapshotLimitExceeded":       RateExceeded,

	"InsufficientVolumeCapacity": Limit,
	"ResourceCountExceeded":      Limit,

	"UnauthorizedOperation":          Denied,
	"AuthFailure":                    Denied,
	"AccessDenied":                   Denied,
	"AccessDeniedException":          Denied,
	"InvalidClientTokenId":           Denied,
	"SignatureDoesNotMatch":          Denied,
	"UnrecognizedClientException":    Denied,
	"IncompleteSignature":            Denied,
	"InvalidSecurity":                Denied,
	"MissingAuthenticationToken":     Denied,
	"ExpiredToken":                   Denied,
	"ExpiredTokenException":          Denied,
	"RequestExpired":                 Denied,
	"OptInRequired":                  Denied,
	"Blocked":                        Denied,
	"PendingVerification":            Denied,
	"KMSKeyNotAccessible":            Denied,
	"KmsKeyNotAccessible":            Denied,
	"InvalidKmsKeyState":             Denied,
	"InvalidKMSKey.InvalidState":     Denied,
	"EncryptedVolumesNotSupported":   Invalid,
	"InvalidVolume.ZoneMismatch":     Invalid,
	"DryRunOperation":                DryRun,
	"IdempotentParameterMismatch":    Invalid,
	"InvalidIdempotencyToken":        Invalid,
	"VolumeModificationSizeExceeded": Limit,
}

// classOfCode returns the class of an error code of the action op: from the table, or by its suffix.
func classOfCode(op, code, message string) Class {
	if class, ok := classes[code]; ok {
		return class
	}
	switch {
	case code == "ResourceLimitExceeded" && sentOnce[op]: // too many copies or snapshots are under way
		return RateExceeded
	case op == "ModifyInstanceAttribute" && unmapped(code, message):
		return SettleLater
	case strings.HasSuffix(code, ".NotFound"):
		return NotFound
	case strings.HasSuffix(code, ".InUse"):
		return InUse
	case strings.HasSuffix(code, "LimitExceeded"):
		return Limit
	case strings.HasPrefix(code, "InvalidParameter") && strings.Contains(message, "already in use"):
		// AttachVolume: Invalid value '/dev/sdf' for unixDevice. Attachment point /dev/sdf is already in use
		return InUse
	}
	return Invalid
}

// unmapped reports whether the instance does not have the device among its block devices, or not yet: an attachment
// shows in DescribeVolumes first. EC2 answers "InvalidInstanceAttributeValue: No device is currently mapped at
// /dev/sdf", or a similar code.
func unmapped(code, message string) bool {
	switch code {
	case "InvalidInstanceAttributeValue", "InvalidBlockDeviceMapping", "InvalidAttributeValue", "InvalidDevice.NotFound":
		return true
	}
	return strings.HasPrefix(code, "InvalidParameter") && strings.Contains(message, "mapped")
}

// hints are what to do about an error code. Quota names are those of the Service Quotas console.
var hints = map[string]string{
	"VolumeLimitExceeded":                   "delete unused volumes, or request an increase of the Service Quotas entry \"Storage for ... volumes, in TiB\" of Amazon EBS",
	"MaxIOPSLimitExceeded":                  "request an increase of the Service Quotas entry \"IOPS for Provisioned IOPS SSD volumes\" of Amazon EBS",
	"AttachmentLimitExceeded":               "the instance type's attachment limit is reached: detach a volume, or use an instance type with more EBS attachments",
	"SnapshotLimitExceeded":                 "delete expired snapshots, or request an increase of the Service Quotas entry \"Snapshots per Region\" of Amazon EBS",
	"PendingSnapshotLimitExceeded":          "wait until the pending snapshots have completed",
	"ConcurrentSnapshotLimitExceeded":       "wait until the pending snapshots of this volume have completed",
	"TagLimitExceeded":                      "a resource can have at most 50 tags: use fewer tags",
	"InsufficientVolumeCapacity":            "the zone has no capacity for this volume type: try again later, or use another volume_type",
	"SnapshotCreationPerVolumeRateExceeded": "wait 15 seconds or more between two snapshots of one volume",
	"InvalidVolume.ZoneMismatch":            "a volume can only be attached in its own availability zone: create it in the instance's zone",
	"InvalidDevice.InUse":                   "another volume has this device name: detach it or declare another device name",
	"VolumeInUse":                           "the volume is already attached: see where with DescribeVolumes, and detach it there first",
	"InvalidSnapshot.InUse":                 "an image uses the snapshot: deregister the image first",
	"RequestExpired":                        "the machine's clock is wrong: set it (chronyd or timesyncd)",
	"AuthFailure":                           "check the credentials, and whether the machine's clock is right",
	"SignatureDoesNotMatch":                 "check the secret access key, and whether the machine's clock is right",
	"InvalidClientTokenId":                  "check the access key id, and that it belongs to this partition",
	"ExpiredToken":                          "the session credentials have expired: renew them",
	"ExpiredTokenException":                 "the session credentials have expired: renew them",
	"OptInRequired":                         "enable the region for the account",
	"PendingVerification":                   "AWS is still verifying the account: try again in some hours, or ask AWS support",
	"IdempotentParameterMismatch":           "the token was already used with other parameters: start a new run",
	"KMSKeyNotAccessible":                   "allow the role to use the KMS key (kms:CreateGrant, kms:Decrypt, kms:GenerateDataKeyWithoutPlaintext), and check that the key is enabled",
}

var deniedAction = regexp.MustCompile(`perform: ([a-z0-9-]+:[A-Za-z]+)`)

// hintFor returns what to do about a fault whose code and class are set.
func hintFor(fault *Fault) string {
	if text, ok := hints[fault.Code]; ok {
		return text
	}
	switch {
	case fault.Code == "UnauthorizedOperation" || strings.HasPrefix(fault.Code, "AccessDenied"):
		return "allow " + missingActions(fault) + " in the IAM policy of the credentials in use"
	case fault.Class == Denied && strings.Contains(strings.ToLower(fault.Code), "kms"):
		return hints["KMSKeyNotAccessible"]
	case fault.Class == InUse && fault.Op == "AttachVolume":
		return hints["InvalidDevice.InUse"]
	case fault.Class == Limit:
		return "request a quota increase in Service Quotas, or delete unused resources"
	case fault.Class == Ambiguous:
		return "check what it may have created before sending it again"
	}
	return ""
}

// missingActions returns the IAM action that EC2 named, or the action of the call. A create with tags needs
// CreateTags too, and EC2's older messages do not say which of the two was denied.
func missingActions(fault *Fault) string {
	if named := deniedAction.FindStringSubmatch(fault.Message); named != nil {
		return named[1]
	}
	switch fault.Op {
	case "CreateVolume", "CreateSnapshot", "CreateSnapshots":
		return "ec2:" + fault.Op + " (and ec2:CreateTags, because it is tagged on creation)"
	}
	return "ec2:" + fault.Op
}
