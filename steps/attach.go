package steps

import (
	"context"
	"fmt"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// Attach attaches a volume to this instance.
var Attach = plan.Def[AttachIn, Attached]{Kind: "attach", ObserveBy: plan.ByState, Scope: plan.Cloud}

// AttachIn says which volume, as what, and for how long EC2 may be about it.
type AttachIn struct {
	Volume     plan.Value[Volume] `json:"volume"`
	Device     string             `json:"device"`
	NameOffset int                `json:"name_offset,omitempty"`
	Patience   plan.Duration      `json:"patience"`
}

// Attached is a volume's place on this instance.
type Attached struct {
	VolumeID string              `json:"volume_id"`
	Device   string              `json:"device"`
	State    ebs.AttachmentState `json:"state"`
	Size     int32               `json:"size,omitempty"` // GiB
	New      bool                `json:"new,omitempty"`  // this run attached it, a moment ago
}

// Facts are its ids.
func (a Attached) Facts() plan.Facts {
	return plan.Facts{VolumeID: a.VolumeID, Device: a.Device, SizeGiB: a.Size}
}

func (w *Env) attach() plan.Funcs[AttachIn, Attached] {
	return plan.Funcs[AttachIn, Attached]{
		Observe: func(ctx context.Context, a plan.Attempt, in AttachIn) (plan.Observed[Attached], error) {
			// What this run has just made nobody attached. If somebody did, EC2 refuses and the refusal is explained:
			// a look would only cost a boot one round trip more.
			if in.Volume.Must().Created && !a.Resumed {
				return plan.Observed[Attached]{State: plan.Absent}, nil
			}
			v, err := w.Cloud.Volume(ctx, in.Volume.Must().VolumeID)
			if notFound(err) { // not visible yet, or gone: either way it is not attached
				return plan.Observed[Attached]{State: plan.Absent}, nil
			}
			if err != nil {
				return plan.Observed[Attached]{}, errorAction(err)
			}
			return w.observeAttachment(v, in.Device)
		},
		Do: func(ctx context.Context, a plan.Attempt, in AttachIn) (Attached, error) {
			id := in.Volume.Must().VolumeID
			_, err := w.Cloud.AttachVolume(ctx, id, w.Instance.ID, in.Device)
			if ec2.ClassOf(err) == ec2.InUse {
				err = w.explainInUse(ctx, id, in.Device, err)
			}
			if err != nil {
				return Attached{}, w.explainFailed(ctx, in.Volume.Must(), err)
			}
			return w.awaitAttached(ctx, a, id, in.Device, time.Duration(in.Patience))
		},
		Undo: func(ctx context.Context, a plan.Attempt, in AttachIn, out Attached) error {
			q := linux.DeviceQuery{VolumeID: in.Volume.Must().VolumeID, Name: in.Device, NameOffset: in.NameOffset, Size: bytesOf(in.Volume.Must().Size)}
			if err := w.checkNotInUse(ctx, q); err != nil {
				return err
			}
			return w.detachAndWait(ctx, a, q.VolumeID, out.Device)
		},
		Preview: func(in AttachIn) plan.Preview { return plan.PreviewOf(plan.PreviewChange, "attach as %s", in.Device) },
	}
}

// explainFailed: a volume that this run made may have died between available and attach. One that is well is asked for again.
func (w *Env) explainFailed(ctx context.Context, v Volume, err error) error {
	class := ec2.ClassOf(err)
	if !v.Created || class != ec2.NotFound && class != ec2.SettleLater {
		return eventualErrorAction(err)
	}
	if _, dead := w.awaitAvailable(ctx, v.VolumeID, nil); plan.ActionOf(dead).Action == plan.ActRedo {
		return dead
	}
	return eventualErrorAction(err)
}

// observeAttachment judges a volume as it is. One that is still attaching counts as there: its undo has to find it, and
// whoever needs the device waits for it.
func (w *Env) observeAttachment(v ec2.Volume, device string) (plan.Observed[Attached], error) {
	a, on := v.On(w.Instance.ID)
	switch {
	case on && !SameDeviceName(a.Device, device):
		return plan.Observed[Attached]{State: plan.Conflict, Note: fmt.Sprintf("%s is attached as %s, not as %s", v.ID, a.Device, device)}, nil
	case on && a.State.Leaving():
		return plan.Observed[Attached]{}, plan.Retry(2*time.Second, fmt.Errorf("cannot attach %s: it is being detached (%s)", v.ID, a.State))
	case on:
		return plan.Observed[Attached]{State: plan.Satisfied, Out: Attached{VolumeID: v.ID, Device: a.Device, State: a.State, Size: v.Size}}, nil
	}
	for _, a := range v.Attachments {
		if a.State != ebs.Detached && v.State == ebs.VolumeInUse {
			return plan.Observed[Attached]{State: plan.Conflict, Note: fmt.Sprintf("%s is attached to %s as %s", v.ID, a.InstanceID, a.Device)}, nil
		}
	}
	return plan.Observed[Attached]{State: plan.Absent}, nil
}

// explainInUse: the volume may be where it should be (an answer was lost), or the name is taken.
func (w *Env) explainInUse(ctx context.Context, id, device string, err error) error {
	v, lookErr := w.Cloud.Volume(ctx, id)
	if lookErr != nil {
		return lookErr
	}
	if a, on := v.On(w.Instance.ID); on && SameDeviceName(a.Device, device) {
		return nil
	}
	attached, lookErr := w.Cloud.AttachedVolumes(ctx, w.Instance.ID)
	if lookErr != nil {
		return lookErr
	}
	if other, taken := attachedAt(attached, w.Instance.ID, device); taken {
		return plan.Terminal("detach it or declare another device name", fmt.Errorf("%w: the device name is in use by %s", err, other.ID))
	}
	return err
}

// awaitAttached waits until EC2 says attached. A volume that stays attaching never becomes attached, so it is detached again.
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-attaching-volume.html
func (w *Env) awaitAttached(ctx context.Context, a plan.Attempt, id, device string, patience time.Duration) (Attached, error) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	v, err := w.Cloud.WaitVolume(waiting, id, func(v ec2.Volume) (bool, error) {
		at, on := v.On(w.Instance.ID)
		return on && at.State == ebs.Attached, nil
	}, func(v ec2.Volume) {
		at, _ := v.On(w.Instance.ID)
		a.Report(plan.Progress{Percent: -1, Text: v.ID + " " + string(at.State)})
	})
	if err != nil && deadlinePassed(waiting, ctx) {
		off, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		taken := "it is being detached"
		if err := w.Cloud.DetachVolume(off, id, w.Instance.ID, ""); err != nil {
			taken = "and detaching failed too: " + err.Error()
		}
		return Attached{}, plan.Terminal("the device name can stay blocked until the instance is stopped and started; declare another device name, or stop and start the instance",
			fmt.Errorf("cannot attach %s as %s: it was still in state attaching after %s; %s", id, device, units.Took(patience), taken))
	}
	if err != nil {
		return Attached{}, eventualErrorAction(err)
	}
	at, _ := v.On(w.Instance.ID)
	return Attached{VolumeID: id, Device: at.Device, State: at.State, Size: v.Size, New: true}, nil
}

