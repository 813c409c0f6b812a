package sandbox

import (
	"cmp"
	"strconv"
	"time"

	"snaptastic/ec2/ebs"
)

// status is the state of the modification at now. EC2 allows the new size to be used once it is optimizing.
func (m *Modification) status(now time.Time) string {
	switch {
	case !now.Before(m.DoneAt):
		return "completed"
	case now.Sub(m.Started) > m.DoneAt.Sub(m.Started)/2:
		return "optimizing"
	}
	return "modifying"
}

func (m *Modification) progress(now time.Time) int {
	if total := m.DoneAt.Sub(m.Started); now.Before(m.DoneAt) && total > 0 {
		return max(0, int(100*now.Sub(m.Started)/total))
	}
	return 100
}

// modifyAgain is the pause between two modifications of a volume. EC2 now allows four in 24 hours if each has completed,
// but some regions still enforce the pause, and a client that keeps it works with both
// (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVolume.html).
const modifyAgain = 6 * time.Hour

func modifyVolume(t *tx, q *query, out *document) error {
	v, err := t.needVolume(q.str("VolumeId"))
	if err != nil {
		return err
	}
	if state := v.status(t.now); state != "available" && state != "in-use" {
		return refuse("IncorrectState", "The volume '%s' is '%s'", v.ID, state)
	}
	if m := v.Modification; m != nil && m.status(t.now) != "completed" {
		return refuse("IncorrectModificationState", "Volume %s current state is %s.", v.ID, m.status(t.now))
	} else if m != nil && t.now.Sub(m.Started) < modifyAgain {
		return refuse("VolumeModificationRateExceeded", "You've reached the maximum modification rate per volume limit. Wait at least 6 hours between modifications per EBS volume.")
	}
	if q.has("Size") && q.int("Size") < v.Size {
		return refuse("InvalidParameterValue", "New size cannot be smaller than existing size")
	}
	old := *v
	v = t.editVolume(v.ID)
	v.Size, v.Type = cmp.Or(q.int("Size"), v.Size), cmp.Or(q.str("VolumeType"), v.Type)
	hasIOPS, hasThroughput := q.has("Iops"), q.has("Throughput")
	if v.Type != old.Type {
		v.IOPS, v.Throughput = 0, 0
	} else if limits := ebs.Types[v.Type]; limits.MaxIOPS > 0 {
		hasIOPS = true
	}
	v.IOPS, v.Throughput = cmp.Or(q.int("Iops"), v.IOPS), cmp.Or(q.int("Throughput"), v.Throughput)
	if err := checkPerformance(v, hasIOPS, hasThroughput); err != nil {
		return err
	}
	v.Modification = &Modification{
		Started: t.now, DoneAt: t.now.Add(t.behaviour().Latency.Modify),
		FromType: old.Type, FromSize: old.Size, FromIOPS: old.IOPS, FromThroughput: old.Throughput,
		ToType: v.Type, ToSize: v.Size, ToIOPS: v.IOPS, ToThroughput: v.Throughput,
	}
	out.in("volumeModification", func() { writeModification(out, v, t.now, "modifying") })
	if v.Size > old.Size {
		t.after = append(t.after, func() error { return t.w.growDevice(v) })
	}
	return nil
}

// growDevice enlarges the file, and the device of an attached volume, to the recorded size, and publishes the device.
func (w *Sandbox) growDevice(v *Volume) error {
	if err := w.pool.grow(v.ID, v.Size); err != nil {
		return err
	}
	a := v.Attachment
	if a == nil || !a.Published {
		return nil
	}
	device, err := w.device(v.ID)
	if err != nil {
		return err
	}
	if !w.config.FilesOnly {
		if err := loopGrow(device); err != nil {
			return err
		}
	}
	return publish(w.rootsAt(v), v, device)
}

func writeModification(out *document, v *Volume, now time.Time, status string) {
	m := v.Modification
	out.text("volumeId", v.ID)
	out.text("modificationState", status)
	out.text("originalVolumeType", m.FromType)
	out.number("originalSize", m.FromSize)
	out.number("originalIops", m.FromIOPS)
	out.number("originalThroughput", m.FromThroughput)
	out.text("targetVolumeType", m.ToType)
	out.number("targetSize", m.ToSize)
	out.number("targetIops", m.ToIOPS)
	out.number("targetThroughput", m.ToThroughput)
	out.instant("startTime", m.Started)
	out.number("progress", m.progress(now))
	if status == "completed" {
		out.instant("endTime", m.DoneAt)
	}
}

var modificationFields = fields[*Volume]{
	"volume-id":            volumeFields["volume-id"],
	"modification-state":   single(func(v *Volume, now time.Time) string { return v.Modification.status(now) }),
	"original-iops":        single(func(v *Volume, _ time.Time) string { return strconv.Itoa(v.Modification.FromIOPS) }),
	"target-iops":          single(func(v *Volume, _ time.Time) string { return strconv.Itoa(v.Modification.ToIOPS) }),
	"original-size":        single(func(v *Volume, _ time.Time) string { return strconv.Itoa(v.Modification.FromSize) }),
	"original-volume-type": single(func(v *Volume, _ time.Time) string { return v.Modification.FromType }),
	"start-time":           single(func(v *Volume, _ time.Time) string { return stamp(v.Modification.Started) }),
	"target-size":          single(func(v *Volume, _ time.Time) string { return strconv.Itoa(v.Modification.ToSize) }),
	"target-volume-type":   single(func(v *Volume, _ time.Time) string { return v.Modification.ToType }),
}

func describeVolumesModifications(t *tx, q *query, out *document) error {
	find := func(id string) (*Volume, error) {
		v, err := t.findVolume(id)
		if err != nil {
			return nil, err
		}
		if shown, _ := v.shown(t.now); shown.Modification == nil {
			return nil, refuse("InvalidVolumeModification.NotFound", "Modification for volume '%s' does not exist.", id)
		}
		return v, nil
	}
	volumes, next, err := describe(t, q, listing[*Volume]{ids: "VolumeId", fields: modificationFields, after: t.volumesAfter, smallest: 1, find: find,
		also: func(v *Volume) bool { return v.Modification != nil }})
	if err != nil {
		return err
	}
	set(out, "volumeModificationSet", volumes, func(v *Volume) { writeModification(out, v, t.now, v.Modification.status(t.now)) })
	out.optional("nextToken", next)
	return nil
}
