package recipe

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// Snapshot freezes a snapshotter's volumes, snapshots them and thaws them. A run that fails deletes what it made: snapshots
// without their label are worth nothing.
var Snapshot = Register(Operation{
	Name:          "snapshot",
	Aliases:       []string{"make-snapshots"},
	Short:         "Take consistent snapshots of a snapshotter's volumes",
	Resume:        plan.ResumeThisBoot,
	UndoOnFailure: func(Spec) bool { return true },
	LeaveOut: func(s Spec) (bool, string) {
		return !s.Together(), `set consistency = "volume" to snapshot the other volumes without it`
	},
	LabelsSnapshots: true,
	Permissions: []Permission{
		{Action: "DescribeVolumes"}, {Action: "DescribeSnapshots"}, {Action: "CreateSnapshots", Try: Attached, If: inOneCall},
		{Action: "CreateSnapshot", Try: Attached, If: func(s Spec) bool { return !inOneCall(s) }}, {Action: "CreateTags"}, {Action: "DeleteSnapshot", OwnOnly: true, Try: ToClean},
		{Action: "LockSnapshot", If: locks, OptIn: true, OwnOnly: true},
		{Action: "ModifySnapshotAttribute", If: shares, OptIn: true, OwnOnly: true},
		{Action: "DescribeImages", Cleaning: true}, {Action: "DescribeLockedSnapshots", Cleaning: true},
	},
	Check: func(s Spec) error {
		if !s.Together() && s.Hooks["pre_snapshots"].Hold {
			return errors.New(`its pre_snapshots hook cannot be held across separate freezes; use pre_snapshot, or consistency = "group"`)
		}
		return nil
	},
	Flags:        []Flag{Wait, Clean, At, HoldUntil, TrustClock, PartOf, PartMembers, DeferLabel},
	CheckOptions: func(s Spec, o Options) error { return cmp.Or(checkArmed(s, o), checkPart(s, o)) },
	Compile:      compiledBy((*compiler).snapshot),
})

// Wait makes a snapshot run wait for EC2.
var Wait = Flag{"wait", false, "wait until the snapshots are completed"}

// Clean makes a snapshot run delete what is no longer kept, once its own snapshots are labelled.
var Clean = Flag{"clean", false, "then delete what the snapshotter no longer keeps, as clean snapshots NAME does, without asking"}

// inOneCall: EC2 snapshots several volumes of an instance in one call.
func inOneCall(s Spec) bool { return s.Together() && len(s.Volumes) > 1 }

// locks: new sets are locked.
func locks(s Spec) bool { return s.Lock != nil }

// maxDescription is how many characters a snapshot's description may have.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshot.html
const maxDescription = 255

// freezeSection is what the lanes of a snapshot plan share.
type freezeSection struct {
	all   bracket
	each  map[string]bracket
	found map[string]plan.Value[steps.FoundVolume]

	labelled *[]plan.Value[steps.SnapshotSet] // what the freezes so far have made
}

// snapshot: all that takes time comes before the freeze. A group is frozen and snapshotted as one; otherwise each volume
// has a freeze of its own.
func (c *compiler) snapshot() {
	s := freezeSection{all: c.open("snapshots", nil, c.hookVolumes(nil)), each: map[string]bracket{}, found: map[string]plan.Value[steps.FoundVolume]{}}
	for _, v := range c.spec.Volumes {
		s.found[v.MountPoint] = c.findVolume(v, steps.ToSnapshot, s.all.first())
	}
	for _, v := range c.spec.Volumes {
		c.sync(v, s)
	}
	var ends []plan.StepID
	s.labelled = &[]plan.Value[steps.SnapshotSet]{}
	var taken map[string]plan.Value[steps.SnapshotSet]
	if !c.spec.Together() {
		taken = map[string]plan.Value[steps.SnapshotSet]{}
		for _, v := range c.spec.Volumes {
			set, last := c.addFreezeSection([]Volume{v}, s, func(kind string) plan.StepID { return id(kind, v) }, plan.InLane(v.MountPoint))
			taken[v.MountPoint], ends = set, append(ends, last...)
		}
	} else {
		set, last := c.addFreezeSection(c.spec.Volumes, s, func(kind string) plan.StepID { return plan.StepID(kind) }, nil)
		taken, ends = map[string]plan.Value[steps.SnapshotSet]{}, last
		for _, v := range c.spec.Volumes {
			taken[v.MountPoint] = set
		}
	}
	post := c.close(s.all, nil, c.hookVolumes(func(v Volume, h *steps.HookVolume) { h.Found, h.Taken = s.found[v.MountPoint], taken[v.MountPoint] }), ends)
	if c.Cleans() {
		c.clean(*s.labelled, append(ends, post))
	}
}

