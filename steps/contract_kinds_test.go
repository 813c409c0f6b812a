package steps

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// contracts says which test holds each kind to the contract of a handler: looking changes nothing, twice is once, and undoing, after
// half of it and twice, leaves what is to be left.
var contracts = map[plan.Kind]func(*testing.T){
	Hook.Kind:                TestAHookRunsOnlyWhenSomethingChanges,
	FindVolume.Kind:          TestAfterARebootTheVolumeIsAdoptedAndMountedAgain,
	FindSnapshot.Kind:        TestAGroupIsSnapshottedLabelledAndFound,
	WaitSnapshot.Kind:        TestTheStepsOfADrillKeepTheContract,
	CreateVolume.Kind:        TestCreateVolumeKeepsTheContract,
	WaitAvailable.Kind:       TestTheStepsOfADrillKeepTheContract,
	Attach.Kind:              TestAttachKeepsTheContract,
	WaitDevice.Kind:          TestTheStepsOfADrillKeepTheContract,
	DeleteOnTermination.Kind: TestDeleteOnTerminationKeepsTheContract,
	MkfsOrSkip.Kind:          TestMkfsTwiceGivesTheSameFileSystem,
	Mount.Kind:               TestMountKeepsTheContract,
	ConfirmMount.Kind:        TestTheStepsThatEndARestoreKeepTheContract,
	HandOver.Kind:            TestTheStepsThatEndARestoreKeepTheContract,
	UndoHook.Kind:            TestTheStepsThatEndARestoreKeepTheContract,
	MarkReplaced.Kind:        TestMarkReplacedKeepsTheContract,
	FindReplaced.Kind:        TestTheStepsThatEndARestoreKeepTheContract,
	Grow.Kind:                TestARestoredVolumeKeepsItsDataAndIsGrown,
	Warm.Kind:                TestWarmKeepsItsMarkAndGoesOnThere,
	Sync.Kind:                TestRisksAreRefusedBeforeAnythingIsFrozen,
	Arm.Kind:                 TestOneCallIsMadeInsideAFreezeAndNothingElse,
	Freeze.Kind:              TestClosingInAnotherProcessThawsWhatIsLeft,
	Snapshot.Kind:            TestUnlabelledSnapshotsAreUndone,
	Thaw.Kind:                TestClosingInAnotherProcessThawsWhatIsLeft,
	TagSnapshots.Kind:        TestAGroupIsSnapshottedLabelledAndFound,
	LockSnapshots.Kind:       TestASetIsLockedOnce,
	ShareSet.Kind:            TestASetIsSharedOnce,
	CheckInUse.Kind:          TestTheStepsThatEndARestoreKeepTheContract,
	Unmount.Kind:             TestUnmountAndDetachKeepTheContract,
	Detach.Kind:              TestUnmountAndDetachKeepTheContract,
	WaitDetached.Kind:        TestUnmountAndDetachKeepTheContract,
	FindExpired.Kind:         TestTheStepsThatDeleteSetsKeepTheContract,
	DeleteSets.Kind:          TestTheStepsThatDeleteSetsKeepTheContract,
	DeleteSnapshot.Kind:      TestADeletionObservesAgain,
	DeleteVolume.Kind:        TestAVolumeOfThisRunIsDeletedOnceItIsOff,
	ReplayLog.Kind:           TestTheStepsOfADrillKeepTheContract,
	CheckFileSystem.Kind:     TestTheStepsOfADrillKeepTheContract,
	MountScratch.Kind:        TestTheStepsOfADrillKeepTheContract,
	Probe.Kind:               TestTheStepsOfADrillKeepTheContract,
	TakeDown.Kind:            TestTheStepsOfADrillKeepTheContract,
	TagDrill.Kind:            TestTheStepsOfADrillKeepTheContract,
	DeregisterImage.Kind:     TestADeletionObservesAgain,
	FindLacking.Kind:         TestTheStepsOfACopyKeepTheContract,
	FindSource.Kind:          TestTheStepsOfACopyKeepTheContract,
	CopySnapshot.Kind:        TestTheStepsOfACopyKeepTheContract,
	WaitCopied.Kind:          TestTheStepsOfACopyKeepTheContract,
	LabelCopies.Kind:         TestTheStepsOfACopyKeepTheContract,
}

