package sandbox

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unicode/utf8"

	"snaptastic/ec2/ebs"
)

func createSnapshot(t *tx, q *query, out *document) error {
	v, err := t.needVolume(q.str("VolumeId"))
	if err != nil {
		return err
	}
	if state := v.status(t.now); state != "available" && state != "in-use" {
		return refuse("IncorrectState", "The volume '%s' is '%s'", v.ID, state)
	}
	tags, err := q.tagsFor("snapshot", "snapshot")
	if err != nil {
		return err
	}
	s, err := t.takeSnapshot(v, q, tags)
	if err != nil {
		return err
	}
	t.writeSnapshot(out, s, "status", "pending")
	return nil
}

// createSnapshots takes snapshots of an instance's volumes: all or none, with one start time. The copies are about a
// millisecond apart, where EC2 stops the writes of all volumes at once: for a consistent set, freeze the volumes.
func createSnapshots(t *tx, q *query, out *document) error {
	i, err := t.needInstance(q.str("InstanceSpecification.InstanceId"))
	if err != nil {
		return err
	}
	tags, err := q.tagsFor("snapshot", "snapshot")
	if err != nil {
		return err
	}
	if from := q.str("CopyTagsFromSource"); from != "" && from != "volume" {
		return refuse("InvalidParameterValue", "Value (%s) for parameter CopyTagsFromSource is invalid.", from)
	}
	volumes, err := t.snapshotSet(i, q)
	if err != nil {
		return err
	}
	var taken []*Snapshot
	for _, v := range volumes {
		wanted := maps.Clone(tags)
		if q.has("CopyTagsFromSource") {
			copied := v.Tags.plain()
			maps.Copy(copied, wanted)
			wanted = copied
		}
		s, err := t.takeSnapshot(v, q, wanted)
		if err != nil {
			return err
		}
		taken = append(taken, s)
	}
	set(out, "snapshotSet", taken, func(s *Snapshot) { t.writeSnapshot(out, s, "state", "pending") })
	return nil
}

// snapshotSet lists the volumes that CreateSnapshots is about.
func (t *tx) snapshotSet(i *Instance, q *query) ([]*Volume, error) {
	excluded := q.list("InstanceSpecification.ExcludeDataVolumeId")
	if len(excluded) > 40 {
		return nil, refuse("InvalidParameterValue", "You can exclude at most 40 data volumes.")
	}
	for _, id := range excluded {
		v, err := t.needVolume(id)
		if err != nil {
			return nil, err
		}
		if a := v.attached(t.now); a == nil || a.InstanceID != i.ID || a.Device == i.RootDevice {
			return nil, refuse("InvalidParameterValue", "Volume '%s' is not a data volume of instance '%s'", id, i.ID)
		}
	}
	var volumes []*Volume
	for v := range t.volumes() {
		a := v.attached(t.now)
		switch {
		case a == nil || a.InstanceID != i.ID || slices.Contains(excluded, v.ID):
		case a.Device == i.RootDevice && q.bool("InstanceSpecification.ExcludeBootVolume"):
		default:
			volumes = append(volumes, v)
		}
	}
	if len(volumes) == 0 {
		return nil, refuse("InvalidParameterCombination", "No volumes to snapshot on instance '%s'", i.ID)
	}
	return volumes, nil
}

// maySnapshot enforces the limit on pending snapshots of a volume and, in strict mode, the minimum interval.
func (t *tx) maySnapshot(v *Volume) error {
	if pause := ebs.SnapshotSeconds * time.Second; t.behaviour().Strict && t.now.Sub(v.Snapshotted) < pause {
		return refuse("SnapshotCreationPerVolumeRateExceeded", "%s", messageOf("SnapshotCreationPerVolumeRateExceeded", "", t.here))
	}
	pending := 0
	for _, until := range v.Copying {
		if t.now.Before(until) {
			pending++
		}
	}
	for s := range t.snapshots() {
		if s.VolumeID == v.ID && s.status(t.now) == "pending" {
			pending++
		}
	}
	if pending >= int(ebs.Types[v.Type].Pending) {
		return refuse("ConcurrentSnapshotLimitExceeded", "Maximum allowed in-progress snapshots for a single volume exceeded.")
	}
	return nil
}

