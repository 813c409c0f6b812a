package sandbox

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// volumeLimits are a volume type's bounds (AWS: "Amazon EBS volume types" and
// the API reference of CreateVolume). Sizes in GiB, throughput in MiB/s.
type volumeLimits struct {
	minSize, maxSize                 int
	minIOPS, maxIOPS, defaultIOPS    int // maxIOPS 0: cannot be given
	needsIOPS                        bool
	maxThroughput, defaultThroughput int
}

var volumeTypes = map[string]volumeLimits{
	"gp3":      {minSize: 1, maxSize: 65536, minIOPS: 3000, maxIOPS: 80000, defaultIOPS: 3000, maxThroughput: 2000, defaultThroughput: 125},
	"gp2":      {minSize: 1, maxSize: 16384},
	"io1":      {minSize: 4, maxSize: 16384, minIOPS: 100, maxIOPS: 64000, needsIOPS: true},
	"io2":      {minSize: 4, maxSize: 65536, minIOPS: 100, maxIOPS: 256000, needsIOPS: true},
	"st1":      {minSize: 125, maxSize: 16384},
	"sc1":      {minSize: 125, maxSize: 16384},
	"standard": {minSize: 1, maxSize: 1024},
}

func createVolume(t *tx, q *query, out *document) error {
	if done, err := t.repeated(q); done != nil || err != nil {
		if err == nil {
			t.writeVolume(out, done, "creating")
		}
		return err
	}
	v, err := t.newVolume(q)
	if err != nil {
		return err
	}
	if q.bool("DryRun") {
		return nil
	}
	t.onAbort = append(t.onAbort, func() { t.w.pool.remove(v.ID) })
	if v.SnapshotID != "" {
		err = t.w.pool.clone(v.ID, v.SnapshotID, v.Size)
	} else {
		err = t.w.pool.create(v.ID, v.Size)
	}
	if err != nil {
		return err
	}
	t.change.Volumes[v.ID] = v
	if client := q.str("ClientToken"); client != "" {
		t.change.Tokens[client] = &token{ID: v.ID, Digest: q.digest()}
	}
	t.writeVolume(out, v, "creating")
	return nil
}

// repeated returns the volume that an earlier request with the same ClientToken
// made.
func (t *tx) repeated(q *query) (*Volume, error) {
	client := q.str("ClientToken")
	earlier := lookUp(t.change.Tokens, t.rows.Tokens, client)
	if client == "" || earlier == nil {
		return nil, nil
	}
	if len(client) > 64 {
		return nil, refuse("InvalidParameterValue", "ClientToken must be at most 64 characters")
	}
	if earlier.Digest != q.digest() {
		return nil, refuse("IdempotentParameterMismatch", "The request uses the same client token as a previous, but non-identical request.")
	}
	return t.needVolume(earlier.ID)
}

