package steps

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snaptastic/ec2"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

var lane = map[string]string{"role": "search"}

// onInstance is a volume attached to i-1.
func onInstance(id, device string, tags map[string]string) ec2.Volume {
	return ec2.Volume{ID: id, State: "in-use", Size: 20, Tags: tags,
		Attachments: []ec2.Attachment{{VolumeID: id, InstanceID: "i-1", Device: device, State: "attached", DeleteOnTermination: true}}}
}

func TestWhatIsFoundUnderADeviceName(t *testing.T) {
	ours := merged(lane, map[string]string{TagMountPoint: "/mnt/a", TagToken: "t"})
	theirs := map[string]string{"Name": "backup disk"}
	nvme := func(id string) linux.Device {
		return linux.Device{Path: "/dev/nvme1n1", Major: 259, Minor: 1, VolumeID: id}
	}
	going := onInstance("vol-1", "/dev/sdf", ours)
	going.Attachments[0].State = "detaching"
	cases := []struct {
		name   string
		op     Purpose
		flag   bool
		cloud  []ec2.Volume
		mounts map[string]linux.Device
		found  string // id, with "+" when it is mounted; "" for none
		action plan.Action
		err    string
	}{
		{"mount: nothing", "mount", false, nil, nil, "", "", ""},
		{"mount: the root volume is nobody's lane", "mount", false, []ec2.Volume{onInstance("vol-r", "/dev/sda1", nil)}, nil, "", "", ""},
		{"mount: ours", "mount", false, []ec2.Volume{onInstance("vol-1", "/dev/sdf", ours)}, nil, "vol-1", "", ""},
		{"mount: ours under the kernel's spelling", "mount", false, []ec2.Volume{onInstance("vol-1", "/dev/xvdf", ours)}, nil, "vol-1", "", ""},
		{"mount: ours under the original's numbered name", "mount", false, []ec2.Volume{onInstance("vol-1", "/dev/sdf1", ours)}, nil, "vol-1", "", ""},
		{"mount: ours and mounted", "mount", false, []ec2.Volume{onInstance("vol-1", "/dev/sdf", ours)}, map[string]linux.Device{"/mnt/a": nvme("vol-1")}, "vol-1+", "", ""},
		{"mount: another's", "mount", false, []ec2.Volume{onInstance("vol-2", "/dev/sdf", theirs)}, nil, "vol-2", plan.ActTerminal, "vol-2 is attached as /dev/sdf, and its tags do not match: role is missing"},
		{"mount: another's, ignored", "mount", true, []ec2.Volume{onInstance("vol-2", "/dev/sdf", nil)}, nil, "vol-2", plan.ActSkip, "left alone: "},
		{"mount: that of another mount point", "mount", false, []ec2.Volume{onInstance("vol-2", "/dev/sdf", merged(ours, map[string]string{TagMountPoint: "/mnt/b"}))}, nil, "vol-2", plan.ActTerminal, "mount_point is \"/mnt/b\", want \"/mnt/a\""},
		{"mount: ours under another name", "mount", false, []ec2.Volume{onInstance("vol-1", "/dev/sdg", ours)}, nil, "", plan.ActTerminal, "vol-1 has the tags of this mount point and is attached as /dev/sdg, not as /dev/sdf"},
		{"mount: the mount point is taken", "mount", false, nil, map[string]linux.Device{"/mnt/a": nvme("vol-9")}, "", plan.ActTerminal, "vol-9 (/dev/nvme1n1) is mounted there"},
		{"mount: a tmpfs is there", "mount", false, nil, map[string]linux.Device{"/mnt/a": {}}, "", plan.ActTerminal, "tmpfs (tmpfs) is mounted there"},
		{"mount: a tmpfs is there, ignored", "mount", true, nil, map[string]linux.Device{"/mnt/a": {}}, "", plan.ActSkip, "left alone"},
		{"mount: a tmpfs is below it", "mount", false, nil, map[string]linux.Device{"/mnt/a/b/c": {}}, "", plan.ActTerminal, "tmpfs is mounted below it, on /mnt/a/b/c, and would become hidden"},
		{"mount: ours is attached and a tmpfs is below it", "mount", false, []ec2.Volume{onInstance("vol-1", "/dev/sdf", ours)}, map[string]linux.Device{"/mnt/a/b": {}}, "vol-1", plan.ActTerminal, "below it"},
		{"mount: ours is mounted, and a tmpfs on it", "mount", false, []ec2.Volume{onInstance("vol-1", "/dev/sdf", ours)}, map[string]linux.Device{"/mnt/a": nvme("vol-1"), "/mnt/a/b": {}}, "vol-1+", "", ""},
		{"mount: ours is just being detached", "mount", false, []ec2.Volume{going}, nil, "vol-1", plan.ActRetry, "still being detached"},
		{"snapshot: mounted", "snapshot", false, []ec2.Volume{onInstance("vol-1", "/dev/sdf", theirs)}, map[string]linux.Device{"/mnt/a": nvme("vol-1")}, "vol-1+", "", ""},
		{"snapshot: on Xen, by name", "snapshot", false, []ec2.Volume{onInstance("vol-1", "/dev/sdf", ours)}, map[string]linux.Device{"/mnt/a": {Path: "/dev/sdf", Major: 202, Minor: 80}}, "vol-1+", "", ""},
		{"snapshot: not attached", "snapshot", false, nil, nil, "", plan.ActTerminal, "no volume is attached as /dev/sdf"},
		{"snapshot: not mounted", "snapshot", false, []ec2.Volume{onInstance("vol-1", "/dev/sdf", ours)}, nil, "vol-1", plan.ActTerminal, "attached as /dev/sdf and not mounted"},
		{"snapshot: another volume is mounted", "snapshot", false, []ec2.Volume{onInstance("vol-1", "/dev/sdf", ours)}, map[string]linux.Device{"/mnt/a": nvme("vol-2")}, "vol-1", plan.ActTerminal, "vol-2 (/dev/nvme1n1) is mounted there, while vol-1 is attached as /dev/sdf"},
		{"snapshot: mounted and attached under another name", "snapshot", false, nil, map[string]linux.Device{"/mnt/a": nvme("vol-2")}, "", plan.ActTerminal, "EC2 has no volume attached as /dev/sdf"},
		{"unmount: nothing", "unmount", false, nil, nil, "", "", ""},
		{"unmount: mounted", "unmount", false, []ec2.Volume{onInstance("vol-1", "/dev/sdf", theirs)}, map[string]linux.Device{"/mnt/a": nvme("vol-1")}, "vol-1+", "", ""},
		{"unmount: attached only", "unmount", false, []ec2.Volume{onInstance("vol-1", "/dev/sdf", ours)}, nil, "vol-1", "", ""},
		{"unmount: another's, attached only", "unmount", false, []ec2.Volume{onInstance("vol-2", "/dev/sdf", theirs)}, nil, "vol-2", plan.ActTerminal, "its tags do not match"},
		{"unmount: something else is mounted", "unmount", false, nil, map[string]linux.Device{"/mnt/a": {}}, "", plan.ActTerminal, "not a volume attached as /dev/sdf"},
	}
	for _, c := range cases {
		synctestRun(t, c.name, func(t *testing.T) {
			w := &Env{Cloud: &fakeCloud{attached: c.cloud}, Host: &fakeHost{mounts: c.mounts}, Instance: Instance{ID: "i-1"}}
			got, err := w.findVolume().Do(t.Context(), attempt("find-volume:/mnt/a"),
				FindVolumeIn{For: c.op, Device: "/dev/sdf", MountPoint: "/mnt/a", FilterTags: lane, IgnoreForeign: c.flag})
			id := got.VolumeID
			if got.Mounted {
				id += "+"
			}
			if id != c.found {
				t.Errorf("found %q, want %q", id, c.found)
			}
			if c.err == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want one that says %q", err, c.err)
			}
			v := plan.ActionOf(err)
			if v.Action != c.action {
				t.Errorf("verdict %s, want %s", v.Action, c.action)
			}
			if v.Action == plan.ActTerminal && plan.HintOf(err) == "" {
				t.Error("the error does not say what to do")
			}
		})
	}
}

