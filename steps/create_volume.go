package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// CreateVolume makes a lane's volume, unless there is one.
var CreateVolume = plan.Def[CreateVolumeIn, Volume]{Kind: "create-volume", ObserveBy: plan.ByToken, Scope: plan.Cloud, Idempotent: true}

// CreateVolumeIn describes the volume. Size is the least it may have; a snapshot's may be larger.
type CreateVolumeIn struct {
	Found              plan.Value[FoundVolume] `json:"found"`
	Choice             plan.Value[Choice]      `json:"choice"`
	MountPoint         string                  `json:"mount_point"`
	Zone               string                  `json:"zone"`
	Size               int32                   `json:"size"` // GiB
	Type               string                  `json:"type"`
	IOPS               int32                   `json:"iops,omitempty"`
	Throughput         int32                   `json:"throughput,omitempty"` // MiB/s
	Encrypted          *bool                   `json:"encrypted,omitempty"`
	KMSKeyID           string                  `json:"kms_key_id,omitempty"`
	InitializationRate int32                   `json:"initialization_rate,omitempty"` // MiB/s
	Tags               map[string]string       `json:"tags"`
	Scratch            bool                    `json:"scratch,omitempty"` // for a drill: it has no tag by which it could be taken for a volume in use
}

// Volume is a lane's volume. Only one that is Created and Empty may ever be formatted.
type Volume struct {
	VolumeID   string `json:"volume_id"`
	Created    bool   `json:"created,omitempty"` // by this run
	Empty      bool   `json:"empty,omitempty"`   // not from a snapshot
	SnapshotID string `json:"snapshot_id,omitempty"`
	Size       int32  `json:"size,omitempty"` // GiB
	// Warnings are what an operator should know of the snapshot that it was made from.
	Warnings []string `json:"warnings,omitempty"`
}

// String names it.
func (v Volume) String() string { return v.VolumeID }

// Facts are its ids and its size.
func (v Volume) Facts() plan.Facts {
	return plan.Facts{VolumeID: v.VolumeID, SnapshotID: v.SnapshotID, SizeGiB: v.Size, Warnings: v.Warnings}
}

func (w *Env) createVolume() plan.Funcs[CreateVolumeIn, Volume] {
	return plan.Funcs[CreateVolumeIn, Volume]{
		Observe: func(ctx context.Context, a plan.Attempt, in CreateVolumeIn) (plan.Observed[Volume], error) {
			if out, note, adopts := in.adopts(); adopts {
				return plan.Observed[Volume]{State: plan.Satisfied, Out: out, Note: note}, nil
			}
			made, err := w.volumeOfToken(ctx, a.Token)
			if err != nil {
				return plan.Observed[Volume]{}, errorAction(err)
			}
			if made == nil {
				return plan.Observed[Volume]{State: plan.Absent}, nil
			}
			return plan.Observed[Volume]{State: plan.Ours, Out: created(*made)}, nil
		},
		Do: func(ctx context.Context, a plan.Attempt, in CreateVolumeIn) (Volume, error) {
			if out, _, adopts := in.adopts(); adopts {
				return out, nil
			}
			c := in.Choice.Must()
			if c.SnapshotID == "" && !c.Create {
				return Volume{}, fmt.Errorf("internal error: %s has neither a snapshot nor is it to be created empty", in.MountPoint)
			}
			v, err := w.Cloud.CreateVolume(ctx, w.volumeRequest(a, in, c))
			if err != nil {
				return Volume{}, errorAction(err)
			}
			out := created(v)
			if c.SnapshotID != "" {
				out.Warnings = c.Warnings
			}
			return out, nil
		},
		Undo:   w.deleteVolume,
		Adopts: CreateVolumeIn.adopts,
		Preview: func(in CreateVolumeIn) plan.Preview {
			if found, known := in.Found.Get(); known && found.Found {
				return plan.PreviewOf(plan.PreviewAdopt, "adopt %s", found.VolumeID)
			}
			c, known := in.Choice.Get()
			switch {
			case !known || c.Problem != "":
				return plan.Preview{}
			case c.SnapshotID != "":
				return plan.PreviewOf(plan.PreviewCreate, "create %d GiB %s from %s (%s)", max(in.Size, c.Size), in.Type, c.SnapshotID, snapset.Ago(c.Created))
			}
			return plan.PreviewOf(plan.PreviewCreate, "create %d GiB %s, empty", in.Size, in.Type)
		},
	}
}

