package sandbox

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"time"
)

func (i *Instance) key() (time.Time, string) { return i.Launched, i.ID }
func (i *Instance) tags() Tags               { return i.Tags }

func (i *Instance) shown(now time.Time) (*Instance, bool) {
	shown := versionAt(i, now)
	return shown, shown != nil
}

var instanceFields = fields[*Instance]{
	"availability-zone":    single(func(i *Instance, _ time.Time) string { return i.Zone }),
	"availability-zone-id": single(func(i *Instance, _ time.Time) string { return zoneID(i.Zone) }),
	"operator.managed":     single(func(*Instance, time.Time) string { return "false" }),
	"operator.principal":   none[*Instance],
	"image-id":             single(func(i *Instance, _ time.Time) string { return i.ImageID }),
	"instance-id":          single(func(i *Instance, _ time.Time) string { return i.ID }),
	"instance-state-code":  single(func(i *Instance, now time.Time) string { code, _ := i.status(now); return strconv.Itoa(code) }),
	"instance-state-name":  single(func(i *Instance, now time.Time) string { _, name := i.status(now); return name }),
	"instance-type":        single(func(i *Instance, _ time.Time) string { return i.Type }),
	"launch-time":          single(func(i *Instance, _ time.Time) string { return stamp(i.Launched) }),
	"owner-id":             single(func(i *Instance, _ time.Time) string { return worldOf(i.In).Account }),
	"root-device-name":     single(func(i *Instance, _ time.Time) string { return i.RootDevice }),
}

func describeInstances(t *tx, q *query, out *document) error {
	instances, next, err := describe(t, q, listing[*Instance]{
		ids: "InstanceId", fields: instanceFields, after: behind(t.instances()), smallest: 5, find: t.needInstance,
	})
	if err != nil {
		return err
	}
	set(out, "reservationSet", instances, func(i *Instance) { t.writeReservation(out, []*Instance{i}) })
	out.optional("nextToken", next)
	return nil
}

func (t *tx) writeReservation(out *document, instances []*Instance) {
	out.text("reservationId", "r"+instances[0].ID[1:])
	out.text("ownerId", t.here.Account)
	set(out, "groupSet", []string{}, func(string) {})
	set(out, "instancesSet", instances, func(i *Instance) { t.writeInstance(out, i) })
}

func (t *tx) writeInstance(out *document, i *Instance) {
	out.text("instanceId", i.ID)
	out.text("imageId", i.ImageID)
	out.in("instanceState", func() { writeState(out, i, t.now) })
	out.text("instanceType", i.Type)
	out.instant("launchTime", i.Launched)
	out.in("placement", func() {
		out.text("availabilityZone", i.Zone)
		out.text("tenancy", "default")
	})
	out.in("monitoring", func() { out.text("state", "disabled") })
	out.text("privateIpAddress", i.PrivateIP)
	out.text("architecture", "x86_64")
	out.text("rootDeviceType", "ebs")
	out.text("rootDeviceName", i.RootDevice)
	t.writeMappings(out, i)
	out.text("virtualizationType", "hvm")
	out.text("hypervisor", "xen") // EC2 says xen for Nitro too
	out.flag("enaSupport", true)
	out.tagSet(i.Tags)
}

func writeState(out *document, i *Instance, now time.Time) {
	code, name := i.status(now)
	out.number("code", code)
	out.text("name", name)
}

func (t *tx) writeMappings(out *document, i *Instance) {
	set(out, "blockDeviceMapping", t.shownVolumesOf(i.ID), func(v *Volume) {
		a := v.attached(t.now)
		out.text("deviceName", a.Device)
		out.in("ebs", func() {
			out.text("volumeId", v.ID)
			out.text("status", ebsStatus(a.status(t.now)))
			out.instant("attachTime", a.AttachTime)
			out.flag("deleteOnTermination", a.DeleteOnTermination)
		})
	})
}

// ebsStatus is the attachment's state in a block device mapping, which knows no busy.
func ebsStatus(status string) string {
	if status == "busy" {
		return "detaching"
	}
	return status
}

// shownVolumesOf is volumesOf as describes return it.
func (t *tx) shownVolumesOf(instanceID string) []*Volume {
	var volumes []*Volume
	for v := range t.volumesAfter(time.Time{}, "") {
		if v, ok := v.shown(t.now); ok {
			if a := v.attached(t.now); a != nil && a.InstanceID == instanceID {
				volumes = append(volumes, v)
			}
		}
	}
	return volumes
}

func (t *tx) volumesOf(instanceID string) []*Volume {
	var volumes []*Volume
	for v := range t.volumes() {
		if a := v.attached(t.now); a != nil && a.InstanceID == instanceID {
			volumes = append(volumes, v)
		}
	}
	return volumes
}

