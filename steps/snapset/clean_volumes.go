package snapset

import (
	"fmt"
	"path"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan/units"
)

// volumes decides on each volume that a run of ours made and that is attached nowhere.
//
// EC2 does not say when a volume was last written to. What is known is when an unmount detached it (TagDetached), since
// when nobody wrote. So a volume is saved when a labelled snapshot of it was begun after that; and such a snapshot is
// not one of a run of ours, since runs snapshot what is mounted: where there is one, the volume was attached again by
// hand, and the tag tells nothing any more.
func (inv Inventory) volumes(c Cleanup, deleted map[string]bool) (decisions []Decision) {
	for _, v := range inv.Volumes {
		if v.State != ebs.VolumeAvailable && !LeftAttached(v) || v.Tags[TagToken] == "" || !inv.isOurs(v.Tags) && v.Tags[TagPurpose] != PurposeVerify {
			continue
		}
		d := Decision{Resource: VolumeResource, ID: v.ID, MountPoint: v.Tags[TagMountPoint], FilterTags: OtherTags(v.Tags), Size: v.Size, Created: v.Created, Tags: TagDigest(v.Tags)}
		inv.decideVolume(&d, v, c, deleted)
		decisions = append(decisions, d)
	}
	return decisions
}

func (inv Inventory) decideVolume(d *Decision, v ec2.Volume, c Cleanup, deleted map[string]bool) {
	if v.Tags[TagPurpose] == PurposeVerify {
		inv.decideScratch(d, v)
		return
	}
	text, letGo := v.Tags[TagDetached]
	detached, naive, readable := units.ParseTime(text)
	_, stated := v.Tags[TagState]
	switch {
	case v.Tags[TagRun] == "" || stated: // a volume of ours has a run and no state: somebody copied tags onto this one
		d.keep("not created by Snaptastic", "it was not created by Snaptastic, although it has its tags")
		return
	case inv.Unfinished[v.Tags[TagRun]]:
		d.keepDue("its run %s is unfinished on this machine: resume it or roll it back", v.Tags[TagRun])
		return
	case inv.Claimed[path.Clean(v.Tags[TagMountPoint])] != "": // an unmount that detached it may be undone yet
		d.keepDue("run %s of %s is unfinished on this machine: resume it or roll it back", inv.Claimed[path.Clean(v.Tags[TagMountPoint])], v.Tags[TagMountPoint])
		return
	case !letGo && inv.Now.Sub(v.Created) <= settledAge:
		d.keep("younger than a day", "it is younger than a day and was not detached by an unmount")
		return
	case letGo && (!readable || naive):
		d.keepDue("its %s tag %q is not a time", TagDetached, text)
		return
	}
	if by := ReplacedBy(v.Tags); by != "" && letGo && inv.Now.Sub(detached) <= settledAge {
		d.keepDue("run %s replaced it less than a day ago: `snaptastic rollback %s` puts it back", by, by)
		return
	}
	newest, reused := newestOfVolume(inv.Snapshots, v.ID, detached, deleted)
	known := letGo && !reused
	switch {
	case newest.ID == "":
		d.Why = "it has no labelled snapshot"
	case !known:
		d.Why = fmt.Sprintf("its last write is unknown; its newest labelled snapshot %s is from %s", newest.ID, day(newest.Started))
	case !newest.Started.Before(detached):
		d.Delete, d.ReplacedBy, d.Why = true, []string{newest.ID}, "it was detached before "+newest.ID+" was started, which contains all its data"
		return
	default:
		d.Why = fmt.Sprintf("its newest labelled snapshot %s was started %s before it was detached", newest.ID, units.Age(detached.Sub(newest.Started)))
	}
	if by := ReplacedBy(v.Tags); by != "" {
		d.Why += "; run " + by + " replaced it, and cannot be rolled back without it"
	}
	switch within := known && newest.ID != "" && detached.Sub(newest.Started) <= c.Gap; {
	case c.Unsaved && (c.Gap == 0 || within):
		d.Delete = true
		if newest.ID != "" && c.Gap > 0 {
			d.ReplacedBy = []string{newest.ID}
		}
	default:
		d.Due = true
	}
}

// decideScratch: the volume of a drill has nothing of its own. One of another host may be in use by a drill that lasts long, or that is
// to be taken down there, so that it has a day.
func (inv Inventory) decideScratch(d *Decision, v ec2.Volume) {
	switch run := v.Tags[TagRun]; {
	case run == "" || v.SnapshotID == "":
		d.keep("not created by Snaptastic", "it was not created by Snaptastic, although it has its tags")
	case inv.Unfinished[run]:
		d.keepDue("its run %s is unfinished on this machine: resume it or roll it back", run)
	case inv.Left[v.ID] == run && !LeftAttached(v):
		d.Delete, d.Why = true, "it is a scratch volume, left by the drill "+run
	case inv.Left[v.ID] == run && len(v.Attachments) == 1 && v.Attachments[0].InstanceID == inv.Here:
		d.Delete, d.Drill, d.Device = true, run, v.Attachments[0].Device
		d.Why = "it is a scratch volume, left attached as " + d.Device + " by the drill " + run + ": unmounted and detached first"
	case inv.Now.Sub(v.Created) <= settledAge && LeftAttached(v):
		d.keepDue("the drill %s, of less than a day ago, has it attached to %s", run, v.Attachments[0].InstanceID)
	case inv.Now.Sub(v.Created) <= settledAge:
		d.keep("younger than a day", "it is a scratch volume of a drill, and younger than a day")
	case LeftAttached(v):
		d.keepDue("the drill %s left it attached to %s: clean up there, with the state directory of that run", run, v.Attachments[0].InstanceID)
		d.Hint = "`findmnt` on that instance shows where it is mounted; `aws ec2 detach-volume --volume-id " + v.ID + "` detaches it, and the next cleanup deletes it"
	default:
		d.Delete, d.Why = true, "it is a scratch volume, left by the drill "+run
	}
}

// LeftAttached: a scratch volume that is attached. A drill is at work, or was abandoned; nothing else shows such a volume.
func LeftAttached(v ec2.Volume) bool {
	return v.Tags[TagPurpose] == PurposeVerify && v.State == ebs.VolumeInUse && len(v.Attachments) > 0
}

// newestOfVolume finds the newest labelled and completed snapshot of a volume that stays. reused: a run took one after
// the volume had been detached.
func newestOfVolume(all []ec2.Snapshot, volume string, detached time.Time, deleted map[string]bool) (newest ec2.Snapshot, reused bool) {
	for _, s := range all {
		if s.VolumeID != volume || s.State != ebs.SnapshotCompleted || OriginOf(s) != OriginConsistent {
			continue
		}
		if s.Tags[TagRun] != "" && s.Started.After(detached) {
			reused = true
		}
		if !deleted[s.ID] && s.Started.After(newest.Started) {
			newest = s
		}
	}
	return newest, reused
}