func TestEveryKindIsHeldToTheContract(t *testing.T) {
	bound := slices.Sorted(maps.Keys(Handlers(&Env{})))
	for _, kind := range bound {
		if contracts[kind] == nil {
			t.Errorf("no test holds %s to the contract: write one, and enter it in contracts", kind)
		}
	}
	if len(contracts) != len(bound) {
		t.Errorf("contracts has %d kinds, and %d are bound", len(contracts), len(bound))
	}
}

// checkLasting checks a step whose effect an undo leaves, or that has none: looking changes nothing, twice is once, and undoing twice
// changes nothing. It returns the output.
func checkLasting[In, Out any](b *bench, d plan.Def[In, Out], in In) Out {
	b.Helper()
	h, a, raw := b.handlers[d.Kind], b.attempt(string(d.Kind)), asJSON(b, in)
	a.Run = drillRun
	look := func() (before []byte) {
		b.Helper()
		if d.ReadOnly || d.ObserveBy == plan.Blind {
			return nil
		}
		was := b.picture()
		o, err := h.Observe(b.Context(), a, raw)
		if err != nil || o.State == plan.Conflict {
			b.Fatalf("%s: a look saw %q (%s), error %v", d.Kind, o.State, o.Note, err)
		}
		b.same("a look of "+string(d.Kind), was)
		return o.Before
	}
	var out plan.Output
	act := func() {
		b.Helper()
		if err := patiently(func() (err error) { out, err = h.Do(b.Context(), a, raw); return err }); err != nil {
			b.Fatalf("%s: %v", d.Kind, err)
		}
	}
	before := b.picture()
	a.Before = look()
	act()
	done := b.picture()
	act()
	b.same(string(d.Kind)+" a second time", done)
	if d.ReadOnly && done != before {
		b.Errorf("%s only reads, and left:\n%s\nwant:\n%s", d.Kind, done, before)
	}
	a.Resumed = true
	look()
	for range 2 {
		if err := h.Undo(b.Context(), a, raw, out.Value); err != nil && plan.ActionOf(err).Action == plan.ActRetry {
			b.Errorf("%s: undo: %v", d.Kind, err)
		}
		b.same(string(d.Kind)+" undone", done)
	}
	return decoded[Out](b, out.Value)
}

const drillRun = plan.RunID("20260301T120000000-ab12")

func TestTheStepsOfADrillKeepTheContract(t *testing.T) {
	b := newBench(t, true)
	b.env.ScratchDir = filepath.Join(b.mounts, "verify") // below mounts, so that it is in the picture
	b.aMount("/dev/sdf", "a", "ext4", empty)
	set := b.snapshotted("a")
	do(b, TagSnapshots, TagSnapshotsIn{Set: plan.Literal(set), Tags: map[string]string{"role": "search"}})
	search := Search{FilterTags: map[string]string{"role": "search"}, Group: true, Drill: true}
	choices := checkLasting(b, FindSnapshot, FindSnapshotIn{Search: search, Lanes: []SnapshotLane{{b.path("a"), plan.Literal(FoundVolume{})}}})
	choice := checkLasting(b, WaitSnapshot, WaitSnapshotIn{MountPoint: b.path("a"), Search: search, Found: plan.Literal(FoundVolume{}), Choices: plan.Literal(choices)})
	in := b.createIn(b.path("a"), choice)
	in.Scratch, in.Tags = true, map[string]string{snapset.TagPurpose: snapset.PurposeVerify}
	v, _ := do(b, CreateVolume, in)
	v = checkLasting(b, WaitAvailable, WaitAvailableIn{plan.Literal(v)})
	at, _ := do(b, Attach, AttachIn{Volume: plan.Literal(v), Device: "/dev/sdp", Patience: plan.Duration(5 * time.Second)})
	device := plan.Literal(checkLasting(b, WaitDevice, WaitDeviceIn{Attached: plan.Literal(at), Device: "/dev/sdp"}))
	replayed := plan.Literal(checkLasting(b, ReplayLog, ReplayLogIn{Device: device, MountPoint: b.path("a")}))
	checked := plan.Literal(checkLasting(b, CheckFileSystem, CheckFileSystemIn{Device: device, Replayed: replayed, MountPoint: b.path("a"), Timeout: plan.Duration(time.Minute)}))
	mount := MountScratchIn{Device: device, Replayed: replayed, Checked: checked, MountPoint: b.path("a")}
	a := b.attempt("mount-scratch")
	a.Run = drillRun
	mounted, err := b.env.mountScratch().Do(t.Context(), a, mount)
	if err != nil || mounted.Bad != "" {
		t.Fatalf("%+v, %v", mounted, err)
	}
	checkLasting(b, MountScratch, mount) // it is adopted
	probe := ProbeIn{Command: []string{"test", "-d", filepath.Join(mounted.Place, "lost+found")}, Timeout: plan.Duration(time.Minute), Choices: plan.Literal(choices), Mounts: []plan.Value[ScratchMount]{plan.Literal(mounted)}}
	probed := checkLasting(b, Probe, probe)
	if probed.Bad != "" {
		t.Errorf("the probe says %q", probed.Bad)
	}
	checkLasting(b, TakeDown, TakeDownIn{})
	if _, err := os.Stat(filepath.Join(b.env.ScratchDir, string(drillRun))); !os.IsNotExist(err) {
		t.Errorf("taken down, its folder is there: %v", err)
	}
	tag := TagDrillIn{Choices: plan.Literal(choices), Probed: plan.Literal(probed), Replays: []plan.Value[Replayed]{replayed}, Checks: []plan.Value[Checked]{checked}, Mounts: []plan.Value[ScratchMount]{plan.Literal(mounted)}}
	if r := checkLasting(b, TagDrill, tag); !r.OK || len(r.SnapshotIDs) != 1 {
		t.Errorf("the drill came to %+v", r)
	}
	// Its lane has chosen it after all: it had a problem when all were chosen, such as an archive, which is gone.
	was := slices.Clone(choices)
	was[0] = Choice{MountPoint: was[0].MountPoint, Problem: "it is archived"}
	tag.Choices, tag.Chosen = plan.Literal(was), []plan.Value[Choice]{plan.Literal(choice)}
	if r := checkLasting(b, TagDrill, tag); !slices.Equal(r.SnapshotIDs, []string{choice.SnapshotID}) {
		t.Errorf("the drill tagged %v, want %s", r.SnapshotIDs, choice.SnapshotID)
	}
}

