package sandbox

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// deviceName is what EC2 takes as a device name on an HVM instance; numbered
// names such as /dev/sdf1 are for paravirtual ones (AWS: "Device names for
// volumes on Amazon EC2 instances").
var deviceName = regexp.MustCompile(`^(/dev/)?(sd[a-z]|sda1|xvd[a-z]|xvd[a-d][a-z])$`)

func attachVolume(t *tx, q *query, out *document) error {
	v, err := t.needVolume(q.str("VolumeId"))
	if err != nil {
		return err
	}
	i, err := t.needInstance(q.str("InstanceId"))
	if err != nil {
		return err
	}
	device := q.str("Device")
	if err := t.checkAttach(v, i, device); err != nil {
		return err
	}
	if q.bool("DryRun") {
		return nil
	}
	machine, isMachine := t.machineOf(i.ID)
	v = t.editVolume(v.ID)
	v.Attachment = &Attachment{
		InstanceID: i.ID, Device: device, AttachTime: t.now, AttachedAt: t.now.Add(t.behaviour().Latency.Attach),
		NVMe: t.freeNVMe(machine), Bare: !isMachine, Machine: machine,
	}
	for _, f := range q.faults {
		if f.Effect == "stuck" {
			v.Attachment.Forced = "attaching"
		}
		if f.Effect == "xen" {
			letter := device[len(device)-1] + byte(f.At)
			v.Attachment.Xen = "xvd" + string(rune(letter))
		}
	}
	writeAttachment(out, v.ID, v.Attachment, "attaching")
	if !v.Attachment.Bare && v.Attachment.Forced == "" {
		t.after = append(t.after, func() error { return t.w.exposeOrRevert(v.ID) })
	}
	return nil
}

// exposeOrRevert makes the device appear. If the host cannot, the attachment is reverted and the request fails.
func (w *Sandbox) exposeOrRevert(id string) error {
	failed := w.expose(id)
	if failed == nil {
		return nil
	}
	in := worldOf(w.store.rows.Volumes[id].In)
	if err := w.apply(in, func(t *tx) error { t.editVolume(id).Attachment = nil; return nil }); err != nil {
		return err
	}
	return failed
}

