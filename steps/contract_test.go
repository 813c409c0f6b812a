package steps

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

var empty = Choice{Create: true}

func TestCreateVolumeKeepsTheContract(t *testing.T) {
	b := newBench(t, false)
	checkContract(b, CreateVolume, b.createIn("/mnt/a", empty))
}

func TestAttachKeepsTheContract(t *testing.T) {
	b := newBench(t, true)
	v, _ := do(b, CreateVolume, b.createIn("/mnt/a", empty))
	v, _ = do(b, WaitAvailable, WaitAvailableIn{plan.Literal(v)})
	checkContract(b, Attach, AttachIn{Volume: plan.Literal(v), Device: "/dev/sdf", Patience: plan.Duration(5 * time.Second)})
}

func TestDeleteOnTerminationKeepsTheContract(t *testing.T) {
	b := newBench(t, true)
	_, at, _ := b.aVolume("/dev/sdf", "/mnt/a", empty)
	checkContract(b, DeleteOnTermination, DeleteOnTerminationIn{Attached: plan.Literal(at), Want: true})
}

func TestMountKeepsTheContract(t *testing.T) {
	b := newBench(t, true)
	v, _, d := b.aVolume("/dev/sdf", b.path("deep/a b"), empty)
	f, _ := do(b, MkfsOrSkip, MkfsOrSkipIn{Volume: plan.Literal(v), Device: plan.Literal(d), FileSystem: "ext4"})
	checkContract(b, Mount, MountIn{Device: plan.Literal(d), FileSystem: plan.Literal(f), MountPoint: b.path("deep/a b"), Options: []string{"noatime"}})
}

// Each recipe names the volume by what its own steps told of it.
func TestUnmountAndDetachKeepTheContract(t *testing.T) {
	patience := plan.Duration(5 * time.Second)
	for name, c := range map[string]struct {
		ref              func(b *bench, v Volume, at Attached, m Mounted) (unmount, detach VolumeRef)
		declared, tagged bool
	}{
		"what was found attached": {func(b *bench, _ Volume, _ Attached, _ Mounted) (VolumeRef, VolumeRef) {
			f := VolumeRef{Found: plan.Literal(b.found("unmount", "/dev/sdf", "a"))}
			return f, f
		}, true, true},
		"the volume that this run made": {func(_ *bench, v Volume, _ Attached, _ Mounted) (VolumeRef, VolumeRef) {
			r := VolumeRef{Volume: plan.Literal(v)}
			return r, r
		}, true, false},
		"what a drill made and attached": {func(b *bench, v Volume, at Attached, _ Mounted) (VolumeRef, VolumeRef) {
			do(b, DeleteOnTermination, DeleteOnTerminationIn{Attached: plan.Literal(at), Want: true})
			return VolumeRef{Volume: plan.Literal(v)}, VolumeRef{Volume: plan.Literal(v), Attached: plan.Literal(at)}
		}, true, false},
		"its mount and its attachment": {func(_ *bench, _ Volume, at Attached, m Mounted) (VolumeRef, VolumeRef) {
			return VolumeRef{Mounted: plan.Literal(m)}, VolumeRef{Attached: plan.Literal(at)}
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, true)
			v, at, d := b.aVolume("/dev/sdf", b.path("a"), empty)
			f, _ := do(b, MkfsOrSkip, MkfsOrSkipIn{Volume: plan.Literal(v), Device: plan.Literal(d), FileSystem: "xfs"})
			m, _ := do(b, Mount, MountIn{Device: plan.Literal(d), FileSystem: plan.Literal(f), MountPoint: b.path("a")})
			mounted, attached := c.ref(b, v, at, m)
			unmount := UnmountIn{VolumeRef: mounted}
			detach := DetachIn{VolumeRef: attached, ThenDeleted: !c.tagged, Patience: patience}
			if c.declared {
				unmount.MountPoint, unmount.Device = b.path("a"), "/dev/sdf"
				detach.MountPoint, detach.Device = b.path("a"), "/dev/sdf"
			}
			checkContract(b, Unmount, unmount)
			if out, _ := do(b, Unmount, unmount); out.MountPoint != b.path("a") || out.VolumeID != v.VolumeID {
				t.Errorf("unmounted %+v", out)
			}
			checkContract(b, Detach, detach)
			out, _ := do(b, Detach, detach)
			do(b, WaitDetached, WaitDetachedIn{plan.Literal(out)})
			now, err := b.cloud.Volume(t.Context(), v.VolumeID)
			if err != nil || (now.Tags[TagDetached] != "") != c.tagged || (out.Facts().Remains != "") != c.tagged {
				t.Errorf("detached %+v; it is %+v, %v", out, now, err)
			}
		})
	}
}

