package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"snaptastic/linux"
	"snaptastic/plan"
)

// Detach begins to take a lane's volume off this instance. The volume remains, and says so by a tag.
var Detach = plan.Def[DetachIn, Detached]{Kind: "detach", Look: plan.ByState, Scope: plan.Cloud}

// DetachIn names the volume.
type DetachIn struct {
	Found      plan.Value[FoundVolume] `json:"found"`
	MountPoint string                  `json:"mount_point"`
	Device     string                  `json:"device"`
	NameOffset int                     `json:"name_offset,omitempty"`
	Patience   plan.Duration           `json:"patience"` // of an undo that attaches again
}

// Detached is a volume that is off, or on its way.
type Detached struct {
	VolumeID string `json:"volume_id,omitempty"`
	Remains  string `json:"remains,omitempty"` // what the summary says is left over and billed
}

// Facts name the volume, and that it remains.
func (d Detached) Facts() plan.Facts { return plan.Facts{VolumeID: d.VolumeID, Remains: d.Remains} }

// beforeDetach is the attachment as it was.
type beforeDetach struct {
	Device              string `json:"device"`
	DeleteOnTermination bool   `json:"delete_on_termination"`
}

func (w *World) detach() plan.Funcs[DetachIn, Detached] {
	return plan.Funcs[DetachIn, Detached]{
		Observe: func(ctx context.Context, _ plan.Attempt, in DetachIn) (plan.Seen[Detached], error) {
			found := in.Found.Must()
			if !found.Found {
				return plan.Seen[Detached]{Sight: plan.AsWanted, Note: "no volume is attached"}, nil
			}
			v, err := w.Cloud.Volume(ctx, found.VolumeID)
			if notFound(err) {
				return plan.Seen[Detached]{Sight: plan.AsWanted, Note: found.VolumeID + " is no more"}, nil
			}
			if err != nil {
				return plan.Seen[Detached]{}, verdict(err)
			}
			at, on := v.On(w.Instance.ID)
			if !on || at.State == "detaching" || at.State == "busy" {
				return plan.Seen[Detached]{Sight: plan.AsWanted, Out: in.out()}, nil
			}
			return plan.Seen[Detached]{Sight: plan.Absent, Before: beforeDetach{at.Device, at.DeleteOnTermination}}, nil
		},
		Do: func(ctx context.Context, _ plan.Attempt, in DetachIn) (Detached, error) {
			id := in.Found.Must().VolumeID
			if err := w.mustBeFree(ctx, linux.DeviceQuery{VolumeID: id, Name: in.Device, NameOffset: in.NameOffset, Size: bytesOf(in.Found.Must().Size)}); err != nil {
				return Detached{}, err
			}
			// Before the detaching: after it a crash would leave a volume that does not say where it comes from.
			if err := w.Cloud.CreateTags(ctx, []string{id}, map[string]string{TagDetached: stamp(time.Now())}); err != nil {
				return Detached{}, verdict(err)
			}
			if err := w.Cloud.DetachVolume(ctx, id, w.Instance.ID, ""); err != nil {
				return Detached{}, verdict(err)
			}
			return in.out(), nil
		},
		Undo: w.attachAgain,
		Preview: func(in DetachIn) plan.Preview {
			switch found, known := in.Found.Get(); {
			case known && found.Found:
				return plan.Will(plan.PreviewChange, "detach %s; it remains and is billed", found.VolumeID)
			case known:
				return plan.Will(plan.PreviewNone, "nothing is attached")
			}
			return plan.Will(plan.PreviewChange, "detach %s", in.Device)
		},
	}
}

func (in DetachIn) out() Detached {
	id := in.Found.Must().VolumeID
	return Detached{VolumeID: id, Remains: fmt.Sprintf("%s, which was mounted on %s", id, in.MountPoint)}
}

// attachAgain undoes a detach, with the attachment's own delete-on-termination.
func (w *World) attachAgain(ctx context.Context, a plan.Attempt, in DetachIn, _ Detached) error {
	var before beforeDetach
	if err := json.Unmarshal(a.Before, &before); err != nil || before.Device == "" {
		return fmt.Errorf("cannot attach %s again: how it was attached is not recorded", in.Found.Must().VolumeID)
	}
	id := in.Found.Must().VolumeID
	v, err := w.Cloud.Volume(ctx, id)
	if err != nil {
		return settling(err)
	}
	if at, on := v.On(w.Instance.ID); on && (at.State == "detaching" || at.State == "busy") {
		if err := w.seeDetached(ctx, a, id); err != nil {
			return err
		}
		v.Attachments = nil
	}
	if _, on := v.On(w.Instance.ID); !on {
		if _, err := w.Cloud.AttachVolume(ctx, id, w.Instance.ID, before.Device); err != nil {
			return settling(err)
		}
	}
	at, err := w.seeAttached(ctx, a, id, before.Device, time.Duration(in.Patience))
	if err != nil {
		return err
	}
	if err := w.Cloud.SetDeleteOnTermination(ctx, w.Instance.ID, at.Device, before.DeleteOnTermination); err != nil {
		return settling(err)
	}
	return verdict(w.Cloud.DeleteTags(ctx, []string{id}, []string{TagDetached}))
}
