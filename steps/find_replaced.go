package steps

import (
	"context"
	"fmt"

	"snaptastic/ec2/ebs"
	"snaptastic/plan"
)

// FindReplaced looks whether a volume that a restore replaced is still there, and can take its place again.
var FindReplaced = plan.Def[FindReplacedIn, Volume]{Kind: "find-replaced", Scope: plan.Cloud, ReadOnly: true}

// FindReplacedIn names the volume.
type FindReplacedIn struct {
	VolumeID   string `json:"volume_id"`
	MountPoint string `json:"mount_point"`
	Zone       string `json:"zone"`
}

func (w *Env) findReplaced() plan.Funcs[FindReplacedIn, Volume] {
	return plan.Funcs[FindReplacedIn, Volume]{
		Do: func(ctx context.Context, _ plan.Attempt, in FindReplacedIn) (Volume, error) {
			refuse := func(format string, a ...any) (Volume, error) {
				return Volume{}, plan.Terminal("to restore from a snapshot instead, run `snaptastic run restore`", fmt.Errorf("cannot put the previous volume of %s back: "+format, append([]any{in.MountPoint}, a...)...))
			}
			v, err := w.Cloud.Volume(ctx, in.VolumeID)
			at, on := v.On(w.Instance.ID)
			switch {
			case notFound(err):
				return refuse("%s no longer exists", in.VolumeID)
			case err != nil:
				return Volume{}, errorAction(err)
			case on:
				return refuse("%s is attached as %s already", v.ID, at.Device)
			case v.State != ebs.VolumeAvailable:
				return refuse("%s is %s", v.ID, v.State)
			case in.Zone != "" && v.Zone != "" && v.Zone != in.Zone:
				return refuse("%s is in %s", v.ID, v.Zone)
			}
			return Volume{VolumeID: v.ID, SnapshotID: v.SnapshotID, Size: v.Size}, nil
		},
		Preview: func(in FindReplacedIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewAdopt, "take %s, which was replaced", in.VolumeID)
		},
	}
}
