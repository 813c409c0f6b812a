package engine

import (
	"fmt"
	"slices"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// LeftBehind lists, in sentences, what a run has made or taken off that is still so, as far as its journal knows: what nobody
// cleans up any more once the run is abandoned.
func LeftBehind(p *plan.Plan, records map[plan.StepID]journal.Record) (left []string) {
	for _, l := range p.Lanes {
		left = append(left, leftOf(p, l, records)...)
	}
	left = append(left, copiesLeft(p, records, func(region string) string {
		return "`snaptastic --region " + region + " clean snapshots` deletes it once it is a day old"
	})...)
	for i := range p.Steps {
		r := records[p.Steps[i].ID]
		if p.Steps[i].Kind != steps.Snapshot.Kind || r.Facts == nil || !stands(r) || labelled(p, records) {
			continue
		}
		for _, f := range append(r.Facts.Each, *r.Facts) {
			if f.SnapshotID != "" {
				left = append(left, f.SnapshotID+", an unverified snapshot of "+f.MountPoint+": `snaptastic clean snapshots` deletes it once it is a day old")
			}
		}
	}
	return left
}

// CopiesUnfinished lists, in sentences, what an unfinished copy has in other regions without a label.
func CopiesUnfinished(p *plan.Plan, records map[plan.StepID]journal.Record) []string {
	return copiesLeft(p, records, func(string) string {
		return "the next `run copy` finishes or deletes it, once the region answers"
	})
}

// copiesLeft are the copies in other regions whose set is not labelled there; then says what becomes of one.
func copiesLeft(p *plan.Plan, records map[plan.StepID]journal.Record, then func(region string) string) (left []string) {
	labelled := labelledLanes(p, records)
	for i := range p.Steps {
		s := &p.Steps[i]
		r := records[s.ID]
		if s.Kind != steps.CopySnapshot.Kind || !stands(r) || labelled[s.Lane] {
			continue
		}
		region := regionOfLane(s.Lane)
		if r.Facts == nil || len(r.Facts.Each) == 0 {
			left = append(left, fmt.Sprintf("perhaps a copy in %s, which was being asked for: `aws ec2 describe-snapshots --region %s --filters Name=tag:%s,Values=%s` shows it", region, region, steps.TagToken, r.Token))
			continue
		}
		for _, f := range r.Facts.Each {
			left = append(left, fmt.Sprintf("%s in %s, an unverified copy of %s: %s", f.SnapshotID, region, f.MountPoint, then(region)))
		}
	}
	return left
}

// labelledLanes are the lanes whose set is labelled where it was copied to.
func labelledLanes(p *plan.Plan, records map[plan.StepID]journal.Record) map[string]bool {
	labelled := map[string]bool{}
	for i := range p.Steps {
		if s := &p.Steps[i]; s.Kind == steps.LabelCopies.Kind && records[s.ID].EverDone {
			labelled[s.Lane] = true
		}
	}
	return labelled
}

// stands: the effect of a step that this run did is there.
func stands(r journal.Record) bool { return r.Began() && r.Undo != journal.Undone }

func labelled(p *plan.Plan, records map[plan.StepID]journal.Record) bool {
	return slices.ContainsFunc(p.Steps, func(s plan.Step) bool {
		return s.Kind == steps.TagSnapshots.Kind && records[s.ID].EverDone
	})
}

// leftOf is what the run leaves of one volume.
func leftOf(p *plan.Plan, l plan.Lane, records map[plan.StepID]journal.Record) (left []string) {
	var made, attached, mounted, detached, deleted journal.Record
	for i := range p.Steps {
		s := &p.Steps[i]
		r := records[s.ID]
		if s.Lane != l.ID || !stands(r) {
			continue
		}
		switch s.Kind {
		case steps.CreateVolume.Kind:
			made = r
		case steps.Attach.Kind:
			attached = r
		case steps.Mount.Kind, steps.MountScratch.Kind:
			mounted = r
		case steps.Detach.Kind:
			detached = r
		case steps.DeleteVolume.Kind:
			deleted = r
		}
	}
	op, _ := recipe.Named(p.Operation)
	done := func(r journal.Record) bool { return r.State == journal.Done }
	off := op.Scratch && done(detached) // other detaches are of the volumes that were there before
	switch {
	case !made.Began() || done(deleted):
	case made.Facts == nil || made.Facts.VolumeID == "":
		left = append(left, fmt.Sprintf("perhaps a volume for %s, which was being created: `aws ec2 describe-volumes --filters Name=tag:%s,Values=%s` shows it", l.ID, steps.TagToken, made.Token))
	default:
		text := made.Facts.VolumeID + ", created for " + l.ID
		if op.Scratch {
			text = made.Facts.VolumeID + ", a scratch volume of " + l.ID
		}
		switch {
		case off || !attached.Began():
		case done(attached) && attached.Facts != nil:
			text += ", attached as " + attached.Facts.Device
		default:
			text += ", perhaps attached"
		}
		if !off && done(mounted) {
			text += ", mounted"
		}
		if op.Scratch {
			text += ": `snaptastic clean volumes` takes it off and deletes it"
		}
		left = append(left, text)
	}
	if !op.Scratch && done(detached) && detached.Facts != nil && detached.Facts.Remains != "" {
		left = append(left, detached.Facts.Remains+", detached")
	}
	return left
}
