package recipe

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// Copy copies the labelled sets that the destinations lack: a lane each for one set and one destination. A copy that is cut off
// goes on at any boot, and before anything else is copied. A lane that fails deletes its copies, as they have no label; the other
// lanes finish.
var Copy = Register(Operation{
	Name:          "copy",
	Short:         "Copy the sets that the regions of the copy blocks lack, and share sets with other accounts",
	Resume:        plan.ResumeFirst,
	UndoOnFailure: func(Spec) bool { return true },
	Elsewhere:     true,
	Permissions: []Permission{{Action: "DescribeSnapshots"}, {Action: "CopySnapshot", If: copies, OptIn: true}, {Action: "CreateTags"}, {Action: "DeleteSnapshot", OwnOnly: true},
		{Action: "ModifySnapshotAttribute", If: shares, OptIn: true, OwnOnly: true}},
	Flags: []Flag{From},
	Check: func(s Spec) error {
		if !copies(s) && !shares(s) && s.CopyFrom == "" {
			return errors.New(`it declares no region to copy to, and no account but this one to share with; add copy "REGION" {} to the snapshotter, or an account to share_with, or give the manifest of another account with --from`)
		}
		return nil
	},
	Compile: func(b *plan.Builder, r Request) {
		for _, u := range r.Unknown {
			addUnknown(b, u)
		}
		for _, d := range r.Copies {
			copySet(b, r, d)
		}
		for _, s := range r.Shares {
			lane := plan.InLane(s.Name)
			plan.Add(b, steps.ShareSet, id("share-set", Volume{MountPoint: s.Name}), steps.ShareSetIn{Set: plan.Literal(s.Set), Accounts: r.Spec.ShareWith},
				lane, plan.Title("share its snapshots"), plan.Within(write))
		}
	},
})

// From is the manifest of a set to copy from another account.
var From = Flag{"from", "", "copy the set that the `manifest` of another account names, instead of copy_from in the settings"}

func copies(s Spec) bool { return len(s.Copies) > 0 || s.CopyFrom != "" }

// shares: sets are shared with other accounts.
func shares(s Spec) bool { return len(s.ShareWith) > 0 }

// A SetShare is one set to share.
type SetShare struct {
	Name string // of the lane: see NewSetShare
	Set  steps.SnapshotSet
}

// NewSetShare is that of a set.
func NewSetShare(w snapset.WholeSet) SetShare {
	s := SetShare{Name: "share:" + w.Set} // the whole identity: freezes of single volumes make several sets in one run
	s.Set.Run, s.Set.Token, _ = strings.Cut(w.Set, "/")
	for _, m := range w.Members {
		s.Set.Snapshots = append(s.Set.Snapshots, steps.Taken{SnapshotID: m.ID, VolumeID: m.VolumeID, MountPoint: m.Tags[steps.TagMountPoint], Size: m.VolumeSize, Started: m.Started})
	}
	return s
}

func shareLane(s SetShare) plan.Lane {
	var size int32
	for _, t := range s.Set.Snapshots {
		size += t.Size
	}
	return plan.Lane{ID: s.Name, Claims: []string{s.Name}, Facts: plan.Facts{SizeGiB: size}}
}

// A SetCopy is one set to copy to one destination.
type SetCopy struct {
	snapset.CopyDecision
	KMSKeyID string // of the destination
	From     string // the region of a set that is another account's; "" for Request.CopyFrom
	Owner    string // of that set; "" for this account
	Name     string // of the lane: see NameCopies
}

// An Unknown is a place of which it is not known what is to be copied or shared. It has a lane of its own, which fails with that.
type Unknown struct {
	Name      string // of the lane
	Why, Hint string
	Region    string        // to ask again; "" for none
	AskFor    time.Duration // for how long
}

func addUnknown(b *plan.Builder, u Unknown) {
	in := steps.FindLackingIn{Why: u.Why, Hint: u.Hint, Region: u.Region}
	plan.Add(b, steps.FindLacking, id("find-lacking", Volume{MountPoint: u.Name}), in, plan.InLane(u.Name), plan.Title("find out what it lacks"), plan.Within(u.AskFor))
}

const (
	copyTime = 14 * 24 * time.Hour // one copy with its wait for a slot: terabytes take days
	turnTime = 28 * 24 * time.Hour // until a set begins: there may be hundreds before it
)

// NameCopies names the lanes: the destination and the run that made the set. Sets of one run are told apart by more of their
// identity.
func NameCopies(copies []SetCopy) {
	seen := map[string]bool{}
	for i := range copies {
		c := &copies[i]
		run, token, _ := strings.Cut(c.Set, "/")
		c.Name = c.Region + ":" + run
		if seen[c.Name] {
			c.Name += "/" + token
		}
		seen[c.Name] = true
	}
}

// copyLane is the lane of a set. No other run may copy it there at the same time.
func copyLane(c SetCopy) plan.Lane {
	var size int32
	for _, m := range c.Members {
		size += m.VolumeSize
	}
	return plan.Lane{ID: c.Name, Claims: []string{"copy:" + c.Region + ":" + c.Set}, Facts: plan.Facts{SizeGiB: size}}
}

func copySet(b *plan.Builder, r Request, c SetCopy) {
	lane := plan.InLane(c.Name)
	stepID := func(kind, member string) plan.StepID { return id(kind, Volume{MountPoint: c.Name + member}) }
	in := steps.FindSourceIn{Set: c.Set, From: cmp.Or(c.From, r.CopyFrom), Region: c.Region}
	if c.Owner != "" {
		in.Shared = &steps.SharedSource{Owner: c.Owner, Members: map[string]steps.SharedMember{}}
		for _, m := range c.Members {
			in.Shared.Members[m.ID] = steps.SharedMember{Size: m.VolumeSize, Started: m.Started}
		}
	}
	for _, m := range c.Members {
		in.SnapshotIDs = append(in.SnapshotIDs, m.ID)
	}
	source := plan.Add(b, steps.FindSource, stepID("find-source", ""), in, lane, plan.Title("wait for its turn, and find its snapshots"), plan.Within(turnTime))
	label := steps.LabelCopiesIn{Region: c.Region, Expires: c.Expires}
	labelled := stepID("label-copies", "")
	for _, m := range c.Members {
		member, name := m.Tags[steps.TagMountPoint], m.Tags[steps.TagMountPoint]
		if c.Larger { // hosts have the same mount points
			name = m.ID
		}
		copied := plan.Add(b, steps.CopySnapshot, stepID("copy-snapshot", ":"+name), steps.CopySnapshotIn{Source: source, SnapshotID: m.ID, MountPoint: member,
			Region: c.Region, KMSKeyID: c.KMSKeyID, Description: copyDescription(m.ID, in.From, m.Description), Tags: snapset.CopyTags(c.CopyDecision, m)},
			lane, plan.KeptBy(labelled), plan.Title("copy %s of %s", m.ID, member), plan.Within(copyTime))
		done := plan.Add(b, steps.WaitCopied, stepID("wait-copied", ":"+name), steps.WaitCopiedIn{Copied: copied}, lane, plan.Title("wait until it is completed"), plan.Within(copyTime))
		label.Copies = append(label.Copies, done)
	}
	plan.Add(b, steps.LabelCopies, labelled, label, lane, plan.Title("label the set in %s", c.Region), plan.Within(write))
}

// copyDescription is what the console calls copies: other tools tell them by it.
func copyDescription(source, region, description string) string {
	text := strings.TrimSpace(fmt.Sprintf("[Copied %s from %s] %s", source, region, description))
	for utf8.RuneCountInString(text) > maxDescription {
		_, last := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-last]
	}
	return text
}