// clean deletes what is no longer kept, when all else went well: no hook waits for it. The new snapshots are labelled by then,
// and stay whatever becomes of this.
func (c *compiler) clean(labelled []plan.Value[steps.SnapshotSet], after []plan.StepID) {
	if c.Options.Bool(Wait) {
		after = append(after, ids(c.spec.Volumes, func(v Volume) plan.StepID { return id("wait-snapshot", v) })...)
	}
	expired := plan.Add(c.b, steps.FindExpired, "find-expired", steps.FindExpiredIn{FilterTags: c.spec.FilterTags, Keep: c.spec.Keep, Labelled: labelled},
		plan.Title("choose what is no longer kept"), plan.After(after...), plan.Within(write), plan.Tolerated())
	plan.Add(c.b, steps.DeleteSets, "delete-sets", steps.DeleteSetsIn{Expired: expired},
		plan.Title("delete what is no longer kept"), plan.Within(removal), plan.Tolerated())
}

// sync adds what a lane does before the freeze.
func (c *compiler) sync(v Volume, s freezeSection) {
	one := c.open("snapshot", &v, c.hookVolumes(s.describeVolume(v, nil)), s.all.body(), plan.After(id("find-volume", v)))
	s.each[v.MountPoint] = one
	in := steps.SyncIn{Found: s.found[v.MountPoint], MountPoint: v.MountPoint, Programs: c.programs()}
	for _, o := range c.spec.Volumes {
		if o.MountPoint != v.MountPoint {
			in.Others = append(in.Others, o.MountPoint)
		}
	}
	plan.Add(c.b, steps.Sync, id("sync", v), in, plan.InLane(v.MountPoint), s.all.body(), one.first(),
		plan.Title("write out %s", v.MountPoint), plan.Within(write))
}

// describeVolume tells a hook of one volume what is known of it.
func (s freezeSection) describeVolume(v Volume, taken *plan.Value[steps.SnapshotSet]) func(Volume, *steps.HookVolume) {
	return func(o Volume, h *steps.HookVolume) {
		if o.MountPoint != v.MountPoint {
			return
		}
		h.Found = s.found[v.MountPoint]
		if taken != nil {
			h.Taken = *taken
		}
	}
}

