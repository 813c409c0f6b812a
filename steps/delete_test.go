package steps

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// deleteCloud is a Cloud of things to delete.
type deleteCloud struct {
	Cloud
	snapshots map[string]ec2.Snapshot
	volumes   map[string]ec2.Volume
	images    map[string]ec2.Image
	instances []ec2.Instance
	refuse    *ec2.Fault
	deleted   []string
}

func (y *deleteCloud) SnapshotsByID(_ context.Context, ids ...string) (map[string]ec2.Snapshot, error) {
	return maps.Clone(y.snapshots), nil
}

func (y *deleteCloud) Volume(_ context.Context, id string) (ec2.Volume, error) {
	if v, ok := y.volumes[id]; ok {
		return v, nil
	}
	return ec2.Volume{}, &ec2.Fault{Class: ec2.NotFound}
}

func (y *deleteCloud) Images(_ context.Context, ids ...string) (some []ec2.Image, _ error) {
	for _, id := range ids {
		if i, ok := y.images[id]; ok {
			some = append(some, i)
		}
	}
	return some, nil
}

func (y *deleteCloud) Instances(context.Context, string) ([]ec2.Instance, error) {
	return y.instances, nil
}

func (y *deleteCloud) DeleteSnapshot(_ context.Context, id string) error {
	return deleteFrom(y, y.snapshots, id)
}
func (y *deleteCloud) DeleteVolume(_ context.Context, id string) error {
	return deleteFrom(y, y.volumes, id)
}
func (y *deleteCloud) DeregisterImage(_ context.Context, id string) error {
	return deleteFrom(y, y.images, id)
}

func deleteFrom[T any](y *deleteCloud, from map[string]T, id string) error {
	if y.refuse != nil {
		return y.refuse
	}
	if _, ok := from[id]; !ok {
		return &ec2.Fault{Class: ec2.NotFound}
	}
	delete(from, id)
	y.deleted = append(y.deleted, id)
	return nil
}

func newDeleteCloud() *deleteCloud {
	tags := map[string]string{"role": "db", TagState: Consistent}
	return &deleteCloud{
		snapshots: map[string]ec2.Snapshot{"snap-1": {ID: "snap-1", State: "completed", Tags: tags}, "snap-2": {ID: "snap-2", State: "completed", Tags: tags}},
		volumes:   map[string]ec2.Volume{"vol-1": {ID: "vol-1", State: "available", Tags: tags}},
		images:    map[string]ec2.Image{"ami-1": {ID: "ami-1", Tags: tags}},
	}
}

