package steps

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/steps/snapset"
)

// VolumeFates decides on each volume that a run of ours made and that is attached nowhere. Snapshots that go, too, save
// nothing.
//
// EC2 does not say when a volume was last written to. What is known is when an unmount let go of it (TagDetached), since
// when nobody wrote. So a volume is saved when a labelled snapshot of it was begun after that; and such a snapshot is
// not one of a run of ours, since runs snapshot what is mounted: where there is one, the volume was attached again by
// hand, and the tag tells nothing any more.
func VolumeFates(w CleanWorld, policy CleanPolicy, going map[string]bool) []Fate {
	var fates []Fate
	for _, v := range w.Volumes {
		if v.State != "available" || v.Tags[TagToken] == "" || !w.mine(v.Tags) {
			continue
		}
		f := Fate{Thing: VolumeThing, ID: v.ID, MountPoint: v.Tags[TagMountPoint], FilterTags: snapset.OtherTags(v.Tags), Size: v.Size, Made: v.Created, Tags: TagDigest(v.Tags)}
		w.judgeVolume(&f, v, policy, going)
		fates = append(fates, f)
	}
	slices.SortFunc(fates, func(a, b Fate) int { return cmp.Or(a.Made.Compare(b.Made), strings.Compare(a.ID, b.ID)) })
	return fates
}

func (w CleanWorld) judgeVolume(f *Fate, v ec2.Volume, policy CleanPolicy, going map[string]bool) {
	text, letGo := v.Tags[TagDetached]
	detached, naive, readable := snapset.ReadTime(text)
	_, stated := v.Tags[TagState]
	switch {
	case v.Tags[TagRun] == "" || stated: // a volume of ours has a run and no state: somebody copied tags onto this one
		f.keep("made by somebody else", "somebody else made it and copied our tags")
		return
	case w.Unfinished[v.Tags[TagRun]]:
		f.keepAfterAll("its run %s is unfinished here: resume it or roll it back", v.Tags[TagRun])
		return
	case w.Claimed[path.Clean(v.Tags[TagMountPoint])] != "": // an unmount that let go of it may be undone yet
		f.keepAfterAll("run %s of %s is unfinished here: resume it or roll it back", w.Claimed[path.Clean(v.Tags[TagMountPoint])], v.Tags[TagMountPoint])
		return
	case !letGo && w.Now.Sub(v.Created) <= settledAge:
		f.keep("younger than a day", "it is younger than a day, and no unmount let go of it")
		return
	case letGo && (!readable || naive):
		f.keepAfterAll("its %s tag %q is no time", TagDetached, text)
		return
	}
	newest, reused := newestOfVolume(w.Snapshots, v.ID, detached, going)
	known := letGo && !reused
	switch {
	case newest.ID == "":
		f.Why = "no labelled snapshot of it exists"
	case !known:
		f.Why = fmt.Sprintf("when it was last written to is not known; its newest labelled snapshot %s is of %s", newest.ID, day(newest.Started))
	case !newest.Started.Before(detached):
		f.Goes, f.Stands, f.Why = true, []string{newest.ID}, "it was detached before "+newest.ID+" was begun, which has it all"
		return
	default:
		f.Why = fmt.Sprintf("its newest labelled snapshot %s was begun %s before it was detached", newest.ID, snapset.Rough(detached.Sub(newest.Started)))
	}
	switch within := known && newest.ID != "" && detached.Sub(newest.Started) <= policy.Gap; {
	case policy.Unsaved && (policy.Gap == 0 || within):
		f.Goes = true
		if newest.ID != "" && policy.Gap > 0 {
			f.Stands = []string{newest.ID}
		}
	default:
		f.Notable = true
	}
}

// newestOfVolume finds the newest labelled and completed snapshot of a volume that stays. reused: a run took one after
// the volume had been let go of.
func newestOfVolume(all []ec2.Snapshot, volume string, detached time.Time, going map[string]bool) (newest ec2.Snapshot, reused bool) {
	for _, s := range all {
		if s.VolumeID != volume || s.State != "completed" || snapset.OriginOf(s) != snapset.OriginConsistent {
			continue
		}
		if s.Tags[TagRun] != "" && s.Started.After(detached) {
			reused = true
		}
		if !going[s.ID] && s.Started.After(newest.Started) {
			newest = s
		}
	}
	return newest, reused
}
