package steps

import (
	"snaptastic/linux"
	"snaptastic/plan"
)

// VolumeRef is a volume as an earlier step's output tells of it. One of the references is enough, and each may turn out to be
// unknown, since the step that it points to did not succeed: then there is no volume to work on.
type VolumeRef struct {
	Found    plan.Value[FoundVolume] `json:"found,omitzero"`
	Volume   plan.Value[Volume]      `json:"volume,omitzero"`
	Attached plan.Value[Attached]    `json:"attached,omitzero"`
	Mounted  plan.Value[Mounted]     `json:"mounted,omitzero"`
}

// get returns the volume, and false where there is none. One that Found did not find is the zero one.
func (r VolumeRef) get() (v FoundVolume, there bool) {
	if f, known := r.Found.Get(); known {
		return f, f.Found
	}
	if made, known := r.Volume.Get(); known {
		v.VolumeID, v.Size = made.VolumeID, made.Size
	}
	if at, known := r.Attached.Get(); known {
		v.VolumeID, v.Size, v.Device = at.VolumeID, at.Size, at.Device
	}
	if m, known := r.Mounted.Get(); known {
		v.VolumeID = m.VolumeID
	}
	v.Found = v.VolumeID != ""
	return v, v.Found
}

// id is the volume's; "" where there is none.
func (r VolumeRef) id() string {
	v, _ := r.get()
	return v.VolumeID
}

// mountPoint is the one that was declared, or else where the volume was mounted.
func (r VolumeRef) mountPoint(declared string) string {
	if declared != "" {
		return declared
	}
	return r.Mounted.Must().MountPoint
}

// device describes the volume's device: by the declared name, or else as it was attached.
func (r VolumeRef) device(declared string, offset int) linux.DeviceQuery {
	v, _ := r.get()
	if declared == "" {
		declared = v.Device
	}
	return linux.DeviceQuery{VolumeID: v.VolumeID, Name: declared, NameOffset: offset, Size: bytesOf(v.Size)}
}