func TestMarkReplacedKeepsTheContract(t *testing.T) {
	b := newBench(t, true)
	v, at, _ := b.aVolume("/dev/sdf", "/mnt/a", empty)
	found := plan.Literal(FoundVolume{Found: true, VolumeID: v.VolumeID, Device: at.Device})
	off := MarkReplacedIn{Found: []plan.Value[FoundVolume]{found, plan.Literal(FoundVolume{})}}
	checkContract(b, MarkReplaced, off)
	do(b, MarkReplaced, off)
	if now, err := b.cloud.Volume(t.Context(), v.VolumeID); err != nil || snapset.ReplacedBy(now.Tags) == "" || now.Tags[TagDetached] == "" {
		t.Errorf("marked it is %+v, %v", now, err)
	}
	back := MarkReplacedIn{Back: []plan.Value[Volume]{plan.Literal(v)}}
	checkContract(b, MarkReplaced, back)
	do(b, MarkReplaced, back)
	if now, err := b.cloud.Volume(t.Context(), v.VolumeID); err != nil || now.Tags[TagReplaced]+now.Tags[TagDetached] != "" {
		t.Errorf("unmarked it is %+v, %v", now, err)
	}
}

func TestAVolumeOfThisRunIsDeletedOnceItIsOff(t *testing.T) {
	b := newBench(t, true)
	before := b.picture()
	v, _ := do(b, CreateVolume, b.createIn("/mnt/a", empty))
	at, _ := do(b, Attach, AttachIn{Volume: plan.Literal(v), Device: "/dev/sdf", Patience: plan.Duration(5 * time.Second)})
	do(b, Detach, DetachIn{VolumeRef: VolumeRef{Attached: plan.Literal(at)}, ThenDeleted: true})
	in := DeleteVolumeIn{Made: plan.Literal(v)}
	for range 2 { // EC2 may still be about the detaching
		if out, _ := do(b, DeleteVolume, in); out.ID != v.VolumeID {
			t.Errorf("deleted %+v", out)
		}
	}
	b.same("a volume that was made and deleted", before)
	if seen, err := b.env.deleteOneVolume().Observe(t.Context(), b.attempt("delete"), in); err != nil || seen.State != plan.Satisfied {
		t.Errorf("a deleted one is %q, %v", seen.State, err)
	}
	v.Created = false
	if _, err := b.env.deleteOneVolume().Observe(t.Context(), b.attempt("delete"), DeleteVolumeIn{Made: plan.Literal(v)}); plan.ActionOf(err).Action != plan.ActSkip {
		t.Errorf("one that was there before: %v, want it left alone", err)
	}
}

// A closing step runs whatever became of the steps before it, so that what it refers to may not be there.
func TestWhereTheVolumeWasNotMadeThereIsNothingToTakeDown(t *testing.T) {
	h := Handlers(&Env{Cloud: &fakeCloud{}, Host: &fakeHost{mounts: map[string]linux.Device{"/mnt/a": {}}}})
	null := `{"volume":null,"attached":null,"mounted":null,"made":null,"mount_point":"/mnt/a","device":"/dev/sdf"}`
	for _, kind := range []plan.Kind{Unmount.Kind, Detach.Kind, DeleteVolume.Kind} {
		o, err := h[kind].Observe(t.Context(), attempt(plan.StepID(kind)), []byte(null))
		if err != nil || o.State != plan.Satisfied || o.Note == "" || !o.Output.Facts.Empty() && o.Output.Facts.Remains != "" {
			t.Errorf("%s: %q (%s), %v", kind, o.State, o.Note, err)
		}
	}
}

