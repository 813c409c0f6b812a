package sandbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// What follows is for tests and tutorials: it changes the world behind EC2's
// back. A process that has the folder open may do so beside a serving one.

// InstanceID returns the id of the instance that the sandbox stands for.
func (w *Sandbox) InstanceID() (id string, err error) {
	err = w.transact(func(t *tx) error { id = t.settings().InstanceID; return nil })
	return id, err
}

// SetUserData replaces the instance's user data.
func (w *Sandbox) SetUserData(text string) error {
	return w.edit(func(t *tx) error {
		facts := t.settings()
		facts.UserData = text
		t.change.Settings = &facts
		return nil
	})
}

// SetInstanceTags replaces the instance's tags.
func (w *Sandbox) SetInstanceTags(tags map[string]string) error {
	return w.edit(func(t *tx) error {
		t.editInstance(t.settings().InstanceID).Tags = asTags(tags)
		return nil
	})
}

// EditVolume changes the record of a volume. Its size, its device and what is
// on the host stay as they are.
func (w *Sandbox) EditVolume(id string, edit func(*Volume)) error {
	return w.edit(func(t *tx) error {
		if _, err := t.needVolume(id); err != nil {
			return err
		}
		edit(t.editVolume(id))
		return nil
	})
}

// EditSnapshot changes the record of a snapshot: its state, progress, tier,
// lock, tags or start time.
func (w *Sandbox) EditSnapshot(id string, edit func(*Snapshot)) error {
	return w.edit(func(t *tx) error {
		if _, err := t.needSnapshot(id); err != nil {
			return err
		}
		edit(t.editSnapshot(id))
		return nil
	})
}

// AddSnapshot records a snapshot with the fields given; what is missing gets
// EC2's values. Its content is empty. One with another OwnerID is one that this
// account may use: it is seen without its owner's tags. It returns the id.
func (w *Sandbox) AddSnapshot(s Snapshot) (string, error) {
	ids, err := w.AddSnapshots(s)
	return ids[0], err
}

// AddSnapshots is AddSnapshot for many.
func (w *Sandbox) AddSnapshots(given ...Snapshot) ([]string, error) {
	var ids []string
	added := slices.Clone(given)
	for i := range added {
		s := &added[i]
		s.ID = cmp.Or(s.ID, newID("snap"))
		s.OwnerID = cmp.Or(s.OwnerID, Account)
		s.VolumeID = cmp.Or(s.VolumeID, newID("vol"))
		s.Size = cmp.Or(s.Size, 1)
		if s.Started.IsZero() {
			s.Started = time.Now()
		}
		if s.CompletedAt.IsZero() {
			s.CompletedAt = s.Started
		}
		ids = append(ids, s.ID)
	}
	err := w.edit(func(t *tx) error {
		for i := range added {
			t.change.Snapshots[added[i].ID] = &added[i]
			if err := w.pool.create(added[i].ID, added[i].Size); err != nil {
				return err
			}
		}
		return nil
	})
	return ids, err
}

// AddVolume attaches a new empty volume of size GiB to the instance at device,
// as some other tool would have done. It returns the id.
func (w *Sandbox) AddVolume(device string, size int, tags map[string]string) (string, error) {
	v := &Volume{ID: newID("vol"), Zone: Zone, Type: "gp3", Size: size, IOPS: 3000, Throughput: 125, Tags: asTags(tags)}
	err := w.edit(func(t *tx) error {
		i := t.instance(t.settings().InstanceID)
		if err := t.checkAttach(v, i, device); err != nil {
			return err
		}
		v.Created = t.now
		v.Attachment = &Attachment{InstanceID: i.ID, Device: device, AttachTime: t.now, AttachedAt: t.now, NVMe: t.freeNVMe()}
		t.change.Volumes[v.ID] = v
		t.after = append(t.after, func() error { return w.exposeOrRevert(v.ID) })
		return w.pool.create(v.ID, size)
	})
	return v.ID, err
}

// SetFaults writes DIR/faults.json, which every process that serves the
// sandbox follows from its next request on. Only the latencies that are not
// zero are written. Misbehave(dir, Latency{}) ends all faults of the file;
// that it is strict and its policy stay.
func SetFaults(dir string, latency Latency, faults ...Fault) error {
	return rewrite(dir, func(j *behaviourJSON) {
		j.Latency, j.Faults = map[string]string{}, faults
		for name, d := range latency.fields() {
			if *d != 0 {
				j.Latency[name] = d.String()
			}
		}
	})
}

// Restrict writes into DIR/faults.json whether the world is strict and what
// policy it enforces; nil: none.
func Restrict(dir string, strict bool, policy *Policy) error {
	return rewrite(dir, func(j *behaviourJSON) { j.Strict, j.Policy = strict, policy })
}

func rewrite(dir string, edit func(*behaviourJSON)) error {
	path := filepath.Join(dir, "faults.json")
	var j behaviourJSON
	if content, err := os.ReadFile(path); err == nil {
		_ = decodeStrict(content, &j) // one that cannot be read is replaced
	}
	edit(&j)
	text, err := json.MarshalIndent(j, "", "  ")
	if err == nil {
		err = writeFile(path, string(text)+"\n")
	}
	if err != nil {
		return fmt.Errorf("cannot write the sandbox's faults: %w", err)
	}
	return nil
}

// AddImage records an image of the account with the fields given; what is missing gets EC2's values. It returns the id.
func (w *Sandbox) AddImage(i Image) (string, error) {
	i.ID = cmp.Or(i.ID, newID("ami"))
	i.OwnerID = cmp.Or(i.OwnerID, Account)
	i.Name = cmp.Or(i.Name, i.ID)
	i.RootDevice = cmp.Or(i.RootDevice, "/dev/xvda")
	if i.Created.IsZero() {
		i.Created = time.Now()
	}
	return i.ID, w.edit(func(t *tx) error { t.change.Images[i.ID] = &i; return nil })
}

// AddInstance records another instance with the fields given; nothing runs. It returns the id.
func (w *Sandbox) AddInstance(i Instance) (string, error) {
	i.ID = cmp.Or(i.ID, newID("i"))
	i.Type, i.Zone, i.RootDevice = cmp.Or(i.Type, "m5.large"), cmp.Or(i.Zone, Zone), cmp.Or(i.RootDevice, "/dev/xvda")
	if i.Launched.IsZero() {
		i.Launched = time.Now()
	}
	return i.ID, w.edit(func(t *tx) error { t.change.Instances[i.ID] = &i; return nil })
}
