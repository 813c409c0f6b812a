package steps

import (
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// once is a refusal of the next call of an action.
func once(action, code string) sandbox.Fault {
	return sandbox.Fault{Action: action, Error: code, Count: 1}
}

// faults makes the bench's sandbox misbehave from now on.
func (b *bench) faults(faults ...sandbox.Fault) {
	b.Helper()
	if err := sandbox.SetFaults(b.dir, sandbox.Latency{}, faults...); err != nil {
		b.Fatal(err)
	}
}

// until does a thing again as the runner does, as long as it is told to.
func until(t *testing.T, do func() error) (tries int, err error) {
	t.Helper()
	for tries = 1; tries < 10; tries++ {
		if err = do(); plan.ActionOf(err).Action != plan.ActRetry {
			return tries, err
		}
	}
	return tries, err
}

func TestOneNotFoundDoesNotMeanThatAThingIsGone(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault sandbox.Fault
		undo  func(t *testing.T, b *bench) (left func() string, undo func() error)
	}{
		{"the snapshots of a run", once("DeleteSnapshot", "InvalidSnapshot.NotFound"), func(t *testing.T, b *bench) (func() string, func() error) {
			set, in, a := b.aSet()
			return b.picture, func() error { return b.env.deleteSnapshots(t.Context(), a, in, set) }
		}},
		{"the snapshot of a stranger", once("DeleteSnapshot", "InvalidSnapshot.NotFound"), func(t *testing.T, b *bench) (func() string, func() error) {
			set, _, a := b.aSet()
			set.Unplanned, set.Snapshots = set.ids(), nil
			return b.picture, func() error { return b.env.deleteUnplanned(t.Context(), a, set) }
		}},
		{"a snapshot that is due", once("DeleteSnapshot", "InvalidSnapshot.NotFound"), func(t *testing.T, b *bench) (func() string, func() error) {
			set, _, _ := b.aSet()
			there, err := b.cloud.SnapshotsByID(t.Context(), set.ids()...)
			if err != nil {
				t.Fatal(err)
			}
			id := set.ids()[0]
			in := DeleteSnapshotIn{SnapshotID: id, Tags: snapset.TagDigest(there[id].Tags)}
			return b.picture, func() error { return observeAndDo(t, b.env.deleteCleanedSnapshot(), in) }
		}},
		{"a volume that a run made", once("DeleteVolume", "InvalidVolume.NotFound"), func(t *testing.T, b *bench) (func() string, func() error) {
			in := b.createIn("/mnt/a", empty)
			out, _ := do(b, CreateVolume, in)
			return b.picture, func() error { return b.env.deleteVolume(t.Context(), b.attempt("create"), in, out) }
		}},
		{"a volume that is due", once("DeleteVolume", "InvalidVolume.NotFound"), func(t *testing.T, b *bench) (func() string, func() error) {
			out, _ := do(b, CreateVolume, b.createIn("/mnt/a", empty))
			v, err := b.cloud.Volume(t.Context(), out.VolumeID)
			if err != nil {
				t.Fatal(err)
			}
			in := DeleteVolumeIn{VolumeID: v.ID, Tags: snapset.TagDigest(v.Tags)}
			return b.picture, func() error { return observeAndDo(t, b.env.deleteOneVolume(), in) }
		}},
		{"an attachment", once("DetachVolume", "InvalidVolume.NotFound"), func(t *testing.T, b *bench) (func() string, func() error) {
			out, _ := do(b, CreateVolume, b.createIn("/mnt/a", empty))
			do(b, Attach, AttachIn{Volume: plan.Literal(out), Device: "/dev/sdf", Patience: plan.Duration(5 * time.Second)})
			left := func() string {
				if v, err := b.cloud.Volume(t.Context(), out.VolumeID); err != nil || len(v.Attachments) > 0 {
					return out.VolumeID
				}
				return ""
			}
			return left, func() error { return b.env.detachAndWait(t.Context(), b.attempt("attach"), out.VolumeID, "/dev/sdf") }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, false, c.fault)
			nothing := b.picture()
			left, undo := c.undo(t, b)
			tries, err := until(t, undo)
			if err != nil || tries != 2 {
				t.Errorf("after %d tries: %v; want the second one to do it", tries, err)
			}
			if now := left(); now != "" && now != nothing {
				t.Errorf("it leaves\n%s", now)
			}
			if strings.HasPrefix(c.name, "the snapshots of a run") {
				return // whoever undoes these sees for itself that there are none
			}
			if tries, err := until(t, undo); err != nil || tries != 1 { // now it is gone
				t.Errorf("once more, after %d tries: %v", tries, err)
			}
		})
	}
}