// volumeRequest is the same for every try of an attempt, or EC2 would refuse the second: it compares all parameters.
func (w *Env) volumeRequest(a plan.Attempt, in CreateVolumeIn, c Choice) ec2.CreateVolumeRequest {
	tags := merged(in.Tags, map[string]string{TagToken: a.Token, TagRun: string(a.Run)})
	if !in.Scratch {
		tags = w.underKey(tags)
	}
	if t, ok := runTime(a.Run); ok && !in.Scratch {
		tags[TagCreated] = stamp(t)
	}
	r := ec2.CreateVolumeRequest{ClientToken: a.Token, Zone: in.Zone, Size: max(in.Size, c.Size), SnapshotID: c.SnapshotID, Type: in.Type,
		IOPS: in.IOPS, Throughput: in.Throughput, Encrypted: in.Encrypted, KMSKeyID: in.KMSKeyID, Tags: tags}
	if c.SnapshotID != "" {
		r.InitializationRate = in.InitializationRate
	}
	return r
}

// adopts: the lane's volume is there, and was before this run.
func (in CreateVolumeIn) adopts() (Volume, string, bool) {
	found := in.Found.Must()
	return Volume{VolumeID: found.VolumeID, SnapshotID: found.SnapshotID, Size: found.Size}, found.VolumeID + " is already attached", found.Found
}

func created(v ec2.Volume) Volume {
	return Volume{VolumeID: v.ID, Created: true, Empty: v.SnapshotID == "", SnapshotID: v.SnapshotID, Size: v.Size}
}

// volumeOfToken finds the volume of a token; one that is being deleted does not count.
func (w *Env) volumeOfToken(ctx context.Context, token string) (*ec2.Volume, error) {
	volumes, err := w.Cloud.VolumesByTag(ctx, map[string]string{TagToken: token})
	if err != nil {
		return nil, err
	}
	volumes = slices.DeleteFunc(volumes, func(v ec2.Volume) bool { return v.State.Gone() })
	if len(volumes) == 0 {
		return nil, nil
	}
	return &volumes[0], nil
}

// deleteVolume undoes the making. Detaching was undone before; EC2 may still be about it.
func (w *Env) deleteVolume(ctx context.Context, a plan.Attempt, in CreateVolumeIn, out Volume) error {
	if out.VolumeID == "" || in.Found.Must().Found {
		return nil
	}
	if a.Keep && !w.DeleteKept[out.VolumeID] {
		err := w.Cloud.CreateTags(ctx, []string{out.VolumeID}, map[string]string{TagDetached: stamp(time.Now())})
		if notFound(err) {
			if err = w.volumeGone(ctx, out.VolumeID, err); err == nil {
				return nil // there is nothing to keep
			}
		}
		if err != nil {
			return errorAction(err)
		}
		what := fmt.Sprintf("volume %s, which was mounted on %s", out.VolumeID, in.MountPoint)
		how := fmt.Sprintf("; delete it with `aws ec2 delete-volume --volume-id %s` if you no longer need it", out.VolumeID)
		return plan.Keep(what+how, errors.New(what+", remains and is billed"+how))
	}
	err := w.deleteWhenFree(ctx, out.VolumeID)
	if a.Discard && err != nil && plan.ActionOf(errorAction(err)).Action == plan.ActTerminal {
		return w.keepFailed(ctx, a, out.VolumeID, err)
	}
	return errorAction(err)
}

// keepFailed marks a volume that died at birth and cannot be deleted: it must not keep a boot from going on.
func (w *Env) keepFailed(ctx context.Context, a plan.Attempt, id string, why error) error {
	w.log().Warn("an unusable volume is left over; delete it with `aws ec2 delete-volume --volume-id "+id+"`", "step", a.Step, "volume", id, "error", why)
	if err := w.Cloud.CreateTags(ctx, []string{id}, map[string]string{TagFailed: stamp(time.Now())}); err != nil && !notFound(err) {
		w.log().Warn("tagging it failed too", "step", a.Step, "volume", id, "error", err)
	}
	return nil
}