func checkDescription(q *query) error {
	if length := utf8.RuneCountInString(q.str("Description")); length > ebs.MaxDescription {
		return refuse("InvalidParameterValue", "Value (%.20s…) for parameter description is invalid. Length exceeds maximum of %d.", q.str("Description"), ebs.MaxDescription)
	}
	return nil
}

// takeSnapshot copies the volume's current content and records the snapshot.
func (t *tx) takeSnapshot(v *Volume, q *query, tags map[string]string) (*Snapshot, error) {
	if err := checkDescription(q); err != nil {
		return nil, err
	}
	if err := t.maySnapshot(v); err != nil {
		return nil, err
	}
	t.editVolume(v.ID).Snapshotted = t.now
	s := &Snapshot{
		ID: newID("snap"), VolumeID: v.ID, OwnerID: t.here.Account, Size: v.Size, Description: q.str("Description"), Encrypted: v.Encrypted, KMSKey: v.KMSKey,
		Started: t.now, CompletedAt: t.now.Add(t.behaviour().Latency.Snapshot), Tags: asTags(tags),
	}
	s.applyFaults(q.faults)
	put(t.in, t.change.Snapshots, s)
	if q.bool("DryRun") {
		return s, nil
	}
	t.onAbort = append(t.onAbort, func() { t.w.pool.remove(s.ID) })
	if !exists(t.w.pool.path(v.ID)) { // a root volume, never written
		return s, t.w.pool.create(s.ID, s.Size)
	}
	if err := t.w.pool.clone(s.ID, v.ID, 0); err != nil {
		return s, err
	}
	s.FullSize = fullSize(t.w.pool.path(s.ID))
	return s, nil
}

// fullSize is how much of a disk has been written, in blocks of a snapshot (512 KiB).
// Source: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-accessing-snapshot.html
func fullSize(path string) int64 {
	const block = 512 << 10
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return 0
	}
	return (st.Blocks*512 + block - 1) / block * block
}

// applyFaults applies the effects of faults to a snapshot that is being made.
func (s *Snapshot) applyFaults(faults []Fault) {
	for _, f := range faults {
		switch f.Effect {
		case "error":
			s.ErrorAt = cmp.Or(f.At, 50)
		case "stuck":
			s.Forced = "pending"
		case "archive":
			s.Tier = "archive"
		}
	}
}

func deleteSnapshot(t *tx, q *query, out *document) error {
	s, err := t.needSnapshot(q.str("SnapshotId"))
	if err != nil {
		return err
	}
	if err := t.checkDelete(s); err != nil {
		return err
	}
	t.stillCopying(s)
	t.dropSnapshot(s.ID)
	out.done()
	return nil
}

func (t *tx) checkDelete(s *Snapshot) error {
	if s.OwnerID != t.here.Account {
		return notOwner()
	}
	if state := s.lockState(t.now); state != "" && state != "expired" {
		return refuse("SnapshotLocked", "The snapshot '%s' is locked (%s) and cannot be deleted.", s.ID, state)
	}
	for i := range t.images() {
		for _, disk := range i.Disks {
			if disk.SnapshotID == s.ID {
				return refuse("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", s.ID, i.ID)
			}
		}
	}
	return nil
}

// stillCopying counts a pending snapshot that is being deleted against its volume's limit: EC2 finishes the copy
// anyway.
func (t *tx) stillCopying(s *Snapshot) {
	if s.status(t.now) != "pending" || !t.now.Before(s.CompletedAt) || t.volume(s.VolumeID) == nil {
		return
	}
	v := t.editVolume(s.VolumeID)
	v.Copying = append(slices.DeleteFunc(v.Copying, func(until time.Time) bool { return !t.now.Before(until) }), s.CompletedAt)
}