func TestMkfsTwiceGivesTheSameFileSystem(t *testing.T) {
	b := newBench(t, true)
	v, _, d := b.aVolume("/dev/sdf", b.path("a"), empty)
	h, a := b.env.mkfsOrSkip(), b.attempt("mkfs")
	in := MkfsOrSkipIn{Volume: plan.Literal(v), Device: plan.Literal(d), FileSystem: "ext4"}
	for range 2 {
		seen, err := h.Observe(t.Context(), a, in)
		if err != nil || seen.State != plan.Absent {
			t.Fatalf("saw %q, %v", seen.State, err)
		}
		out, err := h.Do(t.Context(), a, in)
		if err != nil || out.UUID != linux.UUIDFromToken(a.Token) {
			t.Fatalf("made %+v, %v", out, err)
		}
		a.Resumed = true
	}
	other := b.attempt("mkfs")
	other.Resumed = true
	if seen, err := h.Observe(t.Context(), other, in); err != nil || seen.State != plan.Conflict {
		t.Errorf("another attempt saw %q, %v; want a conflict", seen.State, err)
	}
}

func TestARestoredVolumeKeepsItsDataAndIsGrown(t *testing.T) {
	b := newBench(t, true)
	v, m := b.aMount("/dev/sdf", "a", "xfs", empty)
	if err := os.WriteFile(filepath.Join(m.MountPoint, "kept"), []byte("data"), 0o644); err != nil {
		t.Fatal(err)
	}
	set := b.snapshotted("a")
	choice := Choice{SnapshotID: set.Snapshots[0].SnapshotID, Size: 1}
	in := b.createIn(b.path("b"), choice)
	in.Size = 2
	restored, _ := do(b, CreateVolume, in)
	if restored.Empty || restored.Size != 2 || restored.SnapshotID != choice.SnapshotID || restored.VolumeID == v.VolumeID {
		t.Fatalf("made %+v", restored)
	}
	at, _ := do(b, Attach, AttachIn{Volume: plan.Literal(restored), Device: "/dev/sdg", Patience: plan.Duration(5 * time.Second)})
	d, _ := do(b, WaitDevice, WaitDeviceIn{Attached: plan.Literal(at), Device: "/dev/sdg"})
	f, _ := do(b, MkfsOrSkip, MkfsOrSkipIn{Volume: plan.Literal(restored), Device: plan.Literal(d), FileSystem: "ext4"})
	if f.Formatted || f.FileSystem != "xfs" {
		t.Fatalf("a restored volume came to %+v", f)
	}
	mounted, _ := do(b, Mount, MountIn{Device: plan.Literal(d), FileSystem: plan.Literal(f), MountPoint: b.path("b")})
	g, _ := do(b, Grow, GrowIn{plan.Literal(mounted)})
	if !g.Grown || g.After < 2<<30-32<<20 {
		t.Errorf("grew %+v, want 2 GiB", g)
	}
	if seen, err := b.env.grow().Observe(t.Context(), b.attempt("grow"), GrowIn{plan.Literal(mounted)}); err != nil || seen.State != plan.Satisfied {
		t.Errorf("a grown one is %q, %v", seen.State, err)
	}
	if content, err := os.ReadFile(filepath.Join(b.path("b"), "kept")); err != nil || string(content) != "data" {
		t.Errorf("read %q, %v", content, err)
	}
}

// snapshotted goes through a whole section over mounted volumes, with a real freeze.
func (b *bench) snapshotted(names ...string) SnapshotSet {
	b.Helper()
	var members []Member
	var mounts []string
	for i, name := range names {
		members = append(members, Member{b.path(name), plan.Literal(b.found("snapshot", "/dev/sd"+string(rune('f'+i)), name))})
		mounts = append(mounts, b.path(name))
		do(b, Sync, SyncIn{Found: members[i].Found, MountPoint: b.path(name)})
	}
	do(b, Freeze, FreezeIn{Mounts: members})
	out, err := b.handlers[Snapshot.Kind].Do(b.Context(), b.attempt("snapshot"), asJSON(b, SnapshotIn{Members: members, Description: "test"}))
	thawed, _ := do(b, Thaw, ThawIn{Mounts: mounts})
	if err != nil || !thawed.Held || thawed.Frozen <= 0 {
		b.Fatalf("snapshot: %v; thawed %+v", err, thawed)
	}
	return decoded[SnapshotSet](b, out.Value)
}

