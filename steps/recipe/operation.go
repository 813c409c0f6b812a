package recipe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// An Operation is one thing that Snaptastic does to the volumes of a snapshotter, with all that the rest of the program
// has to know of it: nothing outside of this package compares an operation's name.
//
// The zero Operation has no special property. It is what [Named] returns for the operation of a run that this program does
// not know.
type Operation struct {
	Name    string   // a word for `run` and `plan`; plans and journals record it
	Aliases []string // commands by themselves, as the original Snaptastic had them
	Short   string   // one line of help

	Resume        plan.ResumePolicy
	UndoOnFailure func(Spec) bool      // a run that fails undoes itself; nil: it can be resumed
	UndoneBy      string               // the operation that reverses a finished run; "" for none
	Question      func(Request) string // asked before a run begins; nil: it does not ask
	Irreversible  bool                 // a rollback is refused

	// LeaveOut reports whether volumes that another unfinished run holds may be left out of a run, and if not, which setting
	// allows it. Nil: such a run is refused.
	LeaveOut func(Spec) (allowed bool, hint string)

	// Volumes are those that it works on; nil: all. Claims are what keeps others from one of them; nil: mount point and device.
	Volumes func(Spec) []Volume
	Claims  func(Volume) []string

	Leaves            Leaves // where the volumes are after a finished run
	Offline           bool   // what a finished run recorded is enough to repeat it without EC2
	StrictMountPoints bool   // symlinks on the way to a mount point must be root's
	FormatsNew        bool   // it makes file systems on the volumes that it creates
	Scratch           bool   // it works on volumes of its own (Request.Spares), and what is left of it is taken down when it is interrupted
	Elsewhere         bool   // it copies or shares sets (Request.Copies), and touches no volume of this machine
	Replaces          bool   // it makes new volumes whatever is attached, and a finished run can be rolled back as long as those that it replaced exist
	Warms             bool   // its runs may read volumes whole (steps.Warm)
	LabelsSnapshots   bool   // a finished run has labelled snapshots, which EC2 may not show yet
	Permissions       []Permission
	Flags             []Flag
	Cleans            []snapset.Resource // of `clean`: what it deletes. It is compiled from decisions, not from settings
	ReportsInstances  bool               // of `clean`: it also lists instances that do little

	CheckOptions func(Spec, Options) error // which options it refuses; nil: none

	Check   func(Spec) error // why it cannot be compiled; nil: it always can
	Compile func(*plan.Builder, Request)
}

// Leaves says where an operation leaves the volumes.
type Leaves int

const (
	AsTheyAre Leaves = iota
	Mounted
	Unmounted
)

// A Permission is an IAM action that an operation needs.
type Permission struct {
	Action string // without "ec2:"
	Try    Try
	If     func(Spec) bool // nil: always

	Cleaning bool // only a run that also cleans up needs it
	OptIn    bool // most settings do not use it: it is tried only where If holds for a snapshotter

	OwnOnly bool // docs/iam-policy.json allows it on what Snaptastic made alone
}

// Permissions returns what any of the operations needs, by action.
func Permissions(of []*Operation) map[string]Permission {
	all := map[string]Permission{}
	for _, o := range of {
		for _, p := range o.Permissions {
			all[p.Action] = p
		}
	}
	return all
}

// Try says on what a permission is tried before a run begins. Only what exists can be tried, and only what a run cannot do
// without is worth a refusal.
type Try int

const (
	TryNot   Try = iota
	ToCreate     // when a volume is to be created
	Attached     // when a volume is attached, on that volume
	Labelled     // on a snapshot that this machine labelled in the last day, if there is one
	ToClean      // the same, of a run that also cleans up. A no is a warning: a missing backup is worse than an old one too many
)

// A Request is what an operation is compiled from.
type Request struct {
	Spec      Spec // of `clean`: only its name, if it has one
	Target    Target
	Options   Options
	Spares    []string           // free device names, one for each volume, for an operation on scratch volumes
	HooksOwed bool               // hooks of a mount run even if nothing changes: an older run stopped between them
	Decisions []snapset.Decision // of `clean`
	Copies    []SetCopy          // of `copy`: what is lacking, in the order in which it is copied
	CopyFrom  string             // the region that they are copied from
	Shares    []SetShare         // of `copy`: sets to share
	Unknown   []Unknown          // of `copy`: places of which it is not known what they lack
	Notes     []string           // what an operator should know of what was chosen, and what was not
	Back      map[string]Back    // of `restore`, by mount point: volumes that take their place again, instead of a set

	operation string
}

// An OptionError is about what was asked for, and not about the settings.
type OptionError struct{ Err error }

func (e *OptionError) Error() string { return e.Err.Error() }
func (e *OptionError) Unwrap() error { return e.Err }

var operations []*Operation

// Register adds an operation. A name or an alias that is taken is a mistake of the programmer's.
func Register(o Operation) *Operation {
	for _, name := range append([]string{o.Name}, o.Aliases...) {
		for _, other := range operations {
			if other.Name == name || slices.Contains(other.Aliases, name) {
				panic(fmt.Sprintf("internal error: two operations are named %q", name))
			}
		}
	}
	operations = append(operations, &o)
	return &o
}

