package sandbox

import (
	"slices"
	"time"
)

func (i *Image) key() (time.Time, string) { return i.Created, i.ID }
func (i *Image) tags() Tags               { return i.Tags }

func (i *Image) shown(now time.Time) (*Image, bool) {
	shown := versionAt(i, now)
	return shown, shown != nil
}

var imageFields = fields[*Image]{
	"architecture":  single(func(*Image, time.Time) string { return "x86_64" }),
	"creation-date": single(func(i *Image, _ time.Time) string { return stamp(i.Created) }),
	"description":   single(func(i *Image, _ time.Time) string { return i.Description }),
	"image-id":      single(func(i *Image, _ time.Time) string { return i.ID }),
	"name":          single(func(i *Image, _ time.Time) string { return i.Name }),
	"owner-id":      single(func(i *Image, _ time.Time) string { return i.OwnerID }),
	"state":         single(func(i *Image, now time.Time) string { return i.status(now) }),
	"block-device-mapping.snapshot-id": func(i *Image, _ time.Time) []string {
		var ids []string
		for _, disk := range i.Disks {
			ids = append(ids, disk.SnapshotID)
		}
		return ids
	},
}

func createImage(t *tx, q *query, out *document) error {
	source, err := t.needInstance(q.str("InstanceId"))
	if err != nil {
		return err
	}
	for other := range t.images() {
		if other.Name == q.str("Name") {
			return refuse("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", other.Name, other.ID)
		}
	}
	tags, err := q.tagsFor("image", "image", "snapshot")
	if err != nil {
		return err
	}
	snapshotTags, err := q.tagsFor("snapshot", "image", "snapshot")
	if err != nil {
		return err
	}
	i := &Image{
		ID: newID("ami"), OwnerID: t.here.Account, Name: q.str("Name"), Description: q.str("Description"), InstanceID: source.ID, Created: t.now,
		AvailableAt: t.now.Add(t.behaviour().Latency.Image), RootDevice: source.RootDevice, Tags: asTags(tags),
	}
	for _, v := range t.volumesOf(source.ID) {
		s, err := t.takeSnapshot(v, q, snapshotTags)
		if err != nil {
			return err
		}
		s.Description = "Created by CreateImage(" + source.ID + ") for " + i.ID
		i.Disks = append(i.Disks, ImageVolume{
			Device: v.Attachment.Device, SnapshotID: s.ID, Size: v.Size, Type: v.Type, DeleteOnTermination: v.Attachment.DeleteOnTermination,
		})
	}
	put(t.in, t.change.Images, i)
	out.text("imageId", i.ID)
	return nil
}

func deregisterImage(t *tx, q *query, out *document) error {
	i, err := t.needImage(q.str("ImageId"))
	if err != nil {
		return err
	}
	if i.OwnerID != t.here.Account {
		return refuse("AuthFailure", "Not authorized for image:%s", i.ID)
	}
	t.change.Images[i.ID] = nil
	var dropped []string
	if q.bool("DeleteAssociatedSnapshots") {
		for _, disk := range i.Disks {
			if s := t.snapshot(disk.SnapshotID); s != nil && t.checkDelete(s) == nil {
				t.dropSnapshot(s.ID)
				dropped = append(dropped, s.ID)
			}
		}
	}
	out.done()
	set(out, "deleteSnapshotResultSet", dropped, func(id string) {
		out.text("snapshotId", id)
		out.text("returnCode", "success")
	})
	return nil
}

func describeImages(t *tx, q *query, out *document) error {
	owners := q.list("Owner")
	for i, owner := range owners {
		switch owner {
		case "self":
			owners[i] = t.here.Account
		case "amazon":
			owners[i] = amazonAccount
		}
	}
	images, next, err := describe(t, q, listing[*Image]{
		ids: "ImageId", fields: imageFields, after: behind(t.everyImage()), smallest: 1,
		also: func(i *Image) bool { return len(owners) == 0 || slices.Contains(owners, i.OwnerID) },
		find: func(id string) (*Image, error) {
			return need("ami", id, visible(t, own(t, lookUp(t.change.Images, t.rows.Images, id))))
		},
	})
	if err != nil {
		return err
	}
	set(out, "imagesSet", images, func(i *Image) { t.writeImage(out, i) })
	out.optional("nextToken", next)
	return nil
}

func (t *tx) writeImage(out *document, i *Image) {
	out.text("imageId", i.ID)
	out.text("imageLocation", i.OwnerID+"/"+i.Name)
	out.text("imageState", i.status(t.now))
	out.text("imageOwnerId", i.OwnerID)
	out.flag("isPublic", i.OwnerID != t.here.Account)
	out.text("architecture", "x86_64")
	out.text("imageType", "machine")
	out.text("name", i.Name)
	out.optional("description", i.Description)
	out.text("rootDeviceType", "ebs")
	out.text("rootDeviceName", i.RootDevice)
	set(out, "blockDeviceMapping", i.Disks, func(disk ImageVolume) {
		out.text("deviceName", disk.Device)
		out.in("ebs", func() {
			out.text("snapshotId", disk.SnapshotID)
			out.number("volumeSize", disk.Size)
			out.flag("deleteOnTermination", disk.DeleteOnTermination)
			out.text("volumeType", disk.Type)
			out.flag("encrypted", false)
		})
	})
	out.text("virtualizationType", "hvm")
	out.text("hypervisor", "xen")
	out.flag("enaSupport", true)
	out.instant("creationDate", i.Created)
	out.optional("sourceInstanceId", i.InstanceID)
	out.tagSet(i.Tags)
}
