package steps

import (
	"context"
	"fmt"

	"snaptastic/linux"
	"snaptastic/plan"
)

// MountScratch mounts a scratch volume read-only, where its mount point of life appears in the drill's folder.
var MountScratch = plan.Def[MountScratchIn, ScratchMount]{Kind: "mount-scratch", ObserveBy: plan.ByState, Scope: plan.Boot}

// MountScratchIn says what to mount. Checked is missing where the file system is not to be checked, Outer where it lies in no other.
type MountScratchIn struct {
	Device     plan.Value[DeviceNode]   `json:"device"`
	Replayed   plan.Value[Replayed]     `json:"replayed"`
	Checked    plan.Value[Checked]      `json:"checked,omitzero"`
	Outer      plan.Value[ScratchMount] `json:"outer,omitzero"`
	MountPoint string                   `json:"mount_point"` // of life
	Options    []string                 `json:"options,omitempty"`
}

// ScratchMount is a mount of a drill.
type ScratchMount struct {
	Trial
	VolumeID string `json:"volume_id,omitempty"`
	Place    string `json:"place,omitempty"` // where it is mounted
}

// Facts are what is mounted where.
func (m ScratchMount) Facts() plan.Facts { return plan.Facts{VolumeID: m.VolumeID} }

// bad is what the steps before found out.
func (in MountScratchIn) bad() string {
	for _, t := range []Trial{in.Replayed.Must().Trial, in.Checked.Must().Trial, in.Outer.Must().Trial} {
		if t.Bad != "" {
			return t.Bad
		}
	}
	return ""
}

func (w *Env) mountScratch() plan.Funcs[MountScratchIn, ScratchMount] {
	return plan.Funcs[MountScratchIn, ScratchMount]{
		Observe: func(_ context.Context, a plan.Attempt, in MountScratchIn) (plan.Observed[ScratchMount], error) {
			d, place := in.Device.Must(), w.scratchPlace(a.Run, in.MountPoint)
			at, err := w.occupantOf(place)
			switch {
			case err != nil:
				return plan.Observed[ScratchMount]{}, err
			case !at.mounted || in.bad() != "":
				return plan.Observed[ScratchMount]{State: plan.Absent}, nil
			case at.device != nil && d.is(*at.device):
				return plan.Observed[ScratchMount]{State: plan.Satisfied, Out: ScratchMount{VolumeID: d.VolumeID, Place: place}, Note: "mounted already"}, nil
			}
			return plan.Observed[ScratchMount]{State: plan.Conflict, Note: fmt.Sprintf("%s is mounted on %s", at, place)}, nil
		},
		Do: func(ctx context.Context, a plan.Attempt, in MountScratchIn) (ScratchMount, error) {
			if bad := in.bad(); bad != "" {
				return ScratchMount{Trial: Trial{Bad: bad}}, nil
			}
			d, of := in.Device.Must(), in.Replayed.Must()
			out := ScratchMount{VolumeID: d.VolumeID, Place: w.scratchPlace(a.Run, in.MountPoint)}
			var err error
			out.Trial, err = trial(func() (string, error) {
				_, err := w.Host.Mount(ctx, linux.MountRequest{Source: d.Path, Partition: of.Partition, Target: out.Place, FileSystem: of.FileSystem,
					Options: scratchOptions(in.Options, of.FileSystem, "ro")})
				if err != nil {
					return judgeMount(in.MountPoint, err)
				}
				return "", nil
			})
			return out, err
		},
		// The closing steps of the drill take it down.
		Preview: func(in MountScratchIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewChange, "mount it read-only as %s below the state directory", in.MountPoint)
		},
	}
}
