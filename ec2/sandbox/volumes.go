package sandbox

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"snaptastic/ec2/ebs"
)

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
	put(t.in, t.change.Volumes, v)
	if client := q.str("ClientToken"); client != "" {
		t.change.Tokens[t.in+client] = &token{ID: v.ID, Digest: q.digest()}
	}
	t.writeVolume(out, v, "creating")
	return nil
}

// repeated returns the volume that an earlier request with the same ClientToken
// made.
func (t *tx) repeated(q *query) (*Volume, error) {
	client := q.str("ClientToken")
	earlier := lookUp(t.change.Tokens, t.rows.Tokens, t.in+client)
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
		zone = t.zoneByID(id)
	}
	if zone == "" {
		return nil, refuse("MissingParameter", "The request must contain the parameter AvailabilityZone")
	}
	if !t.isZone(zone) {
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
		Created: t.now, AvailableAt: t.now.Add(t.behaviour().Latency.Create),
	}
	if err := t.fromSnapshot(v, q.has("Size")); err != nil {
		return nil, err
	}
	if v.KMSKey != "" && !v.Encrypted {
		return nil, refuse("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	}
	if v.Encrypted && v.KMSKey == "" {
		v.KMSKey = t.here.defaultKey()
	}
	if err := checkPerformance(v, q.has("Iops"), q.has("Throughput")); err != nil {
		return nil, err
	}
	if v.Encrypted && t.keyRefused(v.KMSKey) { // as with an invalid key: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
		v.VanishAt = t.now.Add(max(t.behaviour().Latency.Create, time.Nanosecond))
		v.AvailableAt = v.VanishAt.Add(time.Hour)
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
			if v.ErrorAt = t.now.Add(f.After); f.After == 0 {
				v.Forced = "error"
			}
		case "stuck":
			v.Forced = "creating"
		}
	}
	return v, nil
}

// fromSnapshot sets what a volume inherits from its snapshot.
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
	if rate := v.InitializationRate; rate != 0 && (rate < ebs.MinInitialization || rate > ebs.MaxInitialization) {
		return refuse("InvalidParameterValue", "VolumeInitializationRate must be between %d and %d MiB/s", ebs.MinInitialization, ebs.MaxInitialization)
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
	limits, ok := ebs.Types[v.Type]
	if !ok {
		return refuse("UnknownVolumeType", "Unsupported volume type '%s' for volume creation.", v.Type)
	}
	size, iops := int64(v.Size), int64(v.IOPS)
	switch {
	case size < limits.MinSize:
		return refuse("InvalidParameterValue", "Volume of %dGiB is too small for volume type %s; minimum is %dGiB.", size, v.Type, limits.MinSize)
	case size > limits.MaxSize:
		return refuse("InvalidParameterValue", "Volume of %dGiB is too large for volume type %s; maximum is %dGiB.", size, v.Type, limits.MaxSize)
	case hasIOPS && limits.MaxIOPS == 0:
		return refuse("InvalidParameterCombination", "The parameter iops is not supported for %s volumes.", v.Type)
	case !hasIOPS && limits.NeedsIOPS:
		return refuse("MissingParameter", "The request must contain the parameter iops for %s volumes", v.Type)
	case hasIOPS && (iops < limits.MinIOPS || iops > limits.MaxIOPS):
		return refuse("InvalidParameterValue", "Volume iops of %d is out of range; %s takes %d to %d.", iops, v.Type, limits.MinIOPS, limits.MaxIOPS)
	case hasIOPS && iops > limits.MostIOPS(size):
		return refuse("InvalidParameterValue", "Iops to volume size ratio of %f is too high; maximum is %d", float64(iops)/float64(size), limits.IOPSPerGiB)
	}
	return checkThroughput(v, limits, hasThroughput)
}

