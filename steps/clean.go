package steps

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"snaptastic/ec2"
	"snaptastic/steps/snapset"
)

// The rules of cleaning up: pure functions from what EC2 shows to the fate of each thing. They err on the side of
// keeping: what is not known to be ours, to be of no more use and to be replaced by something newer stays.

// A Thing is a kind of resource that can be cleaned up.
type Thing string

const (
	SnapshotThing Thing = "snapshot"
	VolumeThing   Thing = "volume"
	ImageThing    Thing = "image"
)

// A Fate is what becomes of one thing, and why.
type Fate struct {
	Thing      Thing             `json:"thing"`
	ID         string            `json:"id"`
	Goes       bool              `json:"goes"`
	Why        string            `json:"why"`
	MountPoint string            `json:"mount_point,omitempty"`
	Name       string            `json:"name,omitempty"` // of an image
	FilterTags map[string]string `json:"filter_tags,omitempty"`
	Size       int32             `json:"size,omitempty"` // GiB
	Made       time.Time         `json:"made,omitzero"`
	Snapshots  []string          `json:"snapshots,omitempty"` // of an image: those that go with it

	// Hint says what an operator can do for it to go.
	Hint string `json:"hint,omitempty"`

	// Notable: it would go, were it not for the reason given.
	Notable bool `json:"-"`
	// Class groups the reasons of what stays as a matter of course.
	Class string `json:"-"`
	// Tags identifies the tags that it was judged by.
	Tags string `json:"-"`
	// Stands are snapshots in whose favour it goes: without any one of them it stays.
	Stands []string `json:"-"`
	// Dependents are the tags' digests of Snapshots, in the same order.
	Dependents []string `json:"-"`
}

// CleanWorld is what the rules go by.
type CleanWorld struct {
	Now        time.Time         // EC2's
	Filter     map[string]string // only what bears these tags; nil for everything of ours
	Unfinished map[string]bool   // runs of this machine that can still go on
	Claimed    map[string]string // mount points of such runs, and which run it is
	Snapshots  []ec2.Snapshot    // all that may be ours, and those of Volumes and Images
	Volumes    []ec2.Volume      // that bear TagToken
	Images     []ec2.Image       // all of the account's
	Instances  []ec2.Instance    // all of the account's
	Locked     map[string]string // snapshots that a lock holds, with its state
}

// A CleanPolicy is what the operator may say about cleaning up.
type CleanPolicy struct {
	// Unsaved lets volumes go whose last writes are in no snapshot; Gap limits that to volumes whose newest labelled
	// snapshot was begun at most so long before they were detached. 0: no limit.
	Unsaved bool
	Gap     time.Duration
}

const (
	// settledAge is how old a thing has to be before nobody can still be about to use it.
	settledAge = 24 * time.Hour
	// naiveGrace is added to an expiry date without a zone: it was some machine's local time.
	naiveGrace = 24 * time.Hour
)

// mine says whether a thing bears the tags that cleaning is limited to.
func (w CleanWorld) mine(tags map[string]string) bool { return snapset.HasTags(tags, w.Filter) }

// TagDigest identifies a set of tags.
func TagDigest(tags map[string]string) string {
	sum := sha256.Sum256([]byte(snapset.InOrder(tags)))
	return hex.EncodeToString(sum[:8])
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }
