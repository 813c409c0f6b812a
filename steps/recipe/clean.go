package recipe

import (
	"fmt"
	"strings"
	"time"

	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// removal bounds one deletion, the throttling of a thousand others included.
const removal = 30 * time.Minute

// The operations of `clean`.
var (
	CleanSnapshots = registerClean("snapshots", "Delete expired snapshots, and unverified ones that a run left behind over a day ago", snapset.SnapshotResource)
	CleanVolumes   = registerClean("volumes", "Delete detached volumes that a run made and whose data is in a snapshot", snapset.VolumeResource)
	CleanImages    = registerClean("images", "Deregister images that no instance uses, and delete their snapshots", snapset.ImageResource)
	CleanAll       = registerClean("all", "Images, volumes, snapshots; and report instances with low CPU", snapset.Resources...)
)

// removedBy is the IAM action that deletes a resource.
var removedBy = map[snapset.Resource]string{
	snapset.SetResource: "DeleteSnapshot", snapset.SnapshotResource: "DeleteSnapshot", snapset.VolumeResource: "DeleteVolume", snapset.ImageResource: "DeregisterImage",
}

// DeleteAction returns the IAM action that deletes a resource, without "ec2:".
func DeleteAction(r snapset.Resource) string { return removedBy[r] }

// readActions are the actions that a clean-up looks with.
var readActions = map[snapset.Resource][]string{
	snapset.SnapshotResource: {"DescribeSnapshots", "DescribeImages", "DescribeLockedSnapshots"},
	snapset.VolumeResource:   {"DescribeSnapshots", "DescribeVolumes"},
	snapset.ImageResource:    {"DescribeSnapshots", "DescribeImages", "DescribeLockedSnapshots", "DescribeInstances"},
}

// registerClean registers a clean-up. What is deleted is gone: its plan cannot be undone, and claims nothing, since two
// clean-ups of the same resources do no harm to each other. Only an operator who names the run has it continued.
func registerClean(word, short string, resources ...snapset.Resource) *Operation {
	o := Operation{Name: "clean " + word, Short: short, Cleans: resources, Resume: plan.ResumeManually, Irreversible: true, ReportsInstances: len(resources) > 1, Compile: compileClean,
		Question: func(r Request) string { return fmt.Sprintf("Delete %s? This cannot be undone.", Tally(r.Decisions)) }}
	if o.ReportsInstances {
		o.Permissions = append(o.Permissions, Permission{Action: "DescribeInstances"})
	}
	for _, r := range resources {
		for _, action := range append(readActions[r], removedBy[r]) {
			o.Permissions = append(o.Permissions, Permission{Action: action})
		}
		if r == snapset.VolumeResource {
			o.Permissions = append(o.Permissions, Permission{Action: "DetachVolume"}) // of scratch volumes that a drill left attached
		}
	}
	return Register(o)
}

// compileClean makes one lane for each resource, so that EC2's refusal of one does not keep the others.
func compileClean(b *plan.Builder, r Request) {
	taken := map[string]bool{} // down: the drills whose volumes are attached here
	for _, d := range snapset.Deleted(r.Decisions) {
		if d.Drill != "" && !taken[d.Drill] {
			taken[d.Drill] = true
			plan.Add(b, steps.TakeDown, takeDownOf(d.Drill), steps.TakeDownIn{Drill: plan.RunID(d.Drill)}, plan.Within(removal), plan.Title("unmount what the drill %s left mounted", d.Drill))
		}
		addRemoval(b, d)
	}
}

func factsOf(d snapset.Decision) plan.Facts {
	switch d.Resource {
	case snapset.SetResource:
		return plan.Facts{SizeGiB: d.Size}
	case snapset.SnapshotResource:
		return plan.Facts{SnapshotID: d.ID, SizeGiB: d.Size}
	case snapset.VolumeResource:
		return plan.Facts{VolumeID: d.ID, SizeGiB: d.Size}
	}
	return plan.Facts{}
}

func addRemoval(b *plan.Builder, d snapset.Decision) {
	lane := together(plan.InLane(d.ID), plan.Within(removal))
	switch d.Resource {
	case snapset.SetResource:
		in := steps.DeleteSetsIn{Expired: plan.Literal(steps.ExpiredSets{Sets: []steps.ExpiredSet{steps.ExpiredSetOf(d)}})}
		plan.Add(b, steps.DeleteSets, plan.StepID("delete-set:"+d.ID), in, lane, plan.Title("delete its %d snapshots: %s", len(d.Snapshots), d.Why))
	case snapset.SnapshotResource:
		deleteSnapshot(b, steps.DeleteSnapshotIn{SnapshotID: d.ID, Tags: d.Tags, ReplacedBy: d.ReplacedBy}, lane, plan.Title("delete it: %s", d.Why))
	case snapset.VolumeResource:
		detached := takeOff(b, d, lane)
		plan.Add(b, steps.DeleteVolume, plan.StepID("delete-volume:"+d.ID), steps.DeleteVolumeIn{VolumeID: d.ID, Tags: d.Tags, ReplacedBy: d.ReplacedBy, Detached: detached != ""},
			lane, plan.Title("delete it: %s", d.Why), plan.After(detached))
	case snapset.ImageResource:
		image := plan.StepID("deregister-image:" + d.ID)
		plan.Add(b, steps.DeregisterImage, image, steps.DeregisterImageIn{ImageID: d.ID, Tags: d.Tags}, lane, plan.Title("deregister it: %s", d.Why))
		for i, id := range d.Snapshots {
			deleteSnapshot(b, steps.DeleteSnapshotIn{SnapshotID: id, Tags: d.Dependents[i], Image: d.ID}, lane, plan.After(image), plan.Title("delete its snapshot %s", id))
		}
	}
}

// takeOff adds what detaches a scratch volume that a drill left attached here, and returns the step after which it is detached: ""
// where it is not attached.
func takeOff(b *plan.Builder, d snapset.Decision, lane plan.Option) plan.StepID {
	if d.Drill == "" {
		return ""
	}
	at := plan.Literal(steps.Attached{VolumeID: d.ID, Device: d.Device, Size: d.Size})
	detached := plan.Add(b, steps.Detach, plan.StepID("detach:"+d.ID), steps.DetachIn{VolumeRef: steps.VolumeRef{Attached: at}, ThenDeleted: true, Tags: d.Tags},
		lane, plan.After(takeDownOf(d.Drill)), plan.Title("detach it"))
	wait := plan.StepID("wait-detached:" + d.ID)
	plan.Add(b, steps.WaitDetached, wait, steps.WaitDetachedIn{Detached: detached}, lane, plan.Title("wait until it is detached"))
	return wait
}

func takeDownOf(drill string) plan.StepID { return plan.StepID("take-down:" + drill) }

func deleteSnapshot(b *plan.Builder, in steps.DeleteSnapshotIn, options ...plan.Option) {
	plan.Add(b, steps.DeleteSnapshot, plan.StepID("delete-snapshot:"+in.SnapshotID), in, options...)
}

// Tally counts what is deleted, in words.
func Tally(decisions []snapset.Decision) string {
	counts, members, gib := map[snapset.Resource]int{}, 0, int64(0)
	for _, d := range snapset.Deleted(decisions) {
		counts[d.Resource]++
		gib += int64(d.Size)
		if d.Resource == snapset.SetResource {
			members += len(d.Snapshots)
		}
	}
	number := func(n int, word string) string {
		if n == 1 {
			return "1 " + word
		}
		return fmt.Sprintf("%d %ss", n, word)
	}
	var words []string
	for _, r := range snapset.Resources {
		switch n := counts[r]; {
		case n > 0 && r == snapset.SetResource:
			words = append(words, number(n, "set")+" with "+number(members, "snapshot"))
		case n > 0:
			words = append(words, number(n, string(r)))
		}
	}
	return fmt.Sprintf("%s (of %d GiB)", strings.Join(words, ", "), gib)
}
