package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"snaptastic/linux"
	"snaptastic/plan"
)

// WaitDevice waits until this machine shows the volume's block device.
var WaitDevice = plan.Def[WaitDeviceIn, DeviceNode]{Kind: "wait-device", Scope: plan.Boot, ReadOnly: true}

// WaitDeviceIn says which device: by the volume's id where the kernel tells it, by name elsewhere.
type WaitDeviceIn struct {
	Attached   plan.Value[Attached] `json:"attached"`
	Device     string               `json:"device"`
	NameOffset int                  `json:"name_offset,omitempty"`
	Rivals     []string             `json:"rivals,omitempty"` // see linux.DeviceQuery
}

// DeviceNode is a block device as this boot names it.
type DeviceNode struct {
	VolumeID string `json:"volume_id"`
	Path     string `json:"path"`
	Major    uint32 `json:"major"`
	Minor    uint32 `json:"minor"`
	Size     int64  `json:"size"`                // bytes
	BySerial bool   `json:"by_serial,omitempty"` // the kernel tells volume ids, so a name alone proves nothing
}

// String is the node's path.
func (n DeviceNode) String() string { return n.Path }

// Facts are its names.
func (n DeviceNode) Facts() plan.Facts { return plan.Facts{VolumeID: n.VolumeID, Path: n.Path} }

func (n DeviceNode) is(d linux.Device) bool { return n.Major == d.Major && n.Minor == d.Minor }

func (w *Env) waitDevice() plan.Funcs[WaitDeviceIn, DeviceNode] {
	return plan.Funcs[WaitDeviceIn, DeviceNode]{
		Do: func(ctx context.Context, _ plan.Attempt, in WaitDeviceIn) (DeviceNode, error) {
			id := in.Attached.Must().VolumeID
			q := linux.DeviceQuery{VolumeID: id, Name: in.Device, NameOffset: in.NameOffset, Rivals: in.Rivals, Size: bytesOf(in.Attached.Must().Size)}
			d, err := w.findOrWait(ctx, q)
			if err == nil && d.VolumeID == "" && q.Size == 0 { // recorded by an earlier version: nothing else tells that it is the one
				d, err = w.bySize(ctx, q)
			}
			if err != nil {
				return DeviceNode{}, plan.Terminal("check `lsblk -o NAME,SERIAL` and `dmesg`; on Xen kernels whose names start at xvde, set device_name_offset", err)
			}
			return DeviceNode{VolumeID: id, Path: d.Path, Major: d.Major, Minor: d.Minor, Size: d.Size, BySerial: d.VolumeID != ""}, nil
		},
	}
}

// bytesOf turns EC2's GiB into bytes.
func bytesOf(gib int32) int64 { return int64(gib) << 30 }

// bySize waits once more, with the volume's size.
func (w *Env) bySize(ctx context.Context, q linux.DeviceQuery) (linux.Device, error) {
	v, err := w.Cloud.Volume(ctx, q.VolumeID)
	if err != nil {
		return linux.Device{}, errorAction(err)
	}
	q.Size = bytesOf(v.Size)
	return w.findOrWait(ctx, q)
}

func (w *Env) findOrWait(ctx context.Context, q linux.DeviceQuery) (linux.Device, error) {
	if !w.PreviewOnly {
		return w.Host.WaitDevice(ctx, q)
	}
	d, there, err := w.Host.FindDevice(ctx, q)
	if err == nil && !there {
		err = w.explainMissing(ctx, q)
	}
	return d, err
}

// explainMissing says what was seen instead of the device: a wait that is over before it begins knows.
func (w *Env) explainMissing(ctx context.Context, q linux.DeviceQuery) error {
	ctx, cancel := context.WithCancelCause(ctx)
	cancel(errors.New("it is missing"))
	_, err := w.Host.WaitDevice(ctx, q)
	return cmp.Or(err, fmt.Errorf("the device of %s is missing", q))
}