// Operations returns the operations on a snapshotter, by name.
func Operations() []*Operation {
	return slices.DeleteFunc(slices.Clone(operations), func(o *Operation) bool { return o.Cleans != nil })
}

// CleanUps returns the operations of `clean`.
func CleanUps() []*Operation {
	return slices.DeleteFunc(slices.Clone(operations), func(o *Operation) bool { return o.Cleans == nil })
}

// claims are what no other unfinished run may touch. What takes volumes away also keeps others from reading them.
func (o *Operation) claims(v Volume) []string {
	switch {
	case o.Claims != nil:
		return o.Claims(v)
	case o.TakesAway():
		return append(claims(v), warmClaim(v))
	}
	return claims(v)
}

// TakesAway: it unmounts volumes.
func (o *Operation) TakesAway() bool { return o.Leaves == Unmounted || o.Replaces }

// Cleans says of a snapshot run whether it also deletes what is no longer kept.
func (r Request) Cleans() bool {
	return (r.Spec.CleanAfter || r.Options.Bool(Clean)) && partOf(r.Options) == nil // a part may never be labelled
}

// ChangesMounts: it leaves the volumes mounted or unmounted.
func (o *Operation) ChangesMounts() bool { return o.Leaves != AsTheyAre }

// AdoptsOffline: while EC2 does not answer, what the last finished run recorded is mounted in its place. What replaces volumes
// does no such thing.
func (o *Operation) AdoptsOffline() bool { return o.Offline && !o.Replaces }

// CleansSnapshots, CleansVolumes and CleansImages say of a clean-up what it deletes.
func (o *Operation) CleansSnapshots() bool {
	return slices.Contains(o.Cleans, snapset.SnapshotResource)
}
func (o *Operation) CleansVolumes() bool { return slices.Contains(o.Cleans, snapset.VolumeResource) }
func (o *Operation) CleansImages() bool  { return slices.Contains(o.Cleans, snapset.ImageResource) }

// Word is the last word of the name: `clean` has several operations.
func (o *Operation) Word() string { return o.Name[strings.LastIndexByte(o.Name, ' ')+1:] }

// Names returns the names of [Operations].
func Names() (names []string) {
	for _, o := range Operations() {
		names = append(names, o.Name)
	}
	return names
}

// Named returns the operation with the name, such as one that a journal recorded. An unknown one has only its name.
func Named(name string) (o *Operation, known bool) {
	i := slices.IndexFunc(operations, func(o *Operation) bool { return o.Name == name })
	if i < 0 {
		return &Operation{Name: name}, false
	}
	return operations[i], true
}

// Plan compiles the operation. The same request gives the same plan, byte for byte.
func (o *Operation) Plan(r Request) (*plan.Plan, error) {
	fail := func(err error) (*plan.Plan, error) {
		return nil, fmt.Errorf("cannot compile %s of %q: %w", o.Name, r.Spec.Name, err)
	}
	if len(r.Spec.Volumes) == 0 && o.Cleans == nil {
		return fail(errors.New("it declares no volume"))
	}
	if err := r.Options.check(o); err != nil {
		return fail(err)
	}
	if o.Check != nil {
		if err := o.Check(r.Spec); err != nil {
			return fail(err)
		}
	}
	if o.Volumes != nil {
		r.Spec.Volumes = o.Volumes(r.Spec)
	}
	if o.CheckOptions != nil {
		if err := o.CheckOptions(r.Spec, r.Options); err != nil {
			return fail(&OptionError{err})
		}
	}
	head := plan.Plan{Operation: o.Name, Snapshotter: r.Spec.Name, Instance: r.Target.InstanceID, ResumePolicy: o.Resume,
		UndoOnFailure: o.UndoOnFailure != nil && o.UndoOnFailure(r.Spec), Irreversible: o.Irreversible}
	if o.Scratch {
		if err := checkSpares(r); err != nil {
			return fail(err)
		}
	}
	volumes := r.Spec.Volumes
	if o.Elsewhere {
		volumes = nil
		if len(r.Copies)+len(r.Shares)+len(r.Unknown) == 0 { // there is nothing to do: a plan without steps, to compare with others
			head.Schema = plan.Schema
			return &head, nil
		}
	}
	for _, u := range r.Unknown {
		head.Lanes = append(head.Lanes, plan.Lane{ID: u.Name})
	}
	for _, c := range r.Copies {
		head.Lanes = append(head.Lanes, copyLane(c))
	}
	for _, s := range r.Shares {
		head.Lanes = append(head.Lanes, shareLane(s))
	}
	for _, v := range volumes {
		if o.Scratch {
			head.Lanes = append(head.Lanes, scratchLane(r, v))
			continue
		}
		head.Lanes = append(head.Lanes, plan.Lane{ID: v.MountPoint, Claims: o.claims(v), Facts: plan.Facts{MountPoint: v.MountPoint, Device: v.Device}})
	}
	for _, d := range snapset.Deleted(r.Decisions) {
		head.Lanes = append(head.Lanes, plan.Lane{ID: d.ID, Facts: factsOf(d)})
	}
	b := plan.NewBuilder(head)
	r.operation = o.Name
	o.Compile(b, r)
	p, err := b.Build()
	if err != nil {
		return fail(err)
	}
	return p, nil
}
