package recipe

import (
	"fmt"
	"time"

	"snaptastic/plan"
	"snaptastic/steps"
)

// removal bounds one deletion, the throttling of a thousand others included.
const removal = 30 * time.Minute

// Clean makes the plan that carries out what a clean-up decided: one lane for each thing, so that EC2's refusal of one
// does not keep the others. What is gone stays gone: the plan cannot be undone, and claims nothing, since two clean-ups
// of the same things do no harm to each other.
func Clean(what, name string, t Target, fates []steps.Fate) (*plan.Plan, error) {
	head := plan.Plan{Operation: "clean " + what, Snapshotter: name, Instance: t.InstanceID, Resumption: plan.Ask, Irreversible: true}
	for _, f := range fates {
		if f.Goes {
			head.Lanes = append(head.Lanes, plan.Lane{ID: f.ID, Facts: factsOf(f)})
		}
	}
	b := plan.NewBuilder(head)
	for _, f := range fates {
		if f.Goes {
			addRemoval(b, f)
		}
	}
	p, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("cannot compile clean %s: %w", what, err)
	}
	return p, nil
}

func factsOf(f steps.Fate) plan.Facts {
	switch f.Thing {
	case steps.SnapshotThing:
		return plan.Facts{SnapshotID: f.ID, SizeGiB: f.Size}
	case steps.VolumeThing:
		return plan.Facts{VolumeID: f.ID, SizeGiB: f.Size}
	}
	return plan.Facts{}
}

func addRemoval(b *plan.Builder, f steps.Fate) {
	lane := together(plan.InLane(f.ID), plan.Within(removal))
	switch f.Thing {
	case steps.SnapshotThing:
		deleteSnapshot(b, steps.DeleteSnapshotIn{SnapshotID: f.ID, Tags: f.Tags, Stands: f.Stands}, lane, plan.Title("delete it: %s", f.Why))
	case steps.VolumeThing:
		plan.Add(b, steps.DeleteVolume, plan.StepID("delete-volume:"+f.ID), steps.DeleteVolumeIn{VolumeID: f.ID, Tags: f.Tags, Stands: f.Stands},
			lane, plan.Title("delete it: %s", f.Why))
	case steps.ImageThing:
		image := plan.StepID("deregister-image:" + f.ID)
		plan.Add(b, steps.DeregisterImage, image, steps.DeregisterImageIn{ImageID: f.ID, Tags: f.Tags}, lane, plan.Title("deregister it: %s", f.Why))
		for i, id := range f.Snapshots {
			deleteSnapshot(b, steps.DeleteSnapshotIn{SnapshotID: id, Tags: f.Dependents[i], Image: f.ID}, lane, plan.After(image), plan.Title("delete its snapshot %s", id))
		}
	}
}

func deleteSnapshot(b *plan.Builder, in steps.DeleteSnapshotIn, options ...plan.Option) {
	plan.Add(b, steps.DeleteSnapshot, plan.StepID("delete-snapshot:"+in.SnapshotID), in, options...)
}