// What was decided is carried out only where things are still as they were.
func TestADeletionObservesAgain(t *testing.T) {
	tagged := map[string]string{"role": "db", TagState: Consistent, "keep": "yes"}
	for _, c := range []struct {
		name    string
		id      string
		meddle  func(*deleteCloud)
		deletes bool
		action  plan.Action // of what ends it otherwise; "" where it is done already
		why     string
	}{
		{"a snapshot", "snap-1", nil, true, "", ""},
		{"already deleted", "snap-1", func(y *deleteCloud) { delete(y.snapshots, "snap-1") }, false, "", ""},
		{"tagged meanwhile", "snap-1", func(y *deleteCloud) { y.snapshots["snap-1"] = ec2.Snapshot{State: "completed", Tags: tagged} }, false, plan.ActSkip, "tags were changed"},
		{"its replacement is gone", "snap-1", func(y *deleteCloud) { delete(y.snapshots, "snap-2") }, false, plan.ActSkip, "its replacement snap-2 has been deleted"},
		{"its replacement is archived", "snap-1", func(y *deleteCloud) {
			y.snapshots["snap-2"] = ec2.Snapshot{State: "completed", StorageTier: "archive", Tags: y.snapshots["snap-1"].Tags}
		}, false, plan.ActSkip, "can no longer be restored"},
		{"its replacement is vouched for no more", "snap-1", func(y *deleteCloud) {
			y.snapshots["snap-2"] = ec2.Snapshot{State: "completed", Tags: map[string]string{TagState: Unverified}}
		}, false, plan.ActSkip, "can no longer be restored"},
		{"locked meanwhile", "snap-1", func(y *deleteCloud) { y.refuse = &ec2.Fault{Class: ec2.Invalid, Code: "SnapshotLocked"} }, false, plan.ActTerminal, "SnapshotLocked"},
		{"throttled", "snap-1", func(y *deleteCloud) { y.refuse = &ec2.Fault{Class: ec2.Throttled} }, false, plan.ActRetry, ""},
		{"a volume", "vol-1", nil, true, "", ""},
		{"a volume that is gone", "vol-1", func(y *deleteCloud) { delete(y.volumes, "vol-1") }, false, "", ""},
		{"a volume on its way out", "vol-1", func(y *deleteCloud) { y.volumes["vol-1"] = ec2.Volume{State: "deleting"} }, false, "", ""},
		{"a volume attached meanwhile", "vol-1", func(y *deleteCloud) { y.volumes["vol-1"] = ec2.Volume{State: "in-use"} }, false, plan.ActSkip, "it is in-use"},
		{"a volume tagged meanwhile", "vol-1", func(y *deleteCloud) { y.volumes["vol-1"] = ec2.Volume{State: "available", Tags: tagged} }, false, plan.ActSkip, "tags were changed"},
		{"a volume whose data went", "vol-1", func(y *deleteCloud) { delete(y.snapshots, "snap-2") }, false, plan.ActSkip, "has been deleted"},
		{"an image", "ami-1", nil, true, "", ""},
		{"an image that is gone", "ami-1", func(y *deleteCloud) { delete(y.images, "ami-1") }, false, "", ""},
		{"an image used meanwhile", "ami-1", func(y *deleteCloud) { y.instances = []ec2.Instance{{ID: "i-7", State: "stopped"}} }, false, plan.ActSkip, "i-7 was made from it"},
		{"an image whose users ended", "ami-1", func(y *deleteCloud) { y.instances = []ec2.Instance{{ID: "i-7", State: "terminated"}} }, true, "", ""},
		{"an image made public meanwhile", "ami-1", func(y *deleteCloud) { y.images["ami-1"] = ec2.Image{Public: true, Tags: y.images["ami-1"].Tags} }, false, plan.ActSkip, "changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			y := newDeleteCloud()
			tags := snapset.TagDigest(y.snapshots["snap-1"].Tags)
			if c.meddle != nil {
				c.meddle(y)
			}
			w := &Env{Cloud: y}
			var err error
			for range 2 { // doing it twice is doing it once
				switch c.id {
				case "snap-1":
					err = observeAndDo(t, w.deleteCleanedSnapshot(), DeleteSnapshotIn{SnapshotID: c.id, Tags: tags, ReplacedBy: []string{"snap-2"}})
				case "vol-1":
					err = observeAndDo(t, w.deleteOneVolume(), DeleteVolumeIn{VolumeID: c.id, Tags: tags, ReplacedBy: []string{"snap-2"}})
				default:
					err = observeAndDo(t, w.deregisterImage(), DeregisterImageIn{ImageID: c.id, Tags: tags})
				}
			}
			if got := len(y.deleted) == 1 && y.deleted[0] == c.id; got != c.deletes {
				t.Errorf("deleted %v", y.deleted)
			}
			switch {
			case c.action == "" && err != nil:
				t.Errorf("ended with %v", err)
			case c.action != "" && (err == nil || plan.ActionOf(err).Action != c.action || !strings.Contains(err.Error(), c.why)):
				t.Errorf("ended with %v, want %s: %s", err, c.action, c.why)
			}
		})
	}
}

func observeAndDo[In any](t *testing.T, f plan.Funcs[In, Deleted], in In) error {
	t.Helper()
	seen, err := f.Observe(t.Context(), plan.Attempt{}, in)
	if err != nil || seen.State == plan.Satisfied {
		return err
	}
	_, err = f.Do(t.Context(), plan.Attempt{}, in)
	if again := f.Undo(t.Context(), plan.Attempt{}, in, Deleted{}); again == nil || !strings.Contains(again.Error(), "cannot be recovered") {
		t.Errorf("its undo says %v", again)
	}
	return err
}

func TestASnapshotOfAnImageWaitsUntilTheImageIsGone(t *testing.T) {
	y := newDeleteCloud()
	y.refuse = &ec2.Fault{Class: ec2.InUse, Code: "InvalidSnapshot.InUse"}
	f := (&Env{Cloud: y}).deleteCleanedSnapshot()
	for image, want := range map[string]plan.Action{"ami-1": plan.ActRetry, "": plan.ActTerminal} {
		_, err := f.Do(t.Context(), plan.Attempt{}, DeleteSnapshotIn{SnapshotID: "snap-1", Image: image})
		if v := plan.ActionOf(err); v.Action != want || v.Action == plan.ActRetry && v.After < time.Second {
			t.Errorf("of image %q: %s after %s", image, v.Action, v.After)
		}
	}
}