// dropSnapshot deletes the record, and then the file.
func (t *tx) dropSnapshot(id string) {
	t.failCopiesOf(id)
	t.change.Snapshots[id] = nil
	t.after = append(t.after, func() error { return t.w.pool.remove(id) })
}

func (s *Snapshot) key() (time.Time, string) { return s.Started, s.ID }

var snapshotFields = fields[*Snapshot]{
	"description":   single(func(s *Snapshot, _ time.Time) string { return s.Description }),
	"encrypted":     single(func(s *Snapshot, _ time.Time) string { return fmt.Sprint(s.Encrypted) }),
	"owner-alias":   single(func(*Snapshot, time.Time) string { return "" }),
	"owner-id":      single(func(s *Snapshot, _ time.Time) string { return s.OwnerID }),
	"progress":      single(func(s *Snapshot, now time.Time) string { return fmt.Sprint(s.progress(now), "%") }),
	"snapshot-id":   single(func(s *Snapshot, _ time.Time) string { return s.ID }),
	"start-time":    single(func(s *Snapshot, _ time.Time) string { return stamp(s.Started) }),
	"status":        single(func(s *Snapshot, now time.Time) string { return s.status(now) }),
	"storage-tier":  single(func(s *Snapshot, _ time.Time) string { return s.tier() }),
	"transfer-type": single(func(s *Snapshot, _ time.Time) string { return s.transferType() }),
	"volume-id":     single(func(s *Snapshot, _ time.Time) string { return s.VolumeID }),
	"volume-size":   single(func(s *Snapshot, _ time.Time) string { return strconv.Itoa(s.Size) }),
}

func describeSnapshots(t *tx, q *query, out *document) error {
	owners := q.list("Owner")
	for i, owner := range owners {
		if owner == "self" {
			owners[i] = t.here.Account
		}
	}
	restorable := q.list("RestorableBy")
	snapshots, next, err := describe(t, q, listing[*Snapshot]{
		ids: "SnapshotId", fields: snapshotFields, after: t.snapshotsAfter, smallest: 5, find: t.findSnapshot,
		also: func(s *Snapshot) bool {
			return (len(owners) == 0 || slices.Contains(owners, s.OwnerID)) && (len(restorable) == 0 || t.restorable(s, restorable))
		},
	})
	if err != nil {
		return err
	}
	set(out, "snapshotSet", snapshots, func(s *Snapshot) { t.writeSnapshot(out, s, "status", s.status(t.now)) })
	out.optional("nextToken", next)
	return nil
}

// writeSnapshot writes a Snapshot, or the SnapshotInfo of CreateSnapshots,
// which calls the status state.
func (t *tx) writeSnapshot(out *document, s *Snapshot, statusName, status string) {
	out.text("snapshotId", s.ID)
	out.text("volumeId", s.VolumeID)
	out.text(statusName, status)
	if status == "error" {
		out.text("statusMessage", cmp.Or(s.Why, "The sandbox was told to fail this snapshot."))
	}
	out.instant("startTime", s.Started)
	out.text("progress", fmt.Sprint(s.progress(t.now), "%"))
	out.text("ownerId", s.OwnerID)
	out.number("volumeSize", s.Size)
	out.text("description", s.Description)
	out.tagSet(s.tags())
	out.flag("encrypted", s.Encrypted)
	out.optional("kmsKeyId", s.KMSKey)
	if statusName == "status" {
		out.text("storageTier", s.tier())
		if s.Source != nil {
			out.text("transferType", s.transferType())
			if s.Source.Minutes > 0 {
				out.number("completionDurationMinutes", s.Source.Minutes)
			}
		}
		if status == "completed" {
			out.instant("completionTime", s.CompletedAt)
			if s.FullSize > 0 {
				out.number("fullSnapshotSizeInBytes", int(s.FullSize))
			}
		}
		if !s.Restored.IsZero() {
			out.instant("restoreExpiryTime", s.Restored)
		}
	}
}