// checkNotInUse reports whether nobody on this machine has the volume's device in use, in whatever mount namespace. A volume
// that shows no device has nobody who uses it.
func (w *Env) checkNotInUse(ctx context.Context, q linux.DeviceQuery) error {
	d, there, err := w.Host.FindDevice(ctx, q)
	if err != nil || !there {
		return err
	}
	if err := w.Host.DeviceFree(ctx, d.Path); err != nil {
		return plan.Terminal("stop what uses it, then resume the run", fmt.Errorf("cannot detach %s: %w", q.VolumeID, err))
	}
	return nil
}

// detachAndWait takes a volume off this instance and sees it gone.
func (w *Env) detachAndWait(ctx context.Context, a plan.Attempt, id, device string) error {
	if err := w.Cloud.DetachVolume(ctx, id, w.Instance.ID, device); err != nil {
		if notFound(err) {
			return w.volumeGone(ctx, id, err)
		}
		return errorAction(err)
	}
	return w.awaitDetached(ctx, a, id)
}

func (w *Env) awaitDetached(ctx context.Context, a plan.Attempt, id string) error {
	_, err := w.Cloud.WaitVolume(ctx, id, func(v ec2.Volume) (bool, error) {
		_, on := v.On(w.Instance.ID)
		return !on && v.State != ebs.VolumeInUse, nil
	}, func(v ec2.Volume) {
		at, _ := v.On(w.Instance.ID)
		a.Report(plan.Progress{Percent: -1, Text: v.ID + " " + string(at.State)})
	})
	if notFound(err) {
		return nil // deleted by somebody: it is off
	}
	return errorAction(err)
}