func describeInstanceAttribute(t *tx, q *query, out *document) error {
	i, err := t.needInstance(q.str("InstanceId"))
	if err != nil {
		return err
	}
	value := func(name, value string) { out.in(name, func() { out.optional("value", value) }) }
	out.text("instanceId", i.ID)
	switch attribute := q.str("Attribute"); attribute {
	case "blockDeviceMapping":
		t.writeMappings(out, i)
	case "instanceType":
		value(attribute, i.Type)
	case "rootDeviceName":
		value(attribute, i.RootDevice)
	case "userData":
		var encoded string
		if name, is := t.machineOf(i.ID); is {
			encoded = base64.StdEncoding.EncodeToString([]byte(t.rows.factsOf(t.in, name).UserData))
		}
		value(attribute, encoded)
	case "disableApiTermination", "disableApiStop":
		value(attribute, "false")
	case "enaSupport", "ebsOptimized":
		value(attribute, "true")
	default:
		return refuse("InvalidParameterValue", "Value (%s) for parameter attribute is invalid. Unknown attribute.", attribute)
	}
	return nil
}

// runInstances makes instances that are records: nothing runs.
func runInstances(t *tx, q *query, out *document) error {
	least, most := q.int("MinCount"), q.int("MaxCount")
	if least < 1 || most < least || most > 100 {
		return refuse("InvalidParameterValue", "Invalid values for MinCount and MaxCount: %d, %d", least, most)
	}
	image, err := t.needImage(q.str("ImageId"))
	if err != nil {
		return err
	}
	zone := cmp.Or(q.str("Placement.AvailabilityZone"), t.here.zone())
	if !t.isZone(zone) {
		return refuse("InvalidParameterValue", "Invalid availability zone: [%s]", zone)
	}
	tags, err := q.tagsFor("instance", "instance", "volume", "network-interface", "spot-instances-request")
	if err != nil {
		return err
	}
	client := q.str("ClientToken")
	var instances []*Instance
	for i := range t.instances() {
		if client != "" && i.Token == client {
			instances = append(instances, i)
		}
	}
	for n := len(instances); n < most && (client == "" || len(instances) < most); n++ {
		i := &Instance{
			ID: newID("i"), Type: cmp.Or(q.str("InstanceType"), "m1.small"), Zone: zone, ImageID: image.ID, RootDevice: image.RootDevice,
			Launched: t.now, RunningAt: t.now.Add(t.behaviour().Latency.Run), Token: client, Tags: asTags(tags),
			PrivateIP: fmt.Sprintf("10.0.%d.%d", len(t.rows.Instances)/200, 11+len(t.rows.Instances)%200+n),
		}
		put(t.in, t.change.Instances, i)
		if err := t.bootVolumes(i, image); err != nil {
			return err
		}
		instances = append(instances, i)
	}
	t.writeReservation(out, instances)
	return nil
}

// bootVolumes makes the volumes of an image for an instance.
func (t *tx) bootVolumes(i *Instance, image *Image) error {
	if len(image.Disks) == 0 {
		root := rootVolume(i, 8, t.now)
		put(t.in, t.change.Volumes, root)
		return nil
	}
	for _, disk := range image.Disks {
		v := rootVolume(i, disk.Size, t.now)
		v.SnapshotID, v.Type = disk.SnapshotID, disk.Type
		v.Attachment.Device, v.Attachment.DeleteOnTermination = disk.Device, disk.DeleteOnTermination
		t.onAbort = append(t.onAbort, func() { t.w.pool.remove(v.ID) })
		if err := t.w.pool.clone(v.ID, disk.SnapshotID, disk.Size); err != nil {
			return err
		}
		put(t.in, t.change.Volumes, v)
	}
	return nil
}

func terminateInstances(t *tx, q *query, out *document) error {
	var ended []*Instance
	for _, id := range slices.Compact(slices.Sorted(slices.Values(q.list("InstanceId")))) {
		i, err := t.needInstance(id)
		if err != nil {
			return err
		}
		if _, is := t.machineOf(i.ID); is {
			return refuse("OperationNotPermitted", "The instance '%s' may not be terminated: it is the one that the sandbox stands for.", id)
		}
		i = t.editInstance(id)
		i.Terminated = t.now
		ended = append(ended, i)
		for _, v := range t.volumesOf(id) {
			if v.Attachment.DeleteOnTermination {
				t.dropVolume(v.ID)
			} else {
				t.editVolume(v.ID).Attachment = nil
			}
		}
	}
	set(out, "instancesSet", ended, func(i *Instance) {
		out.text("instanceId", i.ID)
		out.in("currentState", func() { writeState(out, i, t.now) })
		out.in("previousState", func() {
			out.number("code", 16)
			out.text("name", "running")
		})
	})
	return nil
}
