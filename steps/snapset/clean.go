package snapset

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"snaptastic/ec2"
)

// The rules of a clean-up err on the side of keeping: a resource that is not known to be ours, to be of no more use and to
// be replaced by a newer one stays.

// A Resource is a kind of resource that can be cleaned up.
type Resource string

const (
	SnapshotResource Resource = "snapshot"
	SetResource      Resource = "set" // all snapshots of one moment, where a snapshotter has rules to keep
	VolumeResource   Resource = "volume"
	ImageResource    Resource = "image"
)

// Resources are all kinds, in the order of a report.
var Resources = []Resource{SetResource, SnapshotResource, VolumeResource, ImageResource}

// A Decision reports whether a clean-up deletes one resource, and why.
type Decision struct {
	Resource   Resource          `json:"resource"`
	ID         string            `json:"id"`
	Delete     bool              `json:"delete"`
	Why        string            `json:"why"`
	MountPoint string            `json:"mount_point,omitempty"`
	Name       string            `json:"name,omitempty"` // of an image
	FilterTags map[string]string `json:"filter_tags,omitempty"`
	Size       int32             `json:"size_gib,omitempty"`
	Created    time.Time         `json:"created,omitzero"`
	Snapshots  []string          `json:"snapshots,omitempty"`       // of a set: its members; of an image: those that are deleted with it
	KeptBy     []Reason          `json:"kept_by,omitempty"`         // of a set
	FullSize   int64             `json:"full_size_bytes,omitempty"` // of all blocks of a set's members, where EC2 says
	Unsized    int               `json:"snapshots_without_full_size,omitempty"`
	Hint       string            `json:"hint,omitempty"` // what an operator can do to have it deleted

	Due        bool     `json:"-"` // it is kept although it is due, for the reason given
	Class      string   `json:"-"` // groups the reasons of what is kept and not due
	Tags       string   `json:"-"` // TagDigest of the tags that it was judged by
	ReplacedBy []string `json:"-"` // snapshots without any one of which it is kept
	Dependents []string `json:"-"` // TagDigests of Snapshots, in the same order
	Drill      string   `json:"-"` // of a scratch volume that is attached to this instance: the run that left it, to be taken down first
	Device     string   `json:"-"` // and what it is attached as
	larger     string   // the larger set that it is a part of, and goes or stays with
}

// An Inventory is what the rules go by.
type Inventory struct {
	Now        time.Time           // EC2's
	Filter     map[string]string   // only what has these tags; nil for everything of ours
	Unfinished map[string]bool     // runs of this machine that can still go on
	Left       map[string]string   // scratch volumes that drills of this machine have made which ended without deleting them, and which drill
	Here       string              // this instance, where there are such volumes
	Claimed    map[string]string   // mount points of such runs, and which run it is
	Snapshots  []ec2.Snapshot      // all that may be ours, and those of Volumes and Images
	Volumes    []ec2.Volume        // that have TagToken
	Images     []ec2.Image         // all of the account's
	Instances  []ec2.Instance      // all of the account's
	Locked     map[string]ec2.Lock // snapshots that a lock holds
	Pending    []ec2.Snapshot      // all of the account's that are not completed yet: some may be copies
	InUse      map[string]string   // snapshots that unfinished runs of this machine use, and which run it is
	Policies   []Policy            // what snapshotters keep of their sets
}

// A Cleanup says what an operator wants to be cleaned up.
type Cleanup struct {
	Resources []Resource
	AllImages bool // whatever their tags
	// Unsaved lets volumes be deleted whose last writes are in no snapshot; Gap limits that to volumes whose newest labelled
	// snapshot was begun at most so long before they were detached. 0: no limit.
	Unsaved bool
	Gap     time.Duration
}

// Has reports whether such resources are to be cleaned up.
func (c Cleanup) Has(r Resource) bool { return slices.Contains(c.Resources, r) }

const (
	// settledAge is how old a thing has to be before nobody can still be about to use it.
	settledAge = 24 * time.Hour
	// naiveGrace is added to an expiry date without a zone: it was some machine's local time.
	naiveGrace = 24 * time.Hour
)

// Decide judges everything that a clean-up is about, the oldest of each kind first. A snapshot that is deleted as well saves
// no volume.
func Decide(c Cleanup, inv Inventory) []Decision {
	var all []Decision
	deleted := map[string]bool{}
	if c.Has(SnapshotResource) {
		all = oldestFirst(inv.snapshots())
		for _, d := range all {
			deleted[d.ID] = d.Delete
			if d.Resource == SetResource {
				for _, id := range d.Snapshots {
					deleted[id] = d.Delete
				}
			}
		}
	}
	if c.Has(VolumeResource) {
		all = append(all, oldestFirst(inv.volumes(c, deleted))...)
	}
	if c.Has(ImageResource) {
		of := inv
		if c.AllImages {
			of.Filter = nil
		}
		all = append(all, oldestFirst(of.images())...)
	}
	return all
}

// Label names a thing on a line: of a set its run, and how many snapshots it has.
func (d Decision) Label() string {
	if d.Resource != SetResource {
		return d.ID
	}
	name, _, _ := strings.Cut(d.ID, "/")
	return fmt.Sprintf("%s (set of %d)", name, len(d.Snapshots))
}

func oldestFirst(all []Decision) []Decision {
	sort.Slice(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID)) < 0
	})
	return all
}

// Deleted returns what is deleted.
func Deleted(all []Decision) []Decision {
	return slices.DeleteFunc(slices.Clone(all), func(d Decision) bool { return !d.Delete })
}

func (d *Decision) keep(class, format string, args ...any) {
	d.Delete, d.Class, d.Why = false, class, fmt.Sprintf(format, args...)
}

// keepDue keeps what is due.
func (d *Decision) keepDue(format string, args ...any) {
	d.keep("", format, args...)
	d.Due = true
}

// isOurs reports whether a resource has the tags that the clean-up is limited to.
func (inv Inventory) isOurs(tags map[string]string) bool { return HasTags(tags, inv.Filter) }

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }
