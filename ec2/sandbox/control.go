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

// The functions of this file are for tests and tutorials: they change the sandbox directly, not through the API.
// Another process may have the folder open and serve it.

// InstanceID returns the id of the sandbox's instance.
func (w *Sandbox) InstanceID() (id string, err error) {
	err = w.transact(func(t *tx) error { id = t.settings().InstanceID; return nil })
	return id, err
}

// SetUserData replaces the instance's user data.
func (w *Sandbox) SetUserData(text string) error {
	return w.edit(func(t *tx) error {
		facts := t.settings()
		facts.UserData = text
		t.change.setSettings(t.in, &facts)
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

// SetInstanceType makes the instance one of another type, such as m7i.24xlarge, whose limits hold from now on.
func (w *Sandbox) SetInstanceType(name string) error {
	return w.edit(func(t *tx) error {
		t.editInstance(t.settings().InstanceID).Type = name
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

// AddSnapshot adds an empty snapshot with the given fields and EC2's defaults for the others, and returns its id.
// With another OwnerID it is shared with this account, which sees it without its owner's tags.
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
		s.OwnerID = cmp.Or(s.OwnerID, w.here.Account)
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
			put(t.in, t.change.Snapshots, &added[i])
			if err := w.pool.create(added[i].ID, added[i].Size); err != nil {
				return err
			}
		}
		return nil
	})
	return ids, err
}

// AddVolume attaches a new empty volume of size GiB to the instance at device, as another tool would, and returns its
// id.
func (w *Sandbox) AddVolume(device string, size int, tags map[string]string) (string, error) {
	v := &Volume{ID: newID("vol"), Zone: w.here.zone(), Type: "gp3", Size: size, IOPS: 3000, Throughput: 125, Tags: asTags(tags)}
	err := w.edit(func(t *tx) error {
		i := t.instance(t.settings().InstanceID)
		if err := t.checkAttach(v, i, device); err != nil {
			return err
		}
		v.Created = t.now
		v.Attachment = &Attachment{InstanceID: i.ID, Device: device, AttachTime: t.now, AttachedAt: t.now, NVMe: t.freeNVMe(w.machine), Machine: w.machine}
		put(t.in, t.change.Volumes, v)
		t.after = append(t.after, func() error { return w.exposeOrRevert(v.ID) })
		return w.pool.create(v.ID, size)
	})
	return v.ID, err
}

// SetFaults writes DIR/faults.json, which every process that serves the sandbox reads again before its next request.
// Zero latencies are left out. SetFaults(dir, Latency{}) removes all faults of the file; strict mode and policy are
// kept.
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

// DisableKeys writes into DIR/faults.json which KMS keys cannot be used in that world, as requests name them, with wildcards.
func DisableKeys(dir string, keys ...string) error {
	return rewrite(dir, func(j *behaviourJSON) { j.DisabledKeys = keys })
}

// Restrict writes strict mode and the IAM policy to enforce into DIR/faults.json; a nil policy allows everything.
func Restrict(dir string, strict bool, policy *Policy) error {
	return rewrite(dir, func(j *behaviourJSON) { j.Strict, j.Policy = strict, policy })
}

func rewrite(dir string, edit func(*behaviourJSON)) error {
	path := filepath.Join(dir, "faults.json")
	if _, in := SplitDir(dir); in != defaultWorld { // which nobody may have used yet
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot write the sandbox's faults: %w", err)
		}
	}
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

// AddImage adds an image of the account with the given fields and EC2's defaults for the others, and returns its id.
func (w *Sandbox) AddImage(i Image) (string, error) {
	i.ID = cmp.Or(i.ID, newID("ami"))
	i.OwnerID = cmp.Or(i.OwnerID, w.here.Account)
	i.Name = cmp.Or(i.Name, i.ID)
	i.RootDevice = cmp.Or(i.RootDevice, "/dev/xvda")
	if i.Created.IsZero() {
		i.Created = time.Now()
	}
	return i.ID, w.edit(func(t *tx) error { put(t.in, t.change.Images, &i); return nil })
}

// AddInstance adds another instance with the given fields and returns its id. Nothing runs on it.
func (w *Sandbox) AddInstance(i Instance) (string, error) {
	i.ID = cmp.Or(i.ID, newID("i"))
	i.Type, i.Zone, i.RootDevice = cmp.Or(i.Type, "m5.large"), cmp.Or(i.Zone, w.here.zone()), cmp.Or(i.RootDevice, "/dev/xvda")
	if i.Launched.IsZero() {
		i.Launched = time.Now()
	}
	return i.ID, w.edit(func(t *tx) error { put(t.in, t.change.Instances, &i); return nil })
}