func TestTheStepsThatEndARestoreKeepTheContract(t *testing.T) {
	b := newBench(t, true)
	v, m := b.aMount("/dev/sdf", "a", "ext4", empty)
	mounted := plan.Literal(m)
	checkLasting(b, ConfirmMount, ConfirmMountIn{Mounted: mounted})
	if out := checkLasting(b, HandOver, HandOverIn{Mounted: []plan.Value[Mounted]{mounted}}); !slices.Equal(out.MountPoints, []string{b.path("a")}) {
		t.Errorf("handed over %+v", out)
	}
	ran := filepath.Join(t.TempDir(), "ran")
	hook := UndoHookIn{HookIn: HookIn{Name: "pre_unmounts", Command: []string{"sh", "-c", "echo >>" + ran}, Timeout: plan.Duration(time.Minute), Volumes: []HookVolume{{MountPoint: b.path("a"), Mounted: mounted}}}}
	times := func(want string) {
		t.Helper()
		if text, _ := os.ReadFile(ran); string(text) != want {
			t.Errorf("the hook ran %d times, want %d", len(text), len(want))
		}
	}
	checkLasting(b, UndoHook, hook)
	times("\n\n") // each time that it was undone
	hook.Once = true
	again := b.attempt("undo-hook")
	again.UndoneBefore = true
	undo := func() {
		t.Helper()
		if err := b.env.undoHook().Undo(t.Context(), again, hook, UndoHooked{}); err != nil {
			t.Error(err)
		}
	}
	undo()
	times("\n\n") // it may have run then
	again.UndoneBefore = false
	hook.Command, hook.Tolerated = []string{"false"}, true
	undo()
	hook.Tolerated = false
	if err := b.env.undoHook().Undo(t.Context(), again, hook, UndoHooked{}); plan.ActionOf(err).Action != plan.ActTerminal {
		t.Errorf("a hook that fails: %v", err)
	}
	found := b.found("unmount", "/dev/sdf", "a")
	unmount := UnmountIn{VolumeRef: VolumeRef{Found: plan.Literal(found)}, MountPoint: m.MountPoint, Device: "/dev/sdf"}
	checkLasting(b, CheckInUse, CheckInUseIn{Volumes: []InUseVolume{{Found: plan.Literal(found), MountPoint: m.MountPoint, Device: "/dev/sdf"}}})
	do(b, Unmount, unmount)
	undo() // nothing is mounted: there is nothing to stop
	mark := MarkReplacedIn{Found: []plan.Value[FoundVolume]{plan.Literal(found)}}
	do(b, MarkReplaced, mark)
	detached, _ := do(b, Detach, DetachIn{VolumeRef: unmount.VolumeRef, MountPoint: m.MountPoint, Device: "/dev/sdf", Replaced: true})
	do(b, WaitDetached, WaitDetachedIn{plan.Literal(detached)})
	if out := checkLasting(b, FindReplaced, FindReplacedIn{VolumeID: v.VolumeID, MountPoint: m.MountPoint, Zone: b.env.Instance.Zone}); out.VolumeID != v.VolumeID {
		t.Errorf("found %+v", out)
	}
}