// newVolume checks the request and builds the record.
func (t *tx) newVolume(q *query) (*Volume, error) {
	zone := q.str("AvailabilityZone")
	if id := q.str("AvailabilityZoneId"); zone == "" {
		zone = zoneByID(id)
	}
	if zone == "" {
		return nil, refuse("MissingParameter", "The request must contain the parameter AvailabilityZone")
	}
	if !isZone(zone) {
		return nil, refuse("InvalidZone.NotFound", "The zone '%s' does not exist.", zone)
	}
	if q.bool("MultiAttachEnabled") {
		return nil, refuse("UnsupportedOperation", "The sandbox has no multi-attach volumes.")
	}
	if len(q.str("ClientToken")) > 64 {
		return nil, refuse("InvalidParameterValue", "ClientToken must be at most 64 characters")
	}
	v := &Volume{
		ID: newID("vol"), Zone: zone, Type: cmp.Or(q.str("VolumeType"), "gp2"), Size: q.int("Size"), IOPS: q.int("Iops"), Throughput: q.int("Throughput"),
		Encrypted: q.bool("Encrypted"), KMSKey: q.str("KmsKeyId"), SnapshotID: q.str("SnapshotId"), InitializationRate: q.int("VolumeInitializationRate"),
		Created: t.now, VisibleAt: t.visible(), AvailableAt: t.now.Add(t.w.faults.current.Latency.Create),
	}
	if err := t.fromSnapshot(v, q.has("Size")); err != nil {
		return nil, err
	}
	if v.KMSKey != "" && !v.Encrypted {
		return nil, refuse("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	}
	if v.Encrypted && v.KMSKey == "" {
		v.KMSKey = "arn:aws:kms:" + Region + ":" + Account + ":key/aws-ebs"
	}
	if err := checkPerformance(v, q.has("Iops"), q.has("Throughput")); err != nil {
		return nil, err
	}
	tags, err := q.tagsFor("volume", "volume")
	if err != nil {
		return nil, err
	}
	v.Tags = asTags(tags)
	for _, f := range q.faults {
		switch f.Effect {
		case "vanish":
			v.VanishAt = t.now.Add(max(f.After, time.Nanosecond))
			v.AvailableAt = v.VanishAt.Add(time.Hour) // it never gets there
		case "error":
			v.Forced = "error"
		case "stuck":
			v.Forced = "creating"
		}
	}
	return v, nil
}

// fromSnapshot fills in what a volume takes from its snapshot.
func (t *tx) fromSnapshot(v *Volume, sized bool) error {
	if v.SnapshotID == "" {
		if !sized {
			return refuse("MissingParameter", "The request must contain the parameter size/snapshot")
		}
		if v.InitializationRate != 0 {
			return refuse("InvalidParameterCombination", "VolumeInitializationRate needs a snapshot.")
		}
		return nil
	}
	s, err := t.needSnapshot(v.SnapshotID)
	if err != nil {
		return err
	}
	if state := s.status(t.now); state != "completed" {
		return refuse("IncorrectState", "Snapshot is in invalid state - %s", state)
	}
	if s.tier() == "archive" && !t.now.Before(s.Restored) {
		return refuse("IncorrectState", "The snapshot '%s' is archived. Restore it to the standard tier first.", s.ID)
	}
	if rate := v.InitializationRate; rate != 0 && (rate < 100 || rate > 300) {
		return refuse("InvalidParameterValue", "VolumeInitializationRate must be between 100 and 300 MiB/s")
	}
	if !sized {
		v.Size = s.Size
	}
	if v.Size < s.Size {
		return refuse("InvalidParameterValue", "Volume of %dGiB is smaller than snapshot '%s', expect size>= %dGiB", v.Size, s.ID, s.Size)
	}
	if v.Encrypted = v.Encrypted || s.Encrypted; v.KMSKey == "" {
		v.KMSKey = s.KMSKey
	}
	return nil
}

// checkPerformance checks size, IOPS and throughput against the type's limits
// and fills in the defaults.
func checkPerformance(v *Volume, hasIOPS, hasThroughput bool) error {
	limits, ok := volumeTypes[v.Type]
	switch {
	case !ok:
		return refuse("UnknownVolumeType", "Unsupported volume type '%s' for volume creation.", v.Type)
	case v.Size < limits.minSize:
		return refuse("InvalidParameterValue", "Volume of %dGiB is too small for volume type %s; minimum is %dGiB.", v.Size, v.Type, limits.minSize)
	case v.Size > limits.maxSize:
		return refuse("InvalidParameterValue", "Volume of %dGiB is too large for volume type %s; maximum is %dGiB.", v.Size, v.Type, limits.maxSize)
	case hasIOPS && limits.maxIOPS == 0:
		return refuse("InvalidParameterCombination", "The parameter iops is not supported for %s volumes.", v.Type)
	case !hasIOPS && limits.needsIOPS:
		return refuse("MissingParameter", "The request must contain the parameter iops for %s volumes", v.Type)
	case hasIOPS && (v.IOPS < limits.minIOPS || v.IOPS > limits.maxIOPS):
		return refuse("InvalidParameterValue", "Volume iops of %d is out of range; %s takes %d to %d.", v.IOPS, v.Type, limits.minIOPS, limits.maxIOPS)
	case hasThroughput && limits.maxThroughput == 0:
		return refuse("InvalidParameterCombination", "The parameter throughput is not supported for %s volumes.", v.Type)
	case hasThroughput && (v.Throughput < limits.defaultThroughput || v.Throughput > limits.maxThroughput):
		return refuse("InvalidParameterValue", "Throughput of %d MiB/s is out of range; %s takes %d to %d.", v.Throughput, v.Type, limits.defaultThroughput, limits.maxThroughput)
	}
	v.IOPS = cmp.Or(v.IOPS, limits.defaultIOPS)
	v.Throughput = cmp.Or(v.Throughput, limits.defaultThroughput)
	if v.Type == "gp2" {
		v.IOPS = min(max(100, 3*v.Size), 16000)
	}
	if v.Type == "gp3" && hasThroughput && v.Throughput*4 > v.IOPS {
		return refuse("InvalidParameterValue", "Throughput (MiBps) to iops ratio of %f is too high; maximum is 0.250000 MiBps per iops.", float64(v.Throughput)/float64(v.IOPS))
	}
	return nil
}

// needVolume returns the volume or EC2's refusal.
func (t *tx) needVolume(id string) (*Volume, error) {
	if !wellFormed(id, "vol") {
		return nil, refuse("InvalidVolumeID.Malformed", "The specified volume ID '%s' is not valid. Expected: 'vol-...'", id)
	}
	if v := t.volume(id); v != nil {
		return v, nil
	}
	return nil, refuse("InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
}

// wellFormed tells whether id is prefix- and 8 or 17 hexadecimal digits.
func wellFormed(id, prefix string) bool {
	digits, ok := strings.CutPrefix(id, prefix+"-")
	return ok && (len(digits) == 8 || len(digits) == 17) && strings.Trim(digits, "0123456789abcdef") == ""
}

func deleteVolume(t *tx, q *query, out *document) error {
	v, err := t.needVolume(q.str("VolumeId"))
	if err != nil {
		return err
	}
	if a := v.attached(t.now); a != nil {
		return refuse("VolumeInUse", "Volume %s is currently attached to %s", v.ID, a.InstanceID)
	}
	if v.status(t.now) == "creating" {
		return refuse("IncorrectState", "The volume '%s' is 'creating'", v.ID)
	}
	t.dropVolume(v.ID)
	out.done()
	return nil
}

// dropVolume deletes the record, and then the file.
func (t *tx) dropVolume(id string) {
	t.change.Volumes[id] = nil
	t.after = append(t.after, func() error { return t.w.pool.remove(id) })
}

func (v *Volume) key() (time.Time, string)             { return v.Created, v.ID }
func (v *Volume) visible(now time.Time) bool           { return !v.VisibleAt.After(now) }
func (v *Volume) tags(now time.Time) map[string]string { return v.Tags.at(now) }

// ofAttachment is a filter on a field of the attachment.
func ofAttachment(field func(*Attachment, time.Time) string) func(*Volume, time.Time) []string {
	return func(v *Volume, now time.Time) []string {
		if a := v.attached(now); a != nil {
			return []string{field(a, now)}
		}
		return nil
	}
}

// just is a filter on a plain field.
func just[R any](field func(R, time.Time) string) func(R, time.Time) []string {
	return func(r R, now time.Time) []string { return []string{field(r, now)} }
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

var volumeFields = fields[*Volume]{
	"attachment.attach-time":           ofAttachment(func(a *Attachment, _ time.Time) string { return stamp(a.AttachTime) }),
	"attachment.delete-on-termination": ofAttachment(func(a *Attachment, _ time.Time) string { return fmt.Sprint(a.DeleteOnTermination) }),
	"attachment.device":                ofAttachment(func(a *Attachment, _ time.Time) string { return a.Device }),
	"attachment.instance-id":           ofAttachment(func(a *Attachment, _ time.Time) string { return a.InstanceID }),
	"attachment.status":                ofAttachment(func(a *Attachment, now time.Time) string { return a.status(now) }),
	"availability-zone":                just(func(v *Volume, _ time.Time) string { return v.Zone }),
	"create-time":                      just(func(v *Volume, _ time.Time) string { return stamp(v.Created) }),
	"encrypted":                        just(func(v *Volume, _ time.Time) string { return fmt.Sprint(v.Encrypted) }),
	"multi-attach-enabled":             just(func(*Volume, time.Time) string { return "false" }),
	"size":                             just(func(v *Volume, _ time.Time) string { return strconv.Itoa(v.Size) }),
	"snapshot-id":                      just(func(v *Volume, _ time.Time) string { return v.SnapshotID }),
	"status":                           just(func(v *Volume, now time.Time) string { return v.status(now) }),
	"volume-id":                        just(func(v *Volume, _ time.Time) string { return v.ID }),
	"volume-type":                      just(func(v *Volume, _ time.Time) string { return v.Type }),
}

func describeVolumes(t *tx, q *query, out *document) error {
	volumes, next, err := describe(t, q, listing[*Volume]{
		ids: "VolumeId", fields: volumeFields, every: t.volumes(), smallest: 5, find: t.findVolume,
	})
	if err != nil {
		return err
	}
	set(out, "volumeSet", volumes, func(v *Volume) { t.writeVolume(out, v, v.status(t.now)) })
	out.optional("nextToken", next)
	return nil
}

// findVolume is needVolume for describes, which lag behind creates.
func (t *tx) findVolume(id string) (*Volume, error) {
	v, err := t.needVolume(id)
	if err == nil && !v.visible(t.now) {
		return nil, refuse("InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
	}
	return v, err
}

func (t *tx) writeVolume(out *document, v *Volume, status string) {
	out.text("volumeId", v.ID)
	out.number("size", v.Size)
	out.text("snapshotId", v.SnapshotID)
	out.text("availabilityZone", v.Zone)
	out.text("availabilityZoneId", zoneID(v.Zone))
	out.text("status", status)
	out.instant("createTime", v.Created)
	var attachments []*Attachment
	if a := v.attached(t.now); a != nil {
		attachments = append(attachments, a)
	}
	set(out, "attachmentSet", attachments, func(a *Attachment) { writeAttachment(out, v.ID, a, a.status(t.now)) })
	out.tagSet(v.tags(t.now))
	out.text("volumeType", v.Type)
	if v.IOPS > 0 {
		out.number("iops", v.IOPS)
	}
	if v.Throughput > 0 {
		out.number("throughput", v.Throughput)
	}
	out.flag("encrypted", v.Encrypted)
	out.optional("kmsKeyId", v.KMSKey)
	out.flag("multiAttachEnabled", false)
	if v.InitializationRate > 0 {
		out.number("volumeInitializationRate", v.InitializationRate)
	}
}
