package steps

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/linux"
	"snaptastic/plan"
)

func TestAHookIsToldWhatIsKnown(t *testing.T) {
	var ran linux.HookRequest
	var lines []string
	w := &Env{Version: "1.2", Instance: Instance{ID: "i-1", Region: "eu-west-1", Zone: "eu-west-1a", Account: "123"}, Environ: []string{"EXTRA=1"},
		HookOutput: func(step plan.StepID, line string) { lines = append(lines, string(step)+": "+line) },
		Host: &fakeHost{hook: func(q linux.HookRequest) (linux.HookResult, error) {
			ran = q
			q.Output("hello")
			return linux.HookResult{Duration: time.Second}, nil
		}}}
	set := SnapshotSet{Run: "r", Snapshots: []Taken{{SnapshotID: "snap-1", VolumeID: "vol-1", MountPoint: "/mnt/a"}}}
	in := HookIn{Name: "post_snapshot", Command: []string{"/bin/notify", "a b"}, Timeout: plan.Duration(time.Minute), Operation: "snapshot", Snapshotter: "solr", Of: "/mnt/a",
		Volumes: []HookVolume{
			{Device: "/dev/sdf", MountPoint: "/mnt/a", FileSystem: "xfs", Found: plan.Literal(FoundVolume{Found: true, VolumeID: "vol-1", SnapshotID: "snap-0"}), Taken: plan.Literal(set)},
			{Device: "/dev/sdg", MountPoint: "/mnt/b", FileSystem: "ext4"},
		}}
	out, err := w.hook().Do(t.Context(), attempt("hook:post_snapshot:/mnt/a"), in)
	if err != nil || time.Duration(out.Took) != time.Second {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, want := range []string{"EXTRA=1", "SNAPTASTIC_OPERATION=snapshot", "SNAPTASTIC_SNAPSHOTTER=solr", "SNAPTASTIC_RUN=20260301T120000000-ab12", "SNAPTASTIC_HOOK=post_snapshot",
		"SNAPTASTIC_INSTANCE_ID=i-1", "SNAPTASTIC_REGION=eu-west-1", "SNAPTASTIC_AVAILABILITY_ZONE=eu-west-1a", "SNAPTASTIC_ACCOUNT_ID=123",
		"SNAPTASTIC_DEVICE=/dev/sdf", "SNAPTASTIC_MOUNT_POINT=/mnt/a", "SNAPTASTIC_FILE_SYSTEM=xfs", "SNAPTASTIC_VOLUME_ID=vol-1", "SNAPTASTIC_SNAPSHOT_ID=snap-1", "SNAPTASTIC_VERSION=1.2"} {
		if !slices.Contains(ran.Env, want) {
			t.Errorf("the environment has no %s: %q", want, ran.Env)
		}
	}
	const want = `{"operation":"snapshot","snapshotter":"solr","run":"20260301T120000000-ab12","hook":"post_snapshot","version":"1.2",` +
		`"instance":{"id":"i-1","region":"eu-west-1","availability_zone":"eu-west-1a","account_id":"123"},` +
		`"volumes":[{"device":"/dev/sdf","mount_point":"/mnt/a","file_system":"xfs","volume_id":"vol-1","snapshot_id":"snap-1"},` +
		`{"device":"/dev/sdg","mount_point":"/mnt/b","file_system":"ext4"}],` +
		`"volume":{"device":"/dev/sdf","mount_point":"/mnt/a","file_system":"xfs","volume_id":"vol-1","snapshot_id":"snap-1"}}` + "\n"
	if string(ran.Stdin) != want {
		t.Errorf("stdin is\n%swant\n%s", ran.Stdin, want)
	}
	if !json.Valid(ran.Stdin) || ran.Timeout != time.Minute || !slices.Equal(ran.Command, in.Command) {
		t.Errorf("ran %+v", ran)
	}
	if strings.Join(lines, "") != "hook:post_snapshot:/mnt/a: hello" {
		t.Errorf("its output went as %q", lines)
	}
}

func TestAPluralHookIsForNoVolumeInParticular(t *testing.T) {
	w := &Env{}
	r := w.hookRequest(attempt("hook:pre_mounts"), HookIn{Name: "pre_mounts", Command: []string{"x"}, Volumes: []HookVolume{{Device: "/dev/sdf", MountPoint: "/mnt/a"}}})
	for _, e := range r.Env {
		if strings.HasPrefix(e, "SNAPTASTIC_DEVICE") || strings.HasPrefix(e, "SNAPTASTIC_VOLUME_ID") {
			t.Errorf("it is told %s", e)
		}
	}
	if strings.Contains(string(r.Stdin), `"volume":`) {
		t.Errorf("stdin is %s", r.Stdin)
	}
}

// Whether a hook of `when = "changed"` runs: something is not mounted yet, or was mounted by this run, or the pre hook ran.
func TestAHookRunsOnlyWhenSomethingChanges(t *testing.T) {
	mounted := func(at string) FoundVolume { return FoundVolume{Found: true, VolumeID: "vol-" + at, Mounted: true} }
	attached := FoundVolume{Found: true, VolumeID: "vol-x"}
	volume := func(at string, f FoundVolume) HookVolume { return HookVolume{MountPoint: at, Found: plan.Literal(f)} }
	with := func(v HookVolume, m Mounted) HookVolume { v.Mounted = plan.Literal(m); return v }
	ran, skipped := plan.Literal(HookRan{}), plan.Literal(HookRan{Skipped: true})
	for _, c := range []struct {
		name    string
		pre     plan.Value[HookRan]
		volumes []HookVolume
		now     []string // mounted when the hook runs
		runs    bool
	}{
		{"all is mounted", plan.Value[HookRan]{}, []HookVolume{volume("/a", mounted("a")), volume("/b", mounted("b"))}, []string{"/a", "/b"}, false},
		{"one is attached", plan.Value[HookRan]{}, []HookVolume{volume("/a", mounted("a")), volume("/b", attached)}, []string{"/a"}, true},
		{"one is missing", plan.Value[HookRan]{}, []HookVolume{volume("/a", FoundVolume{})}, nil, true},
		{"a reboot came between", plan.Value[HookRan]{}, []HookVolume{volume("/a", mounted("a"))}, nil, true},
		{"one lane failed, the other is mounted", plan.Value[HookRan]{}, []HookVolume{{MountPoint: "/a"}, volume("/b", mounted("b"))}, []string{"/b"}, false},
		{"the pre hook ran", ran, []HookVolume{volume("/a", mounted("a"))}, []string{"/a"}, true},
		{"the pre hook did not", skipped, []HookVolume{with(volume("/a", mounted("a")), Mounted{})}, []string{"/a"}, false},
		{"it was unmounted after the pre hook looked", skipped, []HookVolume{with(volume("/a", mounted("a")), Mounted{New: true})}, []string{"/a"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			did, now := false, map[string]linux.Device{}
			for _, at := range c.now {
				now[at] = linux.Device{Path: "/dev/nvme1n1"}
			}
			w := &Env{Host: &fakeHost{hook: func(linux.HookRequest) (linux.HookResult, error) { did = true; return linux.HookResult{}, nil },
				mounts: now}}
			out, err := w.hook().Do(t.Context(), attempt("hook:x"), HookIn{Command: []string{"x"}, Volumes: c.volumes, IfChanged: true, Pre: c.pre})
			if err != nil || did != c.runs || out.Skipped == c.runs {
				t.Errorf("ran %t, want %t; %+v, %v", did, c.runs, out, err)
			}
		})
	}
}