// synctestRun is a subtest in virtual time.
func synctestRun(t *testing.T, name string, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// lagging shows one view after the other, and the last one from then on.
type lagging struct {
	fakeCloud
	views [][]ec2.Volume
}

func (l *lagging) AttachedVolumes(context.Context, string) ([]ec2.Volume, error) {
	view := l.views[0]
	if len(l.views) > 1 {
		l.views = l.views[1:]
	}
	return view, nil
}

func TestAViewOfEC2ThatDisagreesWithTheKernelIsNotBelievedAtOnce(t *testing.T) {
	ours := onInstance("vol-1", "/dev/sdf", merged(lane, map[string]string{TagMountPoint: "/mnt/a", TagToken: "t"}))
	device := linux.Device{Path: "/dev/nvme1n1", Major: 259, Minor: 1, VolumeID: "vol-1"}
	mounted := map[string]linux.Device{"/mnt/a": device}
	nothing, attached := []ec2.Volume(nil), []ec2.Volume{ours}
	for _, c := range []struct {
		name   string
		op     Purpose
		views  [][]ec2.Volume
		mounts map[string]linux.Device
		nitro  map[string]linux.Device
		found  string
	}{
		{"snapshot right after a mount", "snapshot", [][]ec2.Volume{nothing, nothing, attached}, mounted, nil, "vol-1"},
		{"unmount right after a mount", "unmount", [][]ec2.Volume{nothing, attached}, mounted, nil, "vol-1"},
		{"mount right after a mount", "mount", [][]ec2.Volume{nothing, attached}, mounted, nil, "vol-1"},
		{"mount right after an unmount", "mount", [][]ec2.Volume{attached, attached, nothing}, nil, nil, ""},
		{"unmount right after an unmount", "unmount", [][]ec2.Volume{attached, nothing}, nil, nil, ""},
		{"attached and not mounted", "mount", [][]ec2.Volume{attached, nothing}, nil, map[string]linux.Device{"vol-1": device}, "vol-1"},
		{"attached for good without a device", "mount", [][]ec2.Volume{attached}, nil, nil, "vol-1"},
	} {
		synctestRun(t, c.name, func(t *testing.T) {
			w := &Env{Cloud: &lagging{views: c.views}, Host: &fakeHost{mounts: c.mounts, nitro: c.nitro}, Instance: Instance{ID: "i-1"}}
			got, err := w.findVolume().Do(t.Context(), attempt("find-volume:/mnt/a"), FindVolumeIn{For: c.op, Device: "/dev/sdf", MountPoint: "/mnt/a", FilterTags: lane})
			if err != nil || got.VolumeID != c.found {
				t.Errorf("found %q, %v; want %q", got.VolumeID, err, c.found)
			}
		})
	}
}

func TestSnapshotsAreNotDescribedWhenEveryVolumeExists(t *testing.T) {
	cloud := &fakeCloud{snapshots: func(ec2.SnapshotQuery) ([]ec2.Snapshot, error) { return nil, nil }}
	w := &Env{Cloud: cloud}
	found := plan.Literal(FoundVolume{Found: true, VolumeID: "vol-1"})
	in := FindSnapshotIn{Lanes: []SnapshotLane{{"/mnt/a", found}, {"/mnt/b", found}}, Search: Search{FilterTags: map[string]string{"role": "a*b"}}}
	got, err := w.findSnapshot().Do(t.Context(), attempt("find-snapshot"), in)
	if err != nil || len(got) != 0 || len(cloud.calls) != 0 {
		t.Errorf("chose %v, error %v, calls %v; want none of each", got, err, cloud.calls)
	}
	in.Lanes = append(in.Lanes, SnapshotLane{"/mnt/c", plan.Literal(FoundVolume{})})
	in.Search.MayCreate = true
	cloud.snapshots = func(q ec2.SnapshotQuery) ([]ec2.Snapshot, error) {
		if points := q.Tags[TagMountPoint]; points != nil { // what is of this mount point and misses the filter tags
			if !slices.Equal(points, []string{"/mnt/c", "/mnt/c/"}) || len(q.Tags) != 1 {
				t.Errorf("it looks for snapshots that were perhaps meant by %v", q.Tags)
			}
			return nil, nil
		}
		if q.Tags["role"][0] != `a\*b` {
			t.Errorf("the filter's wildcard is not taken literally: %v", q.Tags)
		}
		return nil, nil
	}
	if got, err = w.findSnapshot().Do(t.Context(), attempt("find-snapshot"), in); err != nil || len(got) != 1 || got[0].MountPoint != "/mnt/c" || len(cloud.calls) != 2 {
		t.Errorf("chose %v, error %v, calls %v; want one choice of two calls", got, err, cloud.calls)
	}
}

func TestALaneWithAFailedReadIsChosenForWithTheOthers(t *testing.T) {
	at := func(id, mountPoint, run, members string, hour int) ec2.Snapshot {
		return ec2.Snapshot{ID: id, State: "completed", Started: time.Date(2026, 1, 2, hour, 0, 0, 0, time.UTC), Tags: map[string]string{
			TagMountPoint: mountPoint, TagRun: run, TagToken: "token of " + run, TagMembers: members, TagState: Consistent}}
	}
	older := []ec2.Snapshot{at("snap-a1", "/mnt/a", "run-1", "2", 1), at("snap-b1", "/mnt/b", "run-1", "2", 1)}
	newer := []ec2.Snapshot{at("snap-a2", "/mnt/a", "run-2", "2", 2), at("snap-b2", "/mnt/b", "run-2", "2", 2)}
	alone := []ec2.Snapshot{at("snap-a3", "/mnt/a", "run-3", "1", 3)}
	tests := map[string]struct {
		sure, unsure []string
		snapshots    []ec2.Snapshot
		want         string
	}{
		"of the same set":               {[]string{"/mnt/a"}, []string{"/mnt/b"}, slices.Concat(older, newer), "snap-a2 snap-b2"},
		"never of another set":          {[]string{"/mnt/a"}, []string{"/mnt/b"}, slices.Concat(older, alone), "snap-a3 none"},
		"though nothing else is sought": {nil, []string{"/mnt/a", "/mnt/b"}, newer, "snap-a2 snap-b2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, c := range chooseWithUncertain(snapset.Request{Group: true, MayCreate: true, MountPoints: tt.sure}, tt.unsure, snapset.IndexOf(tt.snapshots)) {
				got = append(got, cmp.Or(c.SnapshotID, "none"))
				if c.SnapshotID == "" && (c.Problem == "" || c.Hint == "" || c.Create) {
					t.Errorf("%s: no snapshot, and no word why: %+v", c.MountPoint, c)
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("chose %v, want %s", got, tt.want)
			}
		})
	}
}