// addFreezeSection adds one freeze with all that follows from it, and returns what its last steps are.
func (c *compiler) addFreezeSection(volumes []Volume, s freezeSection, name func(kind string) plan.StepID, lane plan.Option) (plan.Value[steps.SnapshotSet], []plan.StepID) {
	section := string(name("freeze"))
	c.b.Section(section, plan.Atomic)
	between := []plan.Option{lane, s.all.body()}
	var members []steps.Member
	var mounts []string
	for _, v := range volumes {
		between = append(between, s.each[v.MountPoint].body())
		members = append(members, steps.Member{MountPoint: v.MountPoint, Found: s.found[v.MountPoint]})
		mounts = append(mounts, v.MountPoint)
	}
	inside := together(between...)

	held, patience := c.held(volumes, c.spec.Together(), func(v Volume, h *steps.HookVolume) {
		if slices.Contains(mounts, v.MountPoint) {
			h.Found = s.found[v.MountPoint]
		}
	})
	hold := cmp.Or(c.spec.MaxHold, maxHold)
	ready := ids(volumes, func(v Volume) plan.StepID { return id("sync", v) })
	at, until, armed := instants(c.Options)
	title := "freeze " + strings.Join(mounts, ", ")
	if armed {
		plan.Add(c.b, steps.Arm, name("arm"), steps.ArmIn{At: at, TrustClock: c.Options.Bool(TrustClock)}, inside, plan.After(ready...),
			plan.Title("wait until %s", c.Options.Text(At)), plan.Within(steps.MaxArm+time.Minute))
		ready, title = append(ready, name("arm")), title+" at "+c.Options.Text(At)+", until "+c.Options.Text(HoldUntil)
	}
	plan.Add(c.b, steps.Freeze, name("freeze"), steps.FreezeIn{Mounts: members, MaxHold: plan.Duration(c.spec.MaxHold), Expedite: c.spec.Expedite, Held: held, At: at, HoldUntil: until},
		plan.Opens(section), plan.Holding(shownHeld(held)...), inside, plan.After(ready...), plan.Title("%s", title), plan.Within(describeTimeout+patience))
	take := steps.SnapshotIn{Members: members, Description: describe(volumes), FilterKeys: slices.Sorted(maps.Keys(c.spec.FilterTags)), Part: partOf(c.Options)}
	kept, label := plan.KeptBy(name("tag-snapshots")), plan.Title("tag, then label as restorable")
	if take.Part != nil { // they have no label that would keep them
		kept, label = nil, plan.Title("tag; set %s is labelled as a whole", take.Part.Set)
		if l := c.spec.Lock; l != nil {
			take.Part.Lock = snapset.LockWish{Mode: string(l.Mode), Days: l.Days, CoolOff: l.CoolOff}.String()
			label = plan.Title("tag; set %s is labelled as a whole, and these are locked then (%s)", take.Part.Set, take.Part.Lock)
		}
		take.Tags, take.ExpireAfter = c.tags(), plan.Duration(c.spec.expiry())
	}
	set := plan.Add(c.b, steps.Snapshot, name("snapshot"), take,
		plan.In(section), inside, plan.Title("snapshot while all are frozen"), plan.Within(hold+attachMore), together(kept))
	plan.Add(c.b, steps.Thaw, name("thaw"), steps.ThawIn{Mounts: mounts},
		plan.Closes(section), inside, plan.Title("thaw %s", strings.Join(mounts, ", ")), plan.Within(describeTimeout))

	// The hooks of a volume need not wait for its tags: what they stopped stays stopped until they are through.
	var ends []plan.StepID
	for _, v := range volumes {
		post := c.close(s.each[v.MountPoint], &v, c.hookVolumes(s.describeVolume(v, &set)), []plan.StepID{name("thaw")}, s.all.body())
		if post != "" {
			ends = append(ends, post)
		}
	}
	labelled := plan.Add(c.b, steps.TagSnapshots, name("tag-snapshots"), steps.TagSnapshotsIn{Set: set, Tags: c.tags(), ExpireAfter: plan.Duration(c.spec.expiry()), Part: take.Part},
		together(lane), s.all.body(), plan.After(name("thaw")), label, plan.Within(write))
	*s.labelled = append(*s.labelled, labelled)
	if l := c.spec.Lock; l != nil && take.Part == nil { // no hook waits for it. A part may have to be deleted, as its set may never be complete: who labels the set locks it
		plan.Add(c.b, steps.LockSnapshots, name("lock-snapshots"), steps.LockSnapshotsIn{Set: labelled, Mode: string(l.Mode), Days: l.Days, CoolOff: l.CoolOff},
			together(lane), plan.Title("lock the snapshots"), plan.Within(write), plan.Tolerated())
	}
	if shares(c.spec) && take.Part == nil { // a part has no label yet: `run copy` shares it later
		plan.Add(c.b, steps.ShareSet, name("share-set"), steps.ShareSetIn{Set: labelled, Accounts: c.spec.ShareWith},
			together(lane), plan.Title("share the snapshots"), plan.Within(write), plan.Tolerated())
	}
	if c.Options.Bool(Wait) {
		for _, v := range volumes {
			plan.Add(c.b, steps.WaitSnapshot, id("wait-snapshot", v), steps.WaitSnapshotIn{MountPoint: v.MountPoint, Taken: labelled},
				plan.InLane(v.MountPoint), plan.Title("wait until the snapshot of %s is complete", v.MountPoint), plan.Within(c.timeouts.Complete))
		}
	}
	return set, append(ends, name("tag-snapshots"))
}

// describe is the description of a set: EC2 takes one for all snapshots of a call.
func describe(volumes []Volume) string {
	var words []string
	for _, v := range volumes {
		if v.Description != "" && !slices.Contains(words, v.Description) {
			words = append(words, v.Description)
		}
	}
	text := strings.Join(words, "; ")
	for utf8.RuneCountInString(text) > maxDescription {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}
