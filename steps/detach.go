package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// Detach begins to take a volume off this instance. The volume remains, and says so by a tag, unless it is deleted next.
var Detach = plan.Def[DetachIn, Detached]{Kind: "detach", ObserveBy: plan.ByState, Scope: plan.Cloud}

// DetachIn names the volume. MountPoint and Device may be left out where a reference gives them.
type DetachIn struct {
	VolumeRef
	MountPoint  string        `json:"mount_point,omitempty"`
	Device      string        `json:"device,omitempty"`
	NameOffset  int           `json:"name_offset,omitempty"`
	ThenDeleted bool          `json:"then_deleted,omitempty"`
	Tags        string        `json:"tags,omitempty"`     // where a clean-up decided on the volume: TagDigest of the tags it had
	Replaced    bool          `json:"replaced,omitempty"` // by the volume that is attached next; MarkReplaced has tagged it
	Patience    plan.Duration `json:"patience"`           // of an undo that attaches again
}

func (in DetachIn) query() linux.DeviceQuery { return in.device(in.Device, in.NameOffset) }

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

func (w *Env) detach() plan.Funcs[DetachIn, Detached] {
	return plan.Funcs[DetachIn, Detached]{
		Observe: func(ctx context.Context, a plan.Attempt, in DetachIn) (plan.Observed[Detached], error) {
			id := in.id()
			if id == "" {
				return plan.Observed[Detached]{State: plan.Satisfied, Note: "no volume is attached"}, nil
			}
			// What this run made and attached for itself alone needs no look: EC2 refuses to detach what is not attached here, and
			// then it is looked at. It is looked at in any case before it is deleted. A drill has set it to go with its instance.
			if at := in.Attached.Must(); in.ThenDeleted && in.Volume.Must().Created && at.New && !a.Resumed {
				return plan.Observed[Detached]{State: plan.Absent, Before: beforeDetach{at.Device, true}}, nil
			}
			v, err := w.Cloud.Volume(ctx, id)
			if notFound(err) {
				return plan.Observed[Detached]{State: plan.Satisfied, Note: id + " no longer exists"}, nil
			}
			if err != nil {
				return plan.Observed[Detached]{}, errorAction(err)
			}
			if in.Tags != "" && snapset.TagDigest(v.Tags) != in.Tags {
				return plan.Observed[Detached]{}, changed("its tags were changed after the plan was made")
			}
			at, on := v.On(w.Instance.ID)
			if !on || at.State.Leaving() {
				return plan.Observed[Detached]{State: plan.Satisfied, Out: in.out()}, nil
			}
			return plan.Observed[Detached]{State: plan.Absent, Before: beforeDetach{at.Device, at.DeleteOnTermination}}, nil
		},
		Do: func(ctx context.Context, _ plan.Attempt, in DetachIn) (Detached, error) {
			id := in.id()
			if err := w.checkNotInUse(ctx, in.query()); err != nil {
				return Detached{}, err
			}
			if !in.ThenDeleted && !in.Replaced { // before the detaching: after it a crash would leave a volume that does not say where it comes from
				if err := w.Cloud.CreateTags(ctx, []string{id}, map[string]string{TagDetached: stamp(time.Now())}); err != nil {
					return Detached{}, errorAction(err)
				}
			}
			err := w.Cloud.DetachVolume(ctx, id, w.Instance.ID, "")
			if in.ThenDeleted && notFound(err) { // somebody deleted it: the next look says so
				err = plan.Retry(time.Second, err)
			}
			if err != nil {
				return Detached{}, errorAction(err)
			}
			return in.out(), nil
		},
		Undo: w.attachAgain,
		Preview: func(in DetachIn) plan.Preview {
			id := in.id()
			_, looked := in.Found.Get()
			switch {
			case id != "" && in.ThenDeleted:
				return plan.PreviewOf(plan.PreviewChange, "detach %s", id)
			case id != "":
				return plan.PreviewOf(plan.PreviewChange, "detach %s; it remains and is billed", id)
			case looked:
				return plan.PreviewOf(plan.PreviewNone, "no volume attached")
			}
			return plan.PreviewOf(plan.PreviewChange, "detach %s", in.Device)
		},
	}
}

func (in DetachIn) out() Detached {
	out := Detached{VolumeID: in.id()}
	switch where := in.mountPoint(in.MountPoint); {
	case in.ThenDeleted:
	case where == "":
		out.Remains = out.VolumeID
	case in.Replaced:
		out.Remains = fmt.Sprintf("%s, which was mounted on %s until now", out.VolumeID, where)
	default:
		out.Remains = fmt.Sprintf("%s, which was mounted on %s", out.VolumeID, where)
	}
	return out
}

// attachAgain undoes a detach, with the attachment's own delete-on-termination.
func (w *Env) attachAgain(ctx context.Context, a plan.Attempt, in DetachIn, _ Detached) error {
	var before beforeDetach
	if err := json.Unmarshal(a.Before, &before); err != nil || before.Device == "" {
		return fmt.Errorf("cannot attach %s again: the attachment was not recorded", in.id())
	}
	id := in.id()
	v, err := w.Cloud.Volume(ctx, id)
	if err != nil {
		return eventualErrorAction(err)
	}
	if at, on := v.On(w.Instance.ID); on && at.State.Leaving() {
		if err := w.awaitDetached(ctx, a, id); err != nil {
			return err
		}
		v.Attachments = nil
	}
	if _, on := v.On(w.Instance.ID); !on {
		if _, err := w.Cloud.AttachVolume(ctx, id, w.Instance.ID, before.Device); err != nil {
			return eventualErrorAction(err)
		}
	}
	at, err := w.awaitAttached(ctx, a, id, before.Device, time.Duration(in.Patience))
	if err != nil {
		return err
	}
	if err := w.Cloud.SetDeleteOnTermination(ctx, w.Instance.ID, at.Device, before.DeleteOnTermination); err != nil {
		return eventualErrorAction(err)
	}
	if in.Replaced {
		return nil
	}
	return errorAction(w.Cloud.DeleteTags(ctx, []string{id}, []string{TagDetached}))
}