// A part of a larger set gets its mount points, once, and no label.
func TestAPartIsTaggedAndNotLabelled(t *testing.T) {
	b := newBench(t, true)
	b.aMount("/dev/sdf", "a", "xfs", empty)
	b.aMount("/dev/sdg", "b", "ext4", empty)
	set := b.snapshotted("a", "b")
	tag := TagSnapshotsIn{Set: plan.Literal(set), Part: &Part{Set: "S", Members: 9}}
	if seen, err := b.env.tagSnapshots().Observe(t.Context(), b.attempt("tag"), tag); err != nil || seen.State != plan.Absent {
		t.Errorf("an untagged part is %q, %v", seen.State, err)
	}
	for range 2 { // twice is once
		if _, err := b.env.tagSnapshots().Do(t.Context(), b.attempt("tag"), tag); err != nil {
			t.Fatal(err)
		}
	}
	if seen, err := b.env.tagSnapshots().Observe(t.Context(), b.attempt("tag"), tag); err != nil || seen.State != plan.Satisfied {
		t.Errorf("a tagged part is %q, %v", seen.State, err)
	}
	all, err := b.cloud.Snapshots(t.Context(), ec2.SnapshotQuery{IDs: set.ids()})
	if err != nil || len(all) != 2 {
		t.Fatalf("%d snapshots, %v", len(all), err)
	}
	for _, s := range all {
		if s.Tags[TagMountPoint] == "" || s.Tags[TagState] != Unverified || s.Tags[TagCreated] != "" {
			t.Errorf("%s has %v", s.ID, s.Tags)
		}
	}
}

func TestAGroupIsSnapshottedLabelledAndFound(t *testing.T) {
	b := newBench(t, true)
	b.aMount("/dev/sdf", "a", "xfs", empty)
	b.aMount("/dev/sdg", "b", "ext4", empty)
	stranger, err := b.sandbox.AddVolume("/dev/sdp", 1, map[string]string{"Name": "a stranger's"})
	if err != nil {
		t.Fatal(err)
	}
	set := b.snapshotted("a", "b")
	if len(set.Snapshots) != 2 {
		t.Fatalf("took %+v", set)
	}
	if now := b.picture(); strings.Count(now, "snapshot snap-") != 2 || strings.Count(now, TagState+"="+Unverified) != 2 {
		t.Errorf("want two unverified snapshots, and none of %s:\n%s", stranger, now)
	}
	find := FindSnapshotIn{Search: Search{FilterTags: map[string]string{"role": "search"}, Group: true},
		Lanes: []SnapshotLane{{b.path("a"), plan.Literal(FoundVolume{})}, {b.path("b"), plan.Literal(FoundVolume{})}}}
	if c, _ := do(b, FindSnapshot, find); c[0].SnapshotID != "" || c[1].SnapshotID != "" {
		t.Errorf("an unlabelled snapshot is offered: %+v", c)
	}
	tag := TagSnapshotsIn{Set: plan.Literal(set), Tags: map[string]string{"role": "search", TagInstance: b.env.Instance.ID}, ExpireAfter: plan.Duration(time.Hour)}
	for range 2 { // twice is once
		if _, err := b.env.tagSnapshots().Do(t.Context(), b.attempt("tag"), tag); err != nil {
			t.Fatal(err)
		}
	}
	if seen, err := b.env.tagSnapshots().Observe(t.Context(), b.attempt("tag"), tag); err != nil || seen.State != plan.Satisfied {
		t.Errorf("a labelled set is %q, %v", seen.State, err)
	}
	all, err := b.cloud.Snapshots(t.Context(), b.query())
	if err != nil || len(all) != 2 {
		t.Fatalf("%d snapshots, %v", len(all), err)
	}
	for _, s := range all {
		created, err := time.Parse(time.RFC3339, s.Tags[TagCreated])
		expires, err2 := time.Parse(time.RFC3339, s.Tags[TagExpires])
		if err != nil || err2 != nil || expires.Sub(created) != time.Hour || s.Tags[TagState] != Consistent || s.Tags[TagMembers] != "2" || s.Tags[TagMountPoint] == "" {
			t.Errorf("%s has %v", s.ID, s.Tags)
		}
	}
	c, _ := do(b, FindSnapshot, find)
	for i := range c {
		if got, ok := set.of(c[i].MountPoint); !ok || c[i].SnapshotID != got.SnapshotID {
			t.Errorf("chose %+v", c[i])
		}
	}
	undo := b.attempt("snapshot")
	undo.Token = set.Token
	if err := b.env.deleteSnapshots(t.Context(), undo, SnapshotIn{Members: make([]Member, 2)}, set); plan.ActionOf(err).Action != plan.ActSkip {
		t.Errorf("undoing a labelled set: %v, want it kept", err)
	}
	if all, _ = b.cloud.Snapshots(t.Context(), b.query()); len(all) != 2 {
		t.Error("a labelled snapshot was deleted")
	}
}