// aSet makes one unlabelled snapshot of a new volume.
func (b *bench) aSet() (SnapshotSet, SnapshotIn, plan.Attempt) {
	b.Helper()
	id, err := b.sandbox.AddVolume("/dev/sdf", 1, nil)
	if err != nil {
		b.Fatal(err)
	}
	a := b.attempt("snapshot")
	made, err := b.cloud.CreateSnapshot(b.Context(), ec2.CreateSnapshotRequest{VolumeID: id, Tags: map[string]string{TagToken: a.Token, TagState: Unverified}})
	if err != nil {
		b.Fatal(err)
	}
	if err := b.cloud.DetachVolume(b.Context(), id, b.env.Instance.ID, ""); err != nil {
		b.Fatal(err)
	}
	in := SnapshotIn{Members: []Member{{"/mnt/a", plan.Literal(FoundVolume{Found: true, VolumeID: id})}}}
	return in.set(a, []ec2.Snapshot{made}), in, a
}

// A volume's attachment shows in one place before it shows in another.
func TestDeleteOnTerminationWaitsUntilEC2SeesTheDevice(t *testing.T) {
	for _, code := range []string{"InvalidInstanceAttributeValue", "IncorrectState", "IncorrectInstanceState", "InvalidAttachment.NotFound",
		"InvalidVolume.NotFound", "InvalidBlockDeviceMapping", "InternalError"} {
		t.Run(code, func(t *testing.T) {
			b := newBench(t, false)
			out, _ := do(b, CreateVolume, b.createIn("/mnt/a", empty))
			at, _ := do(b, Attach, AttachIn{Volume: plan.Literal(out), Device: "/dev/sdf", Patience: plan.Duration(5 * time.Second)})
			in := DeleteOnTerminationIn{Attached: plan.Literal(at), Want: true}
			h, a := b.env.deleteOnTermination(), b.attempt("delete-on-termination")
			is := func() bool {
				v, err := b.cloud.Volume(t.Context(), at.VolumeID)
				if err != nil {
					t.Fatal(err)
				}
				on, _ := v.On(b.env.Instance.ID)
				return on.DeleteOnTermination
			}
			b.faults(once("ModifyInstanceAttribute", code))
			if _, err := until(t, func() error { _, err := h.Do(t.Context(), a, in); return err }); err != nil || !is() {
				t.Errorf("set: %v; it is %t", err, is())
			}
			b.faults(once("Nothing", code), once("ModifyInstanceAttribute", code)) // another place in the list counts again
			if _, err := until(t, func() error { return h.Undo(t.Context(), a, in, DeletedOnTermination{}) }); err != nil || is() {
				t.Errorf("undone: %v; it is %t", err, is())
			}
			if err := b.env.detachAndWait(t.Context(), a, at.VolumeID, at.Device); err != nil {
				t.Fatal(err)
			}
			if code == "InternalError" {
				return // says nothing about whether the device is there
			}
			b.faults(sandbox.Fault{Action: "ModifyInstanceAttribute", Error: code})
			if tries, err := until(t, func() error { return h.Undo(t.Context(), a, in, DeletedOnTermination{}) }); err != nil || tries != 1 {
				t.Errorf("undone of what is off, after %d tries: %v", tries, err)
			}
		})
	}
}