func TestTheStepsThatDeleteSetsKeepTheContract(t *testing.T) {
	b := newBench(t, true)
	b.aMount("/dev/sdf", "a", "ext4", empty)
	tags := map[string]string{"role": "search"}
	old := b.snapshotted("a")
	do(b, TagSnapshots, TagSnapshotsIn{Set: plan.Literal(old), Tags: tags, ExpireAfter: plan.Duration(time.Nanosecond)})
	set := b.snapshotted("a")
	do(b, TagSnapshots, TagSnapshotsIn{Set: plan.Literal(set), Tags: tags})
	checkLasting(b, FindExpired, FindExpiredIn{FilterTags: tags, Labelled: []plan.Value[SnapshotSet]{plan.Literal(set)}})
	first := old.Snapshots[0].SnapshotID
	all, err := b.cloud.SnapshotsByID(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	goes := ExpiredSet{ID: "old", Members: []ExpiredMember{{first, snapset.TagDigest(all[first].Tags)}}, ReplacedBy: []string{set.Snapshots[0].SnapshotID}}
	checkLasting(b, DeleteSets, DeleteSetsIn{Expired: plan.Literal(ExpiredSets{Sets: []ExpiredSet{goes}})})
	if all, err := b.cloud.Snapshots(t.Context(), b.query()); err != nil || len(all) != 1 || all[0].ID == first {
		t.Errorf("left are %+v, %v", all, err)
	}
}

// A copy is found again by its token, deleted as long as it has no label, and kept from then on.
func TestTheStepsOfACopyKeepTheContract(t *testing.T) {
	b := newBench(t, true)
	b.aMount("/dev/sdf", "a", "ext4", empty)
	set := b.snapshotted("a")
	do(b, TagSnapshots, TagSnapshotsIn{Set: plan.Literal(set), Tags: map[string]string{"role": "search"}})
	original := set.Snapshots[0].SnapshotID
	from := b.env.Instance.Region
	if from == "" {
		from = "eu-west-1"
	}
	checkLasting(b, FindLacking, FindLackingIn{Why: "it did not answer", Region: from})
	source := checkLasting(b, FindSource, FindSourceIn{Set: "R/T", From: from, SnapshotIDs: []string{original}})
	in := CopySnapshotIn{Source: plan.Literal(source), SnapshotID: original, MountPoint: b.path("a"), Tags: map[string]string{"role": "search"}}
	h := b.env.copySnapshot()
	copyIt := func(step string) (plan.Attempt, Copied) {
		t.Helper()
		a := b.attempt(step)
		if o, err := h.Observe(t.Context(), a, in); err != nil || o.State != plan.Absent {
			t.Fatalf("before it is copied a look sees %+v, %v", o, err)
		}
		made, err := h.Do(t.Context(), a, in)
		if err != nil {
			t.Fatal(err)
		}
		if o, err := h.Observe(t.Context(), a, in); err != nil || o.State != plan.Ours || o.Out != made {
			t.Fatalf("a look sees %+v of %+v, %v", o, made, err)
		}
		return a, made
	}
	before := b.picture()
	a, made := copyIt("copy-1")
	for range 2 {
		if err := patiently(func() error { return h.Undo(t.Context(), a, in, made) }); err != nil {
			t.Fatal(err)
		}
	}
	b.same("undone", before)

	a, made = copyIt("copy-2")
	made = checkLasting(b, WaitCopied, WaitCopiedIn{plan.Literal(made)})
	checkLasting(b, LabelCopies, LabelCopiesIn{Copies: []plan.Value[Copied]{plan.Literal(made)}, Expires: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)})
	labelled := b.picture()
	if err := h.Undo(t.Context(), a, in, made); plan.ActionOf(err).Action != plan.ActSkip {
		t.Errorf("the undo of a labelled copy says %v", err)
	}
	b.same("undone when it was labelled", labelled)
}
