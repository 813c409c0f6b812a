package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// MarkReplaced tags the volumes of a restore, all in one call: those that are taken off as replaced, before they are detached,
// or, where they come back, as replaced no more.
var MarkReplaced = plan.Def[MarkReplacedIn, MarkedReplaced]{Kind: "mark-replaced", ObserveBy: plan.ByState, Scope: plan.Cloud}

// MarkReplacedIn names the volumes: what a lane had, or what it has again. A lane that had none is left out.
type MarkReplacedIn struct {
	Found []plan.Value[FoundVolume] `json:"found,omitempty"`
	Back  []plan.Value[Volume]      `json:"back,omitempty"`
}

func (in MarkReplacedIn) ids() (ids []string) {
	for _, f := range in.Found {
		if v := f.Must(); v.Found {
			ids = append(ids, v.VolumeID)
		}
	}
	for _, b := range in.Back {
		ids = append(ids, b.Must().VolumeID)
	}
	return ids
}

// MarkedReplaced are the volumes.
type MarkedReplaced struct {
	VolumeIDs []string `json:"volume_ids"`
}

// replacedKeys are the tags of a volume that a restore replaced.
var replacedKeys = []string{TagDetached, TagReplaced}

func (w *Env) markReplaced() plan.Funcs[MarkReplacedIn, MarkedReplaced] {
	return plan.Funcs[MarkReplacedIn, MarkedReplaced]{
		Observe: w.observeReplaced,
		Do: func(ctx context.Context, a plan.Attempt, in MarkReplacedIn) (MarkedReplaced, error) {
			if len(in.Back) > 0 {
				return MarkedReplaced{in.ids()}, errorAction(w.Cloud.DeleteTags(ctx, in.ids(), replacedKeys))
			}
			now := time.Now()
			return MarkedReplaced{in.ids()}, errorAction(w.Cloud.CreateTags(ctx, in.ids(), map[string]string{TagDetached: stamp(now), TagReplaced: snapset.Replaced(now, string(a.Run))}))
		},
		Undo: func(ctx context.Context, a plan.Attempt, in MarkReplacedIn, _ MarkedReplaced) error {
			if len(in.Back) == 0 {
				return errorAction(w.Cloud.DeleteTags(ctx, in.ids(), replacedKeys))
			}
			var before map[string]map[string]string
			if err := json.Unmarshal(a.Before, &before); err != nil {
				return fmt.Errorf("cannot tag the volumes as replaced again: %w", err)
			}
			for id, tags := range before {
				if len(tags) == 0 {
					continue
				}
				if err := w.Cloud.CreateTags(ctx, []string{id}, tags); err != nil {
					return errorAction(err)
				}
			}
			return nil
		},
		Preview: func(in MarkReplacedIn) plan.Preview {
			if len(in.Back) > 0 {
				return plan.PreviewOf(plan.PreviewChange, "take the tag %s off the volumes that come back", TagReplaced)
			}
			return plan.PreviewOf(plan.PreviewChange, "tag the current volumes %s", TagReplaced)
		},
	}
}

// observeReplaced finds out which of the volumes have the tags already, and what they have for an undo.
func (w *Env) observeReplaced(ctx context.Context, a plan.Attempt, in MarkReplacedIn) (plan.Observed[MarkedReplaced], error) {
	ids, before, satisfied := in.ids(), map[string]map[string]string{}, true
	if len(in.Back) == 0 && len(ids) > 0 && !a.Resumed { // no run but this one tags so, and the volumes are unmounted: a look would cost time
		return plan.Observed[MarkedReplaced]{State: plan.Absent}, nil
	}
	volumes := make([]ec2.Volume, len(ids))
	var looks errgroup.Group // at the same time, so that they share one call
	for i, id := range ids {
		looks.Go(func() (err error) { volumes[i], err = w.Cloud.Volume(ctx, id); return err })
	}
	if err := looks.Wait(); err != nil {
		return plan.Observed[MarkedReplaced]{}, errorAction(err)
	}
	for i, id := range ids {
		v := volumes[i]
		before[id] = map[string]string{}
		for _, key := range replacedKeys {
			if value, is := v.Tags[key]; is {
				before[id][key] = value
			}
		}
		if len(in.Back) > 0 {
			satisfied = satisfied && len(before[id]) == 0
		} else {
			satisfied = satisfied && snapset.ReplacedBy(v.Tags) == string(a.Run)
		}
	}
	if satisfied {
		return plan.Observed[MarkedReplaced]{State: plan.Satisfied, Out: MarkedReplaced{ids}}, nil
	}
	return plan.Observed[MarkedReplaced]{State: plan.Absent, Before: before}, nil
}