func checkThroughput(v *Volume, limits ebs.Type, given bool) error {
	switch v.Type {
	case "gp3":
		v.IOPS = cmp.Or(v.IOPS, ebs.GP3BaseIOPS)
	case "gp2":
		v.IOPS = min(max(100, 3*v.Size), 16000)
	}
	switch {
	case !given && limits.Throughput:
		v.Throughput = cmp.Or(v.Throughput, ebs.MinThroughput)
	case !given:
	case !limits.Throughput:
		return refuse("InvalidParameterCombination", "The parameter throughput is not supported for %s volumes.", v.Type)
	case v.Throughput < ebs.MinThroughput || v.Throughput > ebs.MaxThroughput:
		return refuse("InvalidParameterValue", "Throughput of %d MiB/s is out of range; %s takes %d to %d.", v.Throughput, v.Type, ebs.MinThroughput, ebs.MaxThroughput)
	}
	if v.Throughput*ebs.IOPSPerThroughput > v.IOPS && limits.Throughput {
		return refuse("InvalidParameterValue", "Throughput (MiBps) to iops ratio of %f is too high; maximum is 0.250000 MiBps per iops.", float64(v.Throughput)/float64(v.IOPS))
	}
	return nil
}

// wellFormed reports whether id is the prefix, a dash and 8 or 17 hexadecimal digits.
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

func (v *Volume) key() (time.Time, string) { return v.Created, v.ID }
func (v *Volume) tags() Tags               { return v.Tags }

func (v *Volume) shown(now time.Time) (*Volume, bool) {
	shown := versionAt(v, now)
	return shown, shown != nil && !shown.gone(now)
}

// ofAttachment is a filter on a field of the attachment.
func ofAttachment(field func(*Attachment, time.Time) string) func(*Volume, time.Time) []string {
	return func(v *Volume, now time.Time) []string {
		if a := v.attached(now); a != nil {
			return []string{field(a, now)}
		}
		return nil
	}
}

// single is a filter on a plain field.
func single[R any](field func(R, time.Time) string) func(R, time.Time) []string {
	return func(r R, now time.Time) []string { return []string{field(r, now)} }
}

// none is a filter on what no resource of the sandbox has.
func none[R any](R, time.Time) []string { return nil }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

var volumeFields = fields[*Volume]{
	"attachment.attach-time":           ofAttachment(func(a *Attachment, _ time.Time) string { return stamp(a.AttachTime) }),
	"attachment.delete-on-termination": ofAttachment(func(a *Attachment, _ time.Time) string { return fmt.Sprint(a.DeleteOnTermination) }),
	"attachment.device":                ofAttachment(func(a *Attachment, _ time.Time) string { return a.Device }),
	"attachment.instance-id":           ofAttachment(func(a *Attachment, _ time.Time) string { return a.InstanceID }),
	"attachment.status":                ofAttachment(func(a *Attachment, now time.Time) string { return a.status(now) }),
	"availability-zone":                single(func(v *Volume, _ time.Time) string { return v.Zone }),
	"availability-zone-id":             single(func(v *Volume, _ time.Time) string { return zoneID(v.Zone) }),
	"fast-restored":                    single(func(*Volume, time.Time) string { return "false" }),
	"operator.managed":                 single(func(*Volume, time.Time) string { return "false" }),
	"operator.principal":               none[*Volume],
	"source-volume-id":                 none[*Volume], // of a volume that is a copy of another one
	"create-time":                      single(func(v *Volume, _ time.Time) string { return stamp(v.Created) }),
	"encrypted":                        single(func(v *Volume, _ time.Time) string { return fmt.Sprint(v.Encrypted) }),
	"multi-attach-enabled":             single(func(*Volume, time.Time) string { return "false" }),
	"size":                             single(func(v *Volume, _ time.Time) string { return strconv.Itoa(v.Size) }),
	"snapshot-id":                      single(func(v *Volume, _ time.Time) string { return v.SnapshotID }),
	"status":                           single(func(v *Volume, now time.Time) string { return v.status(now) }),
	"volume-id":                        single(func(v *Volume, _ time.Time) string { return v.ID }),
	"volume-type":                      single(func(v *Volume, _ time.Time) string { return v.Type }),
}

func describeVolumes(t *tx, q *query, out *document) error {
	volumes, next, err := describe(t, q, listing[*Volume]{
		ids: "VolumeId", fields: volumeFields, after: t.volumesAfter, smallest: 5, find: t.findVolume,
	})
	if err != nil {
		return err
	}
	set(out, "volumeSet", volumes, func(v *Volume) { t.writeVolume(out, v, v.status(t.now)) })
	out.optional("nextToken", next)
	return nil
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
	out.tagSet(v.Tags)
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
