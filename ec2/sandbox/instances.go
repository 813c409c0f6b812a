package sandbox

import (
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
	"availability-zone-id": single(func(i *Instance, _ time.Time) string { return zones[i.Zone] }),
	"operator.managed":     single(func(*Instance, time.Time) string { return "false" }),
	"operator.principal":   none[*Instance],
	"image-id":             single(func(i *Instance, _ time.Time) string { return i.ImageID }),
	"instance-id":          single(func(i *Instance, _ time.Time) string { return i.ID }),
	"instance-state-code":  single(func(i *Instance, _ time.Time) string { code, _ := i.status(); return strconv.Itoa(code) }),
	"instance-state-name":  single(func(i *Instance, _ time.Time) string { _, name := i.status(); return name }),
	"instance-type":        single(func(i *Instance, _ time.Time) string { return i.Type }),
	"launch-time":          single(func(i *Instance, _ time.Time) string { return stamp(i.Launched) }),
	"owner-id":             single(func(*Instance, time.Time) string { return Account }),
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
	out.text("ownerId", Account)
	set(out, "groupSet", []string{}, func(string) {})
	set(out, "instancesSet", instances, func(i *Instance) { t.writeInstance(out, i) })
}

func (t *tx) writeInstance(out *document, i *Instance) {
	out.text("instanceId", i.ID)
	out.text("imageId", i.ImageID)
	out.in("instanceState", func() {
		code, name := i.status()
		out.number("code", code)
		out.text("name", name)
	})
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