func TestUnlabelledSnapshotsAreUndone(t *testing.T) {
	b := newBench(t, true)
	b.aMount("/dev/sdf", "a", "ext4", empty)
	before := b.picture()
	set := b.snapshotted("a")
	a := b.attempt("snapshot")
	a.Token = set.Token
	in := asJSON(b, SnapshotIn{Members: []Member{{b.path("a"), plan.Literal(b.found("snapshot", "/dev/sdf", "a"))}}})
	h := b.handlers[Snapshot.Kind]
	o, err := h.Observe(t.Context(), a, in)
	if err != nil || o.State != plan.Ours {
		t.Fatalf("saw %q, %v", o.State, err)
	}
	if err := h.Undo(t.Context(), a, in, o.Output.Value); err != nil {
		t.Fatal(err)
	}
	b.same("an undone snapshot", before)
	if err := h.Undo(t.Context(), a, in, o.Output.Value); plan.ActionOf(err).Action != plan.ActRetry {
		t.Errorf("a second undo: %v; want another look, as EC2 may not show the snapshots yet", err)
	}
	if o, err = h.Observe(t.Context(), a, in); err != nil || o.State != plan.Absent {
		t.Errorf("saw %q, %v", o.State, err)
	}
}

func TestAnAnswerThatWasLostIsFoundByItsTokenAndUndone(t *testing.T) {
	b := newBench(t, false, sandbox.Fault{Action: "CreateVolume", Hang: time.Hour, When: "after"})
	before := b.picture()
	a, in := b.attempt("create-volume"), asJSON(b, b.createIn("/mnt/a", empty))
	h := b.handlers[CreateVolume.Kind]
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := h.Do(ctx, a, in); err == nil {
		t.Fatal("a lost answer gave no error")
	}
	o, err := h.Observe(t.Context(), a, in)
	if err != nil || o.State != plan.Ours {
		t.Fatalf("saw %q, %v", o.State, err)
	}
	if n := strings.Count(b.picture(), "role=search"); n != 1 {
		t.Errorf("%d volumes were made", n)
	}
	if err := h.Undo(t.Context(), a, in, o.Output.Value); err != nil {
		t.Fatal(err)
	}
	b.same("an undone half-made volume", before)
}

func TestAVolumeThatServedIsKept(t *testing.T) {
	b := newBench(t, false)
	in := b.createIn("/mnt/a", empty)
	v, a := do(b, CreateVolume, in)
	a.Keep = true
	err := b.env.deleteVolume(t.Context(), a, in, v)
	if plan.ActionOf(err).Action != plan.ActSkip || !strings.Contains(err.Error(), v.VolumeID+", which was mounted on /mnt/a, remains and is billed") {
		t.Errorf("kept with %v", err)
	}
	now, err := b.cloud.Volume(t.Context(), v.VolumeID)
	if err != nil || now.Tags[TagDetached] == "" {
		t.Errorf("%+v, %v; want the volume with a %s tag", now, err, TagDetached)
	}
}

// EC2's describes lag behind its tags, so that a snapshot labelled a moment ago may be shown as it was before.
func TestASnapshotThatWasLabelledIsKeptWhateverIsShown(t *testing.T) {
	b := newBench(t, true)
	b.aMount("/dev/sdf", "a", "ext4", empty)
	set := b.snapshotted("a")
	a := b.attempt("snapshot")
	a.Token, a.Keep = set.Token, true
	err := b.env.deleteSnapshots(t.Context(), a, SnapshotIn{Members: make([]Member, 1)}, set)
	if plan.ActionOf(err).Action != plan.ActSkip || !strings.Contains(err.Error(), set.Snapshots[0].SnapshotID) {
		t.Errorf("undoing a set that the journal has as labelled: %v, want it kept", err)
	}
	if all, err := b.env.snapshotsOf(t.Context(), a.Run, set.Token); len(all) != 1 || err != nil {
		t.Errorf("%d snapshots are left, %v", len(all), err)
	}
}