func (t *tx) checkAttach(v *Volume, i *Instance, device string) error {
	if v.Zone != i.Zone {
		return refuse("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", v.ID, i.ID)
	}
	if _, state := i.status(t.now); state != "running" && state != "stopped" {
		return refuse("IncorrectState", "Instance '%s' is not 'running'.", i.ID)
	}
	if !deviceName.MatchString(device) {
		return refuse("InvalidParameterValue", "Value (%s) for parameter device is invalid. %s is not a valid EBS device name.", device, device)
	}
	if v.attached(t.now) != nil {
		return refuse("VolumeInUse", "%s is already attached to an instance", v.ID)
	}
	if v.status(t.now) != "available" {
		return refuse("IncorrectState", "%s is not 'available'.", v.ID)
	}
	count := 0
	for other := range t.volumes() {
		a := other.attached(t.now)
		if a == nil || a.InstanceID != i.ID {
			continue
		}
		if count++; a.Device == device {
			return refuse("InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
		}
	}
	if limit := attachmentLimit(i.Type); count >= limit {
		return refuse("AttachmentLimitExceeded", "The maximum number of attachments for an instance of type %s is %d", i.Type, limit)
	}
	return nil
}

// sharedLimit is that of most Nitro instances, which share 28 attachments
// between volumes and one network interface.
const sharedLimit = 27

// Families with a limit for volumes alone, and that limit by size; 32 for the sizes that are not here.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/volume_limits.html
var (
	dedicated      = []string{"m7a", "m7i", "m7i-flex", "m8g", "c7a", "c7i", "c7i-flex", "c8g", "r7a", "r7i", "r7iz", "r8g", "x8g"}
	dedicatedLimit = map[string]int{"16xlarge": 48, "24xlarge": 64, "32xlarge": 88, "48xlarge": 128, "metal-16xl": 39, "metal-24xl": 39, "metal-32xl": 79, "metal-48xl": 79}
)

// attachmentLimit is how many volumes an instance of the type can have, the root volume included.
func attachmentLimit(instanceType string) int {
	family, size, _ := strings.Cut(instanceType, ".")
	if !slices.Contains(dedicated, family) {
		return sharedLimit
	}
	return cmp.Or(dedicatedLimit[size], 32)
}

// freeNVMe returns the lowest NVMe number that no volume of the machine
// has; 0 is its root volume.
func (t *tx) freeNVMe(machine string) int {
	taken := map[int]bool{0: true}
	for v := range t.volumes() {
		if a := v.Attachment; a != nil && !a.Bare && a.Machine == machine && a.DetachedAt.IsZero() {
			taken[a.NVMe] = true
		}
	}
	n := 0
	for taken[n] {
		n++
	}
	return n
}

func detachVolume(t *tx, q *query, out *document) error {
	v, err := t.needVolume(q.str("VolumeId"))
	if err != nil {
		return err
	}
	if q.has("InstanceId") {
		if _, err := t.needInstance(q.str("InstanceId")); err != nil {
			return err
		}
	}
	a := v.attached(t.now)
	if a == nil {
		return refuse("IncorrectState", "Volume '%s' is in the 'available' state.", v.ID)
	}
	if id := q.str("InstanceId"); id != "" && id != a.InstanceID {
		return refuse("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s'", v.ID, id)
	}
	if device := q.str("Device"); device != "" && device != a.Device {
		return refuse("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s' as device '%s'", v.ID, a.InstanceID, device)
	}
	if i := t.instance(a.InstanceID); i != nil && i.RootDevice == a.Device {
		if _, state := i.status(t.now); state == "running" {
			return refuse("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", v.ID, i.ID)
		}
	}
	if a.Detaching && a.DetachedAt.IsZero() && !q.bool("Force") || q.bool("DryRun") {
		writeAttachment(out, v.ID, a, a.status(t.now))
		return nil
	}
	t.detach(v.ID)
	writeAttachment(out, v.ID, t.volume(v.ID).Attachment, "detaching")
	return nil
}

// detach asks the host to release the volume's device, or finishes at once where there is none.
func (t *tx) detach(id string) {
	v := t.editVolume(id)
	v.Attachment.Detaching, v.Attachment.Forced = true, ""
	if v.Attachment.Bare {
		v.Attachment.DetachedAt = t.now.Add(t.behaviour().Latency.Detach)
		return
	}
	t.after = append(t.after, func() error { return t.w.release(id) })
}

func writeAttachment(out *document, volumeID string, a *Attachment, status string) {
	out.text("volumeId", volumeID)
	out.text("instanceId", a.InstanceID)
	out.text("device", a.Device)
	out.text("status", status)
	out.instant("attachTime", a.AttachTime)
	out.flag("deleteOnTermination", a.DeleteOnTermination)
}

func modifyInstanceAttribute(t *tx, q *query, out *document) error {
	i, err := t.needInstance(q.str("InstanceId"))
	if err != nil {
		return err
	}
	for _, mapping := range q.each("BlockDeviceMapping") {
		device := q.str(mapping + ".DeviceName")
		v := t.volumeAt(i.ID, device)
		if v == nil {
			return refuse("InvalidInstanceAttributeValue", "No device is currently mapped at %s", device)
		}
		if id := q.str(mapping + ".Ebs.VolumeId"); id != "" && id != v.ID {
			return refuse("InvalidInstanceAttributeValue", "Volume %s is not mapped at %s", id, device)
		}
		if key := mapping + ".Ebs.DeleteOnTermination"; q.has(key) {
			t.editVolume(v.ID).Attachment.DeleteOnTermination = q.bool(key)
		}
	}
	if len(q.each("BlockDeviceMapping")) == 0 && !q.has("UserData.Value") && !q.has("DisableApiTermination.Value") {
		return refuse("InvalidParameterCombination", "No attributes specified.")
	}
	out.done()
	return nil
}

// volumeAt returns the volume that an instance has at a device name, or nil.
func (t *tx) volumeAt(instanceID, device string) *Volume {
	for v := range t.volumes() {
		if a := v.attached(t.now); a != nil && a.InstanceID == instanceID && a.Device == device {
			return v
		}
	}
	return nil
}