func TestABusyMountNamesItsHolderAndStays(t *testing.T) {
	b := newBench(t, true)
	_, m := b.aMount("/dev/sdf", "a", "ext4", empty)
	open, err := os.Create(filepath.Join(m.MountPoint, "open"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	in := UnmountIn{VolumeRef: VolumeRef{Found: plan.Literal(b.found("unmount", "/dev/sdf", "a"))}, MountPoint: m.MountPoint, Device: "/dev/sdf"}
	_, err = b.env.unmount().Do(t.Context(), b.attempt("unmount"), in)
	if v := plan.ActionOf(err); v.Action != plan.ActTerminal || plan.HintOf(err) == "" || !strings.Contains(err.Error(), "open") {
		t.Errorf("unmounting a busy mount: %v (%+v)", err, v)
	}
	detach := DetachIn{VolumeRef: in.VolumeRef, MountPoint: m.MountPoint, Device: "/dev/sdf"}
	if _, err = b.env.detach().Do(t.Context(), b.attempt("detach"), detach); err == nil || !strings.Contains(err.Error(), "mounted on") {
		t.Errorf("detaching a mounted volume: %v", err)
	}
	if f := b.found("unmount", "/dev/sdf", "a"); !f.Mounted {
		t.Error("it is mounted no more")
	}
}

func TestAfterARebootTheVolumeIsAdoptedAndMountedAgain(t *testing.T) {
	b := newBench(t, true)
	v, _ := b.aMount("/dev/sdf", "a", "xfs", empty)
	if err := b.env.Host.Unmount(t.Context(), b.path("a")); err != nil { // the reboot
		t.Fatal(err)
	}
	f := b.found("mount", "/dev/sdf", "a")
	if !f.Found || f.VolumeID != v.VolumeID || f.Mounted {
		t.Fatalf("found %+v", f)
	}
	in := b.createIn(b.path("a"), Choice{})
	in.Found = plan.Literal(f)
	again, _ := do(b, CreateVolume, in)
	if again.VolumeID != v.VolumeID || again.Created {
		t.Fatalf("came to %+v", again)
	}
	at, _ := do(b, Attach, AttachIn{Volume: plan.Literal(again), Device: "/dev/sdf"})
	d, _ := do(b, WaitDevice, WaitDeviceIn{Attached: plan.Literal(at), Device: "/dev/sdf"})
	fs, _ := do(b, MkfsOrSkip, MkfsOrSkipIn{Volume: plan.Literal(again), Device: plan.Literal(d), FileSystem: "ext4"})
	if fs.FileSystem != "xfs" || fs.Formatted {
		t.Errorf("came to %+v", fs)
	}
	mount := MountIn{Device: plan.Literal(d), FileSystem: plan.Literal(fs), MountPoint: b.path("a")}
	do(b, Mount, mount)
	if seen, err := b.env.mount().Observe(t.Context(), b.attempt("mount"), mount); err != nil || seen.State != plan.Satisfied {
		t.Errorf("saw %q, %v", seen.State, err)
	}
	if f := b.found("mount", "/dev/sdf", "a"); !f.Mounted {
		t.Errorf("found %+v", f)
	}
}

func TestRisksAreRefusedBeforeAnythingIsFrozen(t *testing.T) {
	var asked []string
	w := &Env{Protected: []linux.NamedPath{{Path: "/var/lib/snaptastic", What: "the journal"}}, Host: &fakeHost{risks: func(target string, extra []linux.NamedPath) []linux.FreezeRisk {
		for _, e := range extra {
			asked = append(asked, e.Path)
		}
		return []linux.FreezeRisk{{Path: "/var/lib/snaptastic", What: "it holds the journal"}}
	}}}
	_, err := w.sync().Do(t.Context(), attempt("sync"), SyncIn{MountPoint: "/mnt/a", Others: []string{"/mnt/b"}, Programs: []string{"/opt/hook", "sh"}})
	if v := plan.ActionOf(err); v.Action != plan.ActTerminal || plan.HintOf(err) == "" || !strings.Contains(err.Error(), "cannot freeze /mnt/a: it holds the journal (/var/lib/snaptastic)") {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"/var/lib/snaptastic", "/mnt/b", "/opt/hook"} {
		if !slices.Contains(asked, want) {
			t.Errorf("%s was not asked about: %v", want, asked)
		}
	}
	if !slices.ContainsFunc(asked, func(p string) bool { return strings.HasSuffix(p, "/sh") && filepath.IsAbs(p) }) {
		t.Errorf("a hook program named without a path was not looked up: %v", asked)
	}
}
